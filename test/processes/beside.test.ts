/** One process beside another that hangs, or that is of another release. */
import pg from "pg";
import { expect, test } from "vitest";
import { hour } from "../support/harness.js";
import { ask, closeBoth, describeProcesses, startTwo } from "../support/processes.js";
import { openSession as rentAgent, rentable, task } from "../support/rental.js";
import { cutSocketsAfterEach, eventually, openSession } from "../support/sockets.js";

cutSocketsAfterEach();

describeProcesses("one process beside another that is not as it should be", () => {
  test("a deadline is late, and not lost, while another process hangs with the lock", async () => {
    const pair = await startTwo();
    const { one } = pair;
    const rented = await rentable(one, { approvalMode: "manual" });
    const alice = await one.user("Alice", { topUp: "100.00" });
    const { id } = await alice.call("sessions:create", { agentId: rented.agentId, taskDescription: task });
    const holder = new pg.Client(one.databaseUrl);
    await holder.connect();
    await holder.query("begin");
    await holder.query("select pg_advisory_xact_lock(7433615226)");
    await one.advance(48 * hour);
    const status = async () =>
      (await ask<{ status: string }>(one.databaseUrl, `select status from sessions where "sessionId" = $1`, [id]))[0]
        ?.status;
    expect(await status()).toBe("pending_approval");
    await holder.query("rollback");
    await holder.end();
    await one.advance(1_000);
    await pair.other.settle();
    expect(await eventually(status, (found) => found === "expired")).toBe("expired");
    await closeBoth(pair);
  });

  test("messages from a newer release, and nonsense, do no harm", async () => {
    const pair = await startTwo();
    const { one } = pair;
    const rented = await rentAgent(one);
    const say = (payload: string) => ask(one.databaseUrl, "select pg_notify('tidepool', $1)", [payload]);
    await say("");
    await say("nonsense");
    await say("null");
    await say("[]");
    await say(
      '{"from":"newer","number":1,"items":[{"n":{"kind":"neverHeardOf","x":1}},{"w":["neverHeardOf",[["a",["b"]]]]},{"z":1}]}',
    );
    await say('{"from":"newer","number":2}');
    await say('{"from":"newer","number":3,"items":[{"n":{"kind":"sessionMessage"}}]}');
    await say(
      `{"from":"newer","number":4,"items":[{"n":{"kind":"sessionMessage","sessionId":"${rented.sessionId}"}}]}`,
    );
    await say(
      '{"from":"newer","number":5,"items":[{"n":{"kind":"callsCounted","rate":"neverHeardOf","who":"x","points":1}},{"n":{"kind":"sessionJoined"}}]}',
    );
    const consumer = await openSession(one, { sessionId: rented.sessionId, token: rented.session.sessionToken });
    const { sessionToken } = await rented.provider.call("sessions:get", { sessionId: rented.sessionId });
    const provider = await openSession(pair.other, {
      sessionId: rented.sessionId,
      token: sessionToken,
      role: "provider",
    });
    await say(
      `{"from":"newer","number":6,"items":[{"n":{"kind":"sessionNew","sessionId":"${rented.sessionId}","after":1,"stamp":2}}]}`,
    );
    consumer.send({ type: "dialogue.message", payload: { content: "hello" } });
    await provider.next("dialogue.message");
    await closeBoth(pair);
  });
});
