/**
 * Every block that a page of the repository marks `sh` is run by a real shell with real curl, on a server that has just
 * begun, in the order of its page. Blocks marked `bash` start what goes on, or are for another machine.
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { ConvexClient } from "convex/browser";
import { anyApi } from "convex/server";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import { configVariables } from "../../runtime/config.js";
import { bash, countCurls, type Example, examplesIn, fillIn } from "../support/documents.js";
import { adminEmail, startServer, type TestServer } from "../support/harness.js";
import { rentable, task } from "../support/rental.js";
import { pages, readPage, root } from "../support/repository.js";
import { cutSocketsAfterEach, openSession } from "../support/sockets.js";

const curlMissing = spawnSync("curl", ["--version"]).error !== undefined;
if (curlMissing) console.warn("Examples of the pages skipped: there is no curl");
const readme = readPage("README.md");
/** Who starts a server by the README. */
const you = { email: "you@example.com", password: "at least 8 characters" };

cutSocketsAfterEach();

const start = () =>
  startServer("sqlite", { config: { adminEmails: [adminEmail, you.email], autoApproveProviders: true } });

/** An example as it is run here: with what is known, on this server, and without curl's bar of progress. */
function local(example: Example, known: Record<string, string>, server: TestServer): string {
  const socketUrl = server.url.replace("http", "ws");
  return fillIn(example, known)
    .replaceAll("http://localhost:3001", server.url)
    .replaceAll("ws://localhost:3001", socketUrl)
    .replaceAll("curl ", "curl -sS ");
}

