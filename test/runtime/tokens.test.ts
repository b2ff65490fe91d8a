import { execFile } from "node:child_process";
import { createHmac } from "node:crypto";
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { SignJWT, UnsecuredJWT } from "jose";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { loadSecret, Tokens } from "../../runtime/tokens.js";
import { ManualClock } from "../support/clock.js";
import { day } from "../support/harness.js";

const secret = "a secret that only this test knows";
const refused = { code: "unauthenticated", message: "Token expired or invalid" };

describe("JWTs (clawrent.md section 1)", () => {
  const clock = new ManualClock();
  const tokens = new Tokens(secret, clock);
  const seconds = Math.floor(clock.now() / 1_000);
  const keyOf = (text: string) => createHmac("sha256", text).update("jwt").digest();
  /** What `sign` makes, with one thing different. */
  const forge = (change: {
    alg?: string;
    key?: Uint8Array;
    issuer?: string;
    sub?: string | null;
    exp?: number | null;
  }) => {
    const { alg = "HS256", key = keyOf(secret), issuer = "tidepool", sub = "alice", exp = seconds + 60 } = change;
    const jwt = new SignJWT({ ...(sub === null ? {} : { sub }), ...(exp === null ? {} : { exp }) });
    return jwt.setProtectedHeader({ alg }).setIssuer(issuer).setIssuedAt(seconds).sign(key);
  };

  test("name their user for seven days by the server's clock", async () => {
    const jwt = await tokens.sign("alice", "her sign-in");
    expect(jwt).toMatch(/^eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$/);
    const { userId, expiresAt } = await tokens.verify(jwt);
    expect(userId).toBe("alice");
    expect(expiresAt).toBe(seconds * 1_000 + 7 * day);
    const later = new ManualClock(expiresAt - 1);
    expect(await new Tokens(secret, later).verify(jwt)).toMatchObject({ userId: "alice" });
    later.jump(1);
    await expect(new Tokens(secret, later).verify(jwt)).rejects.toMatchObject(refused);
  });

  test("survive a restart with the same secret, and no other", async () => {
    const jwt = await tokens.sign("alice", "her sign-in");
    expect(await new Tokens(secret, clock).verify(jwt)).toMatchObject({ userId: "alice" });
    await expect(new Tokens(`${secret}!`, clock).verify(jwt)).rejects.toMatchObject(refused);
  });

  test("a forgery that is right in everything passes, so that those below fail by what they change", async () => {
    expect(await tokens.verify(await forge({}))).toMatchObject({ userId: "alice" });
  });

  test.each([
    ["another key", { key: keyOf("another secret") }],
    ["the secret itself as the key", { key: new TextEncoder().encode(secret) }],
    ["another issuer", { issuer: "somebody else" }],
    ["another algorithm", { alg: "HS512" }],
    ["no user", { sub: null }],
    ["no end", { exp: null }],
    ["an end that has come", { exp: seconds }],
  ])("are refused with %s", async (_what, change) => {
    await expect(tokens.verify(await forge(change))).rejects.toMatchObject(refused);
  });

  test("are refused without a signature", async () => {
    const claims = new UnsecuredJWT({ sub: "alice" }).setIssuer("tidepool").setExpirationTime(seconds + 60);
    await expect(tokens.verify(claims.encode())).rejects.toMatchObject(refused);
    const [header, payload, signature = ""] = (await tokens.sign("alice", "her sign-in")).split(".");
    for (const jwt of [
      `${header}.${payload}.`,
      `${header}.${payload}`,
      `${header}.${payload}.${signature.startsWith("A") ? "B" : "A"}${signature.slice(1)}`,
      "eyJ",
      "eyJhbGciOiJub25lIn0.e30.",
    ]) {
      await expect(tokens.verify(jwt), jwt).rejects.toMatchObject(refused);
    }
  });
});

describe("derived secrets (clawrent.md section 0, rule 14)", () => {
  const clock = new ManualClock();

  test("are the same for the same purpose, also after a restart, and different for each", () => {
    const derived = new Tokens(secret, clock).derive("one purpose");
    expect(derived).toMatch(/^[A-Za-z0-9_-]{43}$/);
    expect(new Tokens(secret, clock).derive("one purpose")).toBe(derived);
    expect(new Tokens(secret, clock).derive("another purpose")).not.toBe(derived);
    expect(new Tokens(`${secret}!`, clock).derive("one purpose")).not.toBe(derived);
  });
});

describe("the server's secret in its file", () => {
  let folder = "";
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "tidepool-secret-"));
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  test("is made once, for this account's eyes only, and nothing else is left behind", () => {
    const file = join(folder, "data", "jwt-secret");
    const made = loadSecret(file);
    expect(made).toMatch(/^[A-Za-z0-9_-]{64}$/);
    expect(loadSecret(file)).toBe(made);
    expect(readFileSync(file, "utf8")).toBe(made);
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect(readdirSync(join(folder, "data"))).toEqual(["jwt-secret"]);
  });

  test("that an operator wrote is taken as it is, but for the line's end; one that is too short stops the start", () => {
    const file = join(folder, "jwt-secret");
    writeFileSync(file, `${"s".repeat(32)}\n`);
    chmodSync(file, 0o400);
    expect(loadSecret(file)).toBe("s".repeat(32));
    for (const short of ["", "s".repeat(31)]) {
      rmSync(file, { force: true });
      writeFileSync(file, short);
      expect(() => loadSecret(file)).toThrow(/holds no secret of at least 32 characters/);
    }
  });

  test("is one for all processes that start at once", async () => {
    const file = join(folder, "jwt-secret");
    const tokensFile = join(import.meta.dirname, "../../runtime/tokens.ts");
    // They begin at the same instant, and not when each has loaded.
    const program = `
      const { loadSecret } = await import(${JSON.stringify(tokensFile)});
      while (Date.now() < Number(process.argv[1])) {}
      process.stdout.write(loadSecret(${JSON.stringify(file)}));`;
    const at = String(Date.now() + 4_000);
    const run = promisify(execFile);
    const told = await Promise.all(
      Array.from({ length: 4 }, async () => {
        const args = ["--import", "tsx", "--input-type=module", "--eval", program, at];
        return (await run(process.execPath, args)).stdout;
      }),
    );
    expect(new Set(told)).toEqual(new Set([readFileSync(file, "utf8")]));
  }, 30_000);
});
