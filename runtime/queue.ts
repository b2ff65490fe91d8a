/** Work that has a key in common, one after the other, in the order in which it came. */

const tails = new Map<string, Promise<unknown>>();

export function inTurn<T>(keys: readonly string[], work: () => Promise<T>): Promise<T> {
  // Sorted, so that two that want the same keys cannot each wait for the other.
  return [...new Set(keys)].sort().reduceRight<() => Promise<T>>((next, key) => () => behind(key, next), work)();
}

function behind<T>(key: string, work: () => Promise<T>): Promise<T> {
  const before = tails.get(key);
  const mine = before === undefined ? work() : before.then(work, work);
  tails.set(key, mine);
  const forget = () => {
    if (tails.get(key) === mine) tails.delete(key);
  };
  mine.then(forget, forget);
  return mine;
}
