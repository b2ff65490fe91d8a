/** Runs work that shares a key one after the other, in the order in which it came. */
export class InTurn {
  /** The last work under each key that runs or waits. */
  readonly #tails = new Map<string, Promise<unknown>>();

  run<T>(keys: readonly string[], work: () => Promise<T>): Promise<T> {
    // Sorted, so that two jobs that need the same keys cannot each wait for the other.
    const sorted = [...new Set(keys)].sort();
    return sorted.reduceRight<() => Promise<T>>((next, key) => () => this.#behind(key, next), work)();
  }

  #behind<T>(key: string, work: () => Promise<T>): Promise<T> {
    const before = this.#tails.get(key);
    const mine = before === undefined ? work() : before.then(work, work);
    this.#tails.set(key, mine);
    const forget = () => {
      if (this.#tails.get(key) === mine) this.#tails.delete(key);
    };
    mine.then(forget, forget);
    return mine;
  }
}
