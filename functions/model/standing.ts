/**
 * Whether the credential that a socket was opened with still stands. It is asked in the transaction that lets the
 * socket in: an earlier revocation is seen there, and the notice of a later one finds the socket.
 */
import { signInOf } from "../../runtime/call/caller.js";
import type { CredentialId, QueryContext } from "../../runtime/context.js";
import { prepared } from "../../runtime/store/prepared.js";

/**
 * Why it does not: the credential was replaced or revoked, the account is suspended, or its agent has another owner.
 */
const lapses = ["revoked", "suspended", "moved"] as const;
export type Lapse = (typeof lapses)[number];

/** Whom a socket is for: what its credential has to stand for. */
export interface Opener {
  credentialId: CredentialId;
  /** The agent that the credential has to belong to; null where any will do. */
  agentId: string | null;
  /** The user that it is opened for; null for an agent that nobody owns. */
  userId: string | null;
}

const agentCredential = prepared(["secretHash"], (db, { secretHash }) =>
  db
    .selectFrom("agentCredentials")
    .innerJoin("agents", "agents.agentId", "agentCredentials.agentId")
    .leftJoin("users", "users.userId", "agents.ownerId")
    .select([
      "agentCredentials.agentId",
      "agentCredentials.kind",
      "agentCredentials.expiresAt",
      "agents.ownerId",
      "users.status",
    ])
    .where("agentCredentials.secretHash", "=", secretHash),
);
const userByKey = prepared(["apiKeyHash"], (db, { apiKeyHash }) =>
  db.selectFrom("users").select(["userId", "status"]).where("apiKeyHash", "=", apiKeyHash),
);

const openSignIn = prepared(["signInId"], (db, { signInId }) =>
  db.selectFrom("signIns").select(["userId", "endedAt", "expiresAt"]).where("signInId", "=", signInId),
);

/**
 * Why a credential opens none of the marketplace's sockets for the agent or user any more; undefined where it does. The
 * key that an agent registered with opens none once somebody owns the agent, because it never acts for them.
 */
export async function lapseOf(
  ctx: QueryContext,
  { credentialId, agentId, userId }: Opener,
): Promise<Lapse | undefined> {
  const [kind, hash = ""] = credentialId.split("_", 2);
  if (kind === "agent") {
    const { rows } = await agentCredential(ctx, { secretHash: hash });
    const [row] = rows;
    if (!row || (row.expiresAt ?? Number.POSITIVE_INFINITY) <= ctx.now) return "revoked";
    if (agentId !== null && row.agentId !== agentId) return "revoked";
    if (row.kind === "apiKey" && row.ownerId !== null) return "revoked";
    if (row.ownerId !== userId) return "moved";
    return row.status === null || row.status === "active" ? undefined : "suspended";
  }
  if (kind === "key") {
    const { rows } = await userByKey(ctx, { apiKeyHash: hash });
    if (rows[0]?.userId !== userId) return "revoked";
  }
  const signInId = signInOf(credentialId);
  if (signInId !== undefined) {
    const { rows } = await openSignIn(ctx, { signInId });
    const [row] = rows;
    if (!row || row.userId !== userId || row.endedAt !== null || row.expiresAt <= ctx.now) return "revoked";
  }
  return userId === null ? undefined : (await standingOfUser(ctx, userId)).lapse;
}

const userById = prepared(["userId"], (db, { userId }) =>
  db.selectFrom("users").select(["email", "status"]).where("userId", "=", userId),
);

/** The user's address, or why a session of theirs may not be entered. */
export async function standingOfUser(
  ctx: QueryContext,
  userId: string,
): Promise<{ email: string; lapse: Exclude<Lapse, "moved"> | undefined }> {
  const { rows } = await userById(ctx, { userId });
  const [row] = rows;
  if (!row) return { email: "", lapse: "revoked" };
  return { email: row.email, lapse: row.status === "active" ? undefined : "suspended" };
}
