/** Open sockets by what they belong to: a session, an agent, a user. A socket that is gone is in no index. */
import type { Socket } from "./socket.js";

export class SocketIndex<T> {
  readonly #byKey = new Map<string, Set<T>>();

  /** Adds an entry for the socket, until the socket is gone. */
  add(key: string, entry: T, socket: Socket): void {
    const entries = this.#byKey.get(key) ?? new Set();
    entries.add(entry);
    this.#byKey.set(key, entries);
    socket.onGone(() => {
      entries.delete(entry);
      if (entries.size === 0 && this.#byKey.get(key) === entries) this.#byKey.delete(key);
    });
  }

  /** The entries of the sockets that are open now. A copy, because work on one socket may end another. */
  get(key: string): T[] {
    const entries = this.#byKey.get(key);
    return entries ? [...entries] : [];
  }

  keys(): string[] {
    return [...this.#byKey.keys()];
  }

  count(key: string): number {
    return this.#byKey.get(key)?.size ?? 0;
  }
}
