/** What a handler is given. It is all of the world that a handler may touch. */
import type { Kysely } from "kysely";
import type { Logger } from "pino";
import type { Database } from "../schema/index.js";
import type { IdPrefix } from "./ids.js";
import type { Notice } from "./notices.js";

/**
 * Who may call: anybody (a token in the arguments may still be needed), an agent, a user or an agent for its owner, an
 * agent or a user each as what they are, a user by their own JWT or API key, a user by their JWT alone, or a user who is
 * an admin.
 */
export type Auth = "none" | "agent" | "user" | "agentOrUser" | "account" | "signIn" | "admin";

/**
 * What a caller came with, by the id under which the server knows it, which tells nothing of the secret: `agent_` and the
 * hash of a `c2c_` key or an agent token, `key_` and the hash of an API key, `jwt_` and the id of a sign-in. Whatever hangs
 * on a credential refers to it, and ends with the `credentialEnded` notice that names it.
 */
export type CredentialId = string;

export interface AgentCaller {
  kind: "agent";
  agentId: string;
  credentialId: CredentialId;
  /** The user for whom its credential acts; null for a `c2c_` key, and for an agent that nobody took over. */
  owner: { userId: string; email: string } | null;
  /** The user whose agent it is, whatever it came with. */
  ownerId: string | null;
}
export interface UserCaller {
  kind: "user";
  userId: string;
  credentialId: CredentialId;
  email: string;
  /** Never true for an agent that acts for its owner. */
  isAdmin: boolean;
  /** The agent that acts for the user; null where the user came with a credential of their own. */
  agentId: string | null;
}
export interface AnonymousCaller {
  kind: "anonymous";
}
/** The server itself, in its own functions. */
export interface SystemCaller {
  kind: "system";
}
export type Caller = AgentCaller | UserCaller | AnonymousCaller | SystemCaller;

/** The caller that a handler of this `auth` sees. */
export type CallerOf<A extends Auth> = A extends "agent"
  ? AgentCaller
  : A extends "user" | "account" | "signIn" | "admin"
    ? UserCaller
    : A extends "agentOrUser"
      ? AgentCaller | UserCaller
      : Caller;

/** What the operator decided and handlers ask about. */
export interface Settings {
  /** Lower-cased. */
  adminEmails: ReadonlySet<string>;
  autoApproveProviders: boolean;
  topUps: boolean;
  /** For how long a settlement can be disputed, and its income is pending. */
  disputeMs: number;
}

export interface QueryContext<C extends Caller = Caller> {
  /** The call's transaction: a snapshot for a query, serializable for a mutation. */
  db: Kysely<Database>;
  caller: C;
  /** Unix milliseconds, the same instant for the whole call. */
  now: number;
  /**
   * Says that the answer changes by itself at this instant (Unix ms): who is subscribed gets it anew then. The past says
   * nothing. Needed only where no timer writes a row at that instant.
   */
  changesAt(at: number): void;
  log: Logger;
  /** Base of every link that is handed out, without a trailing slash. */
  publicUrl: string;
  settings: Settings;
  /** A secret for one purpose: the same purpose gives the same one, on every process and after a restart. */
  derive(purpose: string): string;
}

/** Where a call comes from. */
export interface Origin {
  /** The network address of the caller. */
  address: string;
  /** What that is counted under: for IPv6 its network (runtime/limits.ts). */
  addressKey: string;
  /** The caller's program, as it names itself; null where it does not. */
  userAgent: string | null;
}

export interface MutationContext<C extends Caller = Caller> extends QueryContext<C> {
  from: Origin;
  /** A new id with its readable prefix; sorts by time. */
  newId(prefix: IdPrefix): string;
  newUuid(): string;
  /** A new secret; store its `hashSecret`, show it once. */
  newSecret(prefix: string): string;
  /** `count` random decimal digits. */
  newDigits(count: number): string;
  /** A random code of ten characters, for people to type. */
  newCode(): string;
  /**
   * Has the commit wait for a write that the handler needs no answer of. On PostgreSQL all such writes share the
   * commit's round trip. If one fails, so does the call.
   */
  commitWaitsFor(write: Promise<unknown>): void;
  /** Tells the server's other parts, after the commit and in the order of commits. */
  notify(notice: Notice): void;
  /** Has the timer look at deadlines again at this instant (Unix ms), after the commit. */
  wakeAt(at: number): void;
}

/** Ends every handler of an agent's function: the one agent that calls. */
export type AgentQuery = QueryContext<AgentCaller>;
export type AgentMutation = MutationContext<AgentCaller>;
export type UserQuery = QueryContext<UserCaller>;
export type UserMutation = MutationContext<UserCaller>;

/** What a function's `prepare` step is given: what takes long or needs no transaction. */
export interface Preparation {
  /** Unix milliseconds. */
  now: number;
  from: Origin;
  derive(purpose: string): string;
  /** Runs `work` on a snapshot of its own. */
  read<T>(work: (db: Kysely<Database>) => Promise<T>): Promise<T>;
  newUuid(): string;
  hashPassword(password: string): Promise<string>;
  /** Takes as long without a stored hash, so that nobody learns whether there is one. */
  verifyPassword(password: string, stored: string | undefined): Promise<boolean>;
  /** A JWT for a sign-in of the user's. */
  signToken(userId: string, signInId: string): Promise<string>;
}
