/** Starts a real Chromium. */
import { existsSync } from "node:fs";
import { type Browser, chromium } from "playwright-core";
import { describe } from "vitest";

const executablePath = process.env["CHROMIUM_PATH"] ?? "/usr/bin/chromium";
const missing = !existsSync(executablePath);
if (missing) console.warn(`Browser tests skipped: there is no ${executablePath}. Set CHROMIUM_PATH to use another.`);

/** A `describe` that is skipped if there is no browser. */
export const describeInBrowser = describe.skipIf(missing);

export function launchBrowser(): Promise<Browser> {
  return chromium.launch({
    executablePath,
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
    ],
  });
}
