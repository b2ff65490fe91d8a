/**
 * Makes writes safe to retry. The first outcome of a write with an `Idempotency-Key` is stored in the write's own
 * transaction, and given again for 24 hours. A reply may contain a secret that is shown only once, so the record is
 * encrypted with a key derived from the `Idempotency-Key`, of which only a hash is stored. Whoever has the database but
 * not that key can read nothing.
 */
import { deserialize, serialize } from "node:v8";
import type { Kysely } from "kysely";
import type { Database } from "../../schema/index.js";
import type { Caller } from "../context.js";
import { CallError } from "../errors.js";
import { hashSecret } from "../ids.js";
import { sizes } from "../limits.js";
import { seal, sealKey, unseal } from "../sealing.js";
import { type Answer, type Call, Rejected, type Resent } from "./call.js";
import { JsonText } from "./define.js";

/** How long an outcome is kept. */
export const keptMs = 24 * 60 * 60 * 1_000;
/**
 * How long a live client's mutations are kept: it may send them again after a long time offline (convex-wire.md section
 * 9).
 */
const resentKeptMs = 14 * keptMs;

/** What a write answered: a value or a refusal. A fault is not kept, so a retry runs again. */
export type KeptOutcome =
  | { status: "success"; value: unknown; ts?: bigint }
  /** A value that the database wrote as JSON. */
  | { status: "success"; json: string; ts?: bigint }
  | { status: "refused"; code: CallError["code"]; message: string; data: CallError["data"] };

/** The caller that a client without a credential stands for. */
const nobody = "nobody\n";

/** The key was used for another call. */
export class KeyReused extends CallError {
  constructor(isResent: boolean) {
    super(
      "conflict",
      isResent
        ? "The client's session has another call, or another caller, under this number. Use a new session id."
        : "This Idempotency-Key was used for another call. Use a new key for a new call.",
    );
  }
}

/** The key of one write that may be retried, and its stored outcome. */
export class IdempotencyKey {
  readonly #keyHash: string;
  readonly #requestHash: string;
  /**
   * Hashes that an earlier record of the same call may have instead: made by nobody, before the client signed in, or by
   * an earlier release that hashed less.
   */
  readonly #otherRequestHashes: () => string[];
  readonly #cipherKey: Buffer;

  private constructor(
    key: string,
    scope: string,
    request: string,
    /** The caller, if `scope` does not name it. */
    who: string,
    /** The account whose kept results this one counts against. */
    readonly holder: string,
    /** Set for a live client's mutation. Only its success is kept: a failed one runs again. */
    readonly session?: { sessionHash: string; requestId: number },
  ) {
    this.#keyHash = hashSecret(`${scope}\n${key}`);
    // Hashed together with the key: a request may contain a password, and otherwise whoever has the database could find
    // it by trying.
    const hashAs = (whoever: string) => hashSecret(`${key}\n${whoever}${request}`);
    this.#requestHash = hashAs(who);
    this.#otherRequestHashes = () => [...(who === "" ? [] : [hashAs(nobody), hashAs("")]), hashSecret(request)];
    this.#cipherKey = sealKey(key, scope, "tidepool idempotency record");
  }

  /**
   * The key of an `Idempotency-Key` header. `request` is the call as text: using the key again with another request is
   * a mistake. Callers without a credential are told apart by address.
   */
  static ofHeader(key: string, caller: Caller, address: string, request: string, holder: string): IdempotencyKey {
    if (key.length > sizes.idempotencyKeyCharacters || !/^[\x21-\x7e]+$/.test(key)) {
      throw new CallError(
        "invalid_args",
        `Idempotency-Key must be 1 to ${sizes.idempotencyKeyCharacters} printable ASCII characters without spaces`,
      );
    }
    return new IdempotencyKey(key, scopeOf(caller, address), request, "", holder);
  }

  /**
   * The key of a live client's mutation. The session is a random id that only the client knows. Its calls belong to the
   * caller that it stands for, whichever token it presents. What the client did before it signed in stays its own
   * afterwards, and is nobody else's.
   */
  static ofResent(
    { clientSessionId, requestId }: Resent,
    caller: Caller,
    request: string,
    holder: string,
  ): IdempotencyKey {
    const session = { sessionHash: hashSecret(`live client\n${clientSessionId}`), requestId };
    const who = caller.kind === "anonymous" ? nobody : `${scopeOf(caller, "")}\n`;
    return new IdempotencyKey(`${clientSessionId} ${requestId}`, "live client", request, who, holder, session);
  }

