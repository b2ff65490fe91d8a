/**
 * Generated text in every place where text is stored: it comes back as it was sent, or was refused. `TEST_LONG=1`
 * multiplies the counts.
 */
import fc from "fast-check";
import { type Logger, pino } from "pino";
import { describe, expect, test } from "vitest";
import { shownName } from "../../schema/names.js";
import { databases, hour, password, useServer } from "../support/harness.js";
import { asAgent, draft, freshSlug } from "../support/market.js";
import { nastyKey, nastyText } from "../support/nasty.js";
import { openSession, rentable } from "../support/rental.js";

const times = process.env.TEST_LONG === "1" ? 2 : 1;

/** Faults, which are ours: the log has a line for each. */
function collectFaults(): { faults: string[]; log: Logger } {
  const faults: string[] = [];
  return { faults, log: pino({ level: "error" }, { write: (line: string) => faults.push(line) }) };
}

const isStorable = (text: string) => text.isWellFormed() && !text.includes("\0");
/** A name; which these are: shown-names.test.ts. */
const isName = (text: string) => isStorable(text) && shownName(100_000).safeParse(text).success;
const characters = (text: string) => [...text].length;
const refusedArgs = { code: "invalid_args", httpStatus: 200 };

const json = fc.letrec<{ value: unknown }>((tie) => ({
  value: fc.oneof(
    { depthSize: "small" },
    nastyText.filter((text) => text.length < 500),
    fc.double({ noNaN: true, noDefaultInfinity: true }).map((number) => number + 0 || 0),
    fc.constantFrom<unknown>(null, true, false),
    fc.array(tie("value"), { maxLength: 3 }),
    fc.dictionary(nastyKey, tie("value"), { maxKeys: 3, noNullPrototype: false }),
  ),
})).value;
const isKey = (key: string) =>
  /^[\x20-\x7e]*$/.test(key) && !key.startsWith("$") && key !== "__proto__" && key.length <= 1_024;
const isStorableValue = (value: unknown): boolean =>
  typeof value === "string"
    ? isStorable(value)
    : typeof value !== "object" || value === null
      ? true
      : Object.entries(value).every(([key, item]) => (Array.isArray(value) || isKey(key)) && isStorableValue(item));

