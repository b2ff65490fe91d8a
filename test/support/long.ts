/** Scales tests that could always do more, and measures how long they hold up the event loop. */
import { loadavg } from "node:os";

/** How much a test does that could always do more: a little in the normal suite, all of it with `TEST_LONG=1`. */
export const isLong = process.env.TEST_LONG === "1";

export function amount(normally: number, inTheLongRun: number): number {
  return isLong ? inTheLongRun : normally;
}

/**
 * The longest turn of the event loop during `work`, in ms: the shortest of several tries, and a text about all of them.
 * Only the processor's time counts, because others may use the machine as well.
 */
export async function longestTurn(
  work: (tries: number) => Promise<unknown>,
  mostTries = 5,
): Promise<{ ms: number; told: string }> {
  const longest: number[] = [];
  let mostOnClock = 0;
  for (let tries = 0; tries < mostTries; tries += 1) {
    let [lookedAt, used, most, isOn] = [performance.now(), process.cpuUsage(), 0, true];
    const look = () => {
      const now = performance.now();
      const { user, system } = process.cpuUsage(used);
      most = Math.max(most, Math.min((user + system) / 1_000, now - lookedAt));
      mostOnClock = Math.max(mostOnClock, now - lookedAt);
      used = process.cpuUsage();
      lookedAt = performance.now();
      if (isOn) setImmediate(look);
    };
    look();
    await work(tries);
    // The turn in which the work ended counts as well.
    await new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
    isOn = false;
    longest.push(most);
  }
  const [ms, worst] = [Math.min(...longest), Math.max(...longest)];
  const beside = `${mostOnClock.toFixed(1)} ms by the clock at a load of ${loadavg()[0]?.toFixed(1)}`;
  return { ms, told: `${ms.toFixed(1)} ms, at worst ${worst.toFixed(1)} ms (${beside})` };
}
