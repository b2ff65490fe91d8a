/**
 * `npm run demo`: a server on a temporary database, and two agents that go through all of Claw-to-Claw with real keys
 * and real encryption; then one of them is rented (demo-rental.ts). Each step says in one line what happened; anything
 * unexpected ends it with an error.
 */
import { execFile } from "node:child_process";
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import nacl from "tweetnacl";
import type { Mail } from "../adapters/mailer.js";
import { readConfig } from "../runtime/config.js";
import { createServer } from "../server.js";
import { rentAndPay } from "./demo-rental.js";

const minuteMs = 60_000;
const run = promisify(execFile);

interface Peer {
  agentId: string;
  name: string;
  publicKey: string;
}

/** An agent as its own program would hold it: an API key, a key pair, and calls over HTTP. */
class DemoAgent {
  readonly keys = nacl.box.keyPair();
  agentId = "";
  apiKey = "";
  claimToken = "";

  constructor(
    readonly api: string,
    readonly name: string,
  ) {}

  async call<T>(kind: "query" | "mutation", path: string, args: object = {}): Promise<T> {
    const response = await fetch(`${this.api}/${kind}`, {
      method: "POST",
      headers: {
        "Content-Type": "application/json",
        ...(this.apiKey === "" ? {} : { Authorization: `Bearer ${this.apiKey}` }),
      },
      body: JSON.stringify({ path, args, format: "json" }),
    });
    const reply = (await response.json()) as { status: string; value: T; errorMessage?: string };
    if (reply.status !== "success") throw new Error(`${path}: ${reply.errorMessage}`);
    return reply.value;
  }

  query<T>(path: string, args?: object): Promise<T> {
    return this.call("query", path, args);
  }

  mutate<T>(path: string, args?: object): Promise<T> {
    return this.call("mutation", path, args);
  }

  async register(): Promise<void> {
    Object.assign(this, await this.mutate<object>("agents:register", { name: this.name }));
    await this.mutate("agents:setPublicKey", { publicKey: Buffer.from(this.keys.publicKey).toString("base64") });
  }

  /** nonce ‖ box in base64, as PyNaCl's `Box.encrypt` makes it. */
  seal(payload: object, peer: Peer): string {
    const nonce = nacl.randomBytes(nacl.box.nonceLength);
    const box = nacl.box(
      Buffer.from(JSON.stringify(payload)),
      nonce,
      Buffer.from(peer.publicKey, "base64"),
      this.keys.secretKey,
    );
    return Buffer.concat([nonce, box]).toString("base64");
  }

  open(sealed: string, peer: Peer): Record<string, string> {
    const bytes = Buffer.from(sealed, "base64");
    const nonce = bytes.subarray(0, nacl.box.nonceLength);
    const box = bytes.subarray(nacl.box.nonceLength);
    const opened = nacl.box.open(box, nonce, Buffer.from(peer.publicKey, "base64"), this.keys.secretKey);
    if (!opened) throw new Error("A message could not be opened");
    return JSON.parse(Buffer.from(opened).toString()) as Record<string, string>;
  }

  async shareLocation(lat: number, lng: number): Promise<string> {
    const { shareToken } = await this.mutate<{ shareToken: string }>("events:requestLocationShare", {
      label: "Check in to the mixer",
    });
    // What the human does by pressing the button on the page of the link.
    await this.mutate("events:submitLocationShare", { shareToken, lat, lng, accuracyMeters: 12 });
    return shareToken;
  }
}

let step = 0;
function say(line: string): void {
  step += 1;
  console.log(`${String(step).padStart(2)}. ${line}`);
}

function expectEqual(what: string, actual: unknown, expected: unknown): void {
  if (actual !== expected) throw new Error(`${what} is ${String(actual)}, not ${String(expected)}`);
}

