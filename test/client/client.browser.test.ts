/** The typed client in a real Chromium, on a page of another site. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import { createRequire } from "node:module";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Browser } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { generateKeyPair, sealPayload } from "../../client/encryption.js";
import type { createClient } from "../../client/index.js";
import type { Api } from "../../functions/index.js";
import { describeInBrowser, launchBrowser } from "../support/browser.js";
import { startServer, type TestServer } from "../support/harness.js";

const root = join(import.meta.dirname, "../..");
const page = `<!doctype html><script type="importmap">{"imports": {"tweetnacl": "/tweetnacl.js"}}</script>`;

/** What the page has of the client's two modules. */
interface Modules {
  createClient: typeof createClient<Api>;
  sealPayload: typeof sealPayload;
  openPayload(sealed: string, theirs: string, mine: string): unknown;
}
declare const modules: Modules;

describeInBrowser("the typed client in a browser", () => {
  let folder: string;
  let site: Server;
  let server: TestServer;
  let browser: Browser;

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), "tidepool-client-"));
    const config = {
      compilerOptions: {
        outDir: folder,
        rootDir: root,
        target: "es2022",
        module: "esnext",
        noCheck: true,
      },
      files: ["client/index.ts", "client/encryption.ts", "client/server-sent-events.ts"].map((file) =>
        join(root, file),
      ),
    };
    writeFileSync(join(folder, "tsconfig.json"), JSON.stringify(config));
    execFileSync(process.execPath, [join(root, "node_modules/typescript/bin/tsc"), "-p", folder]);
    const nacl = readFileSync(createRequire(import.meta.url).resolve("tweetnacl"), "utf8");
    writeFileSync(
      join(folder, "tweetnacl.js"),
      `const module = { exports: {} };\n${nacl}\nexport default module.exports;`,
    );
    site = createServer((request, response) => {
      const isScript = request.url?.endsWith(".js");
      response.setHeader("Content-Type", isScript ? "text/javascript" : "text/html");
      response.end(isScript ? readFileSync(join(folder, request.url ?? "")) : page);
    });
    await new Promise<void>((resolve) => site.listen(0, "127.0.0.1", resolve));
    server = await startServer("sqlite");
    browser = await launchBrowser();
  });
  afterAll(async () => {
    await browser?.close();
    await server?.close();
    site?.close();
    rmSync(folder, { recursive: true, force: true });
  });

  test("queries, writes, hears what others write, and opens what is sealed for it", async () => {
    const { alice, bob, threadId } = await server.negotiatingPair();
    const [hers, his] = [generateKeyPair(), generateKeyPair()];
    const open = await browser.newPage();
    await open.goto(`http://127.0.0.1:${(site.address() as AddressInfo).port}/`);
    await open.addScriptTag({
      type: "module",
      content: `import { createClient } from "/client/index.js"; import { openPayload, sealPayload } from "/client/encryption.js";
        globalThis.modules = { createClient, openPayload, sealPayload };`,
    });
    await open.waitForFunction("globalThis.modules");

    const heard = open.evaluate(
      ({ url, token, threadId, mine, theirs }) =>
        new Promise((resolve, reject) => {
          const client = modules.createClient({ url, token });
          const seen: unknown[] = [];
          const { unsubscribe } = client.subscribe(
            "messages:getForThread",
            { threadId },
            async (messages) => {
              seen.push(messages.length);
              const sealed = messages.at(-1)?.encryptedPayload;
              if (messages.length === 0) {
                const encryptedPayload = modules.sealPayload({ notes: "from a page" }, theirs, mine);
                await client.mutation("messages:send", { threadId, type: "info", encryptedPayload });
              } else if (messages.length === 2 && sealed) {
                unsubscribe();
                const threads = await client.query("messages:getThreadsForAgent", {});
                resolve({ seen, said: modules.openPayload(sealed, theirs, mine), threads: threads.length });
              }
            },
            reject,
          );
        }),
      { url: server.url, token: alice.credential, threadId, mine: hers.secretKey, theirs: his.publicKey },
    );
    for (let there = 0; there === 0; ) {
      there = ((await bob.call("messages:getForThread", { threadId })) as unknown[]).length;
    }
    const encryptedPayload = sealPayload({ notes: "潮池 🌊" }, hers.publicKey, his.secretKey);
    await bob.call("messages:send", { threadId, type: "info", encryptedPayload });
    expect(await heard).toEqual({ seen: [0, 1, 2], said: { notes: "潮池 🌊" }, threads: 1 });

    const refused = open.evaluate(
      (url) => modules.createClient({ url, token: "c2c_wrong" }).query("connections:list", {}),
      server.url,
    );
    await expect(refused).rejects.toThrow("Invalid API key");
  });
});
