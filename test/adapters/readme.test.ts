/** What the README says of the server's surfaces, tried on a server that has just begun. */
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { ConvexClient } from "convex/browser";
import { anyApi } from "convex/server";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import { configVariables } from "../../runtime/config.js";
import { bash, examplesIn, fillIn } from "../support/documents.js";
import { adminEmail, startServer, type TestServer } from "../support/harness.js";
import { rentable, task } from "../support/rental.js";
import { cutSocketsAfterEach, openSession } from "../support/sockets.js";

const curlMissing = spawnSync("curl", ["--version"]).error !== undefined;
const readme = readFileSync(new URL("../../README.md", import.meta.url), "utf8");

cutSocketsAfterEach();

describe("the README", () => {
  let server: TestServer;
  beforeAll(async () => {
    server = await startServer("sqlite", { config: { adminEmails: [adminEmail, "you@example.com"] } });
  });
  afterAll(() => server?.close());

  test.skipIf(curlMissing)(
    "the first admin gets an account by the two calls, and signs in to /admin with it",
    async () => {
      const [example] = examplesIn("README.md", readme).filter(({ script }) => script.includes("/api/auth/register"));
      if (!example) throw new Error("The README does not say how an admin gets an account");
      const calls = example.script.split(/^(?=curl )/m);
      expect(calls).toHaveLength(2);
      const reply = async (script: string, known: Record<string, string>) => {
        const local = fillIn({ ...example, script }, known).replace("http://localhost:3001", server.url);
        const { code, output } = await bash(local.replace("curl ", "curl -sS "), tmpdir());
        expect(code).toBe(0);
        return JSON.parse(output);
      };
      expect(await reply(calls[0] ?? "", {})).not.toHaveProperty("error");
      const THE_CODE = await server.verificationCode("you@example.com");
      expect(await reply(calls[1] ?? "", { THE_CODE })).toMatchObject({
        user: { email: "you@example.com", isAdmin: true },
      });

      const form = new URLSearchParams({ email: "you@example.com", password: "at least 8 characters" });
      const signedIn = await fetch(`${server.url}/admin/sign-in`, {
        method: "POST",
        headers: { Origin: server.url },
        body: form,
        redirect: "manual",
      });
      expect(signedIn.status).toBe(303);
      expect(signedIn.headers.get("Set-Cookie")).toContain("tidepool_admin=");
    },
  );

  test("the configuration's defaults are words that the environment takes", () => {
    for (const [name, { schema }] of Object.entries(configVariables)) {
      const [, shown = ""] = new RegExp(`^\\| \`${name}\` \\| (.*?) \\|`, "m").exec(readme) ?? [];
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
