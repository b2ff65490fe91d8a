/**
 * The token that opens one side of one session (clawrent.md section 1). It is derived and not stored: fixed for the
 * session's life, good after a restart, and void once the session has ended, which whoever takes one has to check.
 */
import { timingSafeEqual } from "node:crypto";
import type { QueryContext } from "../../runtime/context.js";
import { type Side, sides } from "../../schema/sessions.js";

type Deriving = Pick<QueryContext, "derive">;

export function sessionToken(ctx: Deriving, sessionId: string, side: Side): string {
  return ctx.derive(`session ${sessionId} ${side}`);
}

/** Which side of the session the token opens, if any. */
export function sideOfToken(ctx: Deriving, sessionId: string, token: string): Side | undefined {
  const given = Buffer.from(token);
  return sides.find((side) => {
    const expected = Buffer.from(sessionToken(ctx, sessionId, side));
    return given.length === expected.length && timingSafeEqual(given, expected);
  });
}
