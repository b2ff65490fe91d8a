/**
 * Makes ids and secrets. Ids sort by time, because a random primary key makes every insert touch a cold page. Secrets
 * are entirely random, and only their hashes are stored.
 */
import { hash, randomBytes, randomFillSync } from "node:crypto";
import { customAlphabet, nanoid } from "nanoid";
import { v7 as uuidV7 } from "uuid";

/** Every prefix that an id can have. An agent's id has none: it is a plain UUID. */
export type IdPrefix = "conn" | "thr" | "msg" | "evt" | "chk" | "int" | "shr";

/** Random bytes are drawn in bulk: a system call for each id would be the most expensive part of making it. */
const pool = Buffer.alloc(4_096);
const bytesPerId = 16;
let drawn = pool.length;

function nextRandom(): Buffer {
  if (drawn === pool.length) {
    randomFillSync(pool);
    drawn = 0;
  }
  drawn += bytesPerId;
  return pool.subarray(drawn - bytesPerId, drawn);
}

/** A new id such as `thr_0192f3e4…`. `now` is in Unix milliseconds. */
export function newId(prefix: IdPrefix, now: number): string {
  return `${prefix}_${newUuid(now).replaceAll("-", "")}`;
}

/** A new UUID; UUIDs sort by time. */
export function newUuid(now: number): string {
  return uuidV7({ msecs: now, random: nextRandom() });
}

/** 192 random bits in URL-safe characters behind a prefix that says what the secret opens. */
export function newSecret(prefix: string): string {
  return prefix + nanoid(32);
}

/** `count` random decimal digits. */
export const newDigits: (count: number) => string = customAlphabet("0123456789");

/** A code that a person can type: ten characters, 50 random bits, without characters that are easily confused. */
export const newCode: () => string = customAlphabet("ABCDEFGHJKLMNPQRSTUVWXYZ23456789", 10);

/**
 * The hash by which a secret is stored. A look-up by hash needs no constant-time comparison: an attacker cannot choose
 * the hash.
 */
export function hashSecret(secret: string): string {
  return hash("sha256", secret, "hex");
}

/** A request id: 16 hex digits, random per process and counted within it, so that a log line can be found by its id. */
const processId = randomBytes(4).toString("hex");
let requestCount = randomBytes(3).readUIntBE(0, 3);
export function nextRequestId(): string {
  requestCount = (requestCount + 1) >>> 0;
  return processId + requestCount.toString(16).padStart(8, "0");
}