describe.each(databases)("stored text on %s comes back as it was sent, or was refused", (database) => {
  const { faults, log } = collectFaults();
  const server = useServer(database, { log });
  const runs = { numRuns: 250 * times };

  test("an agent's name and description", async () => {
    await fc.assert(
      fc.asyncProperty(nastyText, fc.option(nastyText), async (name, description) => {
        const fits =
          isName(name) &&
          isStorable(description ?? "") &&
          characters(name) <= 100 &&
          name.trim() !== "" &&
          characters(description ?? "") <= 500;
        const registered = server.nobody.call("agents:register", { name, description });
        if (!fits) {
          await expect(registered).rejects.toMatchObject(refusedArgs);
          return;
        }
        const { apiKey, claimToken } = await registered;
        const response = await fetch(`${server.url}/api/query`, {
          method: "POST",
          headers: { "Content-Type": "application/json", Authorization: `Bearer ${apiKey}` },
          body: JSON.stringify({ path: "agents:getStatus", format: "convex_encoded_json" }),
        });
        const { value } = (await response.json()) as { value: Record<string, unknown> };
        expect(value).toMatchObject({ name, description });
        expect(await server.nobody.call("agents:getClaim", { claimToken })).toMatchObject({ name, description });
      }),
      runs,
    );
    expect(faults).toEqual([]);
  });

  test("a message's payload", async () => {
    const { alice, bob, threadId } = await server.negotiatingPair();
    await fc.assert(
      fc.asyncProperty(fc.dictionary(nastyKey, json, { maxKeys: 4, noNullPrototype: false }), async (fields) => {
        const payload = { notes: "always", ...fields };
        const text = JSON.stringify(payload);
        const sent = alice.call("messages:send", { threadId, type: "info", payload });
        if (!isStorableValue(payload)) {
          await expect(sent).rejects.toMatchObject({ httpStatus: 200 });
          return;
        }
        if (Buffer.byteLength(text) > 4_096) {
          await expect(sent).rejects.toMatchObject({ code: "too_large" });
          return;
        }
        const { messageId, createdAt } = await sent;
        const read = await bob.call("messages:getForThread", { threadId, after: createdAt - 1 });
        const message = { messageId, threadId, fromAgentId: alice.agentId, type: "info", createdAt };
        expect(read).toEqual([{ ...message, payload: JSON.parse(text), cursor: expect.any(String) }]);
      }),
      runs,
    );
    expect(faults).toEqual([]);
  });

  test("an event's name, description and place, and its tags but for their normal form", async () => {
    const alice = await server.agent("Alice", { claimed: true });
    const startAt = server.clock.now() + hour;
    await fc.assert(
      fc.asyncProperty(
        nastyText,
        nastyText,
        fc.option(nastyText, { nil: undefined }),
        fc.array(nastyText, { maxLength: 14 }),
        async (name, description, location, tags) => {
          const fits =
            isName(name) &&
            [description, location ?? "", ...tags].every(isStorable) &&
            characters(name) <= 120 &&
            name.trim() !== "" &&
            characters(description) <= 500 &&
            characters(location ?? "") <= 500;
          const args = { name, description, location, tags, startAt, endAt: startAt + hour };
          const created = alice.call("events:create", args);
          if (!fits) {
            await expect(created).rejects.toMatchObject(refusedArgs);
            return;
          }
          const { eventId, ...event } = await created;
          expect(event).toMatchObject({ name, description, ...(location === undefined ? {} : { location }) });
          const read = await alice.call("events:getById", { eventId });
          expect(read).toMatchObject(event);
          expect(read.tags.length).toBeLessThanOrEqual(10);
          for (const tag of read.tags) {
            expect(tag.isWellFormed() && characters(tag) <= 50 && tag === tag.trim() && tag !== "").toBe(true);
          }
          expect(new Set(read.tags).size).toBe(read.tags.length);
          // The normal form is one: sending it again changes nothing.
          expect((await alice.call("events:updateTags", { eventId, tags: read.tags })).tags).toEqual(read.tags);
          // One agent has only so many open.
          await alice.call("events:cancel", { eventId });
        },
      ),
      runs,
    );
    expect(faults).toEqual([]);
  });

  test("a check-in's goal, note and constraints", async () => {
    const alice = await server.agent("Alice", { claimed: true });
    const startAt = server.clock.now();
    const { eventId } = await alice.call("events:create", { name: "Open", startAt, endAt: startAt + 5 * hour });
    const locationShareToken = await alice.shareLocation(1, 2);
    await alice.call("events:checkIn", { eventId, locationShareToken });
    await fc.assert(
      fc.asyncProperty(nastyText, nastyText, nastyText, async (eventGoal, introNote, introConstraints) => {
        const brief = { eventGoal, introNote, introConstraints };
        const fits = Object.values(brief).every((text) => isStorable(text) && characters(text) <= 500);
        const renewed = alice.call("events:checkIn", { eventId, ...brief });
        if (!fits) {
          await expect(renewed).rejects.toMatchObject(refusedArgs);
          return;
        }
        expect(await renewed).toMatchObject(brief);
        expect((await alice.call("events:getById", { eventId })).myCheckin).toMatchObject(brief);
      }),
      runs,
    );
    expect(faults).toEqual([]);
  });
});

