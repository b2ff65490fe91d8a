/** How much of one kind is open for each address: sockets, streams, connections, requests. */
export class OpenByAddress {
  readonly #counts = new Map<string, number>();

  count(address: string): number {
    return this.#counts.get(address) ?? 0;
  }

  /**
   * Counts one more. To be called before anything is waited for: of two that come at the same moment the second has to see
   * the first. Returns what to call once it has ended.
   */
  add(address: string): () => void {
    this.#counts.set(address, this.count(address) + 1);
    let isOpen = true;
    return () => {
      if (!isOpen) return;
      isOpen = false;
      const others = this.count(address) - 1;
      if (others > 0) this.#counts.set(address, others);
      else this.#counts.delete(address);
    };
  }
}
