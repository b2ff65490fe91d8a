/** A queue for a database that does one job at a time: callers take turns, and each caller's jobs stay in order. */
export class RoundRobin<T> {
  readonly #waiting = new Map<string, T[]>();
  /** Jobs that were taken and put back. They come before all others. */
  #first: T[] = [];
  #size = 0;

  get length(): number {
    return this.#size;
  }

  push(who: string, item: T): void {
    this.#size += 1;
    const theirs = this.#waiting.get(who);
    if (theirs) theirs.push(item);
    else this.#waiting.set(who, [item]);
  }

  /** Puts back jobs that were taken but not begun. */
  unshift(...items: T[]): void {
    this.#size += items.length;
    this.#first.unshift(...items);
  }

  /** Takes up to `most` jobs: one of each caller, then a second one of each, and so on. */
  take(most: number): T[] {
    const taken = this.#first.splice(0, most);
    // The loop also visits a caller that it has put back at the end of the map.
    for (const [who, theirs] of this.#waiting) {
      if (taken.length === most) break;
      taken.push(theirs.shift() as T);
      this.#waiting.delete(who);
      if (theirs.length > 0) this.#waiting.set(who, theirs);
    }
    this.#size -= taken.length;
    return taken;
  }
}
