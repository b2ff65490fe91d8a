/** Whoever watches is left alone by what strangers do: a wake for nothing is a re-run for nothing (architecture.md section 4). */
import { describe, expect, test } from "vitest";
import { databases, minute, useServer } from "../support/harness.js";
import { Audience } from "../support/live-audience.js";
import { LiveWorld } from "../support/live-world.js";

/**
 * Shown to everybody, so that what strangers do may change them: the marketplace, all live events, the documents, and
 * what admins see. The state of an order is worked out from sessions in SQL that is written by hand.
 */
const ofEverybody = /^(marketplace|docs|admin|orders):|^events:(listLive|listNearby)$/;

describe.each(databases)("on %s", (database) => {
  const server = useServer(database);

  test("what strangers do wakes nobody who watches something of their own", async () => {
    const mine = await LiveWorld.make([server], 1);
    const strangers = await LiveWorld.make([server], 2);
    // What follows from what they did themselves comes first: who left a session is away, and five minutes are metered.
    for (let times = 0; times < 5; times += 1) await server.advance(minute);
    const audience = new Audience(server);
    await audience.subscribeTo(mine.questions());
    const woken = new Map<string, string>();
    const look = async (what: string) => {
      const before = new Map(audience.needless);
      // Only who was woken looks: live.test.ts finds who should have been.
      await audience.check(what, "as it stands", Number.POSITIVE_INFINITY);
      for (const [path, count] of audience.needless) {
        if (count !== before.get(path)) woken.set(path, `${woken.get(path) ?? ""} ${what}`);
      }
    };
    await LiveWorld.make([server], 3);
    await look("somebody arrives");
    // Each thing that can happen happens once.
    for (let step = 0; step < strangers.variety; step += 1) await look(await strangers.happen(true));
    // The timer comes along with nothing to do.
    for (let times = 0; times < 2; times += 1) {
      await server.advance(minute);
      await look("a minute passes");
    }
    const paths = new Set(mine.questions().map(({ path }) => path));
    const table = Object.fromEntries([...paths].sort().map((path) => [path, audience.needless.get(path) ?? 0]));
    if (process.env.TEST_PRINT === "1") console.log(JSON.stringify({ table, woken: [...woken] }, null, 1));
    const disturbed = Object.entries(table).filter(([path, count]) => count > 0 && !ofEverybody.test(path));
    expect(disturbed).toEqual([]);
    audience.leave();
  });
});
