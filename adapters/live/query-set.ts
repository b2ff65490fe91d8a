/** The queries of one live client: which it has, which are due, and what is to be said of them without a run. */
import { parsedBytes } from "../../runtime/byte-budget.js";
import { CallError } from "../../runtime/errors.js";
import { heldBytes, parsedArgumentBytes, sizes, subscriptionBytes } from "../../runtime/limits.js";
import type { Closing } from "../sockets/close-codes.js";
import { tooManyValues } from "../wire.js";
import type { Subscription } from "./subscriptions.js";
import type { SyncBytes } from "./sync-bytes.js";
import { comeAgain, overloadedClosing } from "./sync-closings.js";
import {
  type AddQuery,
  argumentsTooLarge,
  type Change,
  changedQuery,
  type ModifyQuerySet,
  noComponents,
  queryFailure,
  removedQuery,
} from "./sync-frames.js";

/** What a piece of a change takes beside its bytes. */
const pieceBytes = 64;

/** A query of the client. */
export interface WatchedQuery {
  readonly queryId: number;
  readonly query: AddQuery;
  /** What its arguments are counted as. */
  readonly bytes: number;
  /** The mark of the answer that the client has. */
  sent: Buffer | undefined;
  /** To be read once more, even where nothing is known to have changed. */
  anew: boolean;
  /** Where it is asked; undefined until the socket has subscribed to it. */
  subscription: Subscription | undefined;
}

/** What became of a query set: queries to subscribe to, queries to leave, and how the socket ends where it has to. */
export interface Modified {
  added: WatchedQuery[];
  removed: WatchedQuery[];
  closing: Closing | undefined;
}

export class QuerySet {
  readonly #bytes: SyncBytes;
  readonly #queries = new Map<number, WatchedQuery>();
  /** Those that a commit may have changed, or that are new. */
  readonly #due = new Set<WatchedQuery>();
  /** Changes that need no run: queries that were removed, and those that were refused. */
  #ready: Change[] = [];
  #isEnded = false;

  constructor(bytes: SyncBytes) {
    this.#bytes = bytes;
  }

  get all(): Iterable<WatchedQuery> {
    return this.#queries.values();
  }

  /** How many queries are due. */
  get due(): number {
    return this.#due.size;
  }

  /** How many changes are ready. */
  get ready(): number {
    return this.#ready.length;
  }

  has(query: WatchedQuery): boolean {
    return this.#queries.get(query.queryId) === query;
  }

  /** Whether nothing is to be said but this query's answer. */
  isOnlyDue(query: WatchedQuery): boolean {
    return this.#due.size === 1 && this.#due.has(query) && !query.anew && this.#ready.length === 0;
  }

  modify(modifications: ModifyQuerySet["modifications"]): Modified {
    const modified: Modified = { added: [], removed: [], closing: undefined };
    for (const modification of modifications) {
      // The last one may have ended the client's socket, to make room.
      if (this.#isEnded) break;
      if (modification.type === "Remove") {
        const query = this.#remove(modification.queryId);
        if (query) modified.removed.push(query);
      } else if (this.#queries.has(modification.queryId)) {
        return { ...modified, closing: comeAgain("a query was added twice") };
      } else {
        const query = this.#add(modification);
        if (query === "no room") return { ...modified, closing: overloadedClosing };
        if (query) modified.added.push(query);
      }
    }
    return modified;
  }

  /** The query; undefined where it is refused, and "no room" where not even the refusal can be kept. */
  #add(query: AddQuery): WatchedQuery | "no room" | undefined {
    const { queryId, args = "" } = query;
    const bytes = Buffer.byteLength(args) + subscriptionBytes;
    const error = this.#refusalOf(query, bytes);
    if (error) {
      const change = changedQuery(queryId, queryFailure({ status: "refused", error }, ""));
      // A frame of a megabyte can bring twenty thousand of them.
      if (!this.#bytes.takeAnswer(bytesOf([change]))) return "no room";
      this.#ready.push(change);
      return undefined;
    }
    const watched = { queryId, query, bytes, sent: undefined, anew: false, subscription: undefined };
    this.#queries.set(queryId, watched);
    this.#due.add(watched);
    return watched;
  }

  /** Why a query is not watched. It fails alone: a client whose socket closed would send the same queries again. */
  #refusalOf({ args = "", componentPath }: AddQuery, bytes: number): CallError | undefined {
    if (this.#queries.size >= sizes.queriesPerSocket) {
      return new CallError("too_large", `Too many queries on one connection (max ${sizes.queriesPerSocket})`);
    }
    if (componentPath) return noComponents();
    if (Buffer.byteLength(args) > sizes.frameBytes) return argumentsTooLarge();
    if (parsedBytes(args) > parsedArgumentBytes) return tooManyValues();
    if (this.#bytes.takeArguments(bytes)) return undefined;
    return new CallError(
      "too_large",
      `The arguments of all queries take too much (max ${heldBytes.subscriptions.socket} bytes on one connection, and less where many connections have queries)`,
    );
  }

  #remove(queryId: number): WatchedQuery | undefined {
    const query = this.#queries.get(queryId);
    // Nothing is kept of a query that was refused.
    if (!query) return undefined;
    this.#bytes.freeArguments(query.bytes);
    this.#queries.delete(queryId);
    this.#due.delete(query);
    const change = removedQuery(queryId);
    this.#bytes.addAnswer(bytesOf([change]));
    this.#ready.push(change);
    return query;
  }

  /** Makes a query due, unless it was removed. */
  touch(query: WatchedQuery): void {
    if (this.has(query)) this.#due.add(query);
  }

  /** Makes all queries due; `anew`: even those of which nothing is known to have changed are read once more. */
  touchAll(anew: boolean): void {
    for (const query of this.#queries.values()) {
      query.anew ||= anew;
      this.#due.add(query);
    }
  }

  /** All that is due. From here on nothing is. */
  takeDue(): WatchedQuery[] {
    const due = [...this.#due];
    this.#due.clear();
    return due;
  }

  /** The changes that are ready, which stay counted until they are freed. */
  takeReady(): { ready: Change[]; bytes: number } {
    const ready = this.#ready;
    this.#ready = [];
    return { ready, bytes: bytesOf(ready) };
  }

  /** Puts back changes that could not be told. */
  putBack(ready: readonly Change[]): void {
    this.#bytes.addAnswer(bytesOf(ready));
    this.#ready = [...ready, ...this.#ready];
  }

  end(): void {
    this.#isEnded = true;
    this.#queries.clear();
    this.#due.clear();
  }
}

/** What changes count as while they wait. */
function bytesOf(changes: readonly Change[]): number {
  let bytes = 0;
  for (const parts of changes) for (const part of parts) bytes += part.length + pieceBytes;
  return bytes;
}
