/** What the servers of a run contain before it: agents in connected pairs, and threads full of messages. */
import { randomBytes } from "node:crypto";
import { hourOf } from "../functions/model/rules/thread-states.js";
import { hashSecret, newId, newSecret, newUuid } from "../runtime/ids.js";
import type { Store } from "../runtime/store/store.js";

/** What one caller needs: an agent's key and one of its threads. */
export interface Seat {
  apiKey: string;
  threadId: string;
}

export interface Filling {
  threads: number;
  messagesPerThread: number;
}

const pairs = 64;
/** How many threads grow side by side. When agents really talk, the rows of one thread do not arrive together. */
const sideBySide = 500;
const startedMs = Date.now() - 24 * 60 * 60 * 1_000;

/** 400 characters of base64, the size of an encrypted message of about 200 bytes. */
export function payload(): string {
  return randomBytes(300).toString("base64");
}

/** Fills a migrated database. Every pair of agents has its own threads; each thread gives one seat. */
export async function fill(store: Store, { threads, messagesPerThread }: Filling): Promise<Seat[]> {
  const people = Array.from({ length: pairs }, () => ({
    apiKey: newSecret("c2c_"),
    agentA: newUuid(startedMs),
    agentB: newUuid(startedMs),
    connectionId: newId("conn", startedMs),
  }));
  await store.write(async ({ db }) => {
    const agents = people.flatMap(({ agentA, agentB }) => [agentA, agentB]);
    const agent = { description: null, claimedAt: null, publicKey: null, createdAt: startedMs };
    await db
      .insertInto("agents")
      .values(agents.map((agentId, index) => ({ ...agent, agentId, name: `Agent ${index}`, claimTokenHash: agentId })))
      .execute();
    await db
      .insertInto("agentCredentials")
      .values(
        people.map(({ apiKey, agentA }) => ({
          secretHash: hashSecret(apiKey),
          agentId: agentA,
          kind: "apiKey" as const,
          createdAt: startedMs,
        })),
      )
      .execute();
    await db
      .insertInto("connections")
      .values(
        people.map(({ connectionId, agentA, agentB }) => ({
          connectionId,
          inviterAgentId: agentA,
          accepterAgentId: agentB,
          pairKey: `${agentA} ${agentB}`,
          inviteTokenHash: connectionId,
          status: "active" as const,
          createdAt: startedMs,
          expiresAt: startedMs,
          acceptedAt: startedMs,
        })),
      )
      .execute();
  });

  const seats: Seat[] = [];
  for (let first = 0; first < threads; first += sideBySide) {
    const block = Array.from({ length: Math.min(sideBySide, threads - first) }, (_, index) => {
      const pair = people[(first + index) % pairs] as (typeof people)[number];
      return { ...pair, threadId: newId("thr", startedMs + first) };
    });
    seats.push(...block.map(({ apiKey, threadId }) => ({ apiKey, threadId })));
    const openedAt = startedMs + first * messagesPerThread;
    await store.write(async ({ db }) => {
      await db
        .insertInto("threads")
        .values(
          block.map(({ threadId, connectionId, agentA, agentB }) => ({
            threadId,
            connectionId,
            agentAId: agentA,
            agentBId: agentB,
            status: "negotiating" as const,
            proposalMessageId: null,
            proposalAgentId: null,
            approvalDeadline: null,
            closesAt: null,
            proposalCount: 0,
            supersededAt: null,
            messageCount: messagesPerThread,
            lastMessageAt: openedAt + messagesPerThread,
            activeHour: hourOf(openedAt + messagesPerThread),
            createdAt: openedAt,
          })),
        )
        .execute();
      for (let message = 1; message <= messagesPerThread; message += 1) {
        const createdAt = openedAt + message;
        await db
          .insertInto("messages")
          .values(
            block.map(({ threadId, agentA, agentB }) => ({
              threadId,
              createdAt,
              messageId: newId("msg", createdAt),
              fromAgentId: message % 2 === 0 ? agentA : agentB,
              type: "info" as const,
              encryptedPayload: payload(),
              payload: null,
              referencesMessageId: null,
            })),
          )
          .execute();
      }
    });
  }
  return seats;
}
