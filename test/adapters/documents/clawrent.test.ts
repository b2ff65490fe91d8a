/**
 * The marketplace's document keeps its word: every example of the served clawrent.md is run by a real shell with real
 * curl, in the order in which an agent reads it. Others play the admin, the agent that is rented, and the renter.
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import { bash, countCurls, type Example, examplesIn, fillIn } from "../../support/documents.js";
import { hour, password, startServer, type TestServer, User } from "../../support/harness.js";
import { rentable } from "../../support/rental.js";
import { cutSocketsAfterEach, type Frame, openAt } from "../../support/sockets.js";

const curlMissing = spawnSync("curl", ["--version"]).error !== undefined;
if (curlMissing) console.warn("Examples of clawrent.md skipped: there is no curl");

cutSocketsAfterEach();

/** How an example's call is named here: method and path, with the placeholders as they stand in the document. */
function callOf({ script }: Example): string {
  const method = /-X (\w+)/.exec(script)?.[1] ?? "GET";
  const path = /https?:\/\/[^/]+(\/api\/[^"\s?]+)/.exec(script)?.[1] ?? "";
  return `${method} ${path}`;
}

/** The frames of a block of the document, one to a line. */
function framesIn(document: string, name: string): Frame[] {
  const block = document.split(`\`\`\`json ${name}\n`)[1]?.split("```")[0] ?? "";
  return block
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Frame);
}

/** What a value is made of, with no more fields than the example has. */
function shapeOf(value: Frame, example: Frame): unknown {
  if (typeof example !== "object" || example === null) return typeof value;
  return Object.fromEntries(Object.keys(example).map((key) => [key, shapeOf(value?.[key], example[key])]));
}

describe.skipIf(curlMissing)("the documents' examples on a server that is as new as can be", () => {
  test("of what the operator wrote: there is nothing, and they say so", async () => {
    const server = await startServer("sqlite");
    try {
      const document = await (await fetch(`${server.url}/clawrent.md`)).text();
      const examples = examplesIn("clawrent.md", document).filter(({ script }) => script.includes("/api/mcp/docs/"));
      const replies = [];
      for (const example of examples) {
        const { code, output } = await bash(fillIn(example, {}), tmpdir());
        expect(code).toBe(0);
        replies.push(JSON.parse(output));
      }
      expect(replies).toEqual([{ tree: [] }, { data: [], total: 0, nextCursor: null }]);
    } finally {
      await server.close();
    }
  });
});

describe.skipIf(curlMissing)("the examples of clawrent.md (clawrent.md sections 2 and 9)", () => {
  let server: TestServer;
  let home: string;
  let document: string;
  let translators: User;
  const sockets: WebSocket[] = [];
  const known: Record<string, string> = {
    // Variables of the reader's shell.
    CLAWRENT_API_URL: "CLAWRENT_API_URL",
    CLAWRENT_WS_URL: "CLAWRENT_WS_URL",
    EMAIL_ADDRESS: "alice@example.com",
    YOUR_PASSWORD: password,
    YOUR_NEW_PASSWORD: `${password}!`,
  };

  beforeAll(async () => {
    server = await startServer("sqlite");
    home = mkdtempSync(join(tmpdir(), "tidepool-clawrent-"));
    document = await (await fetch(`${server.url}/clawrent.md`)).text();
    const { agentId, provider } = await rentable(server, {
      name: "Translator",
      slug: "translator",
      description: "We translate software texts",
      pricingModel: "per_token",
      priceAmount: "0.001",
    });
    translators = provider;
    const { claimToken } = await server.nobody.call("agents:register", { name: "Alice's first agent" });
    const admin = await server.admin();
    Object.assign(known, {
      AGENT_SLUG: "translator",
      AGENT_ID: agentId,
      PARTICIPANT_ID: agentId,
      OWNER_ID: provider.userId,
      CLAIM_TOKEN: claimToken,
      TOP_UP_CODE: (await admin.call("admin:createTopUpCodes", { amount: "1.00" })).codes[0].topUpCode,
    });
  });
  afterAll(async () => {
    for (const socket of sockets) socket.terminate();
    await server?.close();
    if (home) rmSync(home, { recursive: true, force: true });
  });

  test("every example succeeds", async () => {
    const examples = examplesIn("clawrent.md", document);
    for (const example of examples) await run(example);
    expect(countCurls(examples)).toBe(document.match(/^\s*curl /gm)?.length);
    expect(countCurls(examples)).toBeGreaterThan(50);
  });

  test("what it says of the sockets is what an agent without an SDK sends and hears (sections 4.2 and 4.3)", async () => {
    const { agent, agentId } = await rentable(server, { approvalMode: "manual", slug: "by-hand" });
    const control = await openAt(server, "/ws/agent", { token: agent.credential });
    const heard = { agent: [await control.next()], session: [] as Frame[] };
    for (const frame of framesIn(document, "agent-sends")) control.send(frame);
    heard.agent.push(await control.next("agent.status_updated"));
    control.send({ type: "agent.status_update", payload: { onlineStatus: "online" } });
    await control.next("agent.status_updated");

    const renter = await server.user("Bob", { topUp: "10.00" });
    const rent = { agentId, taskDescription: "Read this page by hand" };
    const { id: sessionId, sessionToken } = await renter.call("sessions:create", rent);
    heard.agent.push(await control.next("session.new"));
    await agent.call("sessions:approve", { sessionId });
    const approved = await control.next("session.approved");
    heard.agent.push(approved);

    const { sessionToken: token } = approved.payload;
    const session = await openAt(server, "/ws/session", { sessionId, token, role: "provider" });
    const other = await openAt(server, "/ws/session", { sessionId, token: sessionToken, role: "consumer" });
    heard.session.push(await session.next("system.peer_connected"));
    await other.next("system.peer_connected");
    for (const frame of framesIn(document, "session-sends")) session.send(frame);
    expect((await other.next("dialogue.message")).payload.content).toBe("Page 1 is done");
    other.send({ type: "dialogue.message", payload: { content: "Thank you" } });
    heard.session.push(await session.next("dialogue.message"));
    await renter.call("sessions:end", { sessionId });
    heard.session.push(await session.next("system.session_ended"));
    expect((await session.closed).code).toBe(4004);

    for (const [name, frames] of Object.entries(heard)) {
      const told = framesIn(document, `${name}-hears`);
      expect(frames.map(({ type }) => type).sort()).toEqual(told.map(({ type }) => type).sort());
      for (const frame of told) {
        const real = frames.find(({ type }) => type === frame.type);
        expect(shapeOf(real, frame), frame.type).toEqual(shapeOf(frame, frame));
      }
    }
    expect([...control.of("system.error"), ...session.of("system.error")]).toEqual([]);
    await control.close();
  });

  test("it is Markdown with this server's addresses and no hole left, and skill.md links to it", async () => {
    const response = await fetch(`${server.url}/clawrent.md`);
    expect(response.headers.get("Content-Type")).toBe("text/markdown; charset=utf-8");
    expect(document).toContain(`CLAWRENT_WS_URL=${server.server.publicUrl.replace("http", "ws")}`);
    expect(document).not.toContain("{{");
    expect(await (await fetch(`${server.url}/skill.md`)).text()).toContain(`${server.server.publicUrl}/clawrent.md`);
  });

  async function run(example: Example): Promise<void> {
    const call = callOf(example);
    await prepare(call);
    const { code, output, errors } = await bash(fillIn(example, known), home);
    expect(code, `${example.place}: ${errors}`).toBe(0);
    if (!example.script.includes("curl ")) return;
    const reply = JSON.parse(output) as Record<string, unknown>;
    expect(reply, `${example.place}: ${output}`).not.toHaveProperty("error");
    await learn(call, reply);
  }

  /** What others do before an example makes sense. */
  async function prepare(call: string): Promise<void> {
    if (call === "POST /api/auth/register") {
      known["VERIFICATION_CODE"] = await server.verificationCode(known["EMAIL_ADDRESS"] ?? "");
    }
    const signIn = async () => {
      const credentials = { email: known["EMAIL_ADDRESS"], password };
      return String((await server.nobody.call("users:signIn", credentials)).token);
    };
    if (call === "GET /api/auth/sign-ins") await signIn();
    if (call === "POST /api/auth/logout") known["OTHER_TOKEN"] = await signIn();
    if (call === "POST /api/auth/reset-password") {
      server.clock.jump(hour);
      await server.nobody.call("users:sendVerification", { email: known["EMAIL_ADDRESS"] });
      known["RESET_CODE"] = await server.resetCode(known["EMAIL_ADDRESS"] ?? "");
    }
    if (call === "POST /api/agents/YOUR_AGENT_ID/activate") {
      await (await server.admin()).call("admin:approveAgent", { agentId: known["YOUR_AGENT_ID"] });
      await new Promise((resolve, reject) => {
        const url = `${server.url.replace("http", "ws")}/ws/agent?token=${known["YOUR_AGENT_TOKEN"]}`;
        const socket = new WebSocket(url);
        sockets.push(socket);
        socket.once("message", resolve);
        socket.once("close", reject);
      });
    }
    if (call === "POST /api/sessions/SESSION_ID/end") {
      const said = { type: "dialogue.message", payload: { content: "Page 1", usage: { totalTokens: 100 } } };
      await translators.call("sessions:sendMessage", { sessionId: known["SESSION_ID"], ...said });
    }
    if (call === "POST /api/sessions/RENTED_SESSION_ID/approve") {
      const renter = await server.user("Bob", { topUp: "10.00" });
      const session = await renter.call("sessions:create", {
        agentId: known["YOUR_AGENT_ID"],
        taskDescription: "Summarise this long page",
      });
      known["RENTED_SESSION_ID"] = session.id;
    }
  }

  async function learn(call: string, reply: Record<string, unknown>): Promise<void> {
    const found: Record<string, Record<string, unknown>> = {
      "POST /api/auth/register": { YOUR_TOKEN: reply["token"], YOUR_API_KEY: reply["apiKey"] },
      // All before it end with the reset of the password.
      "POST /api/auth/login": { YOUR_TOKEN: reply["token"] },
      "POST /api/auth/api-key": { YOUR_API_KEY: reply["apiKey"] },
      "POST /api/sessions": { SESSION_ID: reply["id"] },
      "POST /api/sessions/SESSION_ID/messages": { LAST_CREATED_AT: reply["createdAt"] },
      "POST /api/orders": { ORDER_ID: reply["id"] },
      "POST /api/cart": { CART_ITEM_ID: reply["id"] },
      "POST /api/agents": { YOUR_AGENT_ID: reply["id"], YOUR_AGENT_TOKEN: reply["agentToken"] },
      "POST /api/agents/YOUR_AGENT_ID/token": { YOUR_AGENT_TOKEN: reply["token"] },
    };
    for (const [name, value] of Object.entries(found[call] ?? {})) known[name] = String(value);
    const { data } = reply;
    if (call === "GET /api/auth/sign-ins" && Array.isArray(data)) {
      known["SIGN_IN_ID"] = data.find(({ isCurrent }) => !isCurrent).id;
    }
    // What is emptied as a whole has something in it first.
    if (call === "DELETE /api/cart/CART_ITEM_ID") {
      const alice = new User(server, known["YOUR_TOKEN"] ?? "", "", "", "", "");
      await alice.call("cart:add", { providerAgentId: known["AGENT_ID"], taskDescription: "Read it" });
    }
  }
});
