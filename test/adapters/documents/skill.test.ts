/**
 * The documents keep their word: every example of the served skill.md and heartbeat.md is run by a real shell with real
 * curl against a live server, in the order in which an agent reads them. Its placeholders are filled with what the
 * earlier replies said; another agent plays the peers.
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import nacl from "tweetnacl";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { coordination } from "../../../functions/index.js";
import { Registry } from "../../../runtime/call/registry.js";
import { ManualClock } from "../../support/clock.js";
import { bash, countCurls, type Example, examplesIn, fillIn } from "../../support/documents.js";
import { type Agent, hour, minute, startServer, type TestServer } from "../../support/harness.js";
import { python, pythonWithNacl } from "../../support/python.js";
import { rentable } from "../../support/rental.js";

const curlMissing = spawnSync("curl", ["--version"]).error !== undefined;
const pythonMissing = python === undefined;
const naclMissing = pythonWithNacl === undefined;
if (curlMissing) console.warn("Examples of skill.md skipped: there is no curl");
else if (naclMissing) console.warn("Examples of skill.md that encrypt in Python skipped: there is no PyNaCl");

const encrypting = ["generate_keypair", "encrypt_payload", "decrypt_payload"];

describe.skipIf(curlMissing)("the examples of skill.md and heartbeat.md (claw-to-claw.md section 4)", () => {
  let server: TestServer;
  let home: string;
  let peer: Agent;
  const documents: Record<string, string> = {};
  const peerKeys = nacl.box.keyPair();
  const myKeys = nacl.box.keyPair();
  const known: Record<string, string> = {};
  const calls: string[] = [];

  beforeAll(async () => {
    // The heartbeat script reads the real clock.
    server = await startServer("sqlite", { clock: new ManualClock(Date.now()) });
    home = mkdtempSync(join(tmpdir(), "tidepool-skill-"));
    peer = await server.agent("Peer", { publicKey: false, claimed: true });
    await peer.call("agents:setPublicKey", { publicKey: base64(peerKeys.publicKey) });
    for (const name of ["skill.md", "heartbeat.md"])
      documents[name] = await (await fetch(`${server.url}/${name}`)).text();
    Object.assign(known, {
      YOUR_PUBLIC_KEY: base64(myKeys.publicKey),
      ENCRYPTED_PAYLOAD: base64(new Uint8Array(60)),
      IDEMPOTENCY_KEY: crypto.randomUUID(),
      START_AT: String(server.clock.now() - minute),
      END_AT: String(server.clock.now() + 3 * hour),
    });
  });
  afterAll(async () => {
    await server?.close();
    if (home) rmSync(home, { recursive: true, force: true });
  });

  test("every example of skill.md succeeds, and every function has one", async () => {
    const examples = examplesIn("skill.md", documents["skill.md"] ?? "");
    for (const example of examples) await run(example);

    expect(countCurls(examples)).toBe(documents["skill.md"]?.match(/^\s*curl /gm)?.length);
    expect([...new Set(calls)].sort()).toEqual([...new Registry(coordination).functions.keys()].sort());
  });

  test("every example of heartbeat.md succeeds for an agent that is checked in", async () => {
    const me = new (peer.constructor as typeof Agent)(server, known["YOUR_API_KEY"] ?? "", "", "", "");
    const eventId = known["EVENT_ID"];
    const locationShareToken = await me.shareLocation(37.7599, -122.4149);
    const { expiresAt } = await me.call("events:checkIn", { eventId, locationShareToken });
    known["YOUR_AGENT_TOKEN"] = (await rentable(server)).agent.credential ?? "";
    known["LAST_CREATED_AT"] = String(server.clock.now() - hour);
    await bash(`python3 .c2c/scripts/event_state.py set --event-id ${eventId} --expires-at ${expiresAt}`, home);

    const examples = examplesIn("heartbeat.md", documents["heartbeat.md"] ?? "");
    for (const example of examples) await run(example);
    expect(countCurls(examples)).toBe(documents["heartbeat.md"]?.match(/^\s*curl /gm)?.length);
  });

  test("the live stream that it names is there, and so is every query that it says is worth following", async () => {
    const text = documents["skill.md"] ?? "";
    const [, address = "", args = ""] = /`GET (\S+?args=)(\S+)`/.exec(text) ?? [];
    const headers = { Authorization: `Bearer ${known["YOUR_API_KEY"]}` };
    const hangUp = new AbortController();
    const response = await fetch(address + encodeURIComponent(args), { headers, signal: hangUp.signal });
    expect(response.headers.get("Content-Type")).toContain("text/event-stream");
    let heard = "";
    for await (const chunk of response.body ?? []) {
      heard += Buffer.from(chunk).toString();
      if (/^data: \[.*\]$/m.test(heard)) break;
    }
    hangUp.abort();
    const named = /Worth following: ([^.]+)\./.exec(text)?.[1]?.match(/\w+:\w+/g) ?? [];
    expect(named.length).toBeGreaterThan(3);
    for (const path of named) expect(new Registry(coordination).find(path)?.kind, path).toBe("query");
  });

  test("the reference lists exactly the functions of the registry", () => {
    const tables = documents["skill.md"]?.split("## Reference")[1] ?? "";
    const rows = (kind: string) =>
      [...((tables.split(`### ${kind}`)[1] ?? "").split("###")[0]?.matchAll(/^\| `([^`]+)` \| (\w+) \|/gm) ?? [])].map(
        ([, path, auth]) => `${path} ${auth}`,
      );
    const declared = (kind: string) =>
      [...new Registry(coordination).functions]
        .filter(([, definition]) => definition.kind === kind)
        .map(([path, { auth }]) => `${path} ${auth === "agent" ? "Bearer" : "none"}`);
    expect(rows("Mutations")).toEqual(declared("mutation").sort());
    expect(rows("Queries")).toEqual(declared("query").sort());
  });

  test.skipIf(naclMissing)("the Python of skill.md writes what a peer can read", async () => {
    const code = /^```python\n(.*?)^```$/ms.exec(documents["skill.md"] ?? "")?.[1];
    const keys = `"${base64(myKeys.secretKey)}", "${base64(peerKeys.publicKey)}"`;
    const use = `box = encrypt({"notes": "早"}, ${keys})\nassert decrypt(box, ${keys}) == {"notes": "早"}\nprint(box)`;
    const { output, errors } = await bash(`python3 - <<'PYTHON'\n${code}\n${use}\nPYTHON\n`, home);
    expect(errors).toBe("");
    const sealed = Buffer.from(output.trim(), "base64");
    const opened = nacl.box.open(sealed.subarray(24), sealed.subarray(0, 24), myKeys.publicKey, peerKeys.secretKey);
    expect(Buffer.from(opened ?? []).toString()).toBe('{"notes": "早"}');
  });

  test("both are Markdown in UTF-8 with this server's address and no hole left", async () => {
    for (const name of ["skill.md", "heartbeat.md"]) {
      const response = await fetch(`${server.url}/${name}`);
      expect(response.status).toBe(200);
      expect(response.headers.get("Content-Type")).toBe("text/markdown; charset=utf-8");
      const text = await response.text();
      expect(text).toContain(`${server.server.publicUrl}/api/mutation`);
      expect(text).not.toContain("{{");

      const etag = response.headers.get("ETag") ?? "";
      expect((await fetch(`${server.url}/${name}`, { headers: { "If-None-Match": etag } })).status).toBe(304);
    }
  });

  test("the public base URL of the configuration stands in every example", async () => {
    const behindProxy = await startServer("sqlite", { config: { publicUrl: "https://c2c.example/relay" } });
    const text = await (await fetch(`${behindProxy.url}/skill.md`)).text();
    const addresses = [...text.matchAll(/https?:\/\/[^\s`)\]"\\]+/g)].map(([address]) => address);
    expect(addresses.filter((address) => !address.startsWith("https://c2c.example/relay"))).toEqual([]);
    await behindProxy.close();
  });

  let spareEventId = "";

  async function run(example: Example): Promise<void> {
    if (example.tool && (encrypting.includes(example.tool) ? naclMissing : pythonMissing)) return;
    await prepare(example);
    const script = fillIn(example, known);
    const { code, output, errors } = await bash(script, home);
    expect(code, `${example.place}: ${errors}\n${output}`).toBe(0);
    if (example.paths.length === 0) return learnFromTool(example, script, output);
    // One call a block, so that its reply is the whole output.
    expect(example.paths, example.place).toHaveLength(1);
    const reply = JSON.parse(output) as { status: string; value: Reply };
    expect(reply, `${example.place}: ${output}`).toMatchObject({ status: "success" });
    calls.push(example.paths[0] ?? "");
    learn(example.paths[0] ?? "", reply.value);
  }

  /** What others do before an example makes sense. */
  async function prepare({ script, tool, paths: [path] }: Example): Promise<void> {
    if (path === "connections:getInvite") {
      known["INVITE_TOKEN"] = (await peer.call("connections:invite", {})).inviteToken;
    }
    if (path === "messages:send" && script.includes('"accept"')) {
      const counter = await peer.send(known["THREAD_ID"] ?? "", "counter");
      known["PROPOSAL_MESSAGE_ID"] = counter.messageId;
    }
    if (path === "events:getSuggestions" && known["TARGET_AGENT_ID"] === undefined) {
      await checkInToo(peer);
      known["TARGET_AGENT_ID"] = peer.agentId;
    }
    if (path === "events:cancel") {
      // What follows is about an event that does take place.
      const me = new (peer.constructor as typeof Agent)(server, known["YOUR_API_KEY"] ?? "", "", "", "");
      const { name, tags, startAt, endAt } = await me.call("events:getById", { eventId: known["EVENT_ID"] });
      const place = { locationLat: 37.7597, locationLng: -122.4148 };
      spareEventId = (await me.call("events:create", { name, tags, startAt, endAt, ...place })).eventId;
    }
    if (path === "events:respondIntro") {
      const other = await server.agent("Other");
      await checkInToo(other);
      const toAgentId = known["YOUR_AGENT_ID"];
      const intro = await other.call("events:proposeIntro", { eventId: known["EVENT_ID"], toAgentId });
      known["INTRO_ID"] = intro.introId;
    }
    if (tool === "decrypt_payload") {
      const nonce = nacl.randomBytes(nacl.box.nonceLength);
      const mine = Buffer.from(known["YOUR_PUBLIC_KEY"] ?? "", "base64");
      const sealed = nacl.box(Buffer.from('{"notes":"see you"}'), nonce, mine, peerKeys.secretKey);
      known["PEER_ENCRYPTED_PAYLOAD"] = base64(Buffer.concat([nonce, sealed]));
    }
  }

  async function checkInToo(agent: Agent): Promise<void> {
    const locationShareToken = await agent.shareLocation(37.7598, -122.4147);
    await agent.call("events:checkIn", { eventId: known["EVENT_ID"], locationShareToken, durationMinutes: 120 });
  }

  function learn(path: string, value: Reply): void {
    const found: Record<string, Record<string, unknown>> = {
      "agents:renewClaim": { CLAIM_TOKEN: value.claimToken },
      "agents:register": {
        YOUR_API_KEY: value.apiKey,
        YOUR_AGENT_ID: value.agentId,
        CLAIM_TOKEN: value.claimToken,
      },
      "connections:accept": { CONNECTION_ID: value.connectionId, PEER_PUBLIC_KEY: value.connectedTo?.publicKey },
      "messages:startThread": { THREAD_ID: value.threadId },
      "events:create": { EVENT_ID: value.eventId },
      "events:cancel": { EVENT_ID: spareEventId },
      "events:requestLocationShare": { LOC_SHARE_TOKEN: value.shareToken },
      "events:checkIn": { EXPIRES_AT: value.expiresAt },
      "events:proposeIntro": { INTRO_ID: value.introId },
    };
    for (const [name, text] of Object.entries(found[path] ?? {})) known[name] = String(text);
  }

  function learnFromTool({ tool, place }: Example, script: string, output: string): void {
    if (script.includes("credentials.json <<")) {
      expect(statSync(join(home, ".c2c/credentials.json")).mode & 0o777).toBe(0o600);
    }
    if (tool === "generate_keypair") known["YOUR_PUBLIC_KEY"] = JSON.parse(output).publicKey;
    if (tool === "encrypt_payload") known["ENCRYPTED_PAYLOAD"] = output.trim();
    if (tool === "decrypt_payload") {
      const own = script.includes(known["ENCRYPTED_PAYLOAD"] ?? "-");
      expect(JSON.parse(output), place).toMatchObject(own ? { action: "dinner" } : { notes: "see you" });
    }
    if (tool === "event_heartbeat") {
      expect(JSON.parse(output), place).toMatchObject({ status: "HEARTBEAT_OK", reason: null, errors: [] });
    }
  }
});

/** The fields of replies that later examples use. */
interface Reply {
  apiKey?: string;
  agentId?: string;
  claimToken?: string;
  connectionId?: string;
  connectedTo?: { publicKey: string };
  threadId?: string;
  eventId?: string;
  shareToken?: string;
  expiresAt?: number;
  introId?: string;
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("base64");
}
