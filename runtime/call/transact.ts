/**
 * Runs a function in its transaction: a query in one snapshot, a mutation in one serializable transaction. Builds the
 * context through which the handler acts (context.ts), and runs a mutation's effects outside the database after its
 * commit.
 */
import type { Kysely } from "kysely";
import type { Logger } from "pino";
import type { Database } from "../../schema/index.js";
import type { Clock } from "../clock.js";
import type { Caller, MutationContext, Origin, Preparation, QueryContext, Settings } from "../context.js";
import { laneOf } from "../counted-as.js";
import { newCode, newDigits, newId, newSecret, newUuid } from "../ids.js";
import type { Bus } from "../live/bus.js";
import { WriteSet } from "../live/read-and-write-sets.js";
import type { Seen, Watches } from "../live/watches.js";
import type { Notice, NoticeBoard } from "../notices.js";
import type { Passwords } from "../passwords.js";
import { InTurn } from "../queue.js";
import { OutcomeUnknown, type Store, type WriteTransaction } from "../store/store.js";
import type { Timestamps } from "../timestamps.js";
import type { Tokens } from "../tokens.js";
import { checkValue } from "./arguments.js";
import { type Answer, type Call, Rejected } from "./call.js";
import type { Authenticator, Credential } from "./caller.js";
import { Refusal, type Runnable } from "./define.js";
import { type IdempotencyKey, revive, toKeep } from "./idempotency.js";
import { KeptResults } from "./kept-results.js";

export interface TransactParts {
  store: Store;
  clock: Clock;
  log: Logger;
  authenticator: Authenticator;
  passwords: Passwords;
  tokens: Tokens;
  notices: NoticeBoard;
  watches: Watches;
  /** The link to other processes on the same database; undefined if there can be none. */
  bus: Bus | undefined;
  timestamps: Timestamps;
  settings: Settings;
  /** Base of every link that is handed out, without a trailing slash. */
  publicUrl(): string;
  /** Called after a commit that set a deadline (Unix ms). */
  wakeAt(at: number): void;
}

/** A function with the caller and the arguments that it runs with. */
export interface Running {
  definition: Runnable;
  /** For error messages. */
  path: string;
  caller: Caller;
  args: object;
}

/** How a query is read. */
export interface Reading extends Pick<Call, "refusal" | "finish"> {
  address?: string;
  /** The query's reads are noted in it, so that the query can be watched. */
  seen?: Seen | undefined;
  /** Must stand for the caller in the query's own snapshot. */
  credential?: Credential | undefined;
}

/** How a mutation's answer is kept in case the mutation is sent again. */
export interface Keeping {
  key?: IdempotencyKey | undefined;
  /** Whether it is the first mutation on its live client's socket. */
  isFirst?: boolean | undefined;
}

/** Effects that a mutation wants after its commit. Cleared before the mutation runs again. */
class Effects {
  #effects: (() => void)[] = [];
  /** The notices that were posted, for the other processes. */
  readonly told: Notice[] = [];

  add(effect: () => void): void {
    this.#effects.push(effect);
  }

  clear(): void {
    this.#effects = [];
  }

  run(): void {
    for (const effect of this.#effects) effect();
  }
}

/** Runs queries and mutations. */
export class Transactions {
  readonly #parts: TransactParts;
  readonly #keptResults = new KeptResults();
  readonly #inTurn = new InTurn();

  constructor(parts: TransactParts) {
    this.#parts = parts;
  }

  /** Runs a query in one snapshot. */
  read({ definition, path, caller, args }: Running, reading: Reading = {}): Promise<unknown> {
    const { store, authenticator } = this.#parts;
    const { seen, credential, address = "" } = reading;
    // The look-up of the credential is not watched: when credentials change, a notice tells the sockets concerned, and
    // no query has to run again.
    let isObserved = credential === undefined;
    // Reads aside are not watched, so such an answer must not be kept.
    if (definition.aside && seen) seen.usedClock = true;
    const work = async (db: Kysely<Database>) => {
      const refused = reading.refusal?.(caller);
      if (refused) throw new Rejected(refused);
      const began = performance.now();
      if (credential) {
        await authenticator.requireStanding(db, credential);
        isObserved = true;
      }
      try {
        const answered = await definition.handler(
          this.#queryContext(db, caller, seen) as never,
          args as never,
          undefined as never,
        );
        const value = checkValue(definition, answered, path);
        return reading.finish ? reading.finish(value, caller) : value;
      } finally {
        if (seen) seen.tookMs += performance.now() - began;
      }
    };
    if (definition.aside) return store.readAside(work);
    const observe =
      seen && ((query: Parameters<Seen["reads"]["add"]>[0]) => (isObserved ? seen.reads.add(query) : undefined));
    return store.read(work, observe, laneOf(caller, address));
  }

