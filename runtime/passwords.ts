/**
 * Hashes passwords with scrypt. One hash takes 128 MB and a good part of a second, so at most two are made at once. The
 * others wait, and their addresses take turns, so that nobody keeps others out by asking often. If too many wait, a
 * caller is told to come back.
 */
import { randomBytes, type ScryptOptions, scrypt, timingSafeEqual } from "node:crypto";
import { promisify } from "node:util";
import { CallError } from "./errors.js";
import { FairQueue } from "./fair-queue.js";
import { sizes } from "./limits.js";

const derive = promisify<string, Buffer, number, ScryptOptions, Buffer>(scrypt);
const keyBytes = 32;
const mostAtOnce = 2;
const comeBackMs = 5_000;

/** Makes and checks hashes. */
export class Passwords {
  readonly #queue = new FairQueue(
    {
      atOnce: mostAtOnce,
      atOnceOfOne: mostAtOnce,
      waiting: sizes.hashesWaiting,
      waitingOfOne: sizes.hashesWaitingPerAddress,
    },
    () =>
      new CallError("rate_limited", `Too many people sign in at once. Try again in ${comeBackMs / 1_000} s.`, {
        retryAfterMs: comeBackMs,
      }),
  );
  readonly #cost: number;

  /** `cost` is scrypt's N. It is stored with each hash, so it can be raised later. */
  constructor(cost = 2 ** 17) {
    this.#cost = cost;
  }

  /** Returns `scrypt$N$salt$hash`, the last two in base64. Throws `rate_limited` if too many hashes of `asker` wait. */
  async hash(password: string, asker: string): Promise<string> {
    const salt = randomBytes(16);
    const key = await this.#derive(password, salt, this.#cost, asker);
    return `scrypt$${this.#cost}$${salt.toString("base64")}$${key.toString("base64")}`;
  }

  /** Whether `password` is the right one. Without a stored hash it takes as long and returns false. */
  async verify(password: string, stored: string | undefined, asker: string): Promise<boolean> {
    const [, cost, salt, expected] = stored?.split("$") ?? [];
    const key = await this.#derive(
      password,
      salt === undefined ? randomBytes(16) : Buffer.from(salt, "base64"),
      cost === undefined ? this.#cost : Number(cost),
      asker,
    );
    return expected !== undefined && timingSafeEqual(key, Buffer.from(expected, "base64"));
  }

  #derive(password: string, salt: Buffer, cost: number, asker: string): Promise<Buffer> {
    const options = { N: cost, r: 8, p: 1, maxmem: 256 * cost * 8 };
    return this.#queue.run(asker, () => derive(password.normalize("NFKC"), salt, keyBytes, options));
  }
}
