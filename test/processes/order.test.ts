/** Both parties of a session, each on its process, writing as fast as they can, while the bus is cut again and again. */
import { expect, test } from "vitest";
import { RunningClock } from "../support/clock.js";
import { closeBoth, cutBuses, describeProcesses, startTwo } from "../support/processes.js";
import { openSession as rentAgent } from "../support/rental.js";
import { cutSocketsAfterEach, type Frame, openGroup, openSession, type TestSocket } from "../support/sockets.js";

cutSocketsAfterEach();

const say = (content: string) => ({ type: "dialogue.message", payload: { content } });
const contents = (socket: TestSocket) => socket.of("dialogue.message").map(({ payload }) => payload.content);

function fallsOf(frames: Frame[]): string[] {
  return frames.flatMap((frame, index) => {
    const before = frames[index - 1];
    return index > 0 && frame.timestamp <= before.timestamp
      ? [`${before.type}@${before.timestamp} ${frame.type}@${frame.timestamp}`]
      : [];
  });
}

describeProcesses("200 messages from each side at once", () => {
  test.each(["calm", "cut", "cut with joins"])(
    "arrive once each and in order: %s",
    async (how) => {
      const pair = await startTwo({ clock: new RunningClock() });
      const { one, other } = pair;
      const rented = await rentAgent(one);
      const { sessionId, session, provider: owner } = rented;
      const { sessionToken } = await owner.call("sessions:get", { sessionId });
      const asConsumer = { sessionId, token: session.sessionToken as string, role: "consumer" };
      const consumer = await openSession(one, asConsumer);
      const provider = await openSession(other, { sessionId, token: sessionToken as string, role: "provider" });
      const count = 200;
      let isDone = false;
      const cutting = (async () => {
        while (!isDone && how !== "calm") {
          await cutBuses(one.databaseUrl);
          await new Promise((resolve) => setTimeout(resolve, 150));
        }
      })();
      const joining = (async () => {
        let at = 0;
        while (!isDone && how === "cut with joins") {
          const tab = await openSession(at++ % 2 ? one : other, asConsumer).catch(() => undefined);
          if (tab) expect(fallsOf(tab.frames)).toEqual([]);
          await tab?.close();
          const group = await openGroup(at % 2 ? one : other, sessionId, rented.consumer.credential).catch(
            () => undefined,
          );
          // Behind the greeting comes what it has missed, with the stamps of then (clawrent.md section 4.6).
          if (group) expect(fallsOf(group.frames.slice(1))).toEqual([]);
          await group?.close();
        }
      })();
      for (let number = 0; number < count; number += 1) {
        consumer.send(say(`${number}`));
        provider.send(say(`${number}`));
        if (number % 10 === 0) {
          consumer.send({ type: "dialogue.typing", payload: {} });
          provider.send({ type: "dialogue.typing", payload: {} });
          provider.send({ type: "unknown", payload: {} });
        }
        if (number % 20 === 0) await new Promise((resolve) => setTimeout(resolve, 30));
      }
      const all = Array.from({ length: count }, (_, number) => `${number}`);
      await provider.until(() => contents(provider).length >= count, "all of the consumer");
      await consumer.until(() => contents(consumer).length >= count, "all of the provider");
      isDone = true;
      await cutting;
      await joining;
      await new Promise((resolve) => setTimeout(resolve, 1_500));
      expect(new Set(contents(provider))).toEqual(new Set(all));
      expect(new Set(contents(consumer))).toEqual(new Set(all));
      expect(contents(provider)).toHaveLength(count);
      expect(contents(consumer)).toHaveLength(count);
      expect(fallsOf(provider.frames)).toEqual([]);
      expect(fallsOf(consumer.frames)).toEqual([]);
      await closeBoth(pair);
    },
    60_000,
  );
});
