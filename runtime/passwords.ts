/**
 * Passwords as scrypt hashes. One hash takes 128 MB and a good part of a second, so at most two are made at once; the
 * rest wait in a short queue, and beyond that a caller is told to come back.
 */
import { randomBytes, type ScryptOptions, scrypt, timingSafeEqual } from "node:crypto";
import { promisify } from "node:util";
import { CallError } from "./errors.js";

const derive = promisify<string, Buffer, number, ScryptOptions, Buffer>(scrypt);
const keyBytes = 32;
const mostAtOnce = 2;
const mostWaiting = 32;

export class Passwords {
  #running = 0;
  readonly #waiting: (() => void)[] = [];
  readonly #cost: number;

  /** `cost` is scrypt's N. It is stored with each hash, so that it can be raised. */
  constructor(cost = 2 ** 17) {
    this.#cost = cost;
  }

  /** `scrypt$N$salt$hash`, the last two in base64. Throws `rate_limited` where too many wait. */
  async hash(password: string): Promise<string> {
    const salt = randomBytes(16);
    const key = await this.#derive(password, salt, this.#cost);
    return `scrypt$${this.#cost}$${salt.toString("base64")}$${key.toString("base64")}`;
  }

  /** Whether it is the password. Takes as long where there is no stored hash, and is then false. */
  async verify(password: string, stored: string | undefined): Promise<boolean> {
    const [, cost, salt, expected] = stored?.split("$") ?? [];
    const key = await this.#derive(
      password,
      salt === undefined ? randomBytes(16) : Buffer.from(salt, "base64"),
      cost === undefined ? this.#cost : Number(cost),
    );
    return expected !== undefined && timingSafeEqual(key, Buffer.from(expected, "base64"));
  }

  async #derive(password: string, salt: Buffer, cost: number): Promise<Buffer> {
    if (this.#running >= mostAtOnce) {
      if (this.#waiting.length >= mostWaiting) {
        throw new CallError("rate_limited", "Too many people sign in at once. Try again in 5 s.", {
          retryAfterMs: 5_000,
        });
      }
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    } else this.#running += 1;
    try {
      const options = { N: cost, r: 8, p: 1, maxmem: 256 * cost * 8 };
      return await derive(password.normalize("NFKC"), salt, keyBytes, options);
    } finally {
      // Whoever waited takes this place over, so the count stays.
      const next = this.#waiting.shift();
      if (next) next();
      else this.#running -= 1;
    }
  }
}
