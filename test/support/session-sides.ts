/** Both sides of a session on their sockets, and what the database holds of it. */
import { expect } from "vitest";
import type { TestServer } from "./harness.js";
import { openSession as rentAgent } from "./rental.js";
import { type Frame, openAt, openSession, type TestSocket } from "./sockets.js";

export const uuid = expect.stringMatching(/^[0-9a-f]{8}-[0-9a-f-]{27}$/);
export const iso = (stamp: number) => new Date(stamp).toISOString();

/** A session with the tokens of both of its sides. */
export async function rental(
  server: TestServer,
  fields: Parameters<typeof rentAgent>[1] = {},
  rent: Parameters<typeof rentAgent>[2] = {},
) {
  const rented = await rentAgent(server, fields, rent);
  const { sessionId, session, provider } = rented;
  const seen = await provider.call("sessions:get", { sessionId });
  const asConsumer = { sessionId, token: session.sessionToken as string, role: "consumer" };
  const asProvider = { sessionId, token: seen.sessionToken as string, role: "provider" };
  return { ...rented, asConsumer, asProvider };
}

/** Both sides, each with the news that the other is there taken. */
export async function meeting(server: TestServer, fields: Parameters<typeof rentAgent>[1] = {}, options = {}) {
  const rented = await rental(server, fields);
  const consumer = await openSession(server, rented.asConsumer);
  const provider = await openAt(server, "/ws/session", rented.asProvider, options);
  await provider.settled();
  await consumer.next("system.peer_connected");
  await provider.next("system.peer_connected");
  return { ...rented, consumer, provider, consumerUser: rented.consumer, providerUser: rented.provider };
}

export const say = (content: string, more: object = {}) => ({
  type: "dialogue.message",
  payload: { content },
  ...more,
});
export const contents = (socket: TestSocket) => socket.of("dialogue.message").map(({ payload }) => payload.content);

/** The promise that every client's cursor rests on. */
export function expectRising(frames: Frame[]): void {
  for (const [index, frame] of frames.entries()) {
    expect(frame._meta.timestamp).toBe(iso(frame.timestamp));
    if (index > 0) expect(frame.timestamp).toBeGreaterThan(frames[index - 1].timestamp);
  }
}

export const storedOf = (server: TestServer, sessionId: string) =>
  server.read((db) =>
    db.selectFrom("sessionMessages").selectAll().where("sessionId", "=", sessionId).orderBy("createdAt").execute(),
  );

export const socketsOf = (server: TestServer, sessionId: string) =>
  server.read((db) => db.selectFrom("sessionSockets").selectAll().where("sessionId", "=", sessionId).execute());

/** Up to which stamp the provider is known to have read. */
export async function confirmedAt(server: TestServer, sessionId: string): Promise<number | null> {
  const provider = await server.read((db) =>
    db
      .selectFrom("sessionParticipants")
      .select("confirmedAt")
      .where("sessionId", "=", sessionId)
      .where("side", "=", "provider")
      .executeTakeFirstOrThrow(),
  );
  return provider.confirmedAt;
}
