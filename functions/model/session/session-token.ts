/**
 * The token that opens one side of one session (clawrent.md section 1). It is derived and not stored: the same for as
 * long as the session and the credential that obtained it, also after a restart. It names that credential, so that it
 * ends with it. Whoever takes a token checks that the session is open and that the credential still stands.
 */
import { timingSafeEqual } from "node:crypto";
import type { CredentialId, QueryContext } from "../../../runtime/context.js";
import { type Side, sides } from "../../../schema/sessions.js";

type Deriving = Pick<QueryContext, "derive">;

/** The length of what proves that this server wrote the rest: 256 bits in base64url. */
const proofCharacters = 43;

export function sessionToken(ctx: Deriving, sessionId: string, side: Side, credentialId: CredentialId): string {
  return ctx.derive(`session ${sessionId} ${side} ${credentialId}`) + credentialId;
}

/** The credential that a token claims to have been obtained with. This alone proves nothing. */
export function credentialNamedBy(token: string): CredentialId {
  return token.slice(proofCharacters);
}

/** Which side of the session the token opens, if any. */
export function sideOfToken(ctx: Deriving, sessionId: string, token: string): Side | undefined {
  const given = Buffer.from(token);
  const credentialId = credentialNamedBy(token);
  return sides.find((side) => {
    const expected = Buffer.from(sessionToken(ctx, sessionId, side, credentialId));
    return given.length === expected.length && timingSafeEqual(given, expected);
  });
}