async function plan(alice: DemoAgent, bob: DemoAgent): Promise<void> {
  const invite = await alice.mutate<{ inviteToken: string; inviteUrl: string }>("connections:invite");
  say(`${alice.name} makes an invite link for a friend: ${invite.inviteUrl}`);
  const { connectionId, connectedTo } = await bob.mutate<{ connectionId: string; connectedTo: Peer }>(
    "connections:accept",
    { inviteToken: invite.inviteToken },
  );
  const [{ connectedTo: bobAsPeer } = { connectedTo: undefined }] =
    await alice.query<{ connectedTo: Peer }[]>("connections:list");
  if (!bobAsPeer) throw new Error("The connection is not listed");
  say(`${bob.name} accepts it; each now has the other's public key.`);

  const { threadId } = await alice.mutate<{ threadId: string }>("messages:startThread", { connectionId });
  const send = (from: DemoAgent, to: Peer, type: string, payload: object, referencesMessageId?: string) =>
    from.mutate<{ messageId: string; threadStatus: string }>("messages:send", {
      threadId,
      type,
      encryptedPayload: from.seal(payload, to),
      referencesMessageId,
    });
  await send(alice, bobAsPeer, "proposal", { action: "dinner", proposedTime: "Thursday 19:00" });
  say(`${alice.name} proposes dinner on Thursday at 19:00, sealed so that the server cannot read it.`);
  const counter = await send(bob, connectedTo, "counter", { action: "dinner", proposedTime: "Thursday 20:00" });
  const messages = await alice.query<{ encryptedPayload: string }[]>("messages:getForThread", { threadId });
  const opened = alice.open(messages.at(-1)?.encryptedPayload ?? "", bobAsPeer);
  say(`${bob.name} counters; ${alice.name} opens the message: ${opened.proposedTime}.`);
  const accepted = await send(alice, bobAsPeer, "accept", { notes: "Perfect" }, counter.messageId);
  expectEqual("The thread", accepted.threadStatus, "awaiting_approval");
  say(`${alice.name} accepts. Nothing is agreed yet: both humans have 48 hours.`);

  const pending = await bob.query<unknown[]>("approvals:getPending");
  expectEqual("The number of pending approvals", pending.length, 1);
  await bob.mutate("approvals:submit", { threadId, approved: true });
  say(`${bob.name}'s human approves.`);
  const decided = await alice.mutate<{ status: string }>("approvals:submit", { threadId, approved: true });
  expectEqual("The plan", decided.status, "confirmed");
  say(`${alice.name}'s human approves too: the dinner is confirmed.`);
}

async function meet(alice: DemoAgent, bob: DemoAgent, now: number): Promise<string> {
  const event = await alice.mutate<{ eventId: string }>("events:create", {
    name: "Rooftop Mixer",
    location: "Mission District",
    locationLat: 37.7597,
    locationLng: -122.4148,
    tags: ["networking", "founders", "ai"],
    startAt: now - minuteMs,
    endAt: now + 180 * minuteMs,
  });
  const { eventId } = event;
  say(`${alice.name} opens an event, the Rooftop Mixer.`);
  for (const agent of [alice, bob]) {
    const shareToken = await agent.shareLocation(37.7599, -122.4146);
    const nearby = await agent.query<{ distanceKm: number }[]>("events:listNearby", { shareToken });
    await agent.mutate("events:checkIn", {
      eventId,
      locationShareToken: shareToken,
      intentTags: ["founders", "ai"],
      introNote: "Likes live jazz and late dinners",
      outreachMode: "propose_for_me",
      durationMinutes: 10,
    });
    const metres = Math.round((nearby[0]?.distanceKm ?? 0) * 1_000);
    say(`${agent.name}'s human shares a location ${metres} m away, and ${agent.name} checks in.`);
  }
  return eventId;
}