  /** The key of a call that has one. Rejects a malformed header. `functionPath` is the registry's spelling. */
  static ofCall(
    call: Call,
    functionPath: string,
    caller: Caller,
    args: object,
    holderOf: () => string,
  ): IdempotencyKey | undefined {
    if (!call.resent && call.idempotencyKey === undefined) return undefined;
    const holder = holderOf();
    const request = `${functionPath}\n${encodeRequest(args)}`;
    if (call.resent) return IdempotencyKey.ofResent(call.resent, caller, request, holder);
    try {
      return IdempotencyKey.ofHeader(call.idempotencyKey ?? "", caller, call.address, request, holder);
    } catch (error) {
      throw Rejected.from(error);
    }
  }

  get isResent(): boolean {
    return this.session !== undefined;
  }

  /** Whether an outcome with this status is kept. */
  keeps(status: KeptOutcome["status"]): boolean {
    return status === "success" || !this.isResent;
  }

  /** Whether an error that a function threw is kept; only a refusal can be. */
  keepsError(error: unknown): error is CallError {
    return error instanceof CallError && this.keeps("refused");
  }

  /** The outcome that is stored under this key. Throws `conflict` if the key was used for another call. */
  async find(db: Kysely<Database>, now: number): Promise<KeptOutcome | undefined> {
    const row = await db.selectFrom("idempotency").selectAll().where("keyHash", "=", this.#keyHash).executeTakeFirst();
    if (!row) return undefined;
    if (row.expiresAt <= now) {
      await db.deleteFrom("idempotency").where("keyHash", "=", this.#keyHash).execute();
      return undefined;
    }
    const isSame = row.requestHash === this.#requestHash || this.#otherRequestHashes().includes(row.requestHash);
    if (!isSame) throw new KeyReused(this.isResent);
    return deserialize(unseal(this.#cipherKey, row.outcome)) as KeptOutcome;
  }

  /** Stores the outcome and returns how many bytes it takes. */
  async keep(db: Kysely<Database>, now: number, outcome: KeptOutcome): Promise<number> {
    const sealed = seal(this.#cipherKey, serialize(outcome));
    const bytes = sealed.length;
    await db
      .insertInto("idempotency")
      .values({
        keyHash: this.#keyHash,
        requestHash: this.#requestHash,
        outcome: sealed,
        expiresAt: now + (this.isResent ? resentKeptMs : keptMs),
        holder: this.holder,
        bytes,
        sessionHash: this.session?.sessionHash ?? null,
        requestId: this.session?.requestId ?? null,
      })
      .execute();
    return bytes;
  }
}

/** The owner of a key: two callers may choose the same key. */
function scopeOf(caller: Caller, address: string): string {
  if (caller.kind === "agent") return `agent ${caller.agentId}`;
  if (caller.kind === "user") return `user ${caller.userId} ${caller.agentId ?? ""}`;
  return `${caller.kind} ${address}`;
}

/** The arguments as text that is different for different arguments, including values that JSON cannot express. */
function encodeRequest(args: object): string {
  return JSON.stringify(args, (_key, value: unknown) => {
    if (typeof value === "bigint") return { integer: String(value) };
    if (value instanceof ArrayBuffer) return { bytes: Buffer.from(value).toString("base64") };
    return typeof value === "number" && !Number.isFinite(value) ? { float: String(value) } : value;
  });
}

/** An answer as it is stored. */
export function toKeep(answer: Answer): KeptOutcome {
  if (answer.status === "refused") {
    const { code, message, data } = answer.error;
    return { status: "refused", code, message, data };
  }
  const { value, ts } = answer;
  const dated = ts === undefined ? {} : { ts };
  return { status: "success", ...dated, ...(value instanceof JsonText ? { json: value.text } : { value }) };
}

/** A stored answer, marked as replayed. */
export function revive(kept: KeptOutcome): Answer {
  if (kept.status === "refused") {
    return { status: "refused", error: new CallError(kept.code, kept.message, kept.data) };
  }
  const dated = kept.ts === undefined ? {} : { ts: kept.ts };
  return {
    status: "success",
    isReplayed: true,
    ...dated,
    value: "json" in kept ? new JsonText(kept.json) : kept.value,
  };
}
