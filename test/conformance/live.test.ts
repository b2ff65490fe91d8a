/**
 * Looks for missed invalidation: people watch all that they could watch while random things happen. After each of them,
 * whoever was not woken must still see what a fresh read gives. `TEST_LONG=1` takes 200 seeds.
 */
import { describe, expect, test } from "vitest";
import type { Seen } from "../../runtime/live.js";
import { databases, type TestServer, useServer } from "../support/harness.js";
import { asText, callOf, LiveWorld, type Question } from "../support/live-world.js";

const seeds = process.env.TEST_LONG === "1" ? 200 : 4;
const steps = 40;

/** A question with its last answer, and whether a commit has touched it since. */
class Subscription {
  woken = false;
  value = "";

  constructor(
    readonly server: TestServer,
    readonly question: Question,
  ) {}

  async read(): Promise<string> {
    return asText(await this.server.server.runtime.dispatch(callOf(this.question)));
  }

  async subscribe(): Promise<void> {
    const { runtime } = this.server.server;
    const seen: Seen & { end(): void } = runtime.live.begin();
    this.value = asText(await runtime.dispatch(callOf(this.question), seen));
    this.woken = false;
    runtime.live.watch(seen, () => {
      this.woken = true;
    });
    seen.end();
  }
}

describe.each(databases)("no change is missed on %s (design.md section 4)", (database) => {
  const server = useServer(database);

  test.each(Array.from({ length: seeds }, (_, index) => index + 1))("with seed %i", async (seed) => {
    const world = await LiveWorld.make(server, seed);
    const subscriptions = new Map<string, Subscription>();
    const subscribeToAll = async () => {
      for (const question of world.questions()) {
        const key = `${question.who.credential} ${question.path} ${JSON.stringify(question.args)}`;
        if (subscriptions.has(key)) continue;
        const subscription = new Subscription(server, question);
        subscriptions.set(key, subscription);
        await subscription.subscribe();
      }
    };
    let changed = 0;
    let woken = 0;
    for (let step = 0; step < steps; step += 1) {
      await subscribeToAll();
      const what = await world.happen();
      for (const subscription of subscriptions.values()) {
        if (subscription.woken) {
          const before = subscription.value;
          await subscription.subscribe();
          woken += 1;
          if (subscription.value !== before) changed += 1;
        } else {
          const { path, args } = subscription.question;
          expect(await subscription.read(), `${path} ${JSON.stringify(args)} after "${what}"`).toBe(subscription.value);
        }
      }
    }
    // It must be about something: enough changed, and not everybody was woken each time.
    expect(changed).toBeGreaterThan(5);
    expect(woken).toBeLessThan((subscriptions.size * steps) / 2);
  });
});
