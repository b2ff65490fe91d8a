/** What waits for a database that does one thing after the other: each caller's in its order, the callers in turns. */
export class RoundRobin<T> {
  readonly #waiting = new Map<string, T[]>();
  /** What was taken already and comes before everything else. */
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

  /** Puts back what was taken and not begun. */
  unshift(...items: T[]): void {
    this.#size += items.length;
    this.#first.unshift(...items);
  }

  /** Takes up to `most`: of each caller one, and then of each another one. */
  take(most: number): T[] {
    const taken = this.#first.splice(0, most);
    // Who is put behind the others is come to again.
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
