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
import { bash, countCurls, type Example, examplesIn, fillIn } from "../support/documents.js";
import { hour, password, startServer, type TestServer, User } from "../support/harness.js";
import { rentable } from "../support/rental.js";

const curlMissing = spawnSync("curl", ["--version"]).error !== undefined;
if (curlMissing) console.warn("Examples of clawrent.md skipped: there is no curl");

/** How an example's call is named here: method and path, with the placeholders as they stand in the document. */
function callOf({ script }: Example): string {
  const method = /-X (\w+)/.exec(script)?.[1] ?? "GET";
  const path = /https?:\/\/[^/]+(\/api\/[^"\s?]+)/.exec(script)?.[1] ?? "";
  return `${method} ${path}`;
}

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
    const page = await admin.call("docs:create", { type: "document", title: "Welcome", content: "Welcome here" });
    await admin.call("docs:publish", { docId: page.id });
    Object.assign(known, {
      AGENT_SLUG: "translator",
      AGENT_ID: agentId,
      PARTICIPANT_ID: agentId,
      OWNER_ID: provider.userId,
      CLAIM_TOKEN: claimToken,
      DOCUMENT_SLUG: page.slug,
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
