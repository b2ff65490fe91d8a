/** What a handler gets. A handler acts on the world through this alone. */
import type { Kysely } from "kysely";
import type { Logger } from "pino";
import type { Database } from "../schema/index.js";
import type { IdPrefix } from "./ids.js";
import type { Notice } from "./notices.js";

/**
 * Who may call:
 * - `none`: anybody, though the arguments may have to contain a token
 * - `agent`: an agent
 * - `user`: a user, or an agent for its owner
 * - `agentOrUser`: an agent or a user, each as themselves
 * - `account`: a user with their own JWT or API key
 * - `signIn`: a user with their own JWT
 * - `admin`: a user who is an admin
 */
export type Auth = "none" | "agent" | "user" | "agentOrUser" | "account" | "signIn" | "admin";

/**
 * The server's id of a credential, which reveals nothing of the secret: `agent_` and the hash of a `c2c_` key or agent
 * token, `key_` and the hash of an API key, `jwt_` and the id of a sign-in. Whatever was opened with a credential
 * refers to it by this id, and ends with the `credentialEnded` notice that names it.
 */
export type CredentialId = string;

export interface AgentCaller {
  kind: "agent";
  agentId: string;
  credentialId: CredentialId;
  /** The user for whom the credential acts. Null for a `c2c_` key, and for an agent without an owner. */
  owner: { userId: string; email: string } | null;
  /** The agent's owner, whatever credential it presented; null if nobody took it over. */
  ownerId: string | null;
}
export interface UserCaller {
  kind: "user";
  userId: string;
  credentialId: CredentialId;
  email: string;
  /** Never true for an agent that acts for its owner. */
  isAdmin: boolean;
  /** The agent that acts for the user; null if the user presented their own credential. */
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

/** What the operator has decided and handlers need to know. */
export interface Settings {
  /** Lower-cased. */
  adminEmails: ReadonlySet<string>;
  autoApproveProviders: boolean;
  topUps: boolean;
  /** For how long a settlement can be disputed and its income is pending. */
  disputeMs: number;
}

/** What a query's handler gets. */
export interface QueryContext<C extends Caller = Caller> {
  /** The call's transaction: a snapshot for a query, serializable for a mutation. */
  db: Kysely<Database>;
  caller: C;
  /** Unix milliseconds, the same instant for the whole call. */
  now: number;
  /**
   * Says that the answer changes at this instant without a commit (Unix ms), so that subscribers get it again then. An
   * instant in the past has no effect. Needed only if no timer writes a row at that instant.
   */
  changesAt(at: number): void;
  log: Logger;
  /** Base of every link that is handed out, without a trailing slash. */
  publicUrl: string;
  settings: Settings;
  /** A secret for one purpose. The same purpose gives the same secret in every process and after a restart. */
  derive(purpose: string): string;
}

/** Where a call comes from. */
export interface Origin {
  /** The caller's network address. */
  address: string;
  /** The key that the address is counted by: for IPv6, its network (counted-as.ts). */
  addressKey: string;
  /** The caller's program as it names itself; null if it does not. */
  userAgent: string | null;
}

/** What a mutation's handler gets. */
export interface MutationContext<C extends Caller = Caller> extends QueryContext<C> {
  from: Origin;
  /** A new id with a readable prefix; ids sort by time. */
  newId(prefix: IdPrefix): string;
  newUuid(): string;
  /** A new secret. Store its `hashSecret` and show the secret once. */
  newSecret(prefix: string): string;
  /** `count` random decimal digits. */
  newDigits(count: number): string;
  /** A random code of ten characters, for people to type. */
  newCode(): string;
  /**
   * Makes the commit wait for a write whose result the handler does not need. On PostgreSQL all such writes share the
   * commit's round trip. If one fails, the call fails.
   */
  commitWaitsFor(write: Promise<unknown>): void;
  /** Tells other parts of the server, after the commit and in the order of the commits. */
  notify(notice: Notice): void;
  /** Makes the timer look at deadlines at this instant (Unix ms). Takes effect after the commit. */
  wakeAt(at: number): void;
}

/** The contexts of functions that only agents call, and of those that only users call. */
export type AgentQuery = QueryContext<AgentCaller>;
export type AgentMutation = MutationContext<AgentCaller>;
export type UserQuery = QueryContext<UserCaller>;
export type UserMutation = MutationContext<UserCaller>;

/** What a function's `prepare` step gets, for work that is slow or needs no transaction. */
export interface Preparation {
  /** Unix milliseconds. */
  now: number;
  from: Origin;
  derive(purpose: string): string;
  /** Runs `work` on a snapshot of its own. */
  read<T>(work: (db: Kysely<Database>) => Promise<T>): Promise<T>;
  newUuid(): string;
  hashPassword(password: string): Promise<string>;
  /** Takes as long without a stored hash, so that nobody can tell whether there is one. */
  verifyPassword(password: string, stored: string | undefined): Promise<boolean>;
  /** A JWT for one of the user's sign-ins. */
  signToken(userId: string, signInId: string): Promise<string>;
}
