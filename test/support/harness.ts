/**
 * Lets tests speak as agents. Each server is a real one, on its own port and database, called over HTTP, with a clock
 * that the test sets. Nothing is mocked and nothing sleeps.
 */
import { randomUUID } from "node:crypto";
import type { Kysely } from "kysely";
import { type Logger, pino } from "pino";
import { afterAll, beforeAll, expect } from "vitest";
import type { Mail, SendMail } from "../../adapters/mailer.js";
import { issueCredential } from "../../functions/model/agents/credentials.js";
import { systemMutation } from "../../runtime/call/define.js";
import type { Modules } from "../../runtime/call/registry.js";
import type { Config } from "../../runtime/config.js";
import { Passwords } from "../../runtime/passwords.js";
import type { Database } from "../../schema/index.js";
import { createServer, type TidepoolServer } from "../../server.js";
import { ManualClock } from "./clock.js";
import { createDatabase, type DatabaseName } from "./databases.js";

export { type DatabaseName, databases } from "./databases.js";

/** The user who registers with this address is an admin. */
export const adminEmail = "admin@example.com";
export const password = "correct horse battery";

export const minute = 60_000;
export const hour = 60 * minute;
export const day = 24 * hour;

/** A refusal or rejection, as a caller sees it. */
export class Refused extends Error {
  constructor(
    readonly httpStatus: number,
    readonly code: string,
    message: string,
    readonly data: Record<string, unknown>,
    readonly headers: Headers,
  ) {
    super(message);
  }
}

export interface TestOptions {
  config?: Partial<Config>;
  modules?: Modules;
  log?: Logger;
  /** Receives mails instead of `mails`. */
  sendMail?: SendMail;
  /** An existing database, for starting a server on it again. */
  databaseUrl?: string;
  clock?: ManualClock;
}

/** A running server, with what tests need to act on it. */
export class TestServer {
  constructor(
    readonly server: TidepoolServer,
    readonly clock: ManualClock,
    readonly databaseUrl: string,
    readonly database: DatabaseName,
    readonly remove: () => Promise<void>,
    /** Every mail that was sent, in order. */
    readonly mails: Mail[],
  ) {}

  get url(): string {
    return this.server.url;
  }

  /** A caller without a credential. */
  get nobody(): Caller {
    return new Caller(this);
  }

  /** Registers an agent. It has a public key unless told otherwise. */
  async agent(name = "Agent", options: { publicKey?: boolean; claimed?: boolean } = {}): Promise<Agent> {
    const registered = await this.nobody.call("agents:register", { name });
    const agent = new Agent(this, registered.apiKey, registered.agentId, name, registered.claimToken);
    if (options.publicKey ?? true) await agent.call("agents:setPublicKey", { publicKey: randomKey() });
    if (options.claimed) await this.nobody.call("agents:claim", { claimToken: registered.claimToken });
    return agent;
  }

  /** Signs a user up. The result has the JWT that the sign-up returned. */
  async user(name = "User", options: { email?: string; topUp?: string } = {}): Promise<User> {
    const email = options.email ?? `${name.toLowerCase().replaceAll(/[^a-z]/g, "")}-${randomUUID()}@example.com`;
    await this.nobody.call("users:sendVerification", { email });
    const verificationCode = await this.verificationCode(email);
    const { user, token, apiKey } = await this.nobody.call("users:register", {
      email,
      password,
      name,
      verificationCode,
    });
    const signedIn = new User(this, token, user.id, email, name, apiKey);
    if (options.topUp) await signedIn.call("billing:topUp", { amount: options.topUp });
    return signedIn;
  }

  /** The user who may review agents; the same one at each call. */
  async admin(): Promise<User> {
    this.#admin ??= this.user("Admin", { email: adminEmail });
    return this.#admin;
  }
  #admin: Promise<User> | undefined;

  /** The code in the newest mail to an address. */
  async verificationCode(email: string): Promise<string> {
    await this.server.mailer.idle();
    const code = this.mails.findLast(({ recipient }) => recipient === email)?.body.match(/\b\d{6}\b/)?.[0];
    if (!code) throw new Error(`No code was mailed to ${email}`);
    return code;
  }

