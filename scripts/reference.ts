/** `npm run reference` writes the tables of functions, error codes, configuration and limits in docs/ from the code. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { z } from "zod";
import { restRoutes } from "../adapters/rest-routes.js";
import { modules } from "../functions/index.js";
import { caps } from "../functions/model/caps.js";
import { Registry } from "../runtime/call/registry.js";
import { configVariables } from "../runtime/config.js";
import { errorCodes } from "../runtime/errors.js";
import {
  connectionTimes,
  heldBytes,
  holdTimes,
  keptReplyBytes,
  keptResults,
  largeRequests,
  liveBudget,
  parsedArgumentBytes,
  rates,
  reserveBytes,
  sizes,
  storedPayloadBytes,
  tokenRate,
} from "../runtime/limits.js";

const docsFolder = join(import.meta.dirname, "..", "docs");

/** Which tables each page of docs/ has. */
export const generatedPages = {
  "reference.md": ["functions", "routes", "errors"],
  "configuration.md": ["configuration"],
  "limits.md": ["limits", "caps"],
} as const satisfies Record<string, readonly (keyof typeof sections)[]>;

export function readPage(page: string): string {
  return readFileSync(join(docsFolder, page), "utf8");
}

function table(head: string[], rows: string[][]): string {
  const line = (cells: string[]) => `| ${cells.join(" | ")} |`;
  return [line(head), line(head.map(() => "---")), ...rows.map(line)].join("\n");
}

function byPath([one]: [string, unknown], [other]: [string, unknown]): number {
  return one < other ? -1 : 1;
}

/** The argument names as a cell of the table. An optional argument has a question mark. */
function argumentNames(args: z.ZodType<object>): string {
  const names = Object.entries((args as z.ZodObject).shape).map(
    ([name, schema]) => `${name}${schema.safeParse(undefined).success ? "?" : ""}`,
  );
  return names.length === 0 ? "none" : names.map((name) => `\`${name}\``).join(" ");
}

function whoOf(auth: string): string {
  if (auth === "none") return "anybody";
  return auth === "agentOrUser" ? "agent or user" : auth;
}

/** The words that the environment uses for a switch; each variable accepts two of them. */
const switchWords = ["on", "off", "true", "false"];

