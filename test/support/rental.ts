/** Makes agents that can be rented, and sessions with them, as their people would. */
import { systemMutation } from "../../runtime/call/define.js";
import type { Database } from "../../schema/index.js";
import type { SessionSocketsTable } from "../../schema/sessions.js";
import { type Agent, Caller, type TestServer, type User } from "./harness.js";
import { asAgent, connect, draft } from "./market.js";

export const task = "Read this contract and say what it means";

export interface Rentable {
  provider: User;
  /** The agent as a caller, with its token. */
  agent: Agent;
  agentId: string;
}

/** An agent that was approved and activated, and is online. `fields` are those of a publish and a registration. */
export async function rentable(
  server: TestServer,
  fields: { [field: string]: unknown; priceAmount?: string; pricingModel?: string; approvalMode?: string } = {},
  provider?: User,
): Promise<Rentable> {
  const owner = provider ?? (await server.user("Bob"));
  const terms = { pricingModel: "per_session", priceAmount: "5.00", approvalMode: "auto", ...fields };
  const made = await draft(owner, terms);
  await owner.call("agents:publish", { agentId: made.id });
  await (await lastingAdmin(server)).call("admin:approveAgent", { agentId: made.id });
  await connect(server, made.id);
  await owner.call("agents:activate", { agentId: made.id });
  return { provider: owner, agent: asAgent(server, made), agentId: made.id };
}

/** The admin with a credential that does not expire when the clock jumps. */
export async function lastingAdmin(server: TestServer): Promise<Caller> {
  return new Caller(server, (await server.admin()).apiKey);
}

export interface Rental extends Rentable {
  consumer: User;
  sessionId: string;
  // biome-ignore lint/suspicious/noExplicitAny: what comes back is what the tests are about to look at.
  session: any;
}

/** A session as its consumer sees it after renting. It is `active` unless the terms or the task say otherwise. */
export async function openSession(
  server: TestServer,
  fields: Parameters<typeof rentable>[1] = {},
  rent: {
    taskDescription?: string;
    grantedPermissions?: unknown;
    maxAmount?: string;
    topUp?: string;
    of?: Rentable;
    by?: User;
  } = {},
): Promise<Rental> {
  const { topUp = "100.00", of, by, ...request } = rent;
  const rented = of ?? (await rentable(server, fields));
  const consumer = by ?? (await server.user("Alice", { topUp }));
  const { agentId } = rented;
  const session = await consumer.call("sessions:create", { agentId, taskDescription: task, ...request });
  return { ...rented, consumer, session, sessionId: session.id };
}

/** Makes the provider do something: from then on a flat price is owed (clawrent.md section 6.2). */
export async function serve(provider: Caller, sessionId: string): Promise<void> {
  const said = { type: "dialogue.message", payload: { content: "Here it is" } };
  await provider.call("sessions:sendMessage", { sessionId, ...said });
}

/** Runs `work` in a transaction, without calling any function. */
export async function write(
  server: TestServer,
  work: (db: import("kysely").Kysely<Database>) => Promise<unknown>,
): Promise<void> {
  const written = systemMutation("test: what a test writes", async (ctx) => {
    await work(ctx.db);
  });
  await server.server.dispatcher.runSystem(written);
}

let sockets = 0;

/** Writes the row of an open session socket, without a socket. */
export async function openSocket(
  server: TestServer,
  socket: Pick<SessionSocketsTable, "sessionId" | "participantId" | "side"> & Partial<SessionSocketsTable>,
): Promise<void> {
  sockets += 1;
  const row = { socketId: `socket-${sockets}`, slotIndex: 0, channel: "session" as const, processId: "p" };
  await write(server, (db) =>
    db
      .insertInto("sessionSockets")
      .values({ ...row, connectedAt: server.clock.now(), ...socket })
      .execute(),
  );
}
