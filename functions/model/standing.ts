/**
 * Whether what a socket was opened with still stands. It is asked in the transaction that lets the socket in: a
 * revocation that came before is seen there, and the notice of one that comes later finds the socket.
 */
import type { QueryContext } from "../../runtime/context.js";
import { prepared } from "../../runtime/prepared.js";

/** Why not: the token was replaced or revoked, or the account is suspended. */
export const lapses = ["revoked", "suspended"] as const;
export type Lapse = (typeof lapses)[number];

const credentialOfAgent = prepared(["secretHash"], (db, { secretHash }) =>
  db
    .selectFrom("agentCredentials")
    .innerJoin("agents", "agents.agentId", "agentCredentials.agentId")
    .leftJoin("users", "users.userId", "agents.ownerId")
    .select(["agentCredentials.agentId", "users.status"])
    .where("agentCredentials.secretHash", "=", secretHash),
);

/** Why the agent's credential opens nothing any more; undefined where it does. */
export async function lapseOfAgent(ctx: QueryContext, agentId: string, secretHash: string): Promise<Lapse | undefined> {
  const { rows } = await credentialOfAgent(ctx, { secretHash });
  const [row] = rows;
  if (row?.agentId !== agentId) return "revoked";
  return row.status === null || row.status === "active" ? undefined : "suspended";
}

const userById = prepared(["userId"], (db, { userId }) =>
  db.selectFrom("users").select(["email", "status"]).where("userId", "=", userId),
);

/** The user's address, or why a session of theirs may not be entered. */
export async function standingOfUser(
  ctx: QueryContext,
  userId: string,
): Promise<{ email: string; lapse: Lapse | undefined }> {
  const { rows } = await userById(ctx, { userId });
  const [row] = rows;
  if (!row) return { email: "", lapse: "revoked" };
  return { email: row.email, lapse: row.status === "active" ? undefined : "suspended" };
}
