/**
 * Credentials of what stays open: whoever holds one is told when it has to be looked at again, because it was replaced or
 * has run out, or because its user or its agent's owner has changed.
 */
import type { Clock } from "../../runtime/clock.js";
import type { Caller } from "../../runtime/context.js";
import { laneOf } from "../../runtime/limits.js";
import type { NoticeBoard } from "../../runtime/notices.js";
import { expiryOf } from "../../runtime/tokens.js";
import type { Turns } from "../../runtime/turns.js";

/** About what one look takes. */
const lookMs = 0.3;

export class Credentials {
  readonly #watchers = new Map<string, Set<() => void>>();

  constructor(
    notices: NoticeBoard,
    readonly clock: Clock,
    /** Not those of live queries: what an owner takes away does not wait behind them. */
    readonly turns: Turns,
  ) {
    const tell = (key: string) => {
      for (const doubt of this.#watchers.get(key) ?? []) doubt();
    };
    notices.on("credentialEnded", ({ credentialId }) => tell(`credential ${credentialId}`));
    notices.on("agentOwnerChanged", ({ agentId }) => tell(`agent ${agentId}`));
    notices.on("userStandingChanged", ({ userId }) => tell(`user ${userId}`));
    notices.on("noticesMissed", () => {
      for (const key of [...this.#watchers.keys()]) tell(key);
    });
  }

  /**
   * Has `look` look again whom a credential stands for, in the turn of whom it stood for. Where notices were missed every
   * holder has to look.
   */
  check<T>(caller: Caller | undefined, address: string, look: () => Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      this.turns.add([laneOf(caller, address)], lookMs, async () => {
        await look().then(resolve, reject);
        return lookMs;
      });
    });
  }

  /** Calls `doubt` whenever the secret may stand for somebody else than this caller, or for nobody any more. */
  watch(secret: string, caller: Caller, doubt: () => void): () => void {
    const keys = keysOf(caller);
    for (const key of keys) {
      const watchers = this.#watchers.get(key);
      if (watchers) watchers.add(doubt);
      else this.#watchers.set(key, new Set([doubt]));
    }
    const expiresAt = expiryOf(secret);
    const cancel = expiresAt === undefined ? undefined : this.clock.after(expiresAt - this.clock.now(), doubt);
    return () => {
      cancel?.();
      for (const key of keys) {
        const watchers = this.#watchers.get(key);
        watchers?.delete(doubt);
        if (watchers?.size === 0) this.#watchers.delete(key);
      }
    };
  }
}

function keysOf(caller: Caller): string[] {
  if (caller.kind !== "user" && caller.kind !== "agent") return [];
  const credential = `credential ${caller.credentialId}`;
  if (caller.kind === "user") return [credential, `user ${caller.userId}`];
  return [credential, `agent ${caller.agentId}`, ...(caller.ownerId === null ? [] : [`user ${caller.ownerId}`])];
}
