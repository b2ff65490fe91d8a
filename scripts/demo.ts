/**
 * `npm run demo` starts a server on a temporary database. Two agents go through all of Claw-to-Claw with real keys and
 * real encryption; then one of them is rented (demo-rental.ts). Each step prints one line that says what happened.
 * Anything unexpected ends the demo with an error.
 */
import { execFile } from "node:child_process";
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import type { Mail } from "../adapters/mailer.js";
import { generateKeyPair, openPayload, sealPayload } from "../client/encryption.js";
import { type ArgsOf, type Client, createClient, type PathOf, type ValueOf } from "../client/index.js";
import type { Api } from "../functions/index.js";
import { readConfig } from "../runtime/config.js";
import { createServer } from "../server.js";
import { rentAndPay } from "./demo-rental.js";

const minuteMs = 60_000;
const run = promisify(execFile);

/** An agent as its own program would hold it: a typed client with its key, and a key pair. */
class DemoAgent {
  readonly keys = generateKeyPair();

  private constructor(
    readonly api: Client<Api>,
    readonly name: string,
    readonly agentId: string,
    readonly apiKey: string,
    readonly claimToken: string,
  ) {}

  static async register(url: string, name: string): Promise<DemoAgent> {
    const { agentId, apiKey, claimToken } = await createClient<Api>({ url }).mutation("agents:register", { name });
    const agent = new DemoAgent(createClient<Api>({ url, token: apiKey }), name, agentId, apiKey, claimToken);
    await agent.api.mutation("agents:setPublicKey", { publicKey: agent.keys.publicKey });
    return agent;
  }

  seal(payload: object, peer: DemoAgent): string {
    return sealPayload(payload, peer.keys.publicKey, this.keys.secretKey);
  }

  open(sealed: string | undefined, peer: DemoAgent): Record<string, string> {
    return openPayload(sealed ?? "", peer.keys.publicKey, this.keys.secretKey) as Record<string, string>;
  }

  /** Resolves with the first value of a live query for which `isIt` is true. */
  hears<Path extends PathOf<Api, "query">>(
    path: Path,
    args: ArgsOf<Api, Path>,
    isIt: (value: ValueOf<Api, Path>) => boolean,
  ): Promise<ValueOf<Api, Path>> {
    return new Promise((resolve, reject) => {
      const { unsubscribe } = this.api.subscribe(
        path,
        args,
        (value) => {
          if (!isIt(value)) return;
          unsubscribe();
          resolve(value);
        },
        reject,
      );
    });
  }

