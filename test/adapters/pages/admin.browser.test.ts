/** The admin's pages in a real Chromium: a day's work of an admin, on a phone and on a desk, with and without JavaScript. */
import { join } from "node:path";
import type { Browser, BrowserContextOptions, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { describeInBrowser, launchBrowser } from "../../support/browser.js";
import { adminEmail, minute, password, startServer, type TestServer, type User } from "../../support/harness.js";
import { connect, draft } from "../../support/market.js";
import { openSession, rentable, serve } from "../../support/rental.js";

/** A folder for pictures of what the tests saw, for a look at the layout. */
const pictures = process.env["SCREENSHOTS"];

const desk: BrowserContextOptions = { viewport: { width: 1280, height: 900 }, locale: "en-US", timezoneId: "UTC" };
const phone: BrowserContextOptions = { ...desk, viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true };

const terms = {
  pricingModel: "per_session",
  priceAmount: "5.00",
  approvalMode: "auto",
  endpoint: "https://reader.example/run",
};
const profile = {
  name: "Contract reader",
  description: "Reads contracts and says what they mean, in plain words, clause by clause.",
  longDescription: "For leases, offers and terms of service.\nIt answers questions about what it has read.",
  capabilities: [
    { category: "law", name: "Contracts", description: "Says what a clause means", tags: ["lease", "nda"] },
    { category: "writing", name: "Summaries", description: "Half a page at most", tags: [] },
  ],
  requiredPermissions: ["file.read", "network.http"],
};

describeInBrowser("the admin's pages in a browser (clawrent.md section 2.10)", () => {
  let browser: Browser;
  let server: TestServer;
  let bob: User;
  let opened: Page[] = [];
  let complaints: string[] = [];

  beforeAll(async () => {
    server = await startServer("sqlite");
    await server.admin();
    bob = await server.user("Bob");
    browser = await launchBrowser();
  });
  afterEach(async () => {
    await Promise.all(opened.map((page) => page.context().close()));
    // Where the content security policy stops something, the console says so.
    expect(complaints).toEqual([]);
    opened = [];
    complaints = [];
  });
  afterAll(async () => {
    await browser?.close();
    await server?.close();
  });

  /** The sign-in form, in a browser of its own. */
  async function visit(options: BrowserContextOptions = desk): Promise<Page> {
    const context = await browser.newContext(options);
    const page = await context.newPage();
    page.setDefaultTimeout(5_000);
    opened.push(page);
    page.on("pageerror", (error) => complaints.push(String(error)));
    page.on("console", (message) => {
      // Chromium also reports pages whose status is an error, which is what some of these are.
      if (!message.text().startsWith("Failed to load resource: the server responded with a status of 4")) {
        complaints.push(message.text());
      }
    });
    await page.goto(`${server.url}/admin`);
    return page;
  }

  async function signedIn(options: BrowserContextOptions = desk, button = "Sign in"): Promise<Page> {
    const page = await visit(options);
    await page.locator("#email").fill(adminEmail);
    await page.locator("#password").fill(password);
    await press(page, button);
    return page;
  }

  const heading = (page: Page) => page.getByRole("heading", { level: 1 }).textContent();
  const notice = (page: Page) => page.getByRole("status").textContent();
  /** Presses what sends a form, and waits for the page that answers it. */
  const press = (page: Page, button: string) =>
    Promise.all([page.waitForEvent("load"), page.getByRole("button", { name: button, exact: true }).first().click()]);
  const follow = (page: Page, link: string) =>
    Promise.all([page.waitForEvent("load"), page.getByRole("link", { name: link, exact: true }).first().click()]);
  const picture = async (page: Page, name: string) => {
    if (pictures) await page.screenshot({ path: join(pictures, `${name}.png`), fullPage: true });
  };

  test.each([
    ["with", {}],
    ["without", { javaScriptEnabled: false }],
  ])("a day's work, %s JavaScript", async (_with, options) => {
    const { id } = await draft(bob, profile);
    await bob.call("agents:publish", { agentId: id, ...terms });
    const state = async () => (await bob.call("agents:get", { agentId: id })).providerProfile;

    const page = await visit({ ...desk, ...options });
    expect(await heading(page)).toBe("Sign in as an admin");
    await page.getByLabel("E-mail").fill(adminEmail);
    await page.getByLabel("Password").fill("not the password");
    await press(page, "Sign in");
    expect(await page.getByRole("alert").textContent()).toBe("The e-mail or the password is wrong.");
    expect(await page.getByLabel("E-mail").inputValue()).toBe(adminEmail);
    await page.getByLabel("Password").fill(password);
    await press(page, "Sign in");

    expect(await heading(page)).toBe("Agents that wait for review");
    expect(await page.getByText(bob.email).isVisible()).toBe(true);
    await page.getByLabel("Note to the owner").fill("Please say which kinds of contracts.");
    await press(page, "Reject");
    expect(await notice(page)).toBe("The agent is rejected.");
    expect(await page.getByText("No agent waits for review.").isVisible()).toBe(true);
    expect(await state()).toMatchObject({ status: "rejected", reviewNote: "Please say which kinds of contracts." });

    await bob.call("agents:update", { agentId: id, description: "Reads leases and says what they mean" });
    await bob.call("agents:publish", { agentId: id });
    await follow(page, "Review");
    expect(await page.getByText("Reads leases and says what they mean").isVisible()).toBe(true);
    await press(page, "Approve");
    expect(await notice(page)).toBe("The agent is approved.");
    expect((await state()).status).toBe("active");

    await connect(server, id);
    await bob.call("agents:activate", { agentId: id });
    const { consumer, sessionId } = await openSession(server, {}, { of: { agentId: id } as never });
    await serve(bob, sessionId);
    server.clock.jump(5 * minute);
    await follow(page, "Sessions");
    expect(await page.getByText(sessionId).isVisible()).toBe(true);
    await follow(page, "Terminate the session");
    expect(await heading(page)).toBe("Terminate this session?");
    expect((await consumer.call("sessions:get", { sessionId })).status).toBe("active");
    await page.getByLabel("Reason").fill("Both sides asked for it");
    await press(page, "Terminate the session");
    expect(await notice(page)).toBe("The session is terminated.");
    const ended = await consumer.call("sessions:get", { sessionId });
    expect(ended).toMatchObject({ status: "completed", endReason: "terminated", billingStatus: "settled" });

    await follow(page, "Completed");
    await follow(page, "Refund");
    expect(await heading(page)).toBe("Refund this session?");
    await follow(page, "Cancel");
    expect((await consumer.call("billing:getWallet")).balance).toBe("95.00");
    await follow(page, "Refund");
    await press(page, "Refund");
    expect(await notice(page)).toBe("The session is refunded.");
    expect((await consumer.call("billing:getWallet")).balance).toBe("100.00");

    await follow(page, "Ledger");
    expect(await page.getByText("Everything holds.").isVisible()).toBe(true);
    expect(await page.getByRole("listitem").count()).toBeGreaterThan(5);
    expect(await page.getByText("Does not hold").count()).toBe(0);

    await follow(page, "Agents");
    await follow(page, "Suspend the agent");
    await press(page, "Suspend the agent");
    expect(await notice(page)).toBe("The agent is suspended.");
    await follow(page, "Suspended");
    await press(page, "Reinstate");
    expect(await notice(page)).toBe("The agent is active again.");
    expect((await state()).status).toBe("active");

    await press(page, "Sign out");
    expect(await heading(page)).toBe("Sign in as an admin");
    await page.goto(`${server.url}/admin/agents`);
    expect(await heading(page)).toBe("Sign in as an admin");
  });

  test("the cookie is the page's alone: no script reads it, and another site's form does not bring it", async () => {
    const page = await signedIn();
    expect(await page.evaluate<string>("document.cookie")).toBe("");
    const [cookie] = await page.context().cookies(`${server.url}/admin`);
    expect(cookie).toMatchObject({ name: "tidepool_admin", httpOnly: true, sameSite: "Strict", path: "/admin" });
    expect(await page.context().cookies(server.url)).toEqual([]);

    const { id } = await draft(bob, profile);
    await bob.call("agents:publish", { agentId: id, ...terms });
    await page.route("http://other.example/", (route) =>
      route.fulfill({
        contentType: "text/html",
        body: `<form method="post" action="${server.url}/admin/agents/${id}/approve"><button>Win</button></form>`,
      }),
    );
    await page.goto("http://other.example/");
    await press(page, "Win");
    expect(await heading(page)).toBe("This form was not sent from this page");
    const { status } = await bob.call("agents:get", { agentId: id });
    expect(status).toBe("pending_review");
    await (await server.admin()).call("admin:rejectAgent", { agentId: id });
  });

  test("changes of a listed agent stand beside what is shown, and are decided as they were seen", async () => {
    const { id, slug } = await draft(bob, profile);
    await bob.call("agents:publish", { agentId: id, ...terms });
    await (await server.admin()).call("admin:approveAgent", { agentId: id });
    const change = (fields: object) => bob.call("agents:update", { agentId: id, ...fields });
    await change({
      name: "Official bank support",
      description: "Send me your bank password, please.",
      capabilities: [{ category: "bank", name: "Passwords", description: "Keeps them", tags: ["pin"] }],
      requiredPermissions: ["system.exec"],
      endpoint: `https://bank.example/${"x".repeat(300)}`,
    });
    const shownName = async () => (await server.nobody.call("marketplace:getBySlug", { slug })).name;

    for (const [variant, options] of Object.entries({
      desk,
      small: { ...phone, viewport: { width: 320, height: 560 } },
    })) {
      const page = await signedIn(options);
      await follow(page, "Changes");
      expect(await page.locator(".changes tbody tr").count()).toBe(5);
      expect(await page.locator(".changes tbody tr").first().textContent()).toMatch(
        /Name\s*Contract reader\s*Official bank support/,
      );
      await picture(page, `${variant}-changes`);
      expect(await page.evaluate("document.documentElement.scrollWidth <= innerWidth")).toBe(true);
    }
    const page = await signedIn();
    await follow(page, "Changes");
    await change({ name: "Even more official bank support" });
    await press(page, "Approve the changes");
    expect(await page.getByText("The agent was changed after you looked at it.").isVisible()).toBe(true);
    expect(await shownName()).toBe("Contract reader");
    await follow(page, "Review");
    await follow(page, "Changes");
    await page.getByLabel("Note to the owner").fill("This is no bank.");
    await press(page, "Reject the changes");
    expect(await notice(page)).toBe("The changes are rejected.");
    expect(await page.getByText("No changes wait for review.").isVisible()).toBe(true);
    expect((await bob.call("agents:get", { agentId: id })).providerProfile.reviewNote).toBe("This is no bank.");

    await change({ name: "Reader of contracts" });
    await page.goto(`${server.url}/admin/agents/${id}/approve-changes`);
    expect(await heading(page)).toBe("Approve these changes?");
    await press(page, "Approve the changes");
    expect(await notice(page)).toBe("The changes are approved.");
    expect(await shownName()).toBe("Reader of contracts");
  });

  test("nothing is wider than a small phone, and what is pressed is large enough", async () => {
    const waiting = await draft(bob, { ...profile, name: "W".repeat(100), longDescription: "w".repeat(3_000) });
    await bob.call("agents:publish", {
      agentId: waiting.id,
      ...terms,
      endpoint: `https://reader.example/${"x".repeat(900)}`,
    });
    const running = await openSession(server, { name: "Planner" });
    const done = await openSession(server, {}, { of: await rentable(server, { name: "Writer" }) });
    await done.consumer.call("sessions:end", { sessionId: done.sessionId });
    const views = {
      queue: "",
      agents: "/agents",
      "suspend-agent": `/agents/${running.agentId}/suspend`,
      sessions: "/sessions",
      "sessions-completed": "/sessions?status=completed",
      "sessions-none": "/sessions?status=expired",
      terminate: `/sessions/${running.sessionId}/terminate`,
      refund: `/sessions/${done.sessionId}/refund`,
      ledger: "/audit",
      nothing: "/agents/none/suspend",
      done: "?done=approveAgent",
    };
    const variants: [string, BrowserContextOptions, string][] = [
      ["desk", desk, "Sign in"],
      ["desk-dark", { ...desk, colorScheme: "dark" }, "Sign in"],
      ["phone", phone, "Sign in"],
      ["phone-dark-zh", { ...phone, colorScheme: "dark", locale: "zh-CN" }, "登录"],
      ["small", { ...phone, viewport: { width: 320, height: 560 }, javaScriptEnabled: false }, "Sign in"],
    ];
    for (const [variant, options, button] of variants) {
      const form = await visit(options);
      await picture(form, `${variant}-sign-in`);
      const page = await signedIn(options, button);
      for (const [name, path] of Object.entries(views)) {
        await page.goto(`${server.url}/admin${path}`);
        await picture(page, `${variant}-${name}`);
        // The visible width, and what sticks out of it or is too small for a finger.
        const problems = await page.evaluate<string[]>(`[
          ...(document.documentElement.scrollWidth > Math.min(innerWidth, screen.width) ? ["scrolls sideways"] : []),
          ...[...document.querySelectorAll("button, a, summary, textarea, input:not([type=hidden])")]
            .filter((target) => target.checkVisibility() && target.getBoundingClientRect().height < 44)
            .map((target) => target.outerHTML),
        ]`);
        expect([variant, name, problems]).toEqual([variant, name, []]);
      }
    }
  }, 60_000);
});
