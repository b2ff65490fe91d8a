/**
 * The documents that an agent reads to use this server, and the scripts that they name. Both are read once at start,
 * and what can change from server to server is filled in: its address, its functions, its limits.
 */
import { readFileSync } from "node:fs";
import { z } from "zod";
import { coordination } from "../functions/index.js";
import type { FunctionDefinition } from "../runtime/call/define.js";
import { keptMs } from "../runtime/call/idempotency.js";
import { Registry } from "../runtime/call/registry.js";
import { errorCodes } from "../runtime/errors.js";
import { rates, sizes } from "../runtime/limits.js";
import type { HttpApp } from "./http.js";
import { type StaticFile, sendStatic, staticFile } from "./pages/assets.js";
import { servedFile } from "./served-files.js";

/** The helper scripts that agents run. Nothing else of the folder is served. */
export const scriptNames = [
  "decrypt_payload.py",
  "encrypt_payload.py",
  "event_heartbeat.py",
  "event_state.py",
  "generate_keypair.py",
] as const;

/** What the scripts import from beside them. */
const scriptModules = ["event_file", "payload_box", "private_files", "server_api", "suggestions"];

const documentNames = ["skill.md", "heartbeat.md", "clawrent.md"] as const;
const markdown = "text/markdown; charset=utf-8";
const python = "text/x-python; charset=utf-8";
/** They change only with a new version of the server; a client asks again after five minutes. */
const cacheControl = "public, max-age=300";

export function addDocumentRoutes(app: HttpApp, publicUrl: () => string): void {
  const templates = [
    ...documentNames.map((name) => {
      const template = readFileSync(servedFile(`documents/${name}`), "utf8");
      return { path: `/${name}`, template, type: markdown };
    }),
    ...scriptNames.map((name) => ({ path: `/scripts/${name}`, template: wholeScript(name), type: python })),
  ];
  for (const { path, template, type } of templates) {
    let filled: { url: string; file: StaticFile } | undefined;
    app.get(path, (c) => {
      const url = publicUrl();
      // The address is only known once the server listens.
      if (filled?.url !== url) filled = { url, file: staticFile(fill(template, url), type) };
      return sendStatic(filled.file, c.env.incoming.headers["if-none-match"], cacheControl);
    });
  }
}

/** A script in which the modules that it imports from beside it are written out, so that it works alone. */
function wholeScript(name: string): string {
  const written = new Set<string>();
  const write = (text: string): string =>
    text.replace(/^from (\w+) import (?:\([^)]*\)|.*)\n/gm, (statement, module: string) => {
      if (!scriptModules.includes(module)) return statement;
      if (written.has(module)) return "";
      written.add(module);
      const body = readScript(`${module}.py`).replace(/^""".*?"""\s+from __future__ [^\n]*\n/s, "");
      return `\n# From ${module}.py\n${write(body).trimEnd()}\n\n\n`;
    });
  return write(readScript(name));
}

function readScript(name: string): string {
  return readFileSync(servedFile(`documents/scripts/${name}`), "utf8");
}

/** Replaces each `{{NAME}}`. Throws on one that is not known, so that a document with a hole in it is never served. */
function fill(template: string, publicUrl: string): string {
  const values: Record<string, string> = {
    BASE_URL: publicUrl,
    WS_URL: publicUrl.replace(/^http/, "ws"),
    SCRIPTS: scriptNames.join(" "),
    MUTATIONS: functionTable("mutation"),
    QUERIES: functionTable("query"),
    ERROR_CODES: Object.entries(errorCodes)
      .map(([code, { meaning }]) => `| \`${code}\` | ${meaning} |`)
      .join("\n"),
    CALLS_PER_MINUTE: perMinute(rates.calls),
    REGISTRATIONS_PER_HOUR: String((rates.registrations.points * 3_600) / rates.registrations.seconds),
    BODY_KIB: String(sizes.bodyBytes / 1_024),
    IDEMPOTENCY_KEY_CHARACTERS: String(sizes.idempotencyKeyCharacters),
    IDEMPOTENCY_HOURS: String(keptMs / 3_600_000),
  };
  return template.replace(/\{\{(\w+)\}\}/g, (_whole, name: string) => {
    const value = values[name];
    if (value === undefined) throw new Error(`A document names {{${name}}}, which is not known`);
    return value;
  });
}

function perMinute({ points, seconds }: { points: number; seconds: number }): string {
  return String((points * 60) / seconds);
}

/** One row per function of Claw-to-Claw, so that the reference cannot differ from what is served. */
function functionTable(kind: FunctionDefinition["kind"]): string {
  const rows = [...new Registry(coordination).functions]
    .filter(([, definition]) => definition.kind === kind)
    .sort(([one], [other]) => (one < other ? -1 : 1))
    .map(([path, { auth, args, summary }]) => {
      return `| \`${path}\` | ${auth === "none" ? "none" : "Bearer"} | ${argumentList(args)} | ${summary} |`;
    });
  return ["| Path | Auth | Args | What it does |", "|---|---|---|---|", ...rows].join("\n");
}

/** The arguments by name; those with a `?` may be left out. */
function argumentList(args: FunctionDefinition["args"]): string {
  const { properties = {}, required = [] } = z.toJSONSchema(args, { io: "input", unrepresentable: "any" });
  const names = Object.keys(properties).map((name) => `\`${name}${required.includes(name) ? "" : "?"}\``);
  return names.length > 0 ? names.join(", ") : "–";
}
