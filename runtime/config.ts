/**
 * Reads the configuration from the environment; nothing else reads the environment. A bad value stops the start with an
 * error that names the variable.
 */
import { z } from "zod";

const onOff = z.enum(["on", "off"]).transform((value) => value === "on");
const trueFalse = z.enum(["true", "false"]).transform((value) => value === "true");
const httpUrl = z
  .url({ protocol: /^https?$/, error: "must be an http:// or https:// address" })
  .transform((url) => url.replace(/\/+$/, ""));

const origin = z
  .url({ protocol: /^https?$/, error: "must be origins such as https://app.example, separated by commas, or *" })
  .transform((url) => new URL(url).origin);

/** Every variable, with its default and its line in the table of docs/configuration.md. */
export const configVariables = {
  PORT: {
    schema: z.coerce.number().int().min(0).max(65535).default(3001),
    about: "port to listen on; `0` takes a free one",
  },
  HOST: { schema: z.string().min(1).default("127.0.0.1"), about: "address to listen on; `0.0.0.0` for all" },
  PUBLIC_URL: {
    schema: httpUrl.optional(),
    about: "base of every link that is handed out; `http://localhost:$PORT` if not set",
  },
  DATABASE_URL: {
    schema: z
      .string()
      .regex(/^(sqlite:.+|postgres(ql)?:\/\/.+)$/, "must be sqlite:<file> or postgres://…")
      .default("sqlite:./data/tidepool.db"),
    about: "`sqlite:<file>`, or `postgres://…`",
  },
  ADMIN_EMAILS: {
    schema: z
      .string()
      .default("")
      .transform((list) => list.split(",").flatMap((email) => email.trim().toLowerCase() || []))
      .pipe(z.array(z.email("must be e-mail addresses, separated by commas"))),
    about: "comma-separated; the accounts with these addresses are admins",
  },
  SMTP_URL: {
    schema: z
      .string()
      .regex(/^smtps?:\/\//, "must be smtp://… or smtps://…")
      .optional(),
    about: "the mail server, as `smtps://user:password@host`; without it, mails go to the log",
  },
  MAIL_FROM: { schema: z.string().min(1).optional(), about: "the sender's address; needed with `SMTP_URL`" },
  JWT_SECRET: {
    schema: z.string().min(32, "must have at least 32 characters").optional(),
    about: "signs sign-ins and session tokens; made on the first start and kept in `data/` if not set",
  },
  AUTO_APPROVE_PROVIDERS: {
    schema: trueFalse.default(false),
    about: "`true` lists agents without an admin's review, for private servers",
  },
  DISPUTE_HOURS: {
    schema: z.coerce.number().min(0).max(8_760).default(24),
    about: "hours in which a consumer can dispute a settlement, and a provider's income is pending; `0` for none",
  },
  TOPUPS: {
    schema: onOff.default(true),
    about: "`off` refuses wallet top-ups; admins credit wallets or hand out codes",
  },
  CORS_ORIGINS: {
    schema: z
      .string()
      .default("*")
      .transform((list) => list.split(",").flatMap((origin) => origin.trim() || []))
      .pipe(z.array(z.union([z.literal("*"), origin])))
      .transform((origins) => (origins.includes("*") ? ("*" as const) : origins)),
    about: "comma-separated origins of the sites whose pages may call, as `https://app.example`; `*` for any",
  },
  RATE_LIMITS: {
    schema: onOff.default(true),
    about: "`off` for benchmarks and private networks: it lifts what is per time or per address, and no other bound",
  },
  TRUST_PROXY: {
    schema: trueFalse.default(false),
    about:
      "`true` behind one reverse proxy: the caller's address is the last one in `X-Forwarded-For`, with or without a port",
  },
  LOG_LEVEL: {
    schema: z.enum(["trace", "debug", "info", "warn", "error", "fatal", "silent"]).default("info"),
    about: "`info` logs one line a call",
  },
} as const;

type Variables = typeof configVariables;
type Parsed = { [Name in keyof Variables]: z.output<Variables[Name]["schema"]> };

/** The configuration as the server uses it. */
export interface Config {
  port: number;
  host: string;
  /** Undefined: the local address, which is known once the port is. */
  publicUrl: string | undefined;
  databaseUrl: string;
  adminEmails: string[];
  smtpUrl: string | undefined;
  mailFrom: string | undefined;
  /** Undefined: the server makes one and keeps it beside the data. */
  jwtSecret: string | undefined;
  autoApproveProviders: boolean;
  disputeHours: number;
  topUps: boolean;
  /** Undefined: any origin. */
  corsOrigins: string[] | undefined;
  rateLimits: boolean;
  trustProxy: boolean;
  logLevel: Parsed["LOG_LEVEL"];
}

/** A variable has a bad value. */
export class ConfigError extends Error {}

/** Reads the environment. Throws a `ConfigError` that names the variable and says what it may be. */
export function readConfig(environment: Record<string, string | undefined>): Config {
  const parsed: Record<string, unknown> = {};
  for (const [name, { schema, about }] of Object.entries(configVariables)) {
    // In a shell or a compose file, an empty value means "not set".
    const value = environment[name] === "" ? undefined : environment[name];
    const result = schema.safeParse(value);
    if (!result.success) {
      const problem = result.error.issues.map((issue) => issue.message).join("; ");
      throw new ConfigError(`${name}: ${problem} (${about})`);
    }
    parsed[name] = result.data;
  }
  const variables = parsed as Parsed;
  if (variables.SMTP_URL !== undefined && variables.MAIL_FROM === undefined) {
    throw new ConfigError(`MAIL_FROM: must be set where SMTP_URL is (${configVariables.MAIL_FROM.about})`);
  }
  return {
    port: variables.PORT,
    host: variables.HOST,
    publicUrl: variables.PUBLIC_URL,
    databaseUrl: variables.DATABASE_URL,
    adminEmails: variables.ADMIN_EMAILS,
    smtpUrl: variables.SMTP_URL,
    mailFrom: variables.MAIL_FROM,
    jwtSecret: variables.JWT_SECRET,
    autoApproveProviders: variables.AUTO_APPROVE_PROVIDERS,
    disputeHours: variables.DISPUTE_HOURS,
    topUps: variables.TOPUPS,
    corsOrigins: variables.CORS_ORIGINS === "*" ? undefined : variables.CORS_ORIGINS,
    rateLimits: variables.RATE_LIMITS,
    trustProxy: variables.TRUST_PROXY,
    logLevel: variables.LOG_LEVEL,
  };
}