  /** The reset code in the newest mail to an address that has an account. */
  async resetCode(email: string): Promise<string> {
    await this.server.mailer.idle();
    const code = this.mails
      .findLast(({ recipient }) => recipient === email)
      ?.body.match(/reset code ([A-Z2-9]{10})/)?.[1];
    if (!code) throw new Error(`No reset code was mailed to ${email}`);
    return code;
  }

  /** The same agent with an `agt_clawrent_` token. */
  async withAgentToken(agent: Agent): Promise<Agent> {
    const issue = systemMutation("test: issues an agent token", (ctx) =>
      issueCredential(ctx, { agentId: agent.agentId, kind: "agentToken", madeBy: "owner" }),
    );
    const token = await this.server.dispatcher.runSystem(issue);
    return new Agent(this, token, agent.agentId, agent.name, agent.claimToken);
  }

  /** A user's agent, with a new token. */
  async withOwnToken(owner: User, agentId: string): Promise<Agent> {
    const { token } = await owner.call("agents:replaceToken", { agentId });
    return new Agent(this, token, agentId, owner.name, "");
  }

  /** Two agents with an active connection. */
  async connectedPair(): Promise<{ alice: Agent; bob: Agent; connectionId: string }> {
    const [alice, bob] = await Promise.all([this.agent("Alice"), this.agent("Bob")]);
    const { inviteToken } = await alice.call("connections:invite", {});
    const { connectionId } = await bob.call("connections:accept", { inviteToken });
    return { alice, bob, connectionId };
  }

  /** Two agents with a thread in the middle of a negotiation. */
  async negotiatingPair(): Promise<{ alice: Agent; bob: Agent; connectionId: string; threadId: string }> {
    const pair = await this.connectedPair();
    const { threadId } = await pair.alice.call("messages:startThread", { connectionId: pair.connectionId });
    return { ...pair, threadId };
  }

  /** A thread that both agents have accepted and both humans still have to decide. */
  async awaitingPair(): Promise<{
    alice: Agent;
    bob: Agent;
    connectionId: string;
    threadId: string;
    proposalId: string;
  }> {
    const pair = await this.negotiatingPair();
    const { messageId } = await pair.alice.send(pair.threadId, "proposal");
    await pair.bob.send(pair.threadId, "accept");
    return { ...pair, proposalId: messageId };
  }

  /** Moves time forward and runs the timers that fall due. */
  async advance(ms: number): Promise<void> {
    this.clock.jump(ms);
    await this.settle();
  }

  /** Runs the timers that are due by now. */
  async settle(): Promise<void> {
    do await this.server.deadlines.idle();
    while (this.clock.runDue());
    await this.server.deadlines.idle();
  }

  /** Reads the database without calling any function. */
  read<T>(work: (db: Kysely<Database>) => Promise<T>): Promise<T> {
    return this.server.store.read(work);
  }

  async close(): Promise<void> {
    await this.server.close();
    await this.remove();
  }
}

/** Calls the server with one credential, or none. */
export class Caller {
  constructor(
    readonly on: TestServer,
    readonly credential?: string,
  ) {}

  /** Calls a function by its own kind. Resolves with the value; rejects with `Refused`. */
  // biome-ignore lint/suspicious/noExplicitAny: what comes back is what the tests are about to look at.
  async call(path: string, args: unknown = {}, headers: Record<string, string> = {}): Promise<any> {
    const kind = this.on.server.registry.find(path)?.kind ?? "query";
    const response = await fetch(`${this.on.url}/api/${kind}`, {
      method: "POST",
      headers: {
        "Content-Type": "application/json",
        ...(this.credential === undefined ? {} : { Authorization: `Bearer ${this.credential}` }),
        ...headers,
      },
      body: JSON.stringify({ path, args, format: "json" }),
    });
    const envelope = (await response.json()) as Envelope;
    if (envelope.status === "success") {
      expect(response.status).toBe(200);
      this.checkDeclared(path, envelope.value);
      return envelope.value;
    }
    const { code = "internal", ...data } = envelope.errorData ?? {};
    throw new Refused(response.status, String(code), envelope.errorMessage, data, response.headers);
  }