  /** Runs a mutation in one transaction and resolves once its commit is durable. */
  async write({ definition, path, caller, args }: Running, from: Origin, keeping: Keeping = {}): Promise<Answer> {
    // Outside of the turn below, so that slow work does not hold up others.
    const prepared =
      definition.prepare && (await definition.prepare(this.#preparation(from), args as never, caller as never));
    const attempt = async (transaction: WriteTransaction, effects: Effects) => {
      const ctx = this.#mutationContext(transaction, effects, caller, from);
      const run = async (given: MutationContext): Promise<Answer> => {
        const value = await definition.handler(given as never, args as never, prepared as never);
        return value instanceof Refusal
          ? { status: "refused", error: value.error }
          : { status: "success", value: checkValue(definition, value, path) };
      };
      return keeping.key ? this.#once(keeping.key, keeping, transaction, effects, ctx, run) : run(ctx);
    };
    // SQLite runs writes one after the other anyway. On PostgreSQL, calls that would conflict take turns.
    if (!definition.oneAtATime || !this.#parts.store.dialect.sharedByProcesses) return this.#commit(attempt);
    const keys = definition.oneAtATime(args as never, caller as never);
    return this.#inTurn.run(typeof keys === "string" ? [keys] : keys, () => this.#commit(attempt));
  }

  /**
   * Runs the call of a key, unless it ran before: then its first answer is returned again. Stores the answer in the
   * transaction.
   */
  async #once(
    key: IdempotencyKey,
    { isFirst }: Keeping,
    transaction: WriteTransaction,
    effects: Effects,
    ctx: MutationContext,
    run: (ctx: MutationContext) => Promise<Answer>,
  ): Promise<Answer> {
    const { db, now } = ctx;
    const earlier = await key.find(db, now);
    if (earlier) return revive(earlier);
    if (isFirst && key.session) await this.#keptResults.dropSeen(db, key.session, key.holder);
    const full = await this.#keptResults.refusal(db, key.holder, now);
    // Returned rather than thrown, so that what `dropSeen` deleted stays deleted and makes room for the next result.
    if (full) return { status: "refused", error: full };
    const keep = async (answer: Answer) => {
      const bytes = await key.keep(db, now, toKeep(answer));
      effects.add(() => this.#keptResults.add(key.holder, bytes));
    };
    try {
      const answer = await transaction.nested((part) => run({ ...ctx, db: part }));
      const isDated = answer.status === "success" && key.isResent;
      const dated = isDated ? { ...answer, ts: this.#parts.timestamps.next() } : answer;
      if (key.keeps(dated.status)) await keep(dated);
      return dated;
    } catch (error) {
      if (!key.keepsError(error)) throw error;
      effects.clear();
      const refused = { status: "refused" as const, error };
      await keep(refused);
      return refused;
    }
  }

  /** Commits what `attempt` writes, and then tells this process and the others, in the order of the commits. */
  async #commit<T>(attempt: (transaction: WriteTransaction, effects: Effects) => Promise<T>): Promise<T> {
    const { store, watches, bus } = this.#parts;
    const effects = new Effects();
    // Record the writes only if somebody may need to hear of them.
    const writes = bus?.isHeard || watches.isWatched ? new WriteSet() : undefined;
    let value: T;
    try {
      value = await store.write(
        (transaction) => {
          effects.clear();
          writes?.clear();
          return attempt(transaction, effects);
        },
        writes && ((query) => writes.add(query)),
      );
    } catch (error) {
      if (error instanceof OutcomeUnknown) bus?.lose();
      throw error;
    }
    watches.committed(writes);
    effects.run();
    bus?.tell(writes, effects.told);
    return value;
  }

  /** What every context contains, at this instant. */
  #surroundings() {
    const { clock, log, publicUrl, settings, tokens } = this.#parts;
    return {
      now: clock.now(),
      log,
      publicUrl: publicUrl(),
      settings,
      derive: (purpose: string) => tokens.derive(purpose),
    };
  }

  #queryContext(db: Kysely<Database>, caller: Caller, seen: Seen | undefined): QueryContext {
    const surroundings = this.#surroundings();
    const changesAt = (at: number) => {
      if (seen && at > surroundings.now) seen.changesAt = Math.min(at, seen.changesAt ?? at);
    };
    const ctx: QueryContext = { ...surroundings, db, caller, changesAt };
    if (!seen) return ctx;
    return Object.defineProperty(ctx, "now", {
      get: () => {
        seen.usedClock = true;
        return surroundings.now;
      },
    });
  }

  #mutationContext(
    { db, unawaited }: WriteTransaction,
    effects: Effects,
    caller: Caller,
    from: Origin,
  ): MutationContext {
    const surroundings = this.#surroundings();
    const { now } = surroundings;
    return {
      ...surroundings,
      db,
      caller,
      from,
      changesAt: () => {},
      newId: (prefix) => newId(prefix, now),
      newUuid: () => newUuid(now),
      newSecret,
      newDigits,
      newCode,
      commitWaitsFor: (write) => {
        // Node ends the process on an unhandled rejection, and nobody may be awaiting this write yet. The commit fails
        // with it all the same.
        write.catch(() => {});
        unawaited.push(write);
      },
      notify: (notice) =>
        effects.add(() => {
          effects.told.push(notice);
          this.#parts.notices.post(notice);
        }),
      wakeAt: (at) => effects.add(() => this.#parts.wakeAt(at)),
    };
  }

  #preparation(from: Origin): Preparation {
    const { store, passwords, tokens, clock } = this.#parts;
    return {
      now: clock.now(),
      from,
      derive: (purpose) => tokens.derive(purpose),
      read: (work) => store.read(work),
      newUuid: () => newUuid(clock.now()),
      hashPassword: (password) => passwords.hash(password, from.addressKey),
      verifyPassword: (password, stored) => passwords.verify(password, stored, from.addressKey),
      signToken: (userId, signInId) => tokens.sign(userId, signInId),
    };
  }
}
