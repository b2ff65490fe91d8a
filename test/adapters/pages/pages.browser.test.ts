/** The pages in a real Chromium: what a person with a phone does, with and without JavaScript. */
import type { Browser, BrowserContextOptions, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { openPlace } from "../../../functions/model/events/location-share.js";
import { hashSecret } from "../../../runtime/ids.js";
import { describeInBrowser, launchBrowser } from "../../support/browser.js";
import { type Agent, startServer, type TestServer } from "../../support/harness.js";
import { nameAsBefore } from "../../support/stored-before.js";

const phone: BrowserContextOptions = {
  viewport: { width: 360, height: 740 },
  hasTouch: true,
  isMobile: true,
  locale: "en-US",
  timezoneId: "America/New_York",
};

/** A script that takes something away from the browser before a page runs. It is text, for it runs over there. */
const without = (property: string) => `Object.defineProperty(navigator, "${property}", { value: undefined })`;

describeInBrowser("the pages in a browser (claw-to-claw.md section 4)", () => {
  let browser: Browser;
  let server: TestServer;
  let agent: Agent;
  let opened: Page[] = [];
  let complaints: string[] = [];

  beforeAll(async () => {
    server = await startServer("sqlite");
    agent = await server.agent("Dinner planner with quite a long name, as agents sometimes have");
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

  /** Opens one of the server's links in a browser of its own. */
  async function visit(link: string, options: BrowserContextOptions = {}): Promise<Page> {
    const context = await browser.newContext({ ...phone, ...options });
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
    const { pathname } = new URL(link);
    await page.goto(server.url + pathname);
    return page;
  }

  const claimLink = async (name: string) => (await server.nobody.call("agents:register", { name })).claimUrl as string;
  const requestShare = () => agent.call("events:requestLocationShare", { label: "Find events near me" });
  const shareState = (shareToken: string) => agent.call("events:getLocationShare", { shareToken });
  const title = (page: Page) => page.getByRole("heading", { level: 1 }).textContent();
  /** Presses what sends a form, and waits for the page that answers it. */
  const send = (page: Page, button: string) =>
    Promise.all([page.waitForEvent("load"), page.getByRole("button", { name: button }).click()]);

  test("a click claims the agent", async () => {
    const page = await visit(await claimLink("Planner"));
    await send(page, "Claim this agent");
    expect(await title(page)).toBe("The agent is yours");
    await page.goto(page.url());
    expect(await title(page)).toBe("This link has been used");
  });

  test("a click shares the browser's position, with its accuracy", async () => {
    const { shareToken, shareUrl } = await requestShare();
    const geolocation = { latitude: 37.7597, longitude: -122.4148, accuracy: 24.6 };
    const page = await visit(shareUrl, { geolocation, permissions: ["geolocation"] });
    expect(await page.getByLabel("Latitude").isVisible()).toBe(false);
    await send(page, "Share location");
    expect(await title(page)).toBe("Location shared");
    expect(await shareState(shareToken)).toMatchObject({ status: "completed", lat: 37.7597, lng: -122.4148 });
    const sealed = await server.read((db) =>
      db
        .selectFrom("locationShares")
        .select("sealedPlace")
        .where("shareTokenHash", "=", hashSecret(shareToken))
        .executeTakeFirstOrThrow(),
    );
    expect(openPlace(shareToken, sealed.sealedPlace ?? "")).toMatchObject({ accuracyMeters: 25 });
  });

  test("a position next to zero is sent without an exponent", async () => {
    const { shareToken, shareUrl } = await requestShare();
    const geolocation = { latitude: 1e-9, longitude: -1e-7 };
    await send(await visit(shareUrl, { geolocation, permissions: ["geolocation"] }), "Share location");
    expect(await shareState(shareToken)).toMatchObject({ status: "completed", lat: 0, lng: -1e-7 });
  });

  test("where the position is refused, the form opens and works", async () => {
    const { shareToken, shareUrl } = await requestShare();
    const page = await visit(shareUrl, { permissions: [] });
    await page.getByRole("button", { name: "Share location" }).click();
    await page.getByText("Your browser does not let this page know your position.").waitFor();
    expect(await page.getByRole("button", { name: "Share location" }).isEnabled()).toBe(true);

    await page.getByLabel("Latitude").fill("91");
    await page.getByLabel("Longitude").fill("2,5");
    await send(page, "Send this position");
    expect(await page.getByRole("alert").textContent()).toContain("Nothing was sent yet.");
    expect(await page.getByLabel("Longitude").inputValue()).toBe("2,5");
    expect(await page.getByLabel("Latitude").getAttribute("aria-invalid")).toBe("true");

    await page.getByLabel("Latitude").fill("48.1");
    await send(page, "Send this position");
    expect(await title(page)).toBe("Location shared");
    expect(await shareState(shareToken)).toMatchObject({ lat: 48.1, lng: 2.5 });
  });

  test("where the browser knows no positions, the form is all there is", async () => {
    const { shareToken, shareUrl } = await requestShare();
    const page = await visit("http://any/", {});
    await page.addInitScript(without("geolocation"));
    await page.goto(server.url + new URL(shareUrl).pathname);
    await page.getByText("Your browser cannot tell this page where you are.").waitFor();
    expect(await page.getByRole("button", { name: "Share location" }).isVisible()).toBe(false);
    await page.getByLabel("Latitude").fill("48.1, 11.5");
    await send(page, "Send this position");
    expect(await shareState(shareToken)).toMatchObject({ lat: 48.1, lng: 11.5 });
  });

  test("everything works without JavaScript", async () => {
    const noScript = { javaScriptEnabled: false };
    const claim = await visit(await claimLink("Plain"), noScript);
    await send(claim, "Claim this agent");
    expect(await title(claim)).toBe("The agent is yours");

    const { inviteToken, inviteUrl } = await agent.call("connections:invite");
    const connect = await visit(inviteUrl, noScript);
    expect(await connect.getByText(inviteToken, { exact: true }).isVisible()).toBe(true);
    expect(await connect.getByRole("button").count()).toBe(0);
    expect(await connect.locator("time").textContent()).toBe("February 17, 2026 at 16:50 UTC");

    const { shareToken, shareUrl } = await requestShare();
    const share = await visit(shareUrl, noScript);
    expect(await share.getByRole("button", { name: "Share location" }).count()).toBe(0);
    await share.getByLabel("Latitude").fill("-33.9");
    await share.getByLabel("Longitude").fill("18.4");
    await send(share, "Send this position");
    expect(await shareState(shareToken)).toMatchObject({ status: "completed", lat: -33.9, lng: 18.4 });
  });

  test("the copy button copies the sentence for one's own agent", async () => {
    const { inviteToken, inviteUrl } = await agent.call("connections:invite");
    const page = await visit(inviteUrl, { permissions: ["clipboard-read", "clipboard-write"] });
    await page.getByRole("button", { name: "Copy" }).click();
    await page.getByRole("status").getByText("Copied.").waitFor();
    const copied = await page.evaluate<string>("navigator.clipboard.readText()");
    expect(copied).toContain(inviteUrl);
    expect(copied).toContain(`invite token: ${inviteToken}`);
  });

  test("a browser without a clipboard copies what it selects", async () => {
    const { inviteUrl } = await agent.call("connections:invite");
    const page = await visit("http://any/", {});
    await page.addInitScript(without("clipboard"));
    await page.goto(server.url + new URL(inviteUrl).pathname);
    await page.getByRole("button", { name: "Copy" }).click();
    await page.getByRole("status").getByText("Copied.").waitFor();
    expect(await page.evaluate<string>("String(getSelection())")).toContain(inviteUrl);
  });

  test("times show in the reader's own zone and language", async () => {
    const { inviteUrl } = await agent.call("connections:invite");
    expect(await (await visit(inviteUrl)).locator("time").textContent()).toBe("February 17, 2026 at 11:50 EST");
    const chinese = await visit(inviteUrl, { locale: "zh-CN", timezoneId: "Asia/Shanghai" });
    expect(await chinese.locator("time").textContent()).toContain("2026年2月18日");
  });

  test("a Chinese reader gets by in Chinese", async () => {
    const { shareToken, shareUrl } = await requestShare();
    const geolocation = { latitude: 31.2, longitude: 121.5 };
    const page = await visit(shareUrl, { locale: "zh-CN", geolocation, permissions: ["geolocation"] });
    expect(await page.title()).toBe("要分享您的位置吗？ · Tidepool");
    await send(page, "分享位置");
    expect(await title(page)).toBe("位置已分享");
    expect(await shareState(shareToken)).toMatchObject({ status: "completed" });
  });

  test("nothing is wider than a small phone, and what is pressed is large enough", async () => {
    const { inviteUrl } = await agent.call("connections:invite");
    const { shareUrl } = await requestShare();
    const links = [await claimLink("W".repeat(100)), inviteUrl, shareUrl, "http://any/", "http://any/claim/none"];
    const variants = [{}, { locale: "zh-CN" }, { viewport: { width: 320, height: 560 } }, { javaScriptEnabled: false }];
    for (const options of variants) {
      const page = await visit("http://any/", options);
      for (const link of links) {
        await page.goto(server.url + new URL(link).pathname);
        // The visible width, and what sticks out of it or is too small for a finger.
        const problems = await page.evaluate<string[]>(`[
          ...(document.documentElement.scrollWidth > Math.min(innerWidth, screen.width) ? ["scrolls sideways"] : []),
          ...[...document.querySelectorAll("button, a, summary, input:not([type=hidden])")]
            .filter((target) => target.checkVisibility() && target.getBoundingClientRect().height < 44)
            .map((target) => target.outerHTML),
        ]`);
        expect([link, problems]).toEqual([link, []]);
      }
    }
  });

  test("hostile words stay inside their frame", async () => {
    const name = "\u202Eevil\u2069\u2069 <img src=x onerror=alert(1)> \u202E";
    const { agentId, claimUrl } = await server.nobody.call("agents:register", { name: "Mallory" });
    // What could be a name once goes on being shown.
    await nameAsBefore(server, agentId, name);
    const page = await visit(claimUrl);
    expect(await page.locator("bdi").first().textContent()).toBe("evil <img src=x onerror=alert(1)>");
    expect(await page.locator("main img").count()).toBe(0);
  });
});
