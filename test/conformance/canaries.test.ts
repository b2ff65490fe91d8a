/**
 * What must not be found: a whole story is told with values that occur nowhere else, on a server that logs all that it
 * can, with mistakes of every kind among the calls. Afterwards the log, the files of SQLite byte by byte and every row of
 * PostgreSQL are searched for each of them (test/support/canaries.ts).
 */
import { connect } from "node:net";
import { sql } from "kysely";
import { pino } from "pino";
import nacl from "tweetnacl";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { Canaries, dump, watchConsole } from "../support/canaries.js";
import { type Agent, databases, hour, minute, startServer, type TestServer } from "../support/harness.js";

const base64 = (bytes: Uint8Array) => Buffer.from(bytes).toString("base64");

describe.each(databases)("secrets on %s", (database) => {
  let logged: string[];
  let server: TestServer;
  let canaries: Canaries;
  let printed: ReturnType<typeof watchConsole>;
  beforeEach(async () => {
    logged = [];
    canaries = new Canaries();
    printed = watchConsole();
    const log = pino({ level: "trace" }, { write: (line: string) => logged.push(line) });
    server = await startServer(database, { log, config: { logLevel: "trace", rateLimits: true } });
  });
  afterEach(() => {
    printed.stop();
    return server.remove();
  });

  /** Closes the server and says what is left of the canaries, and where. */
  async function leftovers() {
    await server.server.close();
    return {
      log: canaries.foundIn(Buffer.from(logged.join("\n"))),
      console: canaries.foundIn(Buffer.from(printed.text())),
      database: canaries.foundIn(await dump(server)),
    };
  }
  const nothing = { log: [], console: [], database: [] };

  const post = (path: string, headers: Record<string, string>, body: string) =>
    fetch(`${server.url}${path}`, {
      method: "POST",
      headers: { "Content-Type": "application/json", ...headers },
      body,
    }).then(async (response) => [response.status, await response.text()] as const);

  async function register(name: string): Promise<Agent> {
    const agent = await server.agent(name);
    canaries.secret(`${name}'s API key`, agent.credential);
    canaries.secret(`${name}'s claim token`, agent.claimToken);
    return agent;
  }

  /** Exact places that differ in the last digits, so that each is a canary of its own. */
  let places = 0;
  function place(name: string): [number, number] {
    places += 1;
    return [
      canaries.coordinate(`${name}: latitude`, 48.2081743 + places * 1.0000037e-4),
      canaries.coordinate(`${name}: longitude`, 16.3738189 + places * 1.0000071e-4),
    ];
  }

  test("of a whole story are neither in the log nor in the database", async () => {
    const [alice, bob] = [await register("Alice"), await register("Bob")];
    const token = await server.withAgentToken(alice);
    canaries.secret("Alice's agent token", token.credential);
    await token.call("agents:getStatus");
    await server.nobody.call("agents:claim", { claimToken: alice.claimToken });
    await server.nobody.call("agents:getClaim", { claimToken: bob.claimToken });
    canaries.secret("a renewed claim token", (await bob.call("agents:renewClaim")).claimToken);

    const { inviteToken } = await alice.call(
      "connections:invite",
      {},
      { "Idempotency-Key": canaries.secret("a key", crypto.randomUUID()) },
    );
    canaries.secret("an accepted invite token", inviteToken);
    canaries.secret("an open invite token", (await alice.call("connections:invite")).inviteToken);
    await server.nobody.call("connections:getInvite", { inviteToken });
    const { connectionId } = await bob.call("connections:accept", { inviteToken });

    // Encrypted as the helper scripts do it; the relay has neither of the secret keys.
    const [aliceKeys, bobKeys] = [nacl.box.keyPair(), nacl.box.keyPair()];
    canaries.secret("Alice's secret key", base64(aliceKeys.secretKey).replace(/=+$/, ""));
    await alice.call("agents:setPublicKey", { publicKey: base64(aliceKeys.publicKey) });
    await bob.call("agents:setPublicKey", { publicKey: base64(bobKeys.publicKey) });
    const { threadId } = await alice.call("messages:startThread", { connectionId });
    const plaintext = canaries.secret("an encrypted message", "canary-plaintext dinner at the old mill");
    const nonce = nacl.randomBytes(24);
    const sealed = nacl.box(Buffer.from(plaintext), nonce, bobKeys.publicKey, aliceKeys.secretKey);
    const encryptedPayload = base64(Buffer.concat([nonce, sealed]));
    await alice.call(
      "messages:send",
      { threadId, type: "proposal", encryptedPayload },
      { "Idempotency-Key": "message-key" },
    );
    const [message] = await bob.call("messages:getForThread", { threadId });
    const received = Buffer.from(message.encryptedPayload, "base64");
    const opened = nacl.box.open(
      received.subarray(24),
      received.subarray(0, 24),
      aliceKeys.publicKey,
      bobKeys.secretKey,
    );
    expect(Buffer.from(opened ?? []).toString()).toBe(plaintext);
    await bob.call("messages:send", { threadId, type: "accept", encryptedPayload });
    await alice.call("approvals:submit", { threadId, approved: true, note: "fine" });

    expect(await leftovers()).toEqual(nothing);
  });

  test("in calls that go wrong are neither in the log nor in the database", async () => {
    const alice = await register("Alice");
    const key = alice.credential;
    const bearer = { Authorization: `Bearer ${key}` };
    const wrong = canaries.secret("a wrong bearer", `c2c_${crypto.randomUUID()}`);
    const statuses: number[] = [];
    const send = async (...call: Parameters<typeof post>) => statuses.push((await post(...call))[0]);

    // A secret in every wrong place.
    await send("/api/query", { Authorization: `Bearer ${wrong}` }, '{"path":"agents:getStatus"}');
    await send("/api/query", { Authorization: wrong }, '{"path":"agents:getStatus"}');
    await send("/api/query", { Authorization: `Basic ${wrong}` }, '{"path":"agents:getStatus"}');
    await send("/api/query", bearer, `{"path":"agents:getStatus","args":{"apiKey":"${key}"`);
    await send("/api/query", bearer, `{"path":"${key}"}`);
    await send("/api/query", bearer, `{"path":"agents:${key}","args":{}}`);
    await send("/api/query", bearer, `{"path":"agents:getStatus","format":"${key}"}`);
    await send("/api/query", bearer, `{"path":"agents:getStatus","args":{"${key}":"${key}"}}`);
    await send("/api/query", bearer, `{"path":"agents:getStatus","args":{"$${key}":1}}`);
    await send("/api/query", bearer, `{"path":"agents:getStatus","args":"${key}"}`);
    await send("/api/mutation", bearer, `{"path":"agents:getStatus"}`);
    await send("/api/mutation", bearer, `{"path":"agents:setPublicKey","args":{"publicKey":"${key}"}}`);
    await send("/api/mutation", bearer, `{"path":"agents:claim","args":{"claimToken":"${key}"}}`);
    await send("/api/mutation", bearer, `{"path":"connections:accept","args":{"inviteToken":"${key}"}}`);
    await send(
      "/api/mutation",
      bearer,
      `{"path":"messages:send","args":{"threadId":"${key}","type":"${key}","payload":{"${key}":"${key}"}}}`,
    );
    await send("/api/mutation", { ...bearer, "Idempotency-Key": `${key} ${key}` }, `{"path":"connections:invite"}`);
    await send("/api/mutation", { ...bearer, "Content-Type": `text/${key}` }, key);
    await send("/api/mutation", bearer, `{"path":"agents:register","args":{"name":"${`${key} `.repeat(9)}"}}`);
    await send(`/api/run/${key}/${key}`, bearer, "{}");
    await send(
      `/api/${key}?apiKey=${key}`,
      { ...bearer, Referer: `http://x/${key}`, Cookie: `a=${key}`, "User-Agent": key },
      "{}",
    );
    await send(`/claim/${alice.claimToken}/${key}`, bearer, key);
    await send(
      "/api/mutation",
      bearer,
      `{"path":"agents:register","args":{"name":"x","description":"${key.repeat(40_000)}"}}`,
    );
    expect(statuses.filter((status) => status >= 500)).toEqual([]);
    await fetch(`${server.url}/api/query?path=${key}&args=${key}&format=json`);
    await fetch(`${server.url}/api/query?path=agents:getClaim&args=${encodeURIComponent(`{"claimToken":"${key}"}`)}`);
    await fetch(`${server.url}/claim/${alice.claimToken}`);
    // A body that breaks off, bytes that are no HTTP, a host that is none.
    for (const bytes of [
      `POST /api/mutation HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${key}\r\nContent-Type: application/json\r\nContent-Length: 9999\r\n\r\n{"path":"${key}`,
      `${key} /${key} HTTP/9.9\r\n${key}\r\n\r\n`,
      `GET /api/query?path=${key} HTTP/1.1\r\nHost: ${key}/[\r\n\r\n`,
      `GET http://${key}:x/${key} HTTP/1.1\r\nHost: x\r\n\r\n`,
    ]) {
      await new Promise<void>((resolve) => {
        const socket = connect(Number(new URL(server.url).port), "127.0.0.1", () => socket.end(bytes));
        socket
          .on("close", () => resolve())
          .on("error", () => {})
          .resume();
      });
    }
    // Faults: the database refuses what every check has let through.
    await server.server.store.write(({ db }) => sql`alter table connections rename to gone`.execute(db));
    expect(
      (
        await post(
          "/api/mutation",
          bearer,
          `{"path":"agents:setPublicKey","args":{"publicKey":"${base64(nacl.randomBytes(32))}"}}`,
        )
      )[0],
    ).toBe(200);
    expect(
      (
        await post("/api/mutation", { ...bearer, "Idempotency-Key": key }, '{"path":"connections:invite","args":{}}')
      )[0],
    ).toBe(500);
    expect(
      (await post("/api/mutation", bearer, `{"path":"connections:accept","args":{"inviteToken":"${key}"}}`))[0],
    ).toBe(500);
    expect((await post("/api/query", bearer, '{"path":"agents:getStatus"}'))[0]).toBe(500);
    await server.server.store.write(({ db }) => sql`alter table gone rename to connections`.execute(db));
    // So much that the address is cut off.
    for (let guess = 0; guess < 80; guess += 1) {
      await post("/api/query", { Authorization: `Bearer ${wrong}` }, '{"path":"agents:getStatus"}');
    }

    expect(logged.filter((line) => line.includes('"msg":"fault"'))).toHaveLength(3);
    // An agent's name and a message are stored as they come, so what was put there on purpose is not searched for.
    const stored = await server.read((db) => db.selectFrom("agents").select("name").execute());
    expect(stored.map(({ name }) => name)).toEqual(["Alice"]);
    expect(await leftovers()).toEqual(nothing);
  });

  test("in a remembered reply are unreadable, and the retry still gets them", async () => {
    const idempotencyKey = canaries.secret("the Idempotency-Key", crypto.randomUUID());
    const register = () =>
      post(
        "/api/mutation",
        { "Idempotency-Key": idempotencyKey },
        '{"path":"agents:register","args":{"name":"Retrier"}}',
      );
    const [first, second] = [await register(), await register()];
    expect(second).toEqual(first);
    const { value } = JSON.parse(first[1]) as { value: { apiKey: string; claimToken: string } };
    canaries.secret("the API key", value.apiKey);
    canaries.secret("the claim token", value.claimToken);
    const used = await post(
      "/api/mutation",
      { "Idempotency-Key": idempotencyKey },
      '{"path":"agents:register","args":{"name":"Another"}}',
    );
    expect(used[1]).toContain("was used for another call");
    expect(await leftovers()).toEqual(nothing);
  });

  /** An event, an agent for it, and many rows around, so that rows move between pages while they live. */
  async function meeting() {
    const alice = await register("Alice");
    await server.nobody.call("agents:claim", { claimToken: alice.claimToken });
    const startAt = server.clock.now();
    const event = { name: "Meeting", startAt, endAt: startAt + 10 * hour, locationLat: 48.208, locationLng: 16.374 };
    const { eventId } = await alice.call("events:create", event);
    const share = async (agent: Agent, name: string) =>
      canaries.secret(`${name}: token`, await agent.shareLocation(...place(name)));
    const guests: Agent[] = [];
    for (let guest = 0; guest < 25; guest += 1) guests.push(await register(`Guest ${guest}`));
    return { alice, eventId, share, guests };
  }

  test("that a location share held are gone once a check-in has spent it", async () => {
    const { alice, eventId, share, guests } = await meeting();
    for (const [index, guest] of guests.entries()) {
      const locationShareToken = await share(guest, guest.name);
      await guest.call("events:getLocationShare", { shareToken: locationShareToken });
      await guest.call("events:listNearby", { shareToken: locationShareToken, radiusKm: 5 });
      const headers: Record<string, string> = index % 2 === 0 ? { "Idempotency-Key": "check-in" } : {};
      await guest.call("events:checkIn", { eventId, locationShareToken, introNote: "x".repeat(400) }, headers);
    }
    // Refused submissions: on a link that is used, on none, and with coordinates that are none.
    const used = await share(alice, "used");
    const open = (await alice.call("events:requestLocationShare")).shareToken;
    const [lat, lng] = place("refused");
    const submit = (args: object) =>
      server.nobody.call("events:submitLocationShare", args, { "Idempotency-Key": crypto.randomUUID() });
    await expect(submit({ shareToken: used, lat, lng })).rejects.toThrow("already shared");
    await expect(submit({ shareToken: "loc_x", lat, lng })).rejects.toThrow("Invalid");
    await expect(submit({ shareToken: open, lat: lat + 100, lng, [`${lat}`]: lng })).rejects.toThrow(
      "Invalid arguments",
    );
    await alice.call("events:checkIn", { eventId, locationShareToken: used });

    expect(await leftovers()).toEqual(nothing);
  });

  test("that a location share held are gone an hour after it was submitted", async () => {
    const { alice, share, guests } = await meeting();
    const lapsed = await share(alice, "lapsed");
    for (const guest of guests) await share(guest, guest.name);
    const { shareToken } = await alice.call("events:requestLocationShare");
    await server.nobody.call(
      "events:submitLocationShare",
      {
        shareToken: canaries.secret("accurate: token", shareToken),
        lat: place("accurate")[0],
        lng: place("accurate too")[1],
        accuracyMeters: canaries.coordinate("accuracy", 12.345678901),
      },
      { "Idempotency-Key": "submission" },
    );

    await server.advance(60 * minute);
    const read = await alice.call("events:getLocationShare", { shareToken: lapsed });
    expect([read.status, read.lat, read.lng]).toEqual(["expired", undefined, undefined]);
    expect(await leftovers()).toEqual(nothing);
  });

  test("that people give to the pages are neither in the log nor, once used, in the database", async () => {
    const { alice, eventId } = await meeting();
    const bob = await register("Bob");
    const { inviteToken } = await bob.call("connections:invite");
    canaries.secret("Bob's invite token", inviteToken);
    const { shareToken } = await alice.call("events:requestLocationShare");
    canaries.secret("Alice's share token", shareToken);
    const [lat, lng] = place("from the page");
    const visit = async (path: string, fields?: Record<string, string>) => {
      const body = fields === undefined ? {} : { method: "POST", body: new URLSearchParams(fields) };
      const response = await fetch(server.url + path, { ...body, headers: { Origin: server.url } });
      await response.text();
      return response.status;
    };
    for (const path of [`/claim/${bob.claimToken}`, `/connect/${inviteToken}`, `/share/${shareToken}`]) {
      expect(await visit(path)).toBe(200);
      expect(await visit(`${path}x`)).toBe(404);
    }
    expect(await visit(`/claim/${bob.claimToken}`, {})).toBe(200);
    expect(await visit(`/share/${shareToken}`, { lat: `${lat}x`, lng: `${lng}` })).toBe(400);
    expect(await visit(`/share/${shareToken}`, { lat: `${lat}`, lng: `${lng}` })).toBe(200);
    expect(await visit(`/share/${shareToken}`, { lat: `${lat}`, lng: `${lng}` })).toBe(409);
    await alice.call("events:checkIn", { eventId, locationShareToken: shareToken });

    expect(await leftovers()).toEqual(nothing);
  });

  test("would be found by this search: a public place is in the database, where nothing of an active share is", async () => {
    const alice = await register("Alice");
    await alice.shareLocation(...place("active"));
    const [locationLat, locationLng] = place("public");
    const startAt = server.clock.now();
    const event = { name: "E", locationLat, locationLng, startAt, endAt: startAt + hour };
    await alice.call("events:create", event);
    const found = await leftovers();
    expect(found).toEqual({ ...nothing, database: ["public: latitude", "public: longitude"] });
  });
});
