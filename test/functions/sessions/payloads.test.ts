/** Payloads are the clients' own: any JSON object comes back as it was sent (clawrent.md section 0, rule 15). */
import { describe, expect, test } from "vitest";
import { databases, useServer } from "../../support/harness.js";
import { openSession } from "../../support/rental.js";

/** As JSON text, since some of these are not what a literal in the source would make. */
const payloads = [
  '{"文件":["合同.pdf"],"结果":{"页数":3}}',
  '{"$ref":"#/definitions/a","$schema":"x"}',
  '{"":"an empty key"," ":1}',
  '{"__proto__":{"polluted":true},"constructor":null}',
  '{"content":"a\\u0000b","half":"\\ud83d","tab\\t":"\\t"}',
  '{"content":"🌊","deep":{"a":{"b":{"c":[[[1.5e300,-2]]]}}}}',
];

describe.each(databases)("payloads on %s", (database) => {
  const server = useServer(database);

  test("come back as they were sent", async () => {
    const { consumer, provider, sessionId } = await openSession(server);
    const path = `/api/sessions/${sessionId}/messages`;
    for (const payload of payloads) {
      const sent = await fetch(`${server.url}${path}`, {
        method: "POST",
        headers: { "Content-Type": "application/json", Authorization: `Bearer ${consumer.credential}` },
        body: `{"type":"dialogue.message","payload":${payload}}`,
      });
      expect(sent.status, await sent.text()).toBe(201);
    }
    const response = await fetch(`${server.url}${path}`, {
      headers: { Authorization: `Bearer ${provider.credential}` },
    });
    const { data } = (await response.json()) as { data: { payload: unknown }[] };
    expect(data.map(({ payload }) => JSON.stringify(payload))).toEqual(
      payloads.map((payload) => JSON.stringify(JSON.parse(payload))),
    );
    expect(({} as { polluted?: boolean }).polluted).toBeUndefined();
  });

  test("are refused where they are no object, too deep or too large", async () => {
    const { consumer, sessionId } = await openSession(server);
    const send = (payload: unknown) =>
      consumer.rest("POST", `/api/sessions/${sessionId}/messages`, { type: "dialogue.message", payload });
    for (const payload of ["text", 7, [], true]) expect((await send(payload)).status).toBe(400);
    let deep: unknown = 1;
    for (let level = 0; level < 80; level += 1) deep = [deep];
    expect((await send({ deep })).status).toBe(400);
    expect((await send({ content: "x".repeat(256 * 1_024) })).status).toBe(413);
    expect((await consumer.rest("GET", `/api/sessions/${sessionId}/messages`)).body).toMatchObject({ total: 0 });
  });
});
