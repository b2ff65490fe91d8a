/**
 * Finds the caller that a credential stands for. `c2c_` keys and `agt_clawrent_` tokens stand for agents, JWTs and
 * `key_clawrent_` API keys for users. What a caller may do is up to each function's declaration.
 */
import type { Kysely } from "kysely";
import type { Database } from "../../schema/index.js";
import type { Clock } from "../clock.js";
import type { AgentCaller, AnonymousCaller, Auth, Caller, CredentialId, UserCaller } from "../context.js";
import { CallError } from "../errors.js";
import { hashSecret } from "../ids.js";
import type { NoticeBoard } from "../notices.js";
import { prepared } from "../store/prepared.js";
import type { Store } from "../store/store.js";
import type { Tokens, VerifiedJwt } from "../tokens.js";
import type { Call } from "./call.js";

/**
 * How long a known credential is trusted without a look-up, and how many are. Bounds how long a revocation by another
 * process takes to work here.
 */
const trustMs = 5_000;
const mostTrusted = 10_000;

/** The prefix of users' API keys. */
export const userKeyPrefix = "key_clawrent_";

const anonymous: AnonymousCaller = { kind: "anonymous" };

type KnownCaller = AgentCaller | UserCaller;

/** Runs `work` on a snapshot of the database. */
type Read = <T>(work: (db: Kysely<Database>) => Promise<T>) => Promise<T>;

/** Whose a credential is, and when it expires. */
interface Found {
  caller: KnownCaller;
  /** Unix ms. */
  until: number;
  /** It replaces an older credential and has not been used yet. */
  isFirstUse?: boolean;
}

/** A caller and the secret that it presented. */
export interface Credential {
  secret: string;
  caller: Caller;
}

/**
 * The credential no longer stands for the caller: for nobody now, or for somebody else. Authenticating again tells
 * which.
 */
export class CredentialLapsed extends CallError {
  constructor() {
    super("unauthenticated", "The credential is no longer good");
  }
}

type SignedIn = VerifiedJwt & { signInId: string };
type SignInFound = { userId: string; email: string; status: string; endedAt: number | null; lastSeenAt: number };

/** What the authenticator needs done to the rows of sign-ins. System functions do it. */
export interface SignInKeeper {
  /** Stores a sign-in for a JWT that was issued before sign-ins were stored. */
  adopt(signIn: SignedIn): Promise<unknown>;
  /** Notes that the sign-in was used now. */
  see(signInId: string): void;
}

/** How exactly the last use of a sign-in is noted: coarsely, so that noting it costs calls next to nothing. */
const seenMs = 60 * 60 * 1_000;

const agentBySecret = prepared(["secretHash"], (db, { secretHash }) =>
  db
    .selectFrom("agentCredentials")
    .innerJoin("agents", "agents.agentId", "agentCredentials.agentId")
    .leftJoin("users", "users.userId", "agents.ownerId")
    .select([
      "agentCredentials.agentId",
      "agentCredentials.kind",
      "agentCredentials.expiresAt",
      "agentCredentials.isUnused",
      "users.userId",
      "users.email",
      "users.status",
    ])
    .where("agentCredentials.secretHash", "=", secretHash),
);
const userByKey = prepared(["apiKeyHash"], (db, { apiKeyHash }) =>
  db.selectFrom("users").select(["userId", "email", "status"]).where("apiKeyHash", "=", apiKeyHash),
);
const userBySignIn = prepared(["signInId"], (db, { signInId }) =>
  db
    .selectFrom("signIns")
    .innerJoin("users", "users.userId", "signIns.userId")
    .select(["users.userId", "users.email", "users.status", "signIns.endedAt", "signIns.lastSeenAt"])
    .where("signIns.signInId", "=", signInId),
);

/** Finds callers and remembers the recent ones for `trustMs`. */
export class Authenticator {
  readonly #trusted = new Map<string, { caller: KnownCaller; until: number }>();
  /** Rises whenever something is forgotten, so that a look-up that began before is not remembered. */
  #forgotten = 0;

