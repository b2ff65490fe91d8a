/**
 * Keeps finished replies to queries. If the same caller sends the same query again, it gets the kept reply, until a
 * commit touches what the query read. Used only if one process has the database to itself: with several, a reply could
 * be older than a write that another process has already acknowledged.
 */
import type { Counted } from "../counted-as.js";
import { keptReplyBytes } from "../limits.js";
import type { Seen, Watch, Watches } from "./watches.js";

/** What a kept reply takes besides its text: its entry, and the slices by which it is watched. */
const entryBytes = 2 * 1024;
/** How long a reply is kept: as long as a credential is trusted without a look-up (runtime/call/caller.ts). */
const keptMs = 5_000;

/** A reply that can be sent again. */
export interface KeptReply {
  /** The bytes as they are sent, so that nothing is measured or encoded again for the next caller. */
  body: Uint8Array<ArrayBuffer>;
  /** The rates that the caller's calls count against; null if the caller is counted by address. */
  countedAs: readonly Counted[] | null;
  /** When the credential of the call expires (Unix ms); undefined if it does not. */
  expiresAt: number | undefined;
  /** For the log line. */
  about: Record<string, unknown>;
}

interface Entry extends KeptReply {
  bytes: number;
  until: number;
  watch: Watch;
}

/** The kept replies of a process, bounded by `keptReplyBytes`. */
export class ReplyCache {
  readonly #entries = new Map<string, Entry>();
  #bytes = 0;
  #cleared = 0;
  hits = 0;

  constructor(
    readonly watches: Watches,
    readonly now: () => number,
  ) {}

  /** Rises whenever all replies are forgotten: a reply that was begun before that is not kept afterwards. */
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

  /**
   * Keeps a reply unless it depends on the time or is too large. `generation` is the one from before the caller was
   * known.
   */
  keep(key: string, reply: KeptReply, seen: Seen, generation: number): void {
    // A string takes up to two bytes per character.
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

  /** Forgets everything. Called when somebody's rights change, and with them what they may see. */
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
