/** A sign-in that ends on one process opens nothing on the other. */
import { expect, test } from "vitest";
import { open } from "../support/event-streams.js";
import { Caller as Client, password } from "../support/harness.js";
import { describeProcesses, holdWord, useTwoServers } from "../support/processes.js";
import { openSession } from "../support/rental.js";
import { cutSocketsAfterEach, eventually, openAt } from "../support/sockets.js";
import { add, openSync } from "../support/sync-frames.js";

cutSocketsAfterEach();

describeProcesses("a sign-in that ends on another process", () => {
  const pair = useTwoServers();
  const isOver = (call: () => Promise<unknown>) =>
    eventually(
      () =>
        call().then(
          () => 200,
          (error: { httpStatus: number }) => error.httpStatus,
        ),
      (status) => status === 401,
    );

  test("ends calls, live queries, streams and sockets here, and so does a new API key", async () => {
    const { one, other } = pair;
    const { consumer, sessionId } = await openSession(one);
    const { token } = await one.nobody.call("users:signIn", { email: consumer.email, password });
    const here = new Client(other, token);
    const { sessionToken } = await here.call("sessions:get", { sessionId });
    const group = await openAt(other, "/ws/group", { sessionId, token });
    await group.next("system.connected");
    const side = await openAt(other, "/ws/session", { sessionId, token: sessionToken, role: "consumer" });
    const live = (await openSync(other)).connect().authenticate(token).modify(add(0, "users:me"));
    await live.answered();
    const { reader } = await open(other, here, "users:me");
    await reader.shows(({ data }) => data.id === consumer.userId);

    await new Client(one, token).call("users:signOut");
    expect((await group.closed).code).toBe(4011);
    expect((await side.closed).code).toBe(4002);
    await live.socket.next("AuthError");
    await reader.shows(({ event }) => event === "error");
    await isOver(() => here.call("users:me"));

    const byKey = new Client(other, consumer.apiKey);
    await byKey.call("users:me");
    await consumer.call("users:rotateApiKey");
    await isOver(() => byKey.call("users:me"));
    expect(await new Client(other, consumer.credential).call("users:me")).toMatchObject({ id: consumer.userId });
  });

  test("shows nothing from after its end, whatever has been heard of it", async () => {
    const { one, other } = pair;
    const alice = await one.user("Alice");
    const { token } = await one.nobody.call("users:signIn", { email: alice.email, password });
    const live = (await openSync(other)).connect().authenticate(token).modify(add(0, "billing:getWallet"));
    await live.answered();
    const held = holdWord(one);
    await alice.call("users:endSignIn");
    await new Client(other, alice.apiKey).call("billing:topUp", { amount: "1.00" });
    const said = await live.socket.next("AuthError");
    expect(said).toMatchObject({ error: "Token expired or invalid" });
    expect(live.socket.of("Transition")).toHaveLength(1);
    held.release();
  });

  test("a resetting of the password on one ends all of them on both", async () => {
    const { one, other } = pair;
    const alice = await one.user("Alice");
    const here = new Client(other, alice.credential);
    await here.call("users:me");
    one.clock.jump(60_000);
    await one.nobody.call("users:sendVerification", { email: alice.email });
    const resetCode = await one.resetCode(alice.email);
    const reset = { email: alice.email, resetCode, newPassword: "another password" };
    expect(await one.nobody.call("users:resetPassword", reset)).toMatchObject({ endedSignIns: 1 });
    await isOver(() => here.call("users:me"));
  });
});