  constructor(
    readonly store: Store,
    readonly clock: Clock,
    readonly tokens: Tokens,
    readonly adminEmails: ReadonlySet<string>,
    readonly signIns: SignInKeeper,
    notices: NoticeBoard,
    /** Ends the key that the key with this hash replaces. */
    readonly noteFirstUse: (secretHash: string) => Promise<unknown>,
  ) {
    const forget = (isMeant: (caller: KnownCaller) => boolean) => {
      this.#forgotten += 1;
      for (const [secretHash, { caller }] of this.#trusted) if (isMeant(caller)) this.#trusted.delete(secretHash);
    };
    notices.on("credentialEnded", ({ credentialId }) => forget((caller) => caller.credentialId === credentialId));
    notices.on("agentOwnerChanged", ({ agentId }) =>
      forget((caller) => caller.kind === "agent" && caller.agentId === agentId),
    );
    notices.on("noticesMissed", () => forget(() => true));
    notices.on("userStandingChanged", ({ userId }) =>
      forget((caller) => (caller.kind === "user" ? caller.userId : caller.ownerId) === userId),
    );
  }

  /**
   * The caller of a request: by its `Authorization` header, else by its `x-api-key`, else anonymous. Throws
   * `unauthenticated` if the credential is malformed or stands for nobody, and `forbidden` if its user is suspended.
   * Returns without waiting if it can, so that the call continues in the same turn of the event loop.
   */
  caller(authorization: string | undefined, apiKey?: string): KnownCaller | AnonymousCaller | Promise<KnownCaller> {
    if (authorization === undefined) return apiKey === undefined ? anonymous : this.bySecret(apiKey, "apiKey");
    const secret = secretIn({ authorization });
    if (secret === undefined) {
      throw new CallError("unauthenticated", "Malformed Authorization header. Use: Authorization: Bearer <apiKey>");
    }
    return this.bySecret(secret);
  }

  /**
   * The caller that a credential stands for, wherever it was written. With `only`, no other kind of credential counts.
   */
  bySecret(secret: string, only?: "apiKey"): KnownCaller | Promise<KnownCaller> {
    if (only === "apiKey" && !secret.startsWith(userKeyPrefix)) {
      throw new CallError("unauthenticated", "Invalid API key");
    }
    const secretHash = hashSecret(secret);
    const known = this.#trusted.get(secretHash);
    if (known && known.until > this.clock.now()) return known.caller;
    return this.#lookUp(secret, secretHash);
  }

  async #lookUp(secret: string, secretHash: string): Promise<KnownCaller> {
    this.#trusted.delete(secretHash);
    const forgotten = this.#forgotten;
    const { caller, until, isFirstUse } = await this.#find(secret, secretHash, (work) => this.store.read(work));
    if (isFirstUse) await this.noteFirstUse(secretHash);
    if (forgotten !== this.#forgotten) return caller;
    if (this.#trusted.size >= mostTrusted) {
      const [oldest] = this.#trusted.keys();
      if (oldest !== undefined) this.#trusted.delete(oldest);
    }
    this.#trusted.set(secretHash, { caller, until: Math.min(until, this.clock.now() + trustMs) });
    return caller;
  }

  /**
   * Throws `CredentialLapsed` unless the secret stands for its caller in this transaction's view of the database.
   * Another process may have revoked a credential that is trusted here, and its notice may still be on its way.
   */
  async requireStanding(db: Kysely<Database>, { secret, caller }: Credential): Promise<void> {
    const secretHash = hashSecret(secret);
    try {
      const found = await this.#find(secret, secretHash, (work) => work(db), "this snapshot only");
      if (isSameCaller(found.caller, caller)) return;
    } catch (error) {
      if (!(error instanceof CallError)) throw error;
    }
    this.#forgotten += 1;
    this.#trusted.delete(secretHash);
    throw new CredentialLapsed();
  }

  async #find(secret: string, secretHash: string, read: Read, only?: "this snapshot only"): Promise<Found> {
    if (secret.startsWith("eyJ")) {
      const jwt = await this.tokens.verify(secret);
      const signIn = { ...jwt, signInId: jwt.signInId ?? secretHash };
      const found = await this.#findSignIn(signIn, read);
      if (found || jwt.signInId !== undefined || only) return this.#ofSignIn(signIn, found);
      await this.signIns.adopt(signIn);
      return this.#ofSignIn(signIn, await this.#findSignIn(signIn, read));
    }
    if (secret.startsWith(userKeyPrefix)) {
      const { rows } = await read((db) => userByKey({ db }, { apiKeyHash: secretHash }));
      const until = Number.POSITIVE_INFINITY;
      return { caller: this.#user(rows[0], userKeyCredentialId(secretHash), "Invalid API key"), until };
    }
    const { rows } = await read((db) => agentBySecret({ db }, { secretHash }));
    const [row] = rows;
    const until = row?.expiresAt ?? Number.POSITIVE_INFINITY;
    if (!row || until <= this.clock.now()) throw new CallError("unauthenticated", "Invalid API key");
    const { agentId, kind, userId, email, status } = row;
    const isFirstUse = row.isUnused === 1;
    const agent = { kind: "agent" as const, agentId, credentialId: agentCredentialId(secretHash) };
    if (userId === null || email === null)
      return { caller: { ...agent, owner: null, ownerId: null }, until, isFirstUse };
    refuseSuspended(status);
    // The key that an agent got at its registration is older than its owner. It stands for the agent alone and never
    // acts for the owner.
    const owner = kind === "apiKey" ? null : { userId, email };
    return { caller: { ...agent, owner, ownerId: userId }, until, isFirstUse };
  }

  async #findSignIn({ signInId }: SignedIn, read: Read): Promise<SignInFound | undefined> {
    return (await read((db) => userBySignIn({ db }, { signInId }))).rows[0];
  }