async function introduce(alice: DemoAgent, bob: DemoAgent, eventId: string): Promise<void> {
  const [suggestion] = await alice.query<{ toAgent: { agentId: string; name: string }; score: number }[]>(
    "events:getSuggestions",
    { eventId },
  );
  if (!suggestion) throw new Error("There is no suggestion");
  say(`The server suggests ${suggestion.toAgent.name} to ${alice.name}, with a score of ${suggestion.score} of 100.`);
  const { introId } = await alice.mutate<{ introId: string }>("events:proposeIntro", {
    eventId,
    toAgentId: suggestion.toAgent.agentId,
    opener: "Both humans are into live jazz and late dinners.",
  });
  await bob.mutate("events:respondIntro", { introId, accept: true });
  say(`${alice.name} proposes an introduction, and ${bob.name} accepts it.`);
  await alice.mutate("events:submitIntroApproval", { introId, approved: true });
  const intro = await bob.mutate<{ status: string }>("events:submitIntroApproval", { introId, approved: true });
  expectEqual("The introduction", intro.status, "confirmed");
  say("Both humans approve: the introduction is confirmed.");
}

/** The script that an agent's own scheduler runs every quarter of an hour. */
async function beat(agent: DemoAgent, eventId: string, folder: string): Promise<void> {
  const python = await run("python3", ["--version"]).catch(() => undefined);
  if (!python) {
    say("The heartbeat script is left out: there is no python3 on this machine.");
    return;
  }
  const statePath = join(folder, "active_event.json");
  const credentialsPath = join(folder, "credentials.json");
  const { myCheckin } = await agent.query<{ myCheckin: { expiresAt: number; checkedInAt: string } }>("events:getById", {
    eventId,
  });
  writeFileSync(statePath, JSON.stringify({ eventId, ...myCheckin }), { mode: 0o600 });
  writeFileSync(credentialsPath, JSON.stringify({ apiKey: agent.apiKey }), { mode: 0o600 });
  chmodSync(credentialsPath, 0o600);
  const script = join(import.meta.dirname, "event_heartbeat.py");
  const { stdout } = await run(
    "python3",
    [script, "--api-base", agent.api, "--state-path", statePath, "--credentials-path", credentialsPath, "--propose"],
    { env: { ...process.env, PYTHONDONTWRITEBYTECODE: "1" } },
  );
  const report = JSON.parse(stdout) as { status: string; renewal: { action: string } | null };
  expectEqual("The heartbeat", report.status, "HEARTBEAT_OK");
  expectEqual("The renewal", report.renewal?.action, "renewed");
  const kept = JSON.parse(readFileSync(statePath, "utf8")) as { expiresAt: number };
  if (kept.expiresAt <= myCheckin.expiresAt) throw new Error("The state file was not renewed");
  say(`${agent.name}'s heartbeat script finds all well and renews the check-in: ${report.status}.`);
}

const folder = mkdtempSync(join(tmpdir(), "tidepool-demo-"));
const adminEmail = "admin@example.com";
const mails: Mail[] = [];
const server = await createServer(
  readConfig({
    PORT: "0",
    DATABASE_URL: `sqlite:${join(folder, "tidepool.db")}`,
    ADMIN_EMAILS: adminEmail,
    LOG_LEVEL: "warn",
  }),
  {
    // The demo is its own post office.
    sendMail: async (mail) => {
      mails.push(mail);
    },
  },
);
try {
  const api = `${server.url}/api`;
  say(`A Tidepool server is running at ${server.url}, on a temporary database.`);
  const [alice, bob] = [new DemoAgent(api, "Alice's agent"), new DemoAgent(api, "Bob's agent")];
  await alice.register();
  await bob.register();
  say("Two agents register and upload the public half of their keys.");
  await alice.mutate("agents:claim", { claimToken: alice.claimToken });
  say("Alice claims her agent by its link.");

  await plan(alice, bob);
  const eventId = await meet(alice, bob, server.runtime.now());
  await introduce(alice, bob, eventId);
  await beat(bob, eventId, folder);
  await alice.mutate("events:checkOut", { eventId });
  await bob.mutate("events:checkOut", { eventId });
  say("Both check out. A dinner and an introduction are confirmed.");

  await rentAndPay({ url: server.url, mails, adminEmail, agent: bob, say });
} finally {
  await server.close();
  if (existsSync(folder)) rmSync(folder, { recursive: true, force: true });
}
