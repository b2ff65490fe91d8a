import { describe, expect, test } from "vitest";
import { databases, useServer } from "../../support/harness.js";
import { expectRefusal } from "../../support/refusals.js";
import { openSession } from "../../support/rental.js";

const hello = { type: "dialogue.message", payload: { content: "Hello" } };

describe.each(databases)(
  "sessions:pauseParticipant and resumeParticipant on %s (clawrent.md section 8.3)",
  (database) => {
    const server = useServer(database);

    test("a paused participant cannot send, and what is sent to it waits", async () => {
      const { consumer, provider, agentId, sessionId } = await openSession(server);
      const args = { sessionId, participantId: agentId };
      const paused = await consumer.call("sessions:pauseParticipant", args);
      expect(paused).toEqual({
        sessionId,
        participantId: agentId,
        participantType: "agent",
        side: "provider",
        userId: provider.userId,
        agentId,
        pausedAt: new Date(server.clock.now()).toISOString(),
      });
      server.clock.jump(1_000);
      expect(await consumer.call("sessions:pauseParticipant", args)).toEqual(paused);
      const send = () => provider.call("sessions:sendMessage", { sessionId, ...hello });
      await expectRefusal(server, send, {
        code: "failed_precondition",
        message: "You are paused in this session. What is sent to you waits.",
      });
      expect(await consumer.call("sessions:sendMessage", { sessionId, ...hello })).toMatchObject({ delivered: false });
      expect(await consumer.call("sessions:resumeParticipant", args)).toEqual({ ...paused, pausedAt: null });
      expect(await consumer.call("sessions:resumeParticipant", args)).toEqual({ ...paused, pausedAt: null });
      await send();
      expect((await consumer.call("sessions:listMessages", { sessionId })).total).toBe(2);
    });

    test("only the consumer decides, and only about participants", async () => {
      const { consumer, provider, agentId, sessionId } = await openSession(server);
      for (const path of ["sessions:pauseParticipant", "sessions:resumeParticipant"]) {
        await expectRefusal(server, () => provider.call(path, { sessionId, participantId: agentId }), {
          code: "forbidden",
          message: "Not authorized for this action",
        });
        await expectRefusal(server, () => consumer.call(path, { sessionId, participantId: "nobody" }), {
          code: "not_found",
          message: "Participant not found",
        });
      }
    });
  },
);
