/** What holds for every page: headers, languages, assets, hostile words, and answers that no function gave. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import * as agents from "../../../functions/agents/index.js";
import { query } from "../../../runtime/call/define.js";
import { CallError } from "../../../runtime/errors.js";
import { rates } from "../../../runtime/limits.js";
import { startServer, type TestServer, useServer } from "../../support/harness.js";
import { inChinese, open, post } from "../../support/pages.js";
import { nameAsBefore, storeAsBefore } from "../../support/stored-before.js";

describe("every page (claw-to-claw.md section 4)", () => {
  const server = useServer("sqlite");
  let paths: string[];
  beforeAll(async () => {
    const agent = await server.agent();
    const { inviteToken } = await agent.call("connections:invite");
    const { shareToken } = await agent.call("events:requestLocationShare");
    paths = [
      `/claim/${agent.claimToken}`,
      `/connect/${inviteToken}`,
      `/share/${shareToken}`,
      "/claim/none",
      "/share/none",
    ];
  });

  test("is closed to scripts, frames and forms of others, keeps its address to itself, and is not stored", async () => {
    for (const path of paths) {
      const { headers, html } = await open(server, path);
      expect(Object.fromEntries(headers)).toMatchObject({
        "content-type": "text/html; charset=utf-8",
        "content-security-policy":
          "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "permissions-policy": "geolocation=(self)",
        "cache-control": "no-store",
        vary: "Accept-Language",
      });
      expect(headers.get("Access-Control-Allow-Origin")).toBeNull();
      expect(html).not.toMatch(/<script(?![^>]* src=)|\sstyle=|\son\w+=|javascript:/i);
    }
  });

  test("speaks the language that the browser weighs highest, and says which", async () => {
    const cases: Record<string, string> = {
      "": "en",
      "zh-CN,zh;q=0.9,en;q=0.8": "zh-Hans",
      "zh-TW": "zh-Hans",
      ZH: "zh-Hans",
      "en;q=0.2, zh;q=0.8": "zh-Hans",
      "zh;q=0.3,en;q=0.7": "en",
      "fr,de;q=0.9": "en",
      "fr, zh;q=0.1": "zh-Hans",
      "zh;q=0": "en",
      "*": "en",
      "en,zh": "en",
      zho: "en",
      ";;q=,zh;q=x": "zh-Hans",
    };
    for (const [accepted, language] of Object.entries(cases)) {
      const { headers, html } = await open(server, paths[0] ?? "", { headers: { "Accept-Language": accepted } });
      expect([accepted, headers.get("Content-Language")]).toEqual([accepted, language]);
      expect(html).toContain(`<html lang="${language}">`);
    }
  });

  test("is wholly Chinese where it is Chinese, also in what it says after a form", async () => {
    for (const path of [...paths, "/"]) {
      const { title, html } = await open(server, path, inChinese);
      expect(title).toMatch(/\p{Script=Han}/u);
      const words = html.replace(
        /<(title|code|bdi|p class="code").*?<\/\w+>|<[^>]*>|Tidepool|UTC|AI|skill\.md|heartbeat\.md/gs,
        " ",
      );
      expect(words).not.toMatch(/[A-Za-z]{3,}/);
    }
    expect((await post(server, paths[2] ?? "", { lat: "x" }, inChinese.headers)).html).toContain("纬度必须是");
  });

  test("has assets that browsers may keep for as long as their content is the same", async () => {
    const { html } = await open(server, paths[2] ?? "");
    const addresses = [...html.matchAll(/(?:src|href)="\.\.\/(assets\/[^"]+)"/g)].map(([, address]) => address);
    expect(new Set(addresses).size).toBe(4);
    for (const address of addresses) {
      const response = await fetch(`${server.url}/${address}`);
      expect(response.status).toBe(200);
      expect(response.headers.get("Content-Type")).toMatch(/^(text\/(css|javascript); charset=utf-8|image\/svg\+xml)$/);
      expect(response.headers.get("Cache-Control")).toBe("public, max-age=31536000, immutable");
      expect(response.headers.get("X-Content-Type-Options")).toBe("nosniff");
    }
    const etag = (await fetch(`${server.url}/assets/pages.css`)).headers.get("ETag") ?? "";
    const again = await fetch(`${server.url}/assets/pages.css`, { headers: { "If-None-Match": `W/${etag}` } });
    expect([again.status, again.headers.get("Cache-Control")]).toEqual([304, "public, max-age=300"]);
    for (const name of ["..%2flayout.ts", "%2e%2e/layout.ts", "layout.ts", "constructor"]) {
      expect((await fetch(`${server.url}/assets/${name}`)).status).toBe(404);
    }
  });

  test("the home page names the documents", async () => {
    const { status, html } = await open(server, "/");
    expect(status).toBe(200);
    expect(html).toContain('href="./skill.md"');
    expect(html).toContain('href="./heartbeat.md"');
  });
});

describe("hostile words on the pages (claw-to-claw.md section 4)", () => {
  const server = useServer("sqlite");
  const hostile = `</dd><script>alert(1)</script>" onload='x' {{BASE_URL}} &lt; \u202Eevil\u2069\u2066 \u0007\u2028new`;

  test("show as text, cannot turn the page's own direction, and start no line", async () => {
    const registered = await server.nobody.call("agents:register", { name: "Mallory", description: hostile });
    const { agentId, claimToken, apiKey } = registered;
    const agent = await server.agent();
    const headers = { Authorization: `Bearer ${apiKey}` };
    await agent.call("agents:setPublicKey", { publicKey: Buffer.alloc(32, 1).toString("base64") }, headers);
    const { inviteToken } = await agent.call("connections:invite", {}, headers);
    const { shareToken } = await agent.call("events:requestLocationShare", { label: "Lobby" }, headers);
    // What could be a name once goes on being shown.
    await nameAsBefore(server, agentId, hostile);
    await storeAsBefore(server, ({ db }) => db.updateTable("locationShares").set({ label: hostile }).execute());
    for (const path of [`/claim/${claimToken}`, `/connect/${inviteToken}`, `/share/${shareToken}`]) {
      const { html } = await open(server, path);
      expect(html).toContain(
        "<bdi>&lt;/dd&gt;&lt;script&gt;alert(1)&lt;/script&gt;&quot; onload=&#39;x&#39; {{BASE_URL}} &amp;lt; evil",
      );
      expect(html).not.toMatch(/<script>|[\u202a-\u202e\u2066-\u2069\u2028]/);
      expect(html).not.toContain("\u0007");
      expect(/<title>(.*?)<\/title>/.exec(html)?.[1]).not.toContain("alert");
    }
    expect((await post(server, `/claim/${claimToken}`)).html).not.toMatch(/<script>|\u202e/);
  });

  test("leave right-to-left names and emoji as they are", async () => {
    const name = "סוכן 👩‍👩‍👧 عميل";
    const { claimToken } = await server.nobody.call("agents:register", { name });
    expect((await open(server, `/claim/${claimToken}`)).html).toContain(`<bdi>${name}</bdi>`);
  });
});

describe("what is not the function's answer (claw-to-claw.md section 4)", () => {
  const getClaim = (thrown: () => Error) => ({
    modules: {
      agents: {
        ...agents,
        getClaim: query({
          ...agents.getClaim,
          args: agents.getClaim.args.shape,
          handler: async () => {
            throw thrown();
          },
        }),
      },
    },
  });
  const started: TestServer[] = [];
  const start = async (options: Parameters<typeof startServer>[1]) => {
    const server = await startServer("sqlite", options);
    started.push(server);
    return server;
  };
  afterAll(() => Promise.all(started.map((server) => server.close())));

  test("too many requests from one address are a plain page with Retry-After", async () => {
    const server = await start({ config: { rateLimits: true } });
    const agent = await server.agent();
    const path = `/claim/${agent.claimToken}`;
    const call = { path: "agents:getClaim", kind: "query" as const, args: {}, authorization: undefined };
    for (let calls = 0; calls < rates.calls.points; calls += 1) {
      await server.server.dispatcher.dispatch({
        ...call,
        idempotencyKey: undefined,
        address: "127.0.0.1",
        requestId: "",
      });
    }
    for (const page of [await open(server, path), await post(server, path)]) {
      expect(page).toMatchObject({ status: 429, title: "Too many requests" });
      expect(Number(page.headers.get("Retry-After"))).toBeGreaterThan(0);
      expect(page.headers.get("Content-Security-Policy")).toContain("default-src 'none'");
    }
    expect((await agent.call("agents:getStatus")).claimed).toBe(false);
  });

  test("behind a trusted proxy each of its callers has limits of its own", async () => {
    const server = await start({ config: { rateLimits: true, trustProxy: true } });
    const path = `/claim/${(await server.agent()).claimToken}`;
    const from = (address: string) => open(server, path, { headers: { "X-Forwarded-For": `1.1.1.1, ${address}` } });
    const call = { path: "agents:getClaim", kind: "query" as const, args: {}, authorization: undefined };
    for (let calls = 0; calls < rates.calls.points; calls += 1) {
      await server.server.dispatcher.dispatch({
        ...call,
        idempotencyKey: undefined,
        address: "9.9.9.9",
        requestId: "",
      });
    }
    expect((await from("9.9.9.9")).status).toBe(429);
    expect((await from("8.8.8.8")).status).toBe(200);
  });

  test("a database that is busy is 503 with Retry-After", async () => {
    const server = await start(getClaim(() => new CallError("unavailable", "busy", { retryAfterMs: 1_500 })));
    const page = await open(server, "/claim/any");
    expect(page).toMatchObject({ status: 503, title: "The server is busy" });
    expect(page.headers.get("Retry-After")).toBe("2");
  });

  test("a fault is 500 with the request's number and nothing of the exception", async () => {
    const server = await start(getClaim(() => new Error("secret detail")));
    const page = await open(server, "/claim/any", inChinese);
    expect(page).toMatchObject({ status: 500, title: "出错了" });
    expect(page.html).toMatch(/<code>[0-9a-f]{16}<\/code>/);
    expect(page.html).not.toContain("secret detail");
  });
});
