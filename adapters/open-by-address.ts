import { wideAddressKey, wideFactor } from "../runtime/counted-as.js";

/** How much of one kind is open for each address: sockets, streams, connections, requests. */
export class OpenByAddress {
  readonly #counts = new Map<string, number>();

  count(address: string): number {
    return this.#counts.get(address) ?? 0;
  }

  /**
   * Whether an address has `most` or more open, or its wider network `wideFactor` times as many, or a quarter of all
   * that may be open.
   */
  isFull(address: string, most: number, mostOfAll = Number.POSITIVE_INFINITY): boolean {
    const wide = wideAddressKey(address);
    const mostWide = Math.min(most * wideFactor, mostOfAll / 4);
    return this.count(address) >= most || (wide !== undefined && this.count(wide) >= mostWide);
  }

  /**
   * Counts one more. To be called before anything is waited for, so that of two that come at the same moment the second
   * sees the first. Returns what to call once it has ended.
   */
  add(address: string): () => void {
    const wide = wideAddressKey(address);
    const names = wide === undefined ? [address] : [address, wide];
    for (const name of names) this.#counts.set(name, this.count(name) + 1);
    let isOpen = true;
    return () => {
      if (!isOpen) return;
      isOpen = false;
      for (const name of names) this.#remove(name);
    };
  }

  #remove(name: string): void {
    const others = this.count(name) - 1;
    if (others > 0) this.#counts.set(name, others);
    else this.#counts.delete(name);
  }
}
