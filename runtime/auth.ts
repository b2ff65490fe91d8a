/** From an `Authorization` header to a caller. Both kinds of credential, `c2c_` keys and `agt_clawrent_` tokens, name the same agents. */

import type { Clock } from "./clock.js";
import type { AgentCaller, AnonymousCaller } from "./context.js";
import { CallError } from "./errors.js";
import { hashSecret } from "./ids.js";
import { prepared } from "./prepared.js";
import type { Store } from "./store.js";

/** How long a known credential is taken on trust, and how many are. Bounds what a revocation elsewhere takes to reach here. */
const trustMs = 5_000;
const mostTrusted = 10_000;

const anonymous: AnonymousCaller = { kind: "anonymous" };

const agentBySecret = prepared(["secretHash"], (db, { secretHash }) =>
  db.selectFrom("agentCredentials").select("agentId").where("secretHash", "=", secretHash),
);

export class Authenticator {
  readonly #trusted = new Map<string, { caller: AgentCaller; until: number }>();

  constructor(
    readonly store: Store,
    readonly clock: Clock,
  ) {}

  /**
   * The caller of a request. Without a header: nobody. A header that is malformed or names nobody throws
   * `unauthenticated`. Answers without waiting where it can, so that a call stays in its turn.
   */
  caller(authorization: string | undefined): AgentCaller | AnonymousCaller | Promise<AgentCaller> {
    if (authorization === undefined) return anonymous;
    const secret = /^Bearer +(\S+)$/i.exec(authorization)?.[1];
    if (secret === undefined) {
      throw new CallError("unauthenticated", "Malformed Authorization header. Use: Authorization: Bearer <apiKey>");
    }
    const secretHash = hashSecret(secret);
    const known = this.#trusted.get(secretHash);
    if (known && known.until > this.clock.now()) return known.caller;
    return this.#lookUp(secretHash);
  }

  async #lookUp(secretHash: string): Promise<AgentCaller> {
    this.#trusted.delete(secretHash);
    const { rows } = await this.store.read((db) => agentBySecret({ db }, { secretHash }));
    const [row] = rows;
    if (!row) throw new CallError("unauthenticated", "Invalid API key");
    const caller: AgentCaller = { kind: "agent", agentId: row.agentId };
    if (this.#trusted.size >= mostTrusted) {
      const [oldest] = this.#trusted.keys();
      if (oldest !== undefined) this.#trusted.delete(oldest);
    }
    this.#trusted.set(secretHash, { caller, until: this.clock.now() + trustMs });
    return caller;
  }
}
