import { describe, expect, test } from "vitest";
import { ConfigError, readConfig } from "../../runtime/config.js";

describe("configuration (architecture.md section 7)", () => {
  test("an empty environment gives the documented defaults", () => {
    expect(readConfig({ PORT: "" })).toEqual({
      port: 3001,
      host: "127.0.0.1",
      publicUrl: undefined,
      databaseUrl: "sqlite:./data/tidepool.db",
      adminEmails: [],
      smtpUrl: undefined,
      mailFrom: undefined,
      jwtSecret: undefined,
      autoApproveProviders: false,
      topUps: true,
      disputeHours: 24,
      corsOrigins: undefined,
      rateLimits: true,
      trustProxy: false,
      logLevel: "info",
    });
  });

  test("the base of links has no slash at its end", () => {
    expect(readConfig({ PUBLIC_URL: "https://pool.example/c2c//" }).publicUrl).toBe("https://pool.example/c2c");
  });

  test("admins are told by addresses in any spelling", () => {
    const { adminEmails } = readConfig({ ADMIN_EMAILS: " Alice@Example.com , bob@example.com," });
    expect(adminEmails).toEqual(["alice@example.com", "bob@example.com"]);
  });

  test("a mail server needs a sender", () => {
    expect(() => readConfig({ SMTP_URL: "smtp://localhost" })).toThrow(/^MAIL_FROM: /);
    const mail = readConfig({ SMTP_URL: "smtp://localhost", MAIL_FROM: "pool@example.com" });
    expect(mail).toMatchObject({ smtpUrl: "smtp://localhost", mailFrom: "pool@example.com" });
  });

  test.each([
    ["ADMIN_EMAILS", "alice"],
    ["SMTP_URL", "http://localhost"],
    ["JWT_SECRET", "too short"],
    ["AUTO_APPROVE_PROVIDERS", "yes"],
    ["TOPUPS", "no"],
    ["PORT", "http"],
    ["PORT", "70000"],
    ["PUBLIC_URL", "ftp://example.org"],
    ["PUBLIC_URL", "example.org"],
    ["DATABASE_URL", "mysql://localhost/x"],
    ["RATE_LIMITS", "no"],
    ["TRUST_PROXY", "1"],
    ["LOG_LEVEL", "loud"],
  ])("%s=%s stops the start and is named", (name, value) => {
    expect(() => readConfig({ [name]: value })).toThrow(ConfigError);
    expect(() => readConfig({ [name]: value })).toThrow(new RegExp(`^${name}: `));
  });
});
