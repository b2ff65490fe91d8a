/**
 * The marketplace's secrets, and what people say to each other there. Passwords, JWTs, API keys, agent and session tokens,
 * codes and the server's own secret must be found neither in the log nor in the database; tasks and payloads are stored,
 * of course, and are nobody's in the log. As in canaries.test.ts, on a server that logs all that it can.
 */
import { randomBytes, randomInt } from "node:crypto";
import { sql } from "kysely";
import { pino } from "pino";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { createSendMail, type SendMail } from "../../adapters/mailer.js";
import { Canaries, dump, watchConsole } from "../support/canaries.js";
import {
  adminEmail,
  Caller,
  databases,
  minute,
  type RestReply,
  startServer,
  type TestServer,
  User,
} from "../support/harness.js";
import { freshSlug } from "../support/market.js";
import {
  cutSocketsAfterEach,
  eventually,
  openAgent,
  openAt,
  openGroup,
  openSession,
  type TestSocket,
} from "../support/sockets.js";

/** Fields of replies that hold a secret. */
const secretFields = new Set(["token", "apiKey", "agentToken", "sessionToken", "claimToken", "topUpCode"]);

const random = () => randomBytes(12).toString("hex");

describe.each(databases)("the marketplace's secrets on %s", (database) => {
  let logged: string[];
  let server: TestServer;
  let canaries: Canaries;
  /** The canaries that may be in the database, and have to be. */
  let stored: Set<string>;
  let printed: ReturnType<typeof watchConsole>;
  let jwtSecret: string;
  let sendMail: SendMail | undefined;
  beforeEach(() => {
    logged = [];
    canaries = new Canaries();
    stored = new Set();
    sendMail = undefined;
    printed = watchConsole();
    jwtSecret = canaries.secret("the server's secret", `${random()}-${random()}`);
  });
  afterEach(() => {
    printed.stop();
    return server.remove();
  });
  cutSocketsAfterEach();

  const log = pino({ level: "trace" }, { write: (line: string) => logged.push(line) });

  async function start(): Promise<void> {
    const config = { logLevel: "trace", jwtSecret } as const;
    server = await startServer(database, { log, config, ...(sendMail ? { sendMail } : {}) });
  }

  /** Closes the server and says what is left of the canaries, and where. */
  async function leftovers() {
    await server.server.close();
    const inDatabase = canaries.foundIn(await dump(server));
    return {
      log: canaries.foundIn(Buffer.from(logged.join("\n"))),
      console: canaries.foundIn(Buffer.from(printed.text())),
      database: inDatabase.filter((name) => !stored.has(name)),
      // What may be found must be, or this search finds nothing.
      missed: [...stored].filter((name) => !inDatabase.includes(name)),
    };
  }
  const nothing = { log: [], console: [], database: [], missed: [] };

  /** Text that is stored as it comes. */
  function content(name: string): string {
    stored.add(name);
    return canaries.secret(name, `${name} ${random()}`);
  }

  /** Takes every secret in a reply for a canary, wherever it stands in it. */
  function harvest(from: string, value: unknown): void {
    if (typeof value !== "object" || value === null) return;
    for (const [field, item] of Object.entries(value)) {
      if (secretFields.has(field) && typeof item === "string") canaries.secret(`${from}: ${field}`, item);
      else harvest(from, item);
    }
  }

  async function rest(who: Caller, method: string, path: string, body?: object, headers = {}): Promise<RestReply> {
    const reply = await who.rest(method, path, body, headers);
    harvest(`${method} ${path}`, reply.body);
    return reply;
  }

  /** Somebody who signed up and in over REST, with a password of their own. */
  async function signUp(name: string, email = `${name.toLowerCase()}@example.com`): Promise<User> {
    await rest(server.nobody, "POST", "/api/auth/send-verification", { email });
    const verificationCode = canaries.code(`${name}'s code`, await server.verificationCode(email));
    const password = canaries.secret(`${name}'s password`, `${random()} ünïcode ✓`);
    const key = { "Idempotency-Key": canaries.secret(`${name}'s key`, crypto.randomUUID()) };
    const account = { email, password, name, verificationCode };
    const registered = await rest(server.nobody, "POST", "/api/auth/register", account, key);
    expect(await rest(server.nobody, "POST", "/api/auth/register", account, key)).toMatchObject({
      text: registered.text,
    });
    const { user, apiKey } = registered.body;
    const { body } = await rest(server.nobody, "POST", "/api/auth/login", { email, password });
    return keepSafe(new User(server, body.token, user.id, email, name, apiKey), password);
  }

  /** They change the password, forget it, get a new one by mail, and a new key; and sign in again. */
  async function keepSafe(user: User, password: string): Promise<User> {
    const { email, name } = user;
    const newPasswords = ["second", "third"].map((which) =>
      canaries.secret(`${name}'s ${which} password`, `${random()} ✓`),
    );
    const [newPassword, last] = newPasswords as [string, string];
    const { body } = await rest(user, "POST", "/api/auth/api-key");
    await rest(user, "POST", "/api/auth/change-password", { password, newPassword });
    server.clock.jump(minute);
    await rest(server.nobody, "POST", "/api/auth/send-verification", { email });
    const resetCode = canaries.secret(`${name}'s reset code`, await server.resetCode(email));
    await rest(server.nobody, "POST", "/api/auth/reset-password", { email, resetCode, newPassword: last });
    const { token } = (await rest(server.nobody, "POST", "/api/auth/login", { email, password: last })).body;
    return new User(server, token, user.userId, email, name, body.apiKey);
  }

  /** An agent of Bob's that is listed, connected and activated, with its control channel. */
  async function offer(bob: User, approvalMode: "auto" | "manual") {
    const slug = freshSlug();
    const made = await rest(bob, "POST", "/api/agents", { name: "Reader", slug, description: "Reads contracts" });
    const { id, agentToken } = made.body;
    const terms = { pricingModel: "per_session", priceAmount: "5", approvalMode };
    await rest(bob, "POST", `/api/agents/${id}/publish`, terms);
    await rest(await admin(), "POST", `/api/admin/agents/${id}/approve`);
    const control = await openAgent(server, agentToken);
    expect((await rest(bob, "POST", `/api/agents/${id}/activate`)).status).toBe(200);
    return { id, agent: new Caller(server, agentToken), agentToken, control };
  }

  let adminOf: { server: TestServer; user: User } | undefined;
  async function admin(): Promise<User> {
    if (adminOf?.server !== server) adminOf = { server, user: await signUp("Admin", adminEmail) };
    return adminOf.user;
  }

  test("are neither in the log nor in the database after a whole story over REST and sockets", async () => {
    await start();
    const [alice, bob] = [await signUp("Alice"), await signUp("Bob")];
    const byKey = new Caller(server);
    const { id: agentId, agent, agentToken, control } = await offer(bob, "auto");
    const { body: renewed } = await rest(bob, "POST", `/api/agents/${agentId}/token`);
    await control.closed;
    const channel = await openAgent(server, renewed.token);
    expect((await rest(agent, "GET", "/api/agents/me/agent")).status).toBe(401);
    const provider = new Caller(server, renewed.token);
    const { claimToken } = await server.nobody.call("agents:register", { name: "Planner" });
    canaries.secret("a claim token", claimToken);
    const plan = { claimToken, slug: freshSlug(), description: "Plans dinners with others" };
    const { body: planner } = await rest(alice, "POST", "/api/agents/take-over", plan);
    const { body: rotated } = await rest(alice, "POST", `/api/agents/${planner.id}/key`);
    canaries.secret("a rotated key", rotated.apiKey);
    await rest(alice, "GET", `/api/agents/${planner.id}/credentials`);
    expect(await rest(new Caller(server, rotated.apiKey), "GET", "/api/agents/me/agent")).toMatchObject({
      status: 200,
    });
    const { body: plannerToken } = await rest(alice, "POST", `/api/agents/${planner.id}/token`);
    const consumerChannel = await openAt(server, "/ws/agent/consumer", { token: plannerToken.token });

    const apiKey = { "x-api-key": alice.apiKey };
    await rest(byKey, "POST", "/api/billing/wallet/topup", { amount: "100" }, apiKey);
    await rest(byKey, "POST", "/api/cart", { providerAgentId: agentId, taskDescription: content("cart") }, apiKey);
    const rent = { agentId, taskDescription: content("task"), consumerAgentId: planner.id };
    const { body: session } = await rest(alice, "POST", "/api/sessions", rent);
    harvest("session.new", (await channel.next("session.new")).payload);
    const { body: mine } = await rest(provider, "GET", "/api/sessions?role=provider&status=active");
    await rest(alice, "GET", `/api/sessions/${session.id}?token=${session.sessionToken}`);

    // Said in every way there is.
    const messages = `/api/sessions/${session.id}/messages`;
    const say = (name: string) => ({ type: "dialogue.message", payload: { content: content(name) } });
    await rest(alice, "POST", messages, say("said over REST"));
    await provider.call("sessions:sendMessage", { sessionId: session.id, ...say("said over RPC") });
    const sockets = {
      consumer: await openSession(server, { sessionId: session.id, token: session.sessionToken }),
      provider: await openSession(server, {
        sessionId: session.id,
        token: mine.data[0].sessionToken,
        role: "provider",
      }),
    };
    sockets.consumer.send(say("said on a socket"));
    await sockets.provider.until(() => JSON.stringify(sockets.provider.frames).includes("said on a socket"), "message");
    const group = await openGroup(server, session.id, renewed.token);
    group.send({ ...say("said in the group"), id: "m-1" });
    await sockets.consumer.until(
      () => JSON.stringify(sockets.consumer.frames).includes("said in the group"),
      "message",
    );
    const typing = canaries.secret("what is being typed", `typing ${random()}`);
    sockets.consumer.send({ type: "dialogue.typing", payload: { content: typing, typing: true } });
    const blocked = { type: "instruction.exec", payload: { command: `rm -rf / # ${content("blocked")}` } };
    expect((await rest(provider, "POST", messages, blocked)).status).toBe(403);
    sockets.consumer.send(blocked);
    await sockets.consumer.next("system.blocked");
    await sockets.consumer.settled();
    expect((await rest(alice, "GET", `${messages}?since=2020-01-01T00:00:00.000Z`)).body.total).toBe(4);

    const items = [{ providerAgentId: agentId, taskDescription: content("ordered") }];
    await rest(alice, "POST", "/api/orders", { items, note: content("note") });
    await rest(alice, "POST", `/api/sessions/${session.id}/end`);
    await sockets.consumer.closed;
    const { body: records } = await rest(bob, "GET", "/api/billing/records");
    await rest(await admin(), "POST", `/api/admin/billing/records/${records.data[0].id}/refund`);
    await rest(bob, "DELETE", `/api/agents/${agentId}/token`);
    await Promise.all([channel.closed, group.closed]);
    await consumerChannel.close();

    // The plain ones, too: what was harvested is what was shown.
    expect(canaries.forms.has("POST /api/sessions: sessionToken")).toBe(true);
    expect(canaries.forms.has("session.new: sessionToken")).toBe(true);
    expect(agentToken).toMatch(/^agt_clawrent_/);
    expect(await leftovers()).toEqual(nothing);
  });

  test("are neither in the log nor in the database after calls that go wrong", async () => {
    await start();
    const [alice, bob] = [await signUp("Alice"), await signUp("Bob")];
    const { id: agentId, agentToken } = await offer(bob, "auto");
    await rest(alice, "POST", "/api/billing/wallet/topup", { amount: "100" });
    const task = { agentId, taskDescription: content("task") };
    const { body: session } = await rest(alice, "POST", "/api/sessions", task);
    const password = canaries.secret("a wrong password", `wrong ${random()}`);
    const wrongCode = canaries.code("a wrong code", String(randomInt(100_000, 1_000_000)));
    const secrets = {
      jwt: alice.credential,
      apiKey: alice.apiKey,
      agentToken,
      sessionToken: session.sessionToken as string,
      password,
    };

    // A secret in every wrong place.
    const statuses: number[] = [];
    const send = async (method: string, path: string, body?: unknown, headers: Record<string, string> = {}) => {
      const reply = await server.nobody.rest(method, path, body, headers);
      statuses.push(reply.status);
    };
    for (const secret of Object.values(secrets)) {
      const inPath = encodeURIComponent(secret);
      const bearer = { Authorization: `Bearer ${alice.credential}` };
      await send("GET", "/api/auth/me", undefined, { Authorization: `Bearer ${inPath}x` });
      await send("GET", "/api/auth/me", undefined, { "x-api-key": `${inPath}x` });
      await send("GET", "/api/auth/me", undefined, { "x-api-key": inPath, Cookie: inPath, "User-Agent": inPath });
      await send("GET", `/api/auth/me?token=${inPath}&apiKey=${inPath}`, undefined, bearer);
      await send("GET", `/api/sessions/${inPath}`, undefined, bearer);
      await send("POST", `/api/sessions/${inPath}/messages`, { type: secret, payload: { [inPath]: secret } }, bearer);
      await send("POST", `/api/sessions/${session.id}/messages`, { type: secret, payload: secret }, bearer);
      await send("POST", `/api/sessions/${session.id}/approve`, { manual: secret }, bearer);
      await send("GET", `/api/sessions?status=${inPath}&role=${inPath}&page=${inPath}`, undefined, bearer);
      await send(
        "POST",
        "/api/sessions",
        { agentId: secret, taskDescription: secret, consumerAgentId: secret },
        bearer,
      );
      await send("POST", "/api/agents", { name: secret, slug: secret, description: secret }, bearer);
      await send("POST", "/api/agents/take-over", { claimToken: secret, slug: freshSlug() }, bearer);
      await send("POST", "/api/billing/wallet/topup", { amount: secret, currency: secret }, bearer);
      await send("POST", "/api/auth/login", { email: secret, password: secret });
      await send("POST", "/api/auth/login", { email: bob.email, password: secret });
      await send("POST", "/api/auth/send-verification", { email: secret, code: secret });
      await send("POST", "/api/auth/register", { email: bob.email, password: secret, name: secret });
      const codes = { verificationCode: wrongCode, password, name: "Bob" };
      await send("POST", "/api/auth/register", { email: bob.email, ...codes }, { "Idempotency-Key": `${inPath} ` });
      await send("POST", "/api/auth/login", `{"email":"${inPath}","password":"${inPath}"`);
      await send("POST", "/api/auth/login", inPath, { "Content-Type": `text/${inPath}` });
      await send("GET", `/api/marketplace/browse?search=${inPath}&category=${inPath}&limit=${inPath}`);
      await send("GET", `/api/marketplace/agents/${inPath}`);
      await send("GET", `/api/mcp/docs/by-path/${inPath}/${inPath}`);
      await send("DELETE", `/api/${inPath}`, undefined, bearer);
      await send("GET", `/ws/agent?token=${inPath}`);
      await send("GET", `/${inPath}?token=${inPath}`);
      await send("POST", "/api/mutation", { path: "users:signIn", args: { email: "x", [inPath]: secret } });
      await send("POST", "/api/query", { path: `users:${inPath}`, args: {} });
    }
    expect(statuses.filter((status) => status >= 500)).toEqual([]);
    expect(new Set(statuses).size).toBeGreaterThan(4);

    // On sockets: the token of another channel, in the wrong parameter, and in frames that are none.
    const refused: Promise<unknown>[] = [];
    const fits: Record<string, string[]> = {
      "/ws/agent": ["agentToken"],
      "/ws/agent/consumer": ["agentToken"],
      "/ws/group": ["jwt", "apiKey", "agentToken"],
      "/ws/session": ["sessionToken"],
    };
    for (const [path, fitting] of Object.entries(fits)) {
      for (const [name, secret] of Object.entries(secrets)) {
        if (fitting.includes(name)) continue;
        for (const more of [{ role: "consumer", sessionId: session.id }, { role: secret, sessionId: secret }, {}]) {
          refused.push((await openAt(server, path, { ...more, token: secret, slotIndex: secret })).closed);
        }
      }
    }
    await Promise.all(refused);
    const token = session.sessionToken;
    const inside: TestSocket[] = [
      await openAgent(server, agentToken),
      await openSession(server, { sessionId: session.id, token }),
      await openGroup(server, session.id, agentToken),
    ];
    for (const socket of inside) {
      for (const secret of Object.values(secrets)) {
        socket.send(secret);
        socket.send({ type: secret, payload: { [secret]: secret } });
        socket.send({ type: "dialogue.message", payload: secret });
        socket.send({ type: "agent.status_update", payload: { onlineStatus: secret } });
        socket.send({ type: "dialogue.message", payload: { content: "x" }, targetSlot: secret, mentions: [secret] });
      }
    }
    await inside[1]?.settled();
    for (const socket of inside) {
      socket.ws.close(4999, canaries.secret("a reason", random()));
      await socket.closed;
    }

    // Faults: the database refuses what every check has let through.
    const before = logged.filter((line) => line.includes('"level":50')).length;
    const said = { type: "dialogue.message", payload: { content: canaries.secret("said in vain", random()) } };
    const inVain = { agentId, taskDescription: canaries.secret("a task in vain", `in vain ${random()}`) };
    const socket = await openSession(server, { sessionId: session.id, token });
    /** PostgreSQL shows the row that it would not take, to whoever reads its error. */
    const whileFull = async (table: string, calls: () => Promise<unknown>) => {
      const run = (sqlite: string, postgres: string) =>
        server.server.store.write(({ db }) => sql.raw(database === "sqlite" ? sqlite : postgres).execute(db));
      await run(
        `create trigger "full" before insert on "${table}" begin select raise(abort, 'The table is full'); end`,
        `alter table "${table}" add constraint "full" check (false) not valid`,
      );
      await calls();
      await run('drop trigger "full"', `alter table "${table}" drop constraint "full"`);
    };
    const faulty = async (who: Caller, path: string, args: object) =>
      expect(who.call(path, args)).rejects.toMatchObject({ code: "internal" });
    await whileFull("sessionMessages", async () => {
      await faulty(alice, "sessions:sendMessage", { sessionId: session.id, ...said });
      socket.send(said);
      await socket.next("system.error");
    });
    await whileFull("sessions", () => faulty(alice, "sessions:create", inVain));
    await whileFull("cartItems", () =>
      faulty(alice, "cart:add", { ...inVain, agentId: undefined, providerAgentId: agentId }),
    );
    await whileFull("outbox", () => faulty(server.nobody, "users:sendVerification", { email: "new@example.com" }));
    await whileFull("agentCredentials", async () => {
      const made = { name: "New", slug: freshSlug(), description: "Makes a token in vain" };
      await faulty(alice, "agents:create", made);
    });
    await server.nobody.call("users:sendVerification", { email: "carol@example.com" });
    const verificationCode = canaries.code("Carol's code", await server.verificationCode("carol@example.com"));
    const account = { email: "carol@example.com", password, name: "Carol", verificationCode };
    await whileFull("users", () => faulty(server.nobody, "users:register", account));
    await whileFull("idempotency", async () => {
      const headers = { "Idempotency-Key": canaries.secret("a key", crypto.randomUUID()) };
      const again = server.nobody.call("users:signIn", { email: bob.email, password }, headers);
      await expect(again).rejects.toMatchObject({ code: "internal" });
    });
    expect(logged.filter((line) => line.includes('"level":50'))).toHaveLength(before + 8);
    expect(logged.join("\n")).not.toContain("verification code is");

    // What was put on purpose where things are stored as they come is not searched for.
    for (const table of ["agents", "blockedMessages"] as const) {
      const rows = await server.read((db) => db.selectFrom(table).selectAll(table).execute());
      expect(rows.length).toBe(table === "agents" ? 1 : 0);
    }
    expect(await leftovers()).toEqual(nothing);
  });

  test("leave the outbox with the mail that they were in", async () => {
    let refuses = true;
    sendMail = async ({ recipient, body }) => {
      if (refuses) throw new Error(`550 ${recipient} is full`);
      server.mails.push({ recipient, subject: "", body });
    };
    await start();
    const email = "alice@example.com";
    await server.nobody.call("users:sendVerification", { email });
    await server.server.mailer.idle();
    const [waiting] = await server.read((db) => db.selectFrom("outbox").select("body").execute());
    canaries.code("the code", /\b\d{6}\b/.exec(waiting?.body ?? "")?.[0] ?? "");
    stored.add("the code");
    const { log: inLog, console: onConsole } = await leftovers();
    expect([inLog, onConsole]).toEqual([[], []]);
    expect(canaries.foundIn(await dump(server))).toEqual(["the code"]);

    // The next server sends it.
    refuses = false;
    stored.clear();
    const { clock, databaseUrl, remove } = server;
    clock.jump(minute);
    server = await startServer(database, {
      log,
      clock,
      databaseUrl,
      sendMail,
      config: { logLevel: "trace", jwtSecret },
    });
    Object.assign(server, { remove });
    await eventually(
      () => server.read((db) => db.selectFrom("outbox").select("mailId").execute()),
      (rows) => rows.length === 0,
    );
    expect(server.mails.map(({ recipient }) => recipient)).toEqual([email]);
    expect(await leftovers()).toEqual(nothing);
  });

  test("show a code in the log where there is no mail server, and only on its own line", async () => {
    sendMail = createSendMail({ smtpUrl: undefined, mailFrom: undefined }, log);
    await start();
    const email = "alice@example.com";
    await server.nobody.call("users:sendVerification", { email });
    await server.server.mailer.idle();
    const lines = logged.filter((line) => line.includes(email));
    expect(lines).toHaveLength(1);
    const verificationCode = canaries.code("the code", /\b\d{6}\b/.exec(JSON.parse(lines[0] ?? "{}").body)?.[0] ?? "");
    logged.splice(logged.indexOf(lines[0] ?? ""), 1);

    const wrong = canaries.code("a wrong code", verificationCode === "111111" ? "222222" : "111111");
    const account = { email, password: canaries.secret("the password", random()), name: "Alice" };
    for (const code of [wrong, verificationCode, verificationCode]) {
      const { body } = await rest(server.nobody, "POST", "/api/auth/register", { ...account, verificationCode: code });
      expect(JSON.stringify(body)).not.toContain(verificationCode);
    }
    expect(await leftovers()).toEqual(nothing);
  });
});
