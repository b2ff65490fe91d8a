/**
 * Finished replies to queries: asked again by the same caller in the same words, a query is answered from them until a
 * commit touches what it read. Only where one process has the database for itself: with several, a reply could be older
 * than a write that another process has already acknowledged.
 */
import type { Counted } from "../counted-as.js";
import { keptReplyBytes } from "../limits.js";
import type { Seen, Watch, Watches } from "./watches.js";

/** What a kept reply takes beside its text: its entry, and the slices that it is watched by. */
const entryBytes = 2 * 1024;
/** A credential is taken on trust for as long (runtime/call/caller.ts), so a reply is too. */
const keptMs = 5_000;

export interface KeptReply {
  /** As it goes over the wire: the next caller's copy is neither measured nor encoded. */
  body: Uint8Array<ArrayBuffer>;
  /** What the rates of all calls count the caller as; null where that is the address. */
  countedAs: readonly Counted[] | null;
  /** When the credential that it was asked with runs out; undefined for one that does not. */
  expiresAt: number | undefined;
  /** For the log line. */
  about: Record<string, unknown>;
}

interface Entry extends KeptReply {
  bytes: number;
  until: number;
  watch: Watch;
}

export class ReplyCache {
  readonly #entries = new Map<string, Entry>();
  #bytes = 0;
  #cleared = 0;
  hits = 0;

  constructor(
    readonly watches: Watches,
    readonly now: () => number,
  ) {}

  /** Rises whenever all are forgotten: a reply that was begun before is not kept after. */
  get generation(): number {
    return this.#cleared;
  }

  find(key: string): KeptReply | undefined {
    const entry = this.#entries.get(key);
    if (!entry) return undefined;
    const now = this.now();
    if (entry.watch.isTouched || entry.until <= now || entry.until > now + keptMs) {
      this.#drop(key, entry);
      return undefined;
    }
    this.hits += 1;
    return entry;
  }

  /** Keeps a reply that hangs on nothing but what was read; `generation` is from before its caller was known. */
  keep(key: string, reply: KeptReply, seen: Seen, generation: number): void {
    // A string takes up to two bytes a character.
    const bytes = 2 * key.length + reply.body.length + entryBytes;
    if (generation !== this.#cleared || seen.usedClock || bytes > keptReplyBytes.reply) return;
    const earlier = this.#entries.get(key);
    if (earlier) this.#drop(key, earlier);
    const entry: Entry = {
      ...reply,
      bytes,
      until: Math.min(this.now() + keptMs, reply.expiresAt ?? Number.POSITIVE_INFINITY),
      watch: this.watches.watch(seen, () => this.#drop(key, entry)),
    };
    this.#entries.set(key, entry);
    this.#bytes += bytes;
    for (const [oldestKey, oldest] of this.#entries) {
      if (this.#bytes <= keptReplyBytes.process) break;
      this.#drop(oldestKey, oldest);
    }
  }

  /** Somebody's standing changed: what they may see may have, too. */
  clear(): void {
    this.#cleared += 1;
    for (const [key, entry] of this.#entries) this.#drop(key, entry);
  }

  #drop(key: string, entry: Entry): void {
    if (this.#entries.get(key) !== entry) return;
    this.#entries.delete(key);
    this.#bytes -= entry.bytes;
    entry.watch.end();
  }
}