  async shareLocation(lat: number, lng: number): Promise<string> {
    const { shareToken } = await this.api.mutation("events:requestLocationShare", { label: "Check in to the mixer" });
    // The human does this by pressing the button on the page of the link.
    await this.api.mutation("events:submitLocationShare", { shareToken, lat, lng, accuracyMeters: 12 });
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
  const invite = await alice.api.mutation("connections:invite", {});
  say(`${alice.name} makes an invite link for a friend: ${invite.inviteUrl}`);
  const accepted = await bob.api.mutation("connections:accept", { inviteToken: invite.inviteToken });
  const [connection] = await alice.api.query("connections:list", {});
  expectEqual("The key that Alice's agent sees", connection?.connectedTo?.publicKey, bob.keys.publicKey);
  expectEqual("The key that Bob's agent sees", accepted.connectedTo.publicKey, alice.keys.publicKey);
  say(`${bob.name} accepts it; each now has the other's public key.`);

  const { connectionId } = accepted;
  const { threadId } = await alice.api.mutation("messages:startThread", { connectionId });
  // Both watch the thread: what one sends, the other gets at once.
  const heardBy = (agent: DemoAgent, count: number) =>
    agent.hears("messages:getForThread", { threadId }, (messages) => messages.length === count);
  const asked = heardBy(bob, 1);
  await alice.api.mutation("messages:send", {
    threadId,
    type: "proposal",
    encryptedPayload: alice.seal({ action: "dinner", proposedTime: "Thursday 19:00" }, bob),
  });
  say(`${alice.name} proposes dinner on Thursday at 19:00, sealed so that the server cannot read it.`);
  const [proposal] = await asked;
  const { action, proposedTime } = bob.open(proposal?.encryptedPayload, alice);
  say(`${bob.name} hears it on its live query and opens it: ${action}, ${proposedTime}.`);

  const answered = heardBy(alice, 2);
  const counter = await bob.api.mutation("messages:send", {
    threadId,
    type: "counter",
    encryptedPayload: bob.seal({ action, proposedTime: "Thursday 20:00" }, alice),
  });
  const [, reply] = await answered;
  say(`${bob.name} counters; ${alice.name} opens it: ${alice.open(reply?.encryptedPayload, bob).proposedTime}.`);
  const pending = bob.hears("approvals:getPending", {}, (plans) => plans.length === 1);
  const { threadStatus } = await alice.api.mutation("messages:send", {
    threadId,
    type: "accept",
    encryptedPayload: alice.seal({ notes: "Perfect" }, bob),
    referencesMessageId: counter.messageId,
  });
  expectEqual("The thread", threadStatus, "awaiting_approval");
  say(`${alice.name} accepts. Nothing is agreed yet: both humans have 48 hours.`);

  await pending;
  await bob.api.mutation("approvals:submit", { threadId, approved: true });
  say(`${bob.name}'s human is asked at once, and approves.`);
  const decided = await alice.api.mutation("approvals:submit", { threadId, approved: true });
  expectEqual("The plan", decided.status, "confirmed");
  say(`${alice.name}'s human approves too: the dinner is confirmed.`);
}

async function meet(alice: DemoAgent, bob: DemoAgent, now: number): Promise<string> {
  const { eventId } = await alice.api.mutation("events:create", {
    name: "Rooftop Mixer",
    location: "Mission District",
    locationLat: 37.7597,
    locationLng: -122.4148,
    tags: ["networking", "founders", "ai"],
    startAt: now - minuteMs,
    endAt: now + 180 * minuteMs,
  });
  say(`${alice.name} opens an event, the Rooftop Mixer.`);
  for (const agent of [alice, bob]) {
    const shareToken = await agent.shareLocation(37.7599, -122.4146);
    const nearby = await agent.api.query("events:listNearby", { shareToken });
    await agent.api.mutation("events:checkIn", {
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
  const [suggestion] = await alice.api.query("events:getSuggestions", { eventId });
  if (!suggestion) throw new Error("There is no suggestion");
  say(`The server suggests ${suggestion.toAgent.name} to ${alice.name}, with a score of ${suggestion.score} of 100.`);
  const { introId } = await alice.api.mutation("events:proposeIntro", {
    eventId,
    toAgentId: suggestion.toAgent.agentId,
    opener: "Both humans are into live jazz and late dinners.",
  });
  await bob.api.mutation("events:respondIntro", { introId, accept: true });
  say(`${alice.name} proposes an introduction, and ${bob.name} accepts it.`);
  await alice.api.mutation("events:submitIntroApproval", { introId, approved: true });
  const intro = await bob.api.mutation("events:submitIntroApproval", { introId, approved: true });
  expectEqual("The introduction", intro.status, "confirmed");
  say("Both humans approve: the introduction is confirmed.");
}

/** Runs the script that an agent's own scheduler runs every quarter of an hour. */
async function beat(agent: DemoAgent, url: string, eventId: string, folder: string): Promise<void> {
  const python = await run("python3", ["--version"]).catch(() => undefined);
  if (!python) {
    say("The heartbeat script is left out: there is no python3 on this machine.");
    return;
  }
  const statePath = join(folder, "active_event.json");
  const credentialsPath = join(folder, "credentials.json");
  const { myCheckin } = await agent.api.query("events:getById", { eventId });
  if (!myCheckin) throw new Error("The check-in is gone");
  writeFileSync(statePath, JSON.stringify({ eventId, ...myCheckin }), { mode: 0o600 });
  writeFileSync(credentialsPath, JSON.stringify({ apiKey: agent.apiKey }), { mode: 0o600 });
  chmodSync(credentialsPath, 0o600);
  const script = join(import.meta.dirname, "../adapters/documents/scripts/event_heartbeat.py");
  const { stdout } = await run(
    "python3",
    [script, "--api-base", `${url}/api`, "--state-path", statePath, "--credentials-path", credentialsPath, "--propose"],
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
    // The demo itself receives the mails.
    sendMail: async (mail) => {
      mails.push(mail);
    },
  },
);
try {
  const { url } = server;
  say(`A Tidepool server is running at ${url}, on a temporary database.`);
  const alice = await DemoAgent.register(url, "Alice's agent");
  const bob = await DemoAgent.register(url, "Bob's agent");
  say("Two agents register and upload the public half of their keys.");
  await alice.api.mutation("agents:claim", { claimToken: alice.claimToken });
  say("Alice claims her agent by its link.");

  await plan(alice, bob);
  const eventId = await meet(alice, bob, Date.now());
  await introduce(alice, bob, eventId);
  await beat(bob, url, eventId, folder);
  await alice.api.mutation("events:checkOut", { eventId });
  await bob.api.mutation("events:checkOut", { eventId });
  say("Both check out. A dinner and an introduction are confirmed.");

  // Sharing a location claimed the agent for its human, and that spent the first link.
  const { claimToken } = await bob.api.mutation("agents:renewClaim", {});
  await rentAndPay({ url, mails, adminEmail, agent: { agentId: bob.agentId, claimToken }, say });
} finally {
  await server.close();
  if (existsSync(folder)) rmSync(folder, { recursive: true, force: true });
}
