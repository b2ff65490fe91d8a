/**
 * What is made from the server's own secret: users' JWTs, and secrets that are derived instead of stored. The secret is
 * configured, or made once and kept in a file that only this account can read.
 */
import { createHmac, randomBytes } from "node:crypto";
import { existsSync, linkSync, mkdirSync, readFileSync, unlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { decodeJwt, jwtVerify, SignJWT } from "jose";
import { nanoid } from "nanoid";
import type { Clock } from "./clock.js";
import { CallError } from "./errors.js";

/** How long a sign-in lasts. */
export const jwtMs = 7 * 24 * 60 * 60 * 1_000;
const issuer = "tidepool";

/** The file that keeps a secret that is not configured: in the directory of the SQLite file, or where that would be. */
export function secretFile(databaseUrl: string): string {
  const file = databaseUrl.startsWith("sqlite:") ? databaseUrl.slice("sqlite:".length) : "./data/tidepool.db";
  return join(dirname(file), "jwt-secret");
}

/** The secret in the file, which is created if it is missing. Two processes that start together get the same one. */
export function loadSecret(file: string): string {
  if (!existsSync(file)) makeSecret(file);
  const secret = readFileSync(file, "utf8").trim();
  if (secret.length < 32)
    throw new Error(`${file} holds no secret of at least 32 characters. Delete it to have one made.`);
  return secret;
}

function makeSecret(file: string): void {
  mkdirSync(dirname(file), { recursive: true });
  // The file gets its name only once it is complete, so that another process never reads half of it.
  const draft = `${file}.${randomBytes(8).toString("hex")}`;
  writeFileSync(draft, nanoid(64), { mode: 0o600, flush: true });
  try {
    linkSync(draft, file);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  } finally {
    unlinkSync(draft);
  }
}

/** What a valid JWT says. */
export interface VerifiedJwt {
  userId: string;
  /** The sign-in that it belongs to; undefined for a JWT that was issued before sign-ins were stored. */
  signInId: string | undefined;
  /** Unix ms. */
  createdAt: number;
  expiresAt: number;
}

/** Makes and verifies what depends on the server's secret. */
export class Tokens {
  readonly #jwtKey: Buffer;
  readonly #deriveKey: Buffer;

  constructor(
    secret: string,
    readonly clock: Clock,
  ) {
    const keyFor = (use: string) => createHmac("sha256", secret).update(use).digest();
    this.#jwtKey = keyFor("jwt");
    this.#deriveKey = keyFor("derived secrets");
  }

  /** A secret for one purpose, 256 bits in URL-safe characters. The same purpose always gives the same secret. */
  derive(purpose: string): string {
    return createHmac("sha256", this.#deriveKey).update(purpose).digest("base64url");
  }

  /** A JWT that names a sign-in and lasts for `jwtMs`. */
  sign(userId: string, signInId: string): Promise<string> {
    const now = this.clock.now();
    return new SignJWT()
      .setProtectedHeader({ alg: "HS256", typ: "JWT" })
      .setSubject(userId)
      .setJti(signInId)
      .setIssuer(issuer)
      .setIssuedAt(Math.floor(now / 1_000))
      .setExpirationTime(Math.floor((now + jwtMs) / 1_000))
      .sign(this.#jwtKey);
  }

  /** What a JWT says. Throws `unauthenticated` if this server did not sign it or it has expired. */
  async verify(jwt: string): Promise<VerifiedJwt> {
    try {
      const { payload } = await jwtVerify(jwt, this.#jwtKey, {
        algorithms: ["HS256"],
        issuer,
        requiredClaims: ["sub", "exp", "iat"],
        currentDate: new Date(this.clock.now()),
      });
      const { sub, jti, exp, iat } = payload;
      return {
        userId: sub as string,
        signInId: jti,
        createdAt: (iat as number) * 1_000,
        expiresAt: (exp as number) * 1_000,
      };
    } catch {
      throw new CallError("unauthenticated", "Token expired or invalid");
    }
  }
}

/** When a verified secret expires (Unix ms); undefined if it does not expire by time. */
export function expiryOf(secret: string): number | undefined {
  if (!secret.startsWith("eyJ")) return undefined;
  const { exp } = decodeJwt(secret);
  return exp === undefined ? undefined : exp * 1_000;
}
