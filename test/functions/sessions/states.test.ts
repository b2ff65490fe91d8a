/** The session's life (clawrent.md section 5): every state against everything that can be done to it, by whom. */
import { describe, expect, test } from "vitest";
import { databases, hour, type TestServer, useServer } from "../../support/harness.js";
import { expectRefusal } from "../../support/refusals.js";
import { lastingAdmin, openSession, type Rental } from "../../support/rental.js";

const statuses = ["pending_approval", "active", "completed", "aborted", "expired"] as const;
type Status = (typeof statuses)[number];

const acts = {
  "the provider approves": ({ provider, sessionId }: Rental) => provider.call("sessions:approve", { sessionId }),
  "the consumer approves": ({ consumer, sessionId }: Rental) => consumer.call("sessions:approve", { sessionId }),
  "the consumer ends": ({ consumer, sessionId }: Rental) => consumer.call("sessions:end", { sessionId }),
  "the provider ends": ({ provider, sessionId }: Rental) => provider.call("sessions:end", { sessionId }),
  "the consumer sends": ({ consumer, sessionId }: Rental) => send(consumer, sessionId),
  "the provider sends": ({ provider, sessionId }: Rental) => send(provider, sessionId),
  "the consumer pauses the agent": ({ consumer, sessionId, agentId }: Rental) =>
    consumer.call("sessions:pauseParticipant", { sessionId, participantId: agentId }),
  "an admin terminates": async ({ consumer, sessionId }: Rental) =>
    (await lastingAdmin(consumer.on)).call("admin:terminateSession", { sessionId }),
};
type Act = keyof typeof acts;

const send = (who: Rental["consumer"], sessionId: string) =>
  who.call("sessions:sendMessage", { sessionId, type: "dialogue.message", payload: { content: "Hello" } });

const notPending = { code: "failed_precondition", message: "Session is not pending approval" };
const notActive = { code: "failed_precondition", message: "Session is not active" };
const notYours = { code: "forbidden", message: "Not authorized for this action" };
const ended = { code: "failed_precondition", message: "Session has ended already" };

/** State × act: the state after it, or the refusal. */
const table: Record<Status, Record<Act, Status | { code: string; message: string }>> = {
  pending_approval: {
    "the provider approves": "active",
    "the consumer approves": notYours,
    "the consumer ends": "aborted",
    "the provider ends": "aborted",
    "the consumer sends": notActive,
    "the provider sends": notActive,
    "the consumer pauses the agent": notActive,
    "an admin terminates": "aborted",
  },
  active: {
    "the provider approves": "active",
    "the consumer approves": notYours,
    "the consumer ends": "completed",
    "the provider ends": "completed",
    "the consumer sends": "active",
    "the provider sends": "active",
    "the consumer pauses the agent": "active",
    "an admin terminates": "completed",
  },
  completed: overAs("completed"),
  aborted: overAs("aborted"),
  expired: overAs("expired"),
};

/** What has ended can be ended again, and nothing else. */
function overAs(status: Status): (typeof table)[Status] {
  return {
    "the provider approves": notPending,
    "the consumer approves": notYours,
    "the consumer ends": status,
    "the provider ends": status,
    "the consumer sends": notActive,
    "the provider sends": notActive,
    "the consumer pauses the agent": notActive,
    "an admin terminates": ended,
  };
}

/** A session in `status`; one that expired, with or without the timer having written so. */
async function sessionIn(server: TestServer, status: Status, settled = true): Promise<Rental> {
  await server.admin();
  const isAuto = status === "active" || status === "completed";
  const rental = await openSession(server, { approvalMode: isAuto ? "auto" : "manual" });
  const { consumer, sessionId } = rental;
  if (status === "completed" || status === "aborted") await consumer.call("sessions:end", { sessionId });
  if (status === "expired") {
    server.clock.jump(24 * hour);
    if (settled) await server.settle();
  }
  return rental;
}

const statusSeen = async ({ consumer, sessionId }: Rental): Promise<Status> =>
  (await consumer.call("sessions:get", { sessionId })).status;

describe.each(databases)("the session's life on %s", (database) => {
  const server = useServer(database);

  describe.each([...statuses.map((status) => [status, true] as const), ["expired", false] as const])(
    "%s (written by the timer: %s)",
    (status, settled) => {
      test.each(Object.keys(acts) as Act[])("%s", async (act) => {
        const rental = await sessionIn(server, status, settled);
        expect(await statusSeen(rental)).toBe(status);
        const after = table[status][act];
        if (typeof after !== "string") {
          await expectRefusal(server, () => acts[act](rental), after);
          expect(await statusSeen(rental)).toBe(status);
          return;
        }
        await acts[act](rental);
        expect(await statusSeen(rental)).toBe(after);
      });
    },
  );

  test("what has ended keeps its times, and its token is void", async () => {
    for (const status of statuses) {
      const { consumer, provider, sessionId } = await sessionIn(server, status, false);
      const isOpen = status === "pending_approval" || status === "active";
      for (const who of [consumer, provider]) {
        const session = await who.call("sessions:get", { sessionId });
        expect(session.sessionToken === null, status).toBe(!isOpen);
        expect(session.endedAt === null, status).toBe(isOpen);
        expect(session.startedAt === null, status).toBe(status !== "active" && status !== "completed");
      }
    }
  });

  test("an expired session ended when its day was over, whenever that was noticed", async () => {
    const { consumer, sessionId, session } = await openSession(server, { approvalMode: "manual" });
    server.clock.jump(30 * hour);
    const expired = {
      status: "expired",
      endReason: "expired",
      billingStatus: "pending",
      endedAt: new Date(Date.parse(session.createdAt) + 24 * hour).toISOString(),
    };
    expect(await consumer.call("sessions:get", { sessionId })).toMatchObject(expired);
    expect((await consumer.call("billing:getWallet")).held).toBe("5.00");
    await server.settle();
    expect(await consumer.call("sessions:get", { sessionId })).toMatchObject(expired);
    expect((await consumer.call("billing:getWallet")).held).toBe("0.00");
  });
});
