/**
 * Retrying a write safely. The first outcome of a write that carries an `Idempotency-Key` is stored in the write's own
 * transaction and given again for 24 hours. A reply may hold a secret that is shown once, so the record is encrypted
 * under the key itself, of which only a hash is stored: who has the database but not the key reads nothing.
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

export const keptMs = 24 * 60 * 60 * 1_000;
/** What a live client may send again after a long time without a connection (convex-wire.md section 9). */
const resentKeptMs = 14 * keptMs;

/** What a write answered: a value, or a refusal. A fault is not kept, so a retry runs again. */
export type KeptOutcome =
  | { status: "success"; value: unknown; ts?: bigint }
  /** A value that the database wrote as JSON. */
  | { status: "success"; json: string; ts?: bigint }
  | { status: "refused"; code: CallError["code"]; message: string; data: CallError["data"] };

/** Whom a client without a credential stands for. */
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

export class IdempotencyKey {
  readonly #keyHash: string;
  readonly #requestHash: string;
  /** What a record of the same call may have instead: made by nobody, before the client signed in, or before that counted. */
  readonly #otherRequestHashes: () => string[];
  readonly #cipherKey: Buffer;

  private constructor(
    key: string,
    scope: string,
    request: string,
    /** Whom the call stands for, where the scope does not say it. */
    who: string,
    /** On whose behalf the outcome is kept. */
    readonly holder: string,
    /** Of a mutation that a live client sends again. Only its success is kept: a failed one runs again. */
    readonly session?: { sessionHash: string; requestId: number },
  ) {
    this.#keyHash = hashSecret(`${scope}\n${key}`);
    // Under the key: a request may hold a password, which whoever has the database could find by trying.
    const hashAs = (whoever: string) => hashSecret(`${key}\n${whoever}${request}`);
    this.#requestHash = hashAs(who);
    this.#otherRequestHashes = () => [...(who === "" ? [] : [hashAs(nobody), hashAs("")]), hashSecret(request)];
    this.#cipherKey = sealKey(key, scope, "tidepool idempotency record");
  }

  /** `request` is the call as text: the same key with another one is a mistake. Callers without a credential are told apart by address. */
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
   * The client's session is a random id that it alone knows. Its calls are those of whom the client stands for, whichever
   * token it shows: what it did as nobody stays its own once it has signed in, and is nobody else's.
   */
  static ofResent({ sessionId, requestId }: Resent, caller: Caller, request: string, holder: string): IdempotencyKey {
    const session = { sessionHash: hashSecret(`live client\n${sessionId}`), requestId };
    const who = caller.kind === "anonymous" ? nobody : `${scopeOf(caller, "")}\n`;
    return new IdempotencyKey(`${sessionId} ${requestId}`, "live client", request, who, holder, session);
  }

  /** The key of a call that has one. Throws where the header is no key. `functionPath` is as the registry spells it. */
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

  keeps(status: KeptOutcome["status"]): boolean {
    return status === "success" || !this.isResent;
  }

  /** Whether what a function threw is kept: a refusal is. */
  keepsError(error: unknown): error is CallError {
    return error instanceof CallError && this.keeps("refused");
  }

  /** The outcome that this key already has. Throws `conflict` where the key was used for another call. */
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

  /** Keeps the outcome, and says how many bytes that takes. */
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

/** Whose key it is: two callers may choose the same one. */
function scopeOf(caller: Caller, address: string): string {
  if (caller.kind === "agent") return `agent ${caller.agentId}`;
  if (caller.kind === "user") return `user ${caller.userId} ${caller.agentId ?? ""}`;
  return `${caller.kind} ${address}`;
}

/** The arguments as text that differs where they do; what JSON has no word for is told apart as well. */
function encodeRequest(args: object): string {
  return JSON.stringify(args, (_key, value: unknown) => {
    if (typeof value === "bigint") return { integer: String(value) };
    if (value instanceof ArrayBuffer) return { bytes: Buffer.from(value).toString("base64") };
    return typeof value === "number" && !Number.isFinite(value) ? { float: String(value) } : value;
  });
}

/** What is stored of an answer. */
export function toKeep(answer: Answer): KeptOutcome {
  if (answer.status === "refused") {
    const { code, message, data } = answer.error;
    return { status: "refused", code, message, data };
  }
  const { value, ts } = answer;
  const dated = ts === undefined ? {} : { ts };
  return { status: "success", ...dated, ...(value instanceof JsonText ? { json: value.text } : { value }) };
}

/** The answer that was stored. */
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
