/**
 * Credentials of sockets and streams that stay open. Whoever holds one is told when it is in doubt: because it was
 * replaced or has run out, or because its user or its agent's owner has changed. Whether it still stands is looked up
 * again then.
 */
import { isSameCaller } from "../../runtime/call/caller.js";
import type { Clock } from "../../runtime/clock.js";
import type { Caller } from "../../runtime/context.js";
import { laneOf } from "../../runtime/counted-as.js";
import { CallError } from "../../runtime/errors.js";
import type { NoticeBoard } from "../../runtime/notices.js";
import { expiryOf } from "../../runtime/tokens.js";
import type { Turns } from "../../runtime/turns.js";

/** About what one look takes. */
const lookMs = 0.3;

/** What a credential that was in doubt turns out to be. */
export type Standing =
  | { status: "stands" }
  /** It stands for another caller: its agent has changed hands, or its user is an admin now. */
  | { status: "changed"; caller: Caller }
  /** It stands for nobody, or looking failed. */
  | { status: "refused"; error: unknown }
  /** The database is away. */
  | { status: "unknown" };

/** Whether the server could not tell, because the database is away. */
export function isUnavailable(error: unknown): boolean {
  return error instanceof CallError && error.code === "unavailable";
}

/** Whether the credential itself was found wanting. */
export function isVerdict(error: unknown): error is CallError {
  return error instanceof CallError && (error.code === "unauthenticated" || error.code === "forbidden");
}

export class Credentials {
  readonly #watchers = new Map<string, Set<() => void>>();

  constructor(
    notices: NoticeBoard,
    readonly clock: Clock,
    /** Not the turns of live queries: an owner who revokes a credential does not wait behind those. */
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
   * Checks again whom a credential stands for, in the turn of the caller that it stood for. Where notices were missed,
   * every open stream and socket does this at once.
   */
  check<T>(caller: Caller | undefined, address: string, look: () => Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      this.turns.add([laneOf(caller, address)], lookMs, async () => {
        await look().then(resolve, reject);
        return lookMs;
      });
    });
  }

  /** Whether a credential that is in doubt still stands for its caller. */
  async standing(caller: Caller | undefined, address: string, look: () => Promise<Caller>): Promise<Standing> {
    try {
      const now = await this.check(caller, address, look);
      return isSameCaller(now, caller) ? { status: "stands" } : { status: "changed", caller: now };
    } catch (error) {
      return isUnavailable(error) ? { status: "unknown" } : { status: "refused", error };
    }
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