/** Runs one and gives its last reply, which is no refusal. */
async function run(example: Example, known: Record<string, string>, server: TestServer): Promise<unknown> {
  const { code, output, errors } = await bash(local(example, known, server), root);
  expect(code, `${example.place}: ${errors}`).toBe(0);
  if (!/^\s*[[{]/.test(output)) return output;
  const reply = JSON.parse(output) as Record<string, unknown>;
  expect(reply, example.place).not.toHaveProperty("error");
  expect(reply["status"], example.place).not.toBe("error");
  return reply;
}

describe.skipIf(curlMissing)("the README, from the first call to the first rent", () => {
  let server: TestServer;
  let listening: ChildProcess | undefined;
  beforeAll(async () => {
    server = await start();
  });
  afterAll(async () => {
    listening?.kill();
    await server?.close();
  });

  test("every call succeeds in its order, and the first one's reply looks as it is shown", async () => {
    const known: Record<string, string> = {};
    const examples = examplesIn("README.md", readme, "sh");
    expect(countCurls(examples)).toBe(readme.match(/^\s*curl /gm)?.length);
    for (const example of examples) {
      const { script } = example;
      if (script.includes("/activate")) listening = await connect(known);
      if (script.includes("FRIENDS_TOKEN")) {
        known["FRIENDS_TOKEN"] ??= (await server.user("Friend", { email: "friend@example.com" })).credential;
      }
      const reply = (await run(example, known, server)) as Record<string, unknown>;
      if (script.includes("agents:register")) expect(shapeOf(reply)).toEqual(shapeOf(shownReply()));
      if (script.includes("send-verification")) known["THE_CODE"] = await server.verificationCode(you.email);
      if (script.includes("/api/auth/register")) {
        expect(reply["user"]).toMatchObject({ email: you.email, isAdmin: true });
        known["YOUR_TOKEN"] = String(reply["token"]);
      }
      if (/\/api\/agents -H/.test(script)) {
        Object.assign(known, { AGENT_ID: reply["id"], AGENT_TOKEN: reply["agentToken"] });
      }
      if (/\/api\/sessions -H/.test(script)) {
        expect(reply).toMatchObject({ status: "active" });
        known["SESSION_ID"] = String(reply["id"]);
      }
      if (script.includes("/end ")) expect(reply).toMatchObject({ status: "completed", billingStatus: "settled" });
    }
    expect(known).toHaveProperty("SESSION_ID");
  });

  /** The agent's own terminal, as the README starts it. Resolves once it hears something. */
  async function connect(known: Record<string, string>): Promise<ChildProcess> {
    const [example] = examplesIn("README.md", readme).filter(({ script }) => script.includes("/ws/agent"));
    if (!example) throw new Error("The README does not say how an agent connects");
    const child = spawn("bash", ["-c", `exec ${local(example, known, server)}`], { cwd: root });
    const [said] = await Promise.all([new Promise((resolve) => child.stdout.once("data", resolve))]);
    expect(String(said)).toContain("agent.connected");
    return child;
  }

  test("the admin's account signs in to /admin", async () => {
    const signedIn = await fetch(`${server.url}/admin/sign-in`, {
      method: "POST",
      headers: { Origin: server.url },
      body: new URLSearchParams(you),
      redirect: "manual",
    });
    expect(signedIn.status).toBe(303);
    expect(signedIn.headers.get("Set-Cookie")).toContain("tidepool_admin=");
  });

  function shownReply(): unknown {
    const [, text = ""] = /^```json\n(.*?)^```$/ms.exec(readme) ?? [];
    return JSON.parse(text);
  }
});

/** The names of the fields, and what kind of value each has. */
function shapeOf(value: unknown): unknown {
  if (typeof value !== "object" || value === null) return typeof value;
  return Object.fromEntries(Object.entries(value).map(([key, part]) => [key, shapeOf(part)]));
}

const others = pages.filter((page) => page !== "README.md" && examplesIn(page, readPage(page), "sh").length > 0);

describe.skipIf(curlMissing || others.length === 0)("the other pages", () => {
  test.each(others)("every `sh` block of %s succeeds", async (page) => {
    const server = await start();
    try {
      const alice = await server.agent("Alice");
      const owner = await server.user("Bob", { topUp: "10.00" });
      const known = { YOUR_API_KEY: alice.credential, YOUR_TOKEN: owner.credential };
      for (const example of examplesIn(page, readPage(page), "sh")) await run(example, known, server);
    } finally {
      await server.close();
    }
  });
});

describe("what the pages say of the server's surfaces", () => {
  let server: TestServer;
  beforeAll(async () => {
    server = await startServer("sqlite");
  });
  afterAll(() => server?.close());

  test("the configuration's defaults are words that the environment takes", () => {
    for (const [name, { schema }] of Object.entries(configVariables)) {
      const [, shown = ""] =
        new RegExp(`^\\| \`${name}\` \\| (.*?) \\|`, "m").exec(readPage("docs/configuration.md")) ?? [];
      const word = /^`(.*)`$/.exec(shown)?.[1];
      const unset: unknown = schema.safeParse(undefined).data;
      if (word === undefined) expect(shown, name).toBe("none");
      else expect(schema.safeParse(word), name).toEqual({ success: true, data: unset });
    }
  });

  test("unknown arguments are refused by the functions' surfaces, and ignored by the marketplace's", async () => {
    const { agent, agentId } = await rentable(server);
    const alice = await server.user("Alice", { topUp: "100.00" });
    const extra = { unheardOf: 1 };
    const refused = {
      errorData: { code: "invalid_args", issues: [{ message: expect.stringContaining("unheardOf") }] },
    };
    const path = "agents:getStatus";
    for (const address of ["/api/query", "/api/run/agents/getStatus"]) {
      expect((await agent.rest("POST", address, { path, args: extra, format: "json" })).body).toMatchObject(refused);
    }
    const named = { path: "connections:invite", args: extra, format: "json" };
    expect((await agent.rest("POST", "/api/mutation", named)).body).toMatchObject(refused);
    const batch = await agent.rest("POST", "/api/query_batch", { queries: [{ path, args: extra, format: "json" }] });
    expect(batch.body.results).toMatchObject([refused]);
    const subscribed = await agent.rest(
      "GET",
      `/api/subscribe?path=${path}&args=${encodeURIComponent('{"unheardOf":1}')}`,
    );
    expect(subscribed.text).toContain("unheardOf");
    const client = new ConvexClient(server.url, {
      skipConvexDeploymentUrlCheck: true,
      webSocketConstructor: WebSocket as unknown as typeof globalThis.WebSocket,
    });
    client.setAuth(async () => agent.credential);
    await expect(client.query(anyApi["agents"]?.["getStatus"] as never, extra as never)).rejects.toThrow("unheardOf");
    await client.close();

    const made = await alice.rest("POST", "/api/sessions", { agentId, taskDescription: task, ...extra });
    expect(made).toMatchObject({ status: 201, body: { status: "active" } });
    expect((await alice.rest("GET", "/api/sessions?unheardOf=1")).status).toBe(200);
    const socket = await openSession(server, { sessionId: made.body.id, token: made.body.sessionToken });
    socket.send({ type: "dialogue.message", payload: { content: "Hello" }, ...extra });
    await socket.settled();
    expect(socket.of("system.error")).toEqual([]);
    const { body } = await alice.rest("GET", `/api/sessions/${made.body.id}/messages`);
    expect(body.data).toMatchObject([{ payload: { content: "Hello" } }]);
  });
});