  #ofSignIn({ signInId, userId, expiresAt }: SignedIn, found: SignInFound | undefined): Found {
    const isOpen = found?.userId === userId && found.endedAt === null;
    const caller = this.#user(isOpen ? found : undefined, signInCredentialId(signInId), "Token expired or invalid");
    if (isOpen && found.lastSeenAt <= this.clock.now() - seenMs) this.signIns.see(signInId);
    return { caller, until: expiresAt };
  }

  #user(
    row: { userId: string; email: string; status: string } | undefined,
    credentialId: CredentialId,
    otherwise: string,
  ): UserCaller {
    if (!row) throw new CallError("unauthenticated", otherwise);
    refuseSuspended(row.status);
    const { userId, email } = row;
    return { kind: "user", userId, credentialId, email, isAdmin: this.adminEmails.has(email), agentId: null };
  }
}

/** Whether two callers are the same in every respect. */
export function isSameCaller(one: Caller, other: Caller | undefined): boolean {
  return JSON.stringify(one) === JSON.stringify(other);
}

/** The secret in the headers of a request; undefined where there is none, or where it is malformed. */
export function secretIn({ authorization, apiKey }: Pick<Call, "authorization" | "apiKey">): string | undefined {
  return authorization === undefined ? apiKey : /^Bearer +(\S+)$/i.exec(authorization)?.[1];
}

/** The id of an agent's credential, from the hash of its secret. */
export function agentCredentialId(secretHash: string): CredentialId {
  return `agent_${secretHash}`;
}

/** The hash of the secret, from the id of an agent's credential; undefined for a user's credential. */
export function secretHashOf(credentialId: CredentialId): string | undefined {
  return credentialId.startsWith("agent_") ? credentialId.slice("agent_".length) : undefined;
}

/** The id of a sign-in's credential. */
export function signInCredentialId(signInId: string): CredentialId {
  return `jwt_${signInId}`;
}
/** The sign-in of such an id; undefined for another kind of credential. */
export function signInOf(credentialId: CredentialId): string | undefined {
  return credentialId.startsWith("jwt_") ? credentialId.slice("jwt_".length) : undefined;
}

/** The id of a user's API key, from the key's hash. */
export function userKeyCredentialId(apiKeyHash: string): CredentialId {
  return `key_${apiKeyHash}`;
}

function refuseSuspended(status: string | null): void {
  if (status !== "active") throw new CallError("forbidden", "Account is suspended");
}

/** The caller as a function with this `auth` sees it. Throws `forbidden` if this caller may not call it. */
export function callerFor(auth: Auth, caller: Caller): Caller {
  if (auth === "agent") {
    if (caller.kind === "agent") return caller;
    throw new CallError("forbidden", "Agent token required");
  }
  if (auth === "agentOrUser") return caller.kind === "agent" ? caller : asUser(caller);
  if (auth === "user" || auth === "admin") {
    const user = asUser(caller);
    if (auth === "admin" && !user.isAdmin) throw new CallError("forbidden", "Not authorized for this action");
    return user;
  }
  if (auth === "account" || auth === "signIn") {
    const user = asUser(caller);
    if (user.agentId !== null) throw new CallError("forbidden", "Only the account's own credential can do this");
    if (auth === "signIn" && signInOf(user.credentialId) === undefined) {
      throw new CallError("forbidden", "Sign in with your password to do this; an API key cannot");
    }
    return user;
  }
  return caller;
}

/**
 * The caller as a user: an agent whose credential was made by its owner acts for the owner. Throws `forbidden` for
 * anybody else.
 */
export function asUser(caller: Caller): UserCaller {
  if (caller.kind === "user") return caller;
  if (caller.kind === "agent" && caller.owner) {
    const { credentialId, owner, agentId } = caller;
    return { kind: "user", credentialId, ...owner, isAdmin: false, agentId };
  }
  throw new CallError(
    "forbidden",
    "Only a user, or an agent with a token that its owner made, can do this. An agent that registered itself is taken over with its claim token (agents:takeOver).",
  );
}

/** The names of the caller for a log line. */
export function namesOf(caller: Caller | undefined): { agentId?: string | undefined; userId?: string | undefined } {
  if (caller?.kind === "agent") return { agentId: caller.agentId };
  return caller?.kind === "user" ? { agentId: caller.agentId ?? undefined, userId: caller.userId } : {};
}
