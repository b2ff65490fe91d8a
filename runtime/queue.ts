/** Work under the same key, one after the other, in the order in which it came. */

const tails = new Map<string, Promise<unknown>>();

export function inTurn<T>(key: string, work: () => Promise<T>): Promise<T> {
  const before = tails.get(key);
  const mine = before === undefined ? work() : before.then(work, work);
  tails.set(key, mine);
  const forget = () => {
    if (tails.get(key) === mine) tails.delete(key);
  };
  mine.then(forget, forget);
  return mine;
}