const sections = {
  functions: () =>
    table(
      ["function", "kind", "who", "arguments", "what it does"],
      [...new Registry(modules).functions]
        .sort(byPath)
        .map(([path, { kind, auth, args, summary }]) => [
          `\`${path}\``,
          kind,
          whoOf(auth),
          argumentNames(args),
          summary,
        ]),
    ),
  routes: () =>
    table(
      ["route", "function"],
      restRoutes.map(({ method, path, call }) => [`\`${method} ${path.replaceAll(/\{[^}]*\}/g, "")}\``, `\`${call}\``]),
    ),
  errors: () =>
    table(
      ["code", "status at the gateway", "meaning"],
      Object.entries(errorCodes).map(([code, { status, meaning }]) => [`\`${code}\``, String(status), meaning]),
    ),
  configuration: () =>
    table(
      ["variable", "default", "what it sets"],
      Object.entries(configVariables).map(([name, { schema, about }]) => {
        const unset: unknown = schema.safeParse(undefined).data;
        // As the environment spells it.
        const shown =
          typeof unset === "boolean" ? switchWords.find((word) => schema.safeParse(word).data === unset) : unset;
        return [`\`${name}\``, shown === undefined ? "none" : `\`${String(shown)}\``, about];
      }),
    ),
  caps: () =>
    table(
      ["at most", "of what"],
      Object.values(caps).map(({ most, of }) => [String(most), of]),
    ),
  limits: () =>
    table(
      ["limit", "value"],
      [
        ["request body", `${sizes.bodyBytes / 1024} KiB`],
        ["a request's first line and headers", `${sizes.headBytes / 1024} KiB`],
        [
          "time for a request's headers; for all of it; between two on a connection",
          `${connectionTimes.headMs / 1_000} s; ${connectionTimes.requestMs / 1_000} s; ${connectionTimes.idleMs / 1_000} s`,
        ],
        [
          "open connections; from one address, without a trusted proxy",
          `${sizes.connections}; ${sizes.connectionsPerAddress}`,
        ],
        ["unfinished requests of one address, streams included", String(sizes.requestsPerAddress)],
        ["levels of nesting in arguments", String(sizes.nesting)],
        ["`Idempotency-Key`", `${sizes.idempotencyKeyCharacters} characters`],
        ["queries in one batch", String(sizes.batchedQueries)],
        ["calls of one agent (without a key: of one address)", perTime(rates.calls)],
        ["calls of one user and all their agents together", perTime(rates.userCalls)],
        ["wrong credentials from one address", perTime(rates.failedCredentials)],
        ["registrations of agents from one address", perTime(rates.registrations)],
        ["sign-ins and registrations from one address", perTime(rates.signIns)],
        ["wrong passwords from one address for one account", perTime(rates.wrongPasswords)],
        [
          "passwords waiting to be checked; from one address",
          `${sizes.hashesWaiting}; ${sizes.hashesWaitingPerAddress}`,
        ],
        ["verification mails asked for from one address", perTime(rates.verifications)],
        ["top-ups of one user", perTime(rates.topUps)],
        [
          "codes tried by one user · from one address",
          `${perTime(rates.redemptionsPerUser)} · ${perTime(rates.redemptions)}`,
        ],
        [
          "tokens that a session's provider can report; at once at the start",
          `${tokenRate.perMs * 1_000} per second; ${tokenRate.burst}`,
        ],
        [
          "a WebSocket frame, or one call's arguments in a live client's frame; such a frame",
          `${sizes.frameBytes / 1024} KiB; ${sizes.liveFrameBytes / 1024 / 1024} MiB`,
        ],
        ["frames of one WebSocket; more are read later", perTime(rates.frames)],
        ["unread bytes of one WebSocket before it is closed", `${sizes.unreadBytes / 1024} KiB`],
        ["queries of one live client", String(sizes.queriesPerSocket)],
        [
          "database time for the live queries of one user and all their agents; beyond it they are answered later",
          `${liveBudget.msPerSecond} ms per second, ${liveBudget.mostMs} ms at once`,
        ],
        [
          `bodies and frames of one address, those over ${largeRequests.smallBytes / 1024} KiB; more are read later`,
          `${Math.floor(largeRequests.msPerSecond / largeRequests.msPerMiB)} MiB per second, ${largeRequests.mostMs / largeRequests.msPerMiB} MiB at once`,
        ],
        ["arguments of one call once they are parsed, roughly", `${parsedArgumentBytes / 1024} KiB`],
        ...Object.entries(heldNames).map(([kind, name]) => {
          const { socket, address, caller, process } = heldBytes[kind as keyof typeof heldNames];
          const shares = [socket, caller, address, process].map((bytes) => `${bytes / 1024 / 1024}`).join(", ");
          return [`${name}, of one socket or request, one account, one address, the process`, `${shares} MiB`];
        }),
        ["set aside, of all these kinds, for callers who hold next to nothing", `${reserveBytes / 1024 / 1024} MiB`],
        [
          "kept replies to queries, in all; one of them",
          `${keptReplyBytes.process / 1024 / 1024} MiB; ${keptReplyBytes.reply / 1024 / 1024} MiB`,
        ],
        [
          "results of one account's writes, kept for retries",
          `${keptResults.bytes / 1024 / 1024} MiB and ${keptResults.results} results`,
        ],
        [
          "payloads of a session's messages; of one account in the sessions of 30 days",
          `${storedPayloadBytes.session / 1024 / 1024} MiB; ${storedPayloadBytes.account / 1024 / 1024} MiB`,
        ],
        ["open WebSockets; from one address", `${sizes.sockets}; ${sizes.socketsPerAddress}`],
        [
          "refused WebSockets that wait for their close code; from one address",
          `${sizes.heldSockets}; ${sizes.heldSocketsPerAddress}`,
        ],
        ["how long such a WebSocket waits at most", `${holdTimes.mostMs / 1_000} s`],
        ["new WebSockets from one address", perTime(rates.socketOpenings)],
      ],
    ),
} satisfies Record<string, () => string>;

/** What each budget of bytes is for. */
const heldNames = {
  subscriptions: "arguments of live queries",
  requests: "requests and frames that wait",
  answers: "unread answers",
  lastAnswers: "last answers of live queries",
} as const satisfies Record<keyof typeof heldBytes, string>;

function perTime({ points, seconds }: { points: number; seconds: number }): string {
  const time = seconds === 60 ? "minute" : seconds === 3_600 ? "hour" : `${seconds / 60} minutes`;
  return `${points} per ${time}`;
}

/** A page with its generated sections brought up to date. */
export function withReference(page: keyof typeof generatedPages): string {
  let text = readPage(page);
  for (const name of generatedPages[page]) {
    const marked = new RegExp(`(<!-- ${name}: generated -->\n)[^]*?(<!-- /${name} -->)`);
    if (!marked.test(text)) throw new Error(`docs/${page} has no section '${name}'`);
    text = text.replace(marked, (_all, start: string, end: string) => `${start}\n${sections[name]()}\n\n${end}`);
  }
  return text;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  for (const page of Object.keys(generatedPages) as (keyof typeof generatedPages)[]) {
    writeFileSync(join(docsFolder, page), withReference(page));
  }
}
