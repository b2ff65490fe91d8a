/**
 * Looks for missed invalidation: people watch all that they could watch while random things happen, over every surface.
 * After each of them, whoever was not woken must still see what a fresh read gives, and so must whoever is answered from
 * kept replies. `TEST_LONG=1` takes 200 seeds.
 */
import { afterAll, describe, expect, test } from "vitest";
import { databases, type TestServer, useServer } from "../support/harness.js";
import { Audience } from "../support/live-audience.js";
import { LiveWorld, type Reached } from "../support/live-world.js";
import { heard } from "../support/notices.js";
import { caughtUp, describeProcesses, useTwoServers } from "../support/processes.js";

const long = process.env.TEST_LONG === "1";
const seeds = long ? 200 : 4;
/** With four seeds, enough that everything that can happen happens (LiveWorld). */
const steps = 48;

/** One seed of the world, with everybody watching on the first of the servers. */
async function watchWorld(
  servers: [TestServer, ...TestServer[]],
  seed: number,
  reached: Reached,
  answered: Reached,
  allHeard: () => Promise<void>,
): Promise<void> {
  const world = await LiveWorld.make(servers, seed, reached, allHeard);
  await allHeard();
  const audience = new Audience(servers[0], answered);
  // With many seeds, or where reading takes long, not everybody looks each time, but in turns.
  const everyNth = long ? 3 : servers[0].database === "sqlite" ? 1 : 2;
  for (let step = 0; step < steps; step += 1) {
    await audience.subscribeTo(world.questions());
    const before = servers[0].clock.now();
    const what = await world.happen();
    await allHeard();
    await audience.check(what, "as it stands", everyNth);
    if (servers[0].clock.now() === before) continue;
    await world.settle();
    await allHeard();
    await audience.check(what, "with all that was due done");
  }
  await audience.check("all of it", "with all that was due done");
  // It must be about something: enough changed, and not everybody was woken each time.
  expect(audience.changed).toBeGreaterThan(50);
  expect(audience.woken).toBeLessThan((audience.size * steps) / 8);
  audience.leave();
}

/** Every query of the registry has answered with something, and every mutation had success. */
function expectAllReached(server: TestServer, reached: Reached, answered: Reached): void {
  const missing: string[] = [];
  for (const [path, { kind }] of server.server.registry.functions) {
    const count = (kind === "query" ? answered : reached).get(path) ?? 0;
    if (count === 0) missing.push(path);
  }
  if (process.env.TEST_PRINT === "1") console.log({ reached: sorted(reached), answered: sorted(answered) });
  expect(missing).toEqual([]);
  for (const surface of ["/ws/agent", "/ws/session", "POST /api/billing/wallet/topup"]) {
    expect(reached.get(surface) ?? 0, surface).toBeGreaterThan(0);
  }
}

function sorted(counts: Reached): Record<string, number> {
  return Object.fromEntries([...counts].sort(([one], [other]) => (one < other ? -1 : 1)));
}

describe.each(databases)("no change is missed on %s (architecture.md section 4)", (database) => {
  const server = useServer(database);
  const reached: Reached = new Map();
  const answered: Reached = new Map();

  test.each(Array.from({ length: seeds }, (_, index) => index + 1))("with seed %i", (seed) =>
    watchWorld([server], seed, reached, answered, async () => {}),
  );

  afterAll(() => expectAllReached(server, reached, answered));
});

describeProcesses("no change is missed by another process (architecture.md section 3)", () => {
  const pair = useTwoServers();
  const reached: Reached = new Map();
  const answered: Reached = new Map();

  test.each(Array.from({ length: seeds }, (_, index) => index + 1))("with seed %i", async (seed) => {
    const { one, other } = pair;
    const notices = heard("serveRulesChanged");
    await watchWorld([one, other], seed, reached, answered, () => caughtUp(pair, notices));
  });

  afterAll(() => expectAllReached(pair.one, reached, answered));
});