  /** A request to the REST surface. Uses the caller's credential unless `headers` contains another. */
  async rest(method: string, path: string, body?: unknown, headers: Record<string, string> = {}): Promise<RestReply> {
    const response = await fetch(`${this.on.url}${path}`, {
      method,
      headers: {
        ...(body === undefined ? {} : { "Content-Type": "application/json" }),
        ...(this.credential === undefined ? {} : { Authorization: `Bearer ${this.credential}` }),
        ...headers,
      },
      ...(body === undefined ? {} : { body: typeof body === "string" ? body : JSON.stringify(body) }),
    });
    const text = await response.text();
    return {
      status: response.status,
      headers: response.headers,
      text,
      body: text === "" ? undefined : JSON.parse(text),
    };
  }

  /** Every value must be exactly what its function declares, also if the database wrote the JSON. */
  private checkDeclared(path: string, value: unknown): void {
    const definition = this.on.server.registry.find(path);
    expect(definition?.returns.parse(value)).toEqual(value);
  }
}

/** A reply over REST, as text and parsed. */
export interface RestReply {
  status: number;
  headers: Headers;
  text: string;
  // biome-ignore lint/suspicious/noExplicitAny: what comes back is what the tests are about to look at.
  body: any;
}

interface Envelope {
  status: "success" | "error";
  value: unknown;
  errorMessage: string;
  errorData?: Record<string, unknown>;
}

/** A person, with the JWT of their sign-in. */
export class User extends Caller {
  constructor(
    on: TestServer,
    override readonly credential: string,
    readonly userId: string,
    readonly email: string,
    readonly name: string,
    readonly apiKey: string,
  ) {
    super(on, credential);
  }
}

/** An agent, with its key or token. */
export class Agent extends Caller {
  constructor(
    on: TestServer,
    override readonly credential: string,
    readonly agentId: string,
    readonly name: string,
    readonly claimToken: string,
  ) {
    super(on, credential);
  }

  /** Sends a message with a plain payload. */
  send(threadId: string, type: string, more: Record<string, unknown> = {}) {
    return this.call("messages:send", { threadId, type, payload: { notes: type }, ...more });
  }

  /** Requests a location share and submits it, as the human does who opens the link. */
  async shareLocation(lat: number, lng: number): Promise<string> {
    const { shareToken } = await this.call("events:requestLocationShare", {});
    await this.on.nobody.call("events:submitLocationShare", { shareToken, lat, lng });
    return shareToken;
  }
}

export function randomKey(): string {
  return Buffer.from(crypto.getRandomValues(new Uint8Array(32))).toString("base64");
}

/** A server for all tests of the surrounding `describe`. It starts before the tests, so use it only inside them. */
export function useServer(database: DatabaseName, options: TestOptions = {}): TestServer {
  let running: TestServer | undefined;
  beforeAll(async () => {
    running = await startServer(database, options);
  });
  afterAll(() => running?.close());
  return new Proxy({} as TestServer, {
    get(_target, property) {
      if (!running) throw new Error("The server has not started yet");
      const value = Reflect.get(running, property, running) as unknown;
      return typeof value === "function" ? value.bind(running) : value;
    },
  });
}

/** Starts a server on a new database, or on the one in `options`. */
export async function startServer(database: DatabaseName, options: TestOptions = {}): Promise<TestServer> {
  const clock = options.clock ?? new ManualClock();
  const created = options.databaseUrl
    ? { url: options.databaseUrl, remove: async () => {} }
    : await createDatabase(database);
  const config: Config = {
    port: 0,
    host: "127.0.0.1",
    publicUrl: undefined,
    databaseUrl: created.url,
    adminEmails: [adminEmail],
    smtpUrl: undefined,
    mailFrom: undefined,
    jwtSecret: "a secret that only the tests know, and all of them",
    autoApproveProviders: false,
    disputeHours: 24,
    topUps: true,
    corsOrigins: undefined,
    rateLimits: false,
    trustProxy: false,
    logLevel: "silent",
    ...options.config,
  };
  const mails: Mail[] = [];
  const server = await createServer(config, {
    clock,
    log: options.log ?? pino({ level: "silent" }),
    modules: options.modules,
    // A full hash takes a good part of a second, and every test has users.
    passwords: new Passwords(2 ** 10),
    sendMail:
      options.sendMail ??
      (async (mail) => {
        mails.push(mail);
      }),
  });
  return new TestServer(server, clock, created.url, database, created.remove, mails);
}
