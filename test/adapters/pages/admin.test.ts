/** The admin's pages over HTTP: who gets in, what is shown, what a form does, and that nothing else does it. */
import { afterAll, describe, expect, test } from "vitest";
import { rates } from "../../../runtime/limits.js";
import {
  adminEmail,
  databases,
  day,
  password,
  startServer,
  type TestOptions,
  type TestServer,
  useServer,
} from "../../support/harness.js";
import { description, draft } from "../../support/market.js";
import { inChinese, open, type Page } from "../../support/pages.js";
import { openSession, rentable, serve, write } from "../../support/rental.js";
import { nameAsBefore, storeAsBefore } from "../../support/stored-before.js";

/** A browser on the admin's pages: it keeps the cookie, and says where its forms come from. */
class Browser {
  cookie: string | undefined;

  constructor(
    readonly server: TestServer,
    readonly headers: Record<string, string> = {},
  ) {}

  get(path: string, headers: Record<string, string> = {}, method = "GET"): Promise<Page> {
    return open(this.server, path, { method, redirect: "manual", headers: { ...this.#sent(), ...headers } });
  }

  post(path: string, fields: Record<string, string> = {}, headers: Record<string, string> = {}): Promise<Page> {
    return open(this.server, path, {
      method: "POST",
      redirect: "manual",
      body: new URLSearchParams(fields),
      headers: { "Sec-Fetch-Site": "same-origin", ...this.#sent(), ...headers },
    });
  }

  async signIn(email = adminEmail, secret = password): Promise<Page> {
    const page = await this.post("/admin/sign-in", { email, password: secret });
    this.cookie = /^tidepool_admin=[^;]+/.exec(page.headers.get("Set-Cookie") ?? "")?.[0] ?? this.cookie;
    return page;
  }

  #sent(): Record<string, string> {
    return { ...this.headers, ...(this.cookie === undefined ? {} : { Cookie: this.cookie }) };
  }
}

async function signedIn(server: TestServer, headers: Record<string, string> = {}): Promise<Browser> {
  await server.admin();
  const browser = new Browser(server, headers);
  expect(await browser.signIn()).toMatchObject({ status: 303 });
  return browser;
}

/** Where a redirect leads, as a browser sees it. */
function destination(server: TestServer, from: string, page: Page): string {
  const { pathname, search } = new URL(page.headers.get("Location") ?? "", server.url + from);
  return pathname + search;
}

const pages = ["/admin", "/admin/agents", "/admin/sessions", "/admin/audit"];

describe.each(databases)("signing in to the admin's pages on %s", (database) => {
  const server = useServer(database);

  test("every page is the form for somebody without a cookie, and says nothing else", async () => {
    for (const path of [
      ...pages,
      "/admin/agents/x/suspend",
      "/admin/agents/x/suspend-owner",
      "/admin/sessions/x/refund",
    ]) {
      const page = await new Browser(server).get(path);
      expect(page).toMatchObject({ status: 200, title: "Sign in as an admin" });
      expect(page.html).not.toContain("<nav");
    }
  });

  test("an admin gets a cookie that no script reads and no other site sends, and sees the queue", async () => {
    await server.admin();
    const browser = new Browser(server);
    const page = await browser.signIn(` ${adminEmail.toUpperCase()} `);
    expect(page.status).toBe(303);
    expect(destination(server, "/admin/sign-in", page)).toBe("/admin");
    expect(page.headers.get("Cache-Control")).toBe("no-store");
    expect(page.headers.getSetCookie()).toEqual([
      expect.stringMatching(/^tidepool_admin=eyJ[\w.-]+; Max-Age=604800; Path=\/admin; HttpOnly; SameSite=Strict$/),
    ]);
    expect(await browser.get("/admin")).toMatchObject({ status: 200, title: "Agents that wait for review" });
  });

  test("a wrong password and an unknown address are the same answer, and the address stays in the form", async () => {
    await server.admin();
    const browser = new Browser(server);
    for (const email of [adminEmail, "nobody@example.com", "no address", `"><b>`, ""]) {
      const page = await browser.signIn(email, "wrong password");
      expect(page).toMatchObject({ status: 401, title: "Sign in as an admin" });
      expect(page.html).toContain('role="alert">The e-mail or the password is wrong.');
      expect(page.headers.get("Set-Cookie")).toBeNull();
      expect(page.html).not.toContain("wrong password");
      expect(page.html).not.toContain("<b>");
    }
    expect((await browser.signIn("nobody@example.com", "x")).html).toContain('value="nobody@example.com"');
    expect((await browser.signIn("nobody@example.com", "x".repeat(100_000))).status).toBe(401);
  });

  test("somebody who is no admin is told so and gets no cookie", async () => {
    const alice = await server.user("Alice");
    const page = await new Browser(server).signIn(alice.email);
    expect(page).toMatchObject({ status: 403, title: "Sign in as an admin" });
    expect(page.html).toContain("This account is not an admin&#39;s.");
    expect(page.headers.get("Set-Cookie")).toBeNull();
  });

  test("a cookie of somebody who is no admin opens nothing and is taken away", async () => {
    const alice = await server.user("Alice");
    const agent = await server.agent();
    for (const [credential, status] of [
      [alice.credential, 403],
      [agent.credential, 403],
      ["eyJhbGciOiJub25lIn0.e30.", 401],
      ["x", 401],
    ] as const) {
      const browser = new Browser(server);
      browser.cookie = `tidepool_admin=${credential}`;
      for (const path of pages) {
        const page = await browser.get(path);
        expect(page).toMatchObject({ status, title: "Sign in as an admin" });
        expect(page.headers.get("Set-Cookie")).toMatch(/^tidepool_admin=; Max-Age=0; Path=\/admin;/);
      }
      expect((await browser.post("/admin/agents/x/approve")).status).toBe(status);
    }
  });

  test("an admin who is suspended is out at the next click, whatever cookie they have", async () => {
    const two = await startServer(database, { config: { adminEmails: [adminEmail, "alice@example.com"] } });
    try {
      const alice = await two.user("Alice", { email: "alice@example.com" });
      const browser = new Browser(two);
      await browser.signIn(alice.email);
      expect((await browser.get("/admin")).title).toBe("Agents that wait for review");
      await (await two.admin()).call("admin:suspendUser", { userId: alice.userId });
      const out = await browser.get("/admin");
      expect(out).toMatchObject({ status: 403, title: "Sign in as an admin" });
      expect(out.html).toContain("This account is not an admin&#39;s any more, or it is suspended.");
      expect(out.headers.get("Set-Cookie")).toContain("Max-Age=0");
      expect((await browser.post("/admin/agents/x/approve")).status).toBe(403);
      const again = await new Browser(two).signIn(alice.email);
      expect(again).toMatchObject({ status: 403 });
      expect(again.html).toContain("This account is suspended.");
      expect(again.headers.get("Set-Cookie")).toBeNull();
    } finally {
      await two.close();
    }
  });

  test("after seven days the form is back, with a word on why", async () => {
    const browser = await signedIn(server);
    server.clock.jump(7 * day + 1_000);
    const page = await browser.get("/admin");
    expect(page).toMatchObject({ status: 401, title: "Sign in as an admin" });
    expect(page.html).toContain("Your sign-in has ended.");
    expect(page.headers.get("Set-Cookie")).toContain("Max-Age=0");
    expect((await browser.post("/admin/agents/x/approve")).html).toContain("Nothing was done.");
  });

  test("signing out takes the cookie away", async () => {
    const browser = await signedIn(server);
    const page = await browser.post("/admin/sign-out");
    expect(page.status).toBe(303);
    expect(page.headers.getSetCookie()).toEqual(["tidepool_admin=; Max-Age=0; Path=/admin; HttpOnly; SameSite=Strict"]);
  });

  test("a cookie beside others is found, and one that is no token is none", async () => {
    const browser = await signedIn(server);
    const { cookie = "" } = browser;
    browser.cookie = `a=b; ${cookie}; c="d"`;
    expect((await browser.get("/admin")).title).toBe("Agents that wait for review");
    for (const broken of ["tidepool_admin=", "tidepool_admin=a%20b", "tidepool_admin=%zz", "=;;", `x${cookie}`]) {
      browser.cookie = broken;
      expect(await browser.get("/admin")).toMatchObject({ status: 200, title: "Sign in as an admin" });
    }
  });
});

describe.each(databases)("reviewing agents on %s", (database) => {
  const server = useServer(database);
  const terms = {
    pricingModel: "per_minute",
    priceAmount: "0.25",
    currency: "USD",
    hostingType: "platform_hosted",
    approvalMode: "auto",
    transparencyLevel: "opaque",
    maxConcurrentSessions: 7,
    maxConsumerSlots: 3,
    endpoint: "https://reader.example/run?a=1&b=2",
    healthCheckUrl: "https://reader.example/health",
  };
  const submitted = async (fields: object = {}) => {
    const owner = await server.user("Bob");
    const agent = await draft(owner, fields);
    await owner.call("agents:publish", { agentId: agent.id, ...terms });
    const state = async () => (await owner.call("agents:get", { agentId: agent.id })).providerProfile;
    return { owner, agent, agentId: agent.id as string, state };
  };

  test("the queue shows all that an admin needs to judge an agent", async () => {
    const { owner, agent } = await submitted({
      name: "Reader",
      longDescription: "First line\nSecond line",
      capabilities: [{ category: "law", name: "Contracts", description: "Reads them", tags: ["nda", "lease"] }],
      requiredPermissions: ["file.read", "system.exec"],
    });
    const { html } = await (await signedIn(server)).get("/admin");
    for (const words of ["Reader", owner.name, owner.email, agent.slug, description, "First line", "Second line"]) {
      expect(html).toContain(`<bdi>${words}</bdi>`);
    }
    for (const words of ["law", "Contracts", "Reads them", "nda", "lease", "file.read", "system.exec"]) {
      expect(html).toContain(`<bdi>${words}</bdi>`);
    }
    expect(html).toContain("0.25 USD per minute");
    for (const words of ["By the platform", "At once", "Opaque", "<dd>7</dd>", "<dd>3</dd>"]) {
      expect(html).toContain(words);
    }
    expect(html).toContain("<code><bdi>https://reader.example/run?a=1&amp;b=2</bdi></code>");
    expect(html).not.toContain('href="https://reader.example');
  });

  test("looking approves nothing; the button does, comes back, and says so once", async () => {
    const { agentId, state } = await submitted();
    const browser = await signedIn(server);
    const path = `/admin/agents/${agentId}/approve`;
    const asked = await browser.get(path);
    expect(asked).toMatchObject({ status: 200, title: "Approve this agent?" });
    await browser.get(path, {}, "HEAD");
    await browser.get("/admin?done=approveAgent");
    expect((await state()).status).toBe("pending_review");

    const done = await browser.post(path, { note: " Welcome " });
    expect(done.status).toBe(303);
    const back = destination(server, path, done);
    expect(back).toBe("/admin?status=pending_review&done=approveAgent");
    const page = await browser.get(back);
    expect(page.html).toContain('role="status">The agent is approved.');
    expect(page.html).not.toContain(agentId);
    expect(await state()).toMatchObject({ status: "active", reviewNote: "Welcome" });
  });

  test("an agent is rejected with a note, published again, and shows the note", async () => {
    const { owner, agentId, state } = await submitted();
    const browser = await signedIn(server);
    expect((await browser.post(`/admin/agents/${agentId}/reject`, { note: "Say what\nit reads" })).status).toBe(303);
    expect(await state()).toMatchObject({ status: "rejected", reviewNote: "Say what\nit reads" });
    expect((await browser.get("/admin/agents?status=rejected")).html).toContain("<bdi>it reads</bdi>");
    await owner.call("agents:publish", { agentId });
    expect((await browser.get("/admin")).html).toContain(agentId);
  });

  test("what cannot be done is said with the function's words, and changes nothing", async () => {
    const { agentId, state } = await submitted();
    const browser = await signedIn(server);
    const refused = await browser.post(`/admin/agents/${agentId}/reinstate`);
    expect(refused).toMatchObject({ status: 409, title: "That was not done" });
    expect(refused.html).toContain("<bdi>Provider profile status is &#39;pending_review&#39;</bdi>");
    const long = await browser.post(`/admin/agents/${agentId}/reject`, { note: "x".repeat(1_001) });
    expect(long).toMatchObject({ status: 400, title: "That was not done" });
    expect(long.html).toContain("Too long (max 1000 characters)");
    expect((await state()).status).toBe("pending_review");
  });

  test("an agent that does not exist is 404, asked about or acted on", async () => {
    const browser = await signedIn(server);
    for (const id of ["none", "x".repeat(500), "%00", "%zz", "%3Cscript%3Ealert(1)%3C%2Fscript%3E"]) {
      for (const verb of ["approve", "suspend", "suspend-owner"]) {
        const path = `/admin/agents/${id}/${verb}`;
        for (const page of [await browser.get(path), await browser.post(path)]) {
          expect(page).toMatchObject({ status: 404, title: "There is nothing here" });
          expect(page.html).not.toContain("alert");
        }
      }
    }
  });

  test("an agent is suspended after a question, and reinstated", async () => {
    const { agentId, provider } = await rentable(server);
    const browser = await signedIn(server);
    const list = await browser.get("/admin/agents");
    expect(list.html).toContain(`href="../admin/agents/${agentId}/suspend?status=active"`);
    const state = async () => (await provider.call("agents:get", { agentId })).status;
    const path = `/admin/agents/${agentId}/suspend?status=active&page=2`;
    const question = await browser.get(path);
    expect(question).toMatchObject({ status: 200, title: "Suspend this agent?" });
    expect(question.html).toContain('<a class="way" href="../../../admin/agents?status=active&amp;page=2">Cancel</a>');
    expect(await state()).toBe("active");
    const done = await browser.post(path, { note: "Spam" });
    expect(destination(server, path, done)).toBe("/admin/agents?status=active&page=2&done=suspendAgent");
    expect(await state()).toBe("suspended");
    const suspended = await browser.get("/admin/agents?status=suspended");
    expect(suspended.html).toContain("<bdi>Spam</bdi>");
    expect(suspended.html).toContain(`action="../admin/agents/${agentId}/reinstate?status=suspended"`);
    await browser.post(`/admin/agents/${agentId}/reinstate?status=suspended`);
    expect(await state()).toBe("active");
  });

  test("an owner is suspended and reinstated from the line of their agent", async () => {
    const { agentId, provider } = await rentable(server);
    const browser = await signedIn(server);
    const path = `/admin/agents/${agentId}/suspend-owner`;
    const question = await browser.get(path);
    expect(question.title).toBe("Suspend this owner?");
    expect(question.html).toContain(`<bdi>${provider.email}</bdi>`);
    await provider.call("users:me");
    expect((await browser.post(path)).status).toBe(303);
    await expect(provider.call("users:me")).rejects.toMatchObject({ message: "Account is suspended" });
    const { html } = await browser.get("/admin/agents?status=suspended");
    expect(html).toContain('<strong class="wrong">suspended</strong>');
    await browser.post(`/admin/agents/${agentId}/reinstate-owner`);
    await provider.call("users:me");
  });

  test("hostile words show as text, in the queue, in questions and in answers", async () => {
    const hostile = `</dd><script>alert(1)</script>" onload='x' \u202Eevil\u2069 \u0007\u2028new`;
    const { agentId } = await submitted({
      description: hostile,
      longDescription: hostile,
      capabilities: [{ category: "law", name: "Law", description: hostile, tags: [hostile.slice(0, 50)] }],
      requiredPermissions: ["file.read"],
    });
    // What could be a name once goes on being shown.
    await nameAsBefore(server, agentId, hostile);
    await storeAsBefore(server, ({ db }) =>
      db
        .updateTable("agentCapabilities")
        .set({ category: hostile.slice(0, 50), name: hostile })
        .where("agentId", "=", agentId)
        .execute(),
    );
    const browser = await signedIn(server);
    const shown = [await browser.get("/admin")];
    for (const verb of ["reject", "suspend-owner"]) shown.push(await browser.get(`/admin/agents/${agentId}/${verb}`));
    await browser.post(`/admin/agents/${agentId}/reject`, { note: hostile });
    shown.push(await browser.get("/admin/agents?status=rejected"));
    for (const { html } of shown) {
      expect(html).toContain("<bdi>&lt;/dd&gt;&lt;script&gt;alert(1)&lt;/script&gt;&quot; onload=&#39;x&#39; evil");
      expect(html).not.toMatch(/<script>|[\u202a-\u202e\u2066-\u2069\u2028]/);
      expect(html).not.toContain("\u0007");
      expect(/<title>(.*?)<\/title>/.exec(html)?.[1]).not.toContain("alert");
    }
  });

  test("an address cannot put words or links into a page", async () => {
    const browser = await signedIn(server);
    for (const hostile of ["<b>Hello", "constructor", "__proto__", "approve", "javascript:alert(1)", "https://evil"]) {
      const query = new URLSearchParams({ done: hostile, status: hostile, page: hostile }).toString();
      for (const path of pages) {
        const { status, html } = await browser.get(`${path}?${query}`);
        expect([path, status]).toEqual([path, 200]);
        expect(html).not.toMatch(/<b>|Hello|evil|javascript|role="status"/);
      }
    }
    const { agentId } = await submitted();
    const path = `/admin/agents/${agentId}/approve?status=${encodeURIComponent("//evil.example")}&page=-1`;
    expect(destination(server, path, await browser.post(path))).toBe("/admin?status=pending_review&done=approveAgent");
  });

  test("a long queue has pages", async () => {
    const browser = await signedIn(server);
    const owner = await server.user("Bob");
    for (let made = 0; made < 21; made += 1) {
      server.clock.jump(1);
      const { id } = await draft(owner, { name: `Paged ${made}` });
      await owner.call("agents:publish", { agentId: id });
    }
    const first = await browser.get("/admin");
    expect(first.html.match(/<article/g)).toHaveLength(20);
    expect(first.html).toContain('<a class="way" rel="next" href="./admin?status=pending_review&amp;page=2">Next</a>');
    expect(first.html).not.toContain('rel="prev"');
    const second = await browser.get("/admin?status=pending_review&page=2");
    expect(second.html).toContain("<bdi>Paged 20</bdi>");
    expect(second.html).toContain('rel="prev" href="./admin?status=pending_review"');
    expect(second.html).not.toContain('rel="next"');
    const beyond = await browser.get("/admin?page=99");
    expect(beyond).toMatchObject({ status: 200 });
    expect(beyond.html).toContain('rel="prev" href="./admin?status=pending_review&amp;page=2"');
  });
});

describe.each(databases)("sessions and money on the admin's pages on %s", (database) => {
  const server = useServer(database);

  test("the list shows what a session is about, hostile words included, and none of its tokens", async () => {
    const taskDescription = "Read this\n</dd><script>alert(1)</script> \u202Eevil";
    const { session, sessionId, consumer } = await openSession(
      server,
      { name: `<img src="x">`, requiredPermissions: ["file.read"] },
      { taskDescription },
    );
    const { html } = await (await signedIn(server)).get("/admin/sessions");
    expect(html).toContain('<p dir="auto"><bdi>Read this</bdi></p>');
    expect(html).toContain("<bdi>&lt;/dd&gt;&lt;script&gt;alert(1)&lt;/script&gt; evil</bdi>");
    expect(html).toContain("<bdi>&lt;img src=&quot;x&quot;&gt;</bdi>");
    expect(html).toContain(`<code>${sessionId}</code>`);
    expect(html).toContain(`<code>${consumer.userId}</code>`);
    expect(html).toContain("5.00 CNY per session");
    expect(html).toContain("<bdi>file.read</bdi>");
    expect(html).not.toContain(session.sessionToken);
  });

  test("a session is terminated after a question, and refunded once", async () => {
    const { sessionId, consumer, provider } = await openSession(server);
    await serve(provider, sessionId);
    const state = async () => (await consumer.call("sessions:get", { sessionId })) as Record<string, unknown>;
    const browser = await signedIn(server);
    const path = `/admin/sessions/${sessionId}/terminate?status=active`;
    expect(await browser.get(path)).toMatchObject({ status: 200, title: "Terminate this session?" });
    expect(await state()).toMatchObject({ status: "active" });
    expect(destination(server, path, await browser.post(path, { reason: "Both asked" }))).toBe(
      "/admin/sessions?status=active&done=terminateSession",
    );
    expect(await state()).toMatchObject({ status: "completed", endReason: "terminated", billingStatus: "settled" });
    expect(await browser.post(path)).toMatchObject({ status: 400, title: "That was not done" });

    const refund = `/admin/sessions/${sessionId}/refund?status=completed`;
    const list = await browser.get("/admin/sessions?status=completed");
    expect(list.html).toContain(`href="../admin/sessions/${sessionId}/refund?status=completed"`);
    expect(list.html).toContain("Settled: 5.0000 CNY (fee 0.7500, income 4.2500)");
    expect((await browser.get(refund)).title).toBe("Refund this session?");
    expect((await consumer.call("billing:getWallet")).balance).toBe("95.00");
    expect(destination(server, refund, await browser.post(refund))).toBe(
      "/admin/sessions?status=completed&done=refund",
    );
    expect((await consumer.call("billing:getWallet")).balance).toBe("100.00");
    expect(await browser.post(refund)).toMatchObject({ status: 409, title: "That was not done" });
    expect((await consumer.call("billing:getWallet")).balance).toBe("100.00");
    const after = await browser.get("/admin/sessions?status=completed");
    expect(after.html).toContain("Refunded: 5.0000 CNY");
    expect(after.html).not.toContain(`${sessionId}/refund`);
  });

  test("a session that is not settled, or not there, cannot be refunded", async () => {
    const { sessionId } = await openSession(server);
    const browser = await signedIn(server);
    for (const id of [sessionId, "none"]) {
      expect((await browser.post(`/admin/sessions/${id}/refund`)).status).toBe(404);
    }
    expect((await browser.get("/admin/sessions/none/terminate")).status).toBe(404);
    expect((await browser.post("/admin/sessions/none/terminate")).status).toBe(404);
  });

  test("the audit has a line for every invariant, in both languages, and says so when one is broken", async () => {
    const browser = await signedIn(server);
    const { html } = await browser.get("/admin/audit");
    const lines = html.match(/<li class="holds">/g) ?? [];
    expect(lines.length).toBeGreaterThan(5);
    expect(html).toContain("Everything holds.");
    const chinese = (await browser.get("/admin/audit", inChinese.headers)).html;
    const names = [...chinese.matchAll(/<li class="holds"><span>(.*?)<\/span>/g)].map(([, name]) => name);
    expect(names).toHaveLength(lines.length);
    for (const name of names) expect(name).toMatch(/\p{Script=Han}/u);

    const user = await server.user("Alice", { topUp: "1.00" });
    await write(server, (db) =>
      db
        .updateTable("ledgerAccounts")
        .set({ balanceMinor: 20_000 })
        .where("accountId", "=", `wallet:${user.userId}:CNY`)
        .execute(),
    );
    const broken = await browser.get("/admin/audit");
    expect(broken.html).toContain("Something does not hold.");
    expect(broken.html).toContain('<li class="fails"><span>Every balance is the sum of its entries</span>');
    expect(broken.html).toContain(user.userId);
  });
});

describe("forms of the admin's pages", () => {
  const server = useServer("sqlite");

  test("are taken from these pages only", async () => {
    const browser = await signedIn(server);
    const from = (headers: Record<string, string>) =>
      open(server, "/admin/sign-out", {
        method: "POST",
        redirect: "manual",
        body: new URLSearchParams(),
        headers: { Cookie: browser.cookie ?? "", ...headers },
      });
    const { host } = new URL(server.url);
    const own: Record<string, string>[] = [
      { "Sec-Fetch-Site": "same-origin" },
      { "Sec-Fetch-Site": "same-origin", Origin: "null" },
      { Origin: `http://${host}` },
      { Origin: server.server.publicUrl },
    ];
    for (const headers of own) expect([headers, (await from(headers)).status]).toEqual([headers, 303]);
    const others: Record<string, string>[] = [
      {},
      { "Sec-Fetch-Site": "cross-site" },
      { "Sec-Fetch-Site": "same-site", Origin: `http://${host}` },
      { "Sec-Fetch-Site": "none" },
      { Origin: "null" },
      { Origin: "" },
      { Origin: "https://evil.example" },
      { Origin: `http://${host}.evil.example` },
      { Origin: `http://evil.example/${host}` },
    ];
    for (const headers of others) {
      const page = await from(headers);
      expect([headers, page.status]).toEqual([headers, 403]);
      expect(page.title).toBe("This form was not sent from this page");
      expect(page.headers.get("Set-Cookie")).toBeNull();
    }
  });

  test("are read as forms only, and up to a size", async () => {
    const browser = await signedIn(server);
    expect(await browser.post("/admin/agents/x/approve", {}, { "Content-Type": "application/json" })).toMatchObject({
      status: 415,
    });
    expect(await browser.post("/admin/agents/x/approve", { note: "x".repeat(2_000_000) })).toMatchObject({
      status: 413,
    });
  });

  test("have no other method", async () => {
    const browser = await signedIn(server);
    for (const path of ["/admin/sign-in", "/admin/sign-out"]) expect((await browser.get(path)).status).toBe(404);
    for (const method of ["PUT", "DELETE", "PATCH"]) {
      expect((await browser.get("/admin/agents/x/approve", {}, method)).status).toBe(404);
    }
    expect((await browser.post("/admin")).status).toBe(404);
  });
});

describe("every one of the admin's pages", () => {
  const started: TestServer[] = [];
  const start = async (options: TestOptions = {}) => {
    const server = await startServer("sqlite", options);
    started.push(server);
    return server;
  };
  afterAll(() => Promise.all(started.map((server) => server.close())));

  test("is closed to scripts, frames and forms of others, tells other sites nothing, and is not stored", async () => {
    const server = await start();
    const browser = await signedIn(server);
    const nobody = new Browser(server);
    const shown = [await nobody.get("/admin"), await nobody.post("/admin/agents/x/approve")];
    for (const path of pages) shown.push(await browser.get(path));
    for (const { headers, html } of shown) {
      expect(Object.fromEntries(headers)).toMatchObject({
        "content-security-policy":
          "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
        "x-content-type-options": "nosniff",
        "referrer-policy": "same-origin",
        "cache-control": "no-store",
      });
      expect(headers.get("Access-Control-Allow-Origin")).toBeNull();
      expect(html).not.toMatch(/<script(?![^>]* src=)|\sstyle=|\son\w+=|javascript:/i);
      expect(html).toContain('content="noindex"');
    }
  });

  test("behind https keeps its cookie to https, and below a path to that path", async () => {
    const server = await start({ config: { publicUrl: "https://clawrent.example.com/tide" } });
    await server.admin();
    const page = await new Browser(server).signIn();
    expect(page.headers.get("Set-Cookie")).toMatch(
      /; Max-Age=604800; Path=\/tide\/admin; HttpOnly; Secure; SameSite=Strict$/,
    );
    expect(page.headers.get("Location")).toBe("../admin");
  });

  test("says that there were too many tries, with Retry-After", async () => {
    const server = await start({ config: { rateLimits: true } });
    const browser = new Browser(server);
    let page = await browser.signIn("nobody@example.com");
    for (let tries = 0; tries < rates.wrongPasswords.points; tries += 1) {
      page = await browser.signIn("nobody@example.com");
    }
    expect(page).toMatchObject({ status: 429, title: "Sign in as an admin" });
    expect(page.html).toContain("Too many tries.");
    expect(Number(page.headers.get("Retry-After"))).toBeGreaterThan(0);
  });

  test("is wholly Chinese where it is Chinese", async () => {
    const server = await start();
    const browser = await signedIn(server, inChinese.headers);
    const shown = [await new Browser(server, inChinese.headers).get("/admin")];
    for (const path of pages) shown.push(await browser.get(path));
    for (const { title, html } of shown) {
      expect(title).toMatch(/\p{Script=Han}/u);
      // What the audit counted is said in English, and marked as such.
      const words = html.replace(/<(title|code|bdi|span[^>]* lang="en").*?<\/\w+>|<[^>]*>|Tidepool|UTC|CNY|USD/gs, " ");
      expect(words).not.toMatch(/[A-Za-z]{3,}/);
    }
  });
});
