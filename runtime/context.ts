/** What a handler is given. It is all of the world that a handler may touch. */
import type { Kysely } from "kysely";
import type { Logger } from "pino";
import type { Database } from "../schema/index.js";
import type { IdPrefix } from "./ids.js";

/** Who may call: anybody (a token in the arguments may still be needed), an agent, or only the server's own timers. */
export type Auth = "none" | "agent" | "system";

export interface AgentCaller {
  kind: "agent";
  agentId: string;
}
export interface AnonymousCaller {
  kind: "anonymous";
}
export interface SystemCaller {
  kind: "system";
}
export type Caller = AgentCaller | AnonymousCaller | SystemCaller;

/** The caller that a handler of this `auth` sees. */
export type CallerOf<A extends Auth> = A extends "agent" ? AgentCaller : A extends "system" ? SystemCaller : Caller;

export interface QueryContext<C extends Caller = Caller> {
  /** The call's transaction: a snapshot for a query, serializable for a mutation. */
  db: Kysely<Database>;
  caller: C;
  /** Unix milliseconds, the same instant for the whole call. */
  now: number;
  log: Logger;
  /** Base of every link that is handed out, without a trailing slash. */
  publicUrl: string;
}

export interface MutationContext<C extends Caller = Caller> extends QueryContext<C> {
  /** A new id with its readable prefix; sorts by time. */
  newId(prefix: IdPrefix): string;
  newUuid(): string;
  /** A new secret; store its `hashSecret`, show it once. */
  newSecret(prefix: string): string;
  /**
   * Has the commit wait for a write that the handler needs no answer of. On PostgreSQL all such writes share the
   * commit's round trip. If one fails, so does the call.
   */
  defer(write: Promise<unknown>): void;
  /** Runs `effect` once, after the commit is durable; never if the transaction fails. */
  afterCommit(effect: () => void): void;
  /** Has the timer look at deadlines again at this instant (Unix ms), after the commit. */
  wakeAt(at: number): void;
}

/** Ends every handler of an agent's function: the one agent that calls. */
export type AgentQuery = QueryContext<AgentCaller>;
export type AgentMutation = MutationContext<AgentCaller>;
