/**
 * How much of the payloads of messages is stored: for one session, and for one account as the sender in all its
 * sessions. Messages are never deleted, so above the bound no further one is accepted.
 */
import type { QueryContext } from "../../../runtime/context.js";
import { CallError } from "../../../runtime/errors.js";
import { storedPayloadBytes } from "../../../runtime/limits.js";
import { prepared } from "../../../runtime/store/prepared.js";
import type { SessionsTable, Side } from "../../../schema/sessions.js";
import { dayMs } from "../caps.js";

/** Sessions of an account count for this long. */
const countedMs = 30 * dayMs;
/** The account's sum is checked each time a side of a session has sent this much more. */
const stepBytes = 64 * 1_024;

const sumOfAccount = prepared(["userId", "since"], (db, { userId, since }) =>
  db
    .selectFrom((part) =>
      part
        .selectFrom("sessions")
        .select("providerPayloadBytes as bytes")
        .where("providerUserId", "=", userId)
        .where("createdAt", ">", since)
        .unionAll(
          part
            .selectFrom("sessions")
            .select("consumerPayloadBytes as bytes")
            .where("consumerUserId", "=", userId)
            .where("createdAt", ">", since),
        )
        .as("sent"),
    )
    .select(({ fn }) => fn.sum<number | null>("bytes").as("bytes")),
);

/** Counts one more payload in the session's row, which the caller writes; or refuses it. */
export async function storePayload(
  ctx: QueryContext,
  session: SessionsTable,
  side: Side,
  payload: string,
): Promise<void> {
  const bytes = Buffer.byteLength(payload);
  const have = session.providerPayloadBytes + session.consumerPayloadBytes;
  if (have + bytes > storedPayloadBytes.session) {
    const data = { limit: storedPayloadBytes.session, have };
    throw new CallError("conflict", "The session's messages take all that one may. End it and open another.", data);
  }
  const column = side === "provider" ? "providerPayloadBytes" : "consumerPayloadBytes";
  const before = session[column];
  session[column] += bytes;
  if (before > 0 && Math.floor(before / stepBytes) === Math.floor(session[column] / stepBytes)) return;
  const userId = side === "provider" ? session.providerUserId : session.consumerUserId;
  const { rows } = await sumOfAccount(ctx, { userId, since: ctx.now - countedMs });
  const sent = Number(rows[0]?.bytes ?? 0);
  if (sent + bytes <= storedPayloadBytes.account) return;
  throw new CallError("conflict", "Your messages in the sessions of the last 30 days take all that an account's may.", {
    limit: storedPayloadBytes.account,
    have: sent,
  });
}