/** Text as people write it, which is never refused for what it says. */
const humanText = fc.constantFrom(
  "Read this contract and say what it means",
  "读一下这份合同，告诉我它的意思",
  "اقرأ هذا العقد وقل ما معناه \u202e\u200f!",
  "👩‍👩‍👧‍👦🏳️‍🌈 contract ✓ naïve Z͑ͫ̓a̴l̷g̶o̵ text",
  "  spaces at both ends, a tab\tand a\r\nline  ",
);
const anyText = fc.oneof({ weight: 2, arbitrary: nastyText }, { weight: 1, arbitrary: humanText });

describe.each(databases)(
  "stored text of the marketplace on %s comes back as it was sent, or was refused",
  (database) => {
    const { faults, log } = collectFaults();
    const server = useServer(database, { log });
    const runs = { numRuns: 100 * times };
    /** Whether every text may be stored, and holds `min` to `max` characters. */
    const fits = (...texts: [text: string, max: number, min?: number][]) =>
      texts.every(
        ([text, max, min = 0]) =>
          isStorable(text) && characters(text) <= max && (min === 0 || (text.length >= min && text.trim() !== "")),
      );
    /** The call is refused, or answers; then `check` looks. */
    async function either(mayBe: boolean, called: Promise<unknown>, check: (value: never) => Promise<void>) {
      if (mayBe) await check((await called) as never);
      else await expect(called).rejects.toMatchObject(refusedArgs);
    }

    test("a user's name and password", async () => {
      await fc.assert(
        fc.asyncProperty(anyText, fc.option(anyText, { nil: password, freq: 2 }), async (name, itsPassword) => {
          const email = `${freshSlug()}@example.com`;
          await server.nobody.call("users:sendVerification", { email });
          const verificationCode = await server.verificationCode(email);
          const account = { email, name, password: itsPassword, verificationCode };
          const mayBe = isName(name) && fits([name, 100, 1], [itsPassword, 128, 8]);
          await either(mayBe, server.nobody.call("users:register", account), async () => {
            const { user } = await server.nobody.call("users:signIn", { email, password: itsPassword });
            expect(user.name).toBe(name);
            const another = server.nobody.call("users:signIn", { email, password: `${itsPassword}.`.slice(0, 1_000) });
            await expect(another).rejects.toMatchObject({ code: "unauthenticated" });
          });
        }),
        runs,
      );
      expect(faults).toEqual([]);
    });

    test("an agent's name, descriptions and capabilities, to its owner and on the marketplace", async () => {
      const [bob, admin] = [await server.user("Bob"), await server.admin()];
      await fc.assert(
        fc.asyncProperty(
          anyText,
          anyText,
          anyText,
          fc.record({ name: anyText, description: anyText, tags: fc.array(anyText, { maxLength: 3 }) }),
          async (name, description, longDescription, capability) => {
            const slug = freshSlug();
            const capabilities = [{ category: "law", ...capability }];
            const said = { name, description, longDescription };
            const mayBe =
              isName(name) &&
              isName(capability.name) &&
              fits([name, 100, 1], [description, 500, 10], [longDescription, 5_000], [capability.name, 100, 1]) &&
              fits([capability.description, 500], ...capability.tags.map((tag): [string, number] => [tag, 50]));
            const created = bob.call("agents:create", { slug, ...said, capabilities });
            await either(mayBe, created, async ({ id: agentId }: { id: string }) => {
              expect(await bob.call("agents:get", { agentId })).toMatchObject({ ...said, capabilities });
              await bob.call("agents:publish", { agentId });
              await admin.call("admin:approveAgent", { agentId });
              expect(await server.nobody.call("marketplace:getBySlug", { slug })).toMatchObject({
                ...said,
                capabilities,
              });
              await bob.call("agents:update", { agentId, ...said, capabilities });
              expect(await bob.call("agents:get", { agentId })).toMatchObject({ ...said, capabilities });
            });
          },
        ),
        runs,
      );
      expect(faults).toEqual([]);
    });

    test("a task, a cart's and an order's, and an order's note", async () => {
      const of = await rentable(server, { priceAmount: "0", maxConcurrentSessions: 1_000, approvalMode: "manual" });
      const alice = await server.user("Alice");
      const { agentId } = of;
      await fc.assert(
        fc.asyncProperty(anyText, anyText, async (taskDescription, note) => {
          const rented = alice.call("sessions:create", { agentId, taskDescription });
          await either(fits([taskDescription, 2_000, 10]), rented, async ({ id: sessionId }: { id: string }) => {
            expect(await alice.call("sessions:get", { sessionId })).toMatchObject({ taskDescription });
            await alice.call("sessions:end", { sessionId });
          });
          const item = { providerAgentId: agentId, taskDescription };
          await either(fits([taskDescription, 2_000, 1]), alice.call("cart:add", item), async () => {
            expect((await alice.call("cart:list")).data).toMatchObject([{ taskDescription }]);
          });
          const ordered = alice.call("orders:create", { items: [item], note });
          await either(
            fits([taskDescription, 2_000, 1], [note, 500]),
            ordered,
            async ({ id: orderId }: { id: string }) => {
              expect(await alice.call("orders:get", { orderId })).toMatchObject({ note, items: [{ taskDescription }] });
              await alice.call("orders:cancel", { orderId });
            },
          );
        }),
        runs,
      );
      expect(faults).toEqual([]);
    });

    test("a session message's payload, which may hold all that JSON can say", async () => {
      const { sessionId, agent, consumer } = await openSession(server);
      await fc.assert(
        fc.asyncProperty(
          fc.dictionary(nastyKey, json, { maxKeys: 4, noNullPrototype: false }),
          humanText,
          async (fields, content) => {
            const payload = { content, ...fields };
            // Over REST: some field names mean something on the RPC wire.
            const messages = `/api/sessions/${sessionId}/messages`;
            const sent = await agent.rest("POST", messages, { type: "dialogue.message", payload });
            expect(sent.status).toBe(201);
            const { messageId, createdAt } = sent.body;
            const since = new Date(Date.parse(createdAt) - 1).toISOString();
            const { data } = (await consumer.rest("GET", `${messages}?since=${since}`)).body;
            expect(data).toMatchObject([{ id: messageId, createdAt }]);
            expect(JSON.stringify(data[0].payload)).toBe(JSON.stringify(payload));
          },
        ),
        runs,
      );
      expect(faults).toEqual([]);
    });

    test("serve rules, review notes and documents", async () => {
      const [bob, admin] = [await server.user("Bob"), await server.admin()];
      const made = await draft(bob);
      const agent = asAgent(server, made);
      await fc.assert(
        fc.asyncProperty(anyText, anyText, anyText, async (note, title, content) => {
          const rules = [{ match: { taskDescription: note }, action: "skip" }];
          await either(
            isStorable(note) && note.length < 60_000,
            agent.call("agents:setServeRules", { rules }),
            async () => {
              expect(await agent.call("agents:getServeRules")).toEqual({ rules });
            },
          );
          const agentId = made.id;
          await bob.call("agents:publish", { agentId });
          const rejected = admin.call("admin:rejectAgent", { agentId, note });
          await either(fits([note, 1_000]), rejected, async () => {
            expect((await bob.call("agents:get", { agentId })).providerProfile).toMatchObject({ reviewNote: note });
          });
          const written = { title, content, type: "document", slug: freshSlug() };
          const created = admin.call("docs:create", written);
          await either(
            isName(title) && fits([title, 200, 1], [content, 100_000]),
            created,
            async ({ id: docId }: { id: string }) => {
              await admin.call("docs:publish", { docId });
              expect(await server.nobody.call("docs:get", { docId })).toMatchObject({ title, content });
              await admin.call("docs:update", { docId, title: "Another", content: title });
              expect(await server.nobody.call("docs:get", { docId })).toMatchObject({ content: title });
              await admin.call("docs:remove", { docId });
            },
          );
        }),
        runs,
      );
      expect(faults).toEqual([]);
    });
  },
);
