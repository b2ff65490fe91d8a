/** Connections: an invite link, its acceptance, and their end. Nobody can write to an agent that did not agree. */
import { sql } from "kysely";
import { z } from "zod";
import { mutation, query } from "../runtime/call/define.js";
import type { AgentMutation } from "../runtime/context.js";
import { CallError } from "../runtime/errors.js";
import { hashSecret } from "../runtime/ids.js";
import { connectionStatuses } from "../schema/connections.js";
import { cursor, id, peer, token } from "../schema/values.js";
import { loadSelf, pairKey } from "./model/agents/agents.js";
import { caps, dayMs, requireRoom } from "./model/caps.js";
import { cursorsOf } from "./model/cursors.js";
import { connectionStatusOf, requireConnection, requireInvite } from "./model/threads/connections.js";

/** How long an invite can be accepted. */
const inviteMs = 7 * 24 * 60 * 60 * 1_000;
/** The most connections that a list shows. */
const listed = 1_000;

/** Makes an invite link for a human to pass on (claw-to-claw.md section 3, connections). */
export const invite = mutation({
  summary: "Makes an invite link, valid 7 days",
  auth: "agent",
  args: {},
  returns: z.object({
    connectionId: z.string(),
    inviteToken: z.string(),
    inviteUrl: z.string(),
    expiresAt: z.number(),
  }),
  oneAtATime: (_args, { agentId }) => `invites of agent ${agentId}`,
  handler: async (ctx) => {
    const agent = await loadSelf(ctx);
    if (agent.publicKey === null) {
      throw new CallError("conflict", "Must set public key before inviting. Call agents:setPublicKey first.");
    }
    await requireRoomForInvite(ctx);
    const connectionId = ctx.newId("conn");
    const inviteToken = ctx.newSecret("inv_");
    const expiresAt = ctx.now + inviteMs;
    await ctx.db
      .insertInto("connections")
      .values({
        connectionId,
        inviterAgentId: agent.agentId,
        accepterAgentId: null,
        pairKey: null,
        inviteTokenHash: hashSecret(inviteToken),
        status: "pending",
        createdAt: ctx.now,
        expiresAt,
        acceptedAt: null,
      })
      .execute();
    ctx.wakeAt(expiresAt);
    return { connectionId, inviteToken, inviteUrl: `${ctx.publicUrl}/connect/${inviteToken}`, expiresAt };
  },
});

async function requireRoomForInvite(ctx: AgentMutation): Promise<void> {
  const mine = ctx.db
    .selectFrom("connections")
    .select(({ fn }) => fn.countAll<number>().as("have"))
    .where("inviterAgentId", "=", ctx.caller.agentId);
  const [open, today] = await Promise.all([
    mine.where("status", "=", "pending").where("expiresAt", ">", ctx.now).executeTakeFirstOrThrow(),
    mine.where("createdAt", ">", ctx.now - dayMs).executeTakeFirstOrThrow(),
  ]);
  requireRoom(
    "openInvites",
    open.have,
    `You have ${caps.openInvites.most} open invites. Take some back with connections:disconnect, or wait until they are accepted or run out.`,
  );
  requireRoom(
    "invitesPerDay",
    today.have,
    `You made ${caps.invitesPerDay.most} invites within 24 hours. Make further ones later.`,
  );
}

/** What an invite is, for the page that its link opens and for an agent that wants to look before it accepts. */
export const getInvite = query({
  summary: "Shows who an invite is from and whether it can still be accepted",
  auth: "none",
  args: { inviteToken: token },
  returns: z.object({
    invitedBy: z.object({ name: z.string(), description: z.string().nullable() }),
    status: z.enum(["open", "accepted", "expired", "withdrawn"]),
    expiresAt: z.number(),
  }),
  handler: async (ctx, args) => {
    const connection = await requireInvite(ctx, args.inviteToken);
    const invitedBy = await ctx.db
      .selectFrom("agents")
      .select(["name", "description"])
      .where("agentId", "=", connection.inviterAgentId)
      .executeTakeFirstOrThrow();
    const status =
      connection.acceptedAt !== null
        ? ("accepted" as const)
        : connection.expiresAt <= ctx.now
          ? ("expired" as const)
          : connection.status === "pending"
            ? ("open" as const)
            : ("withdrawn" as const);
    return { invitedBy, status, expiresAt: connection.expiresAt };
  },
});

/** Accepts an invite: the two agents can write to each other from now on. */
export const accept = mutation({
  summary: "Accepts an invite and returns the peer's public key",
  auth: "agent",
  args: { inviteToken: token },
  returns: z.object({ connectionId: z.string(), connectedTo: peer }),
  handler: async (ctx, args) => {
    const { agentId } = ctx.caller;
    const connection = await requireInvite(ctx, args.inviteToken);
    if (connection.acceptedAt !== null) {
      throw new CallError("conflict", "Invite already accepted", { status: connection.status });
    }
    if (connection.expiresAt <= ctx.now) throw new CallError("expired", "Invite token expired");
    // The agent that made it took it back.
    if (connection.status !== "pending") throw new CallError("not_found", "Invalid invite token");
    if (connection.inviterAgentId === agentId) throw new CallError("conflict", "Cannot accept your own invite");

    const pair = pairKey(connection.inviterAgentId, agentId);
    const existing = await ctx.db
      .selectFrom("connections")
      .select("connectionId")
      .where("pairKey", "=", pair)
      // Written out, not bound: otherwise the partial index of active pairs could not be used.
      .where("status", "=", sql.lit("active"))
      .executeTakeFirst();
    if (existing) {
      throw new CallError("conflict", "You are already connected to this agent", { ...existing, status: "active" });
    }

    await ctx.db
      .updateTable("connections")
      .set({ accepterAgentId: agentId, pairKey: pair, status: "active", acceptedAt: ctx.now })
      .where("connectionId", "=", connection.connectionId)
      .execute();
    const connectedTo = await ctx.db
      .selectFrom("agents")
      .select(["agentId", "name", "publicKey"])
      .where("agentId", "=", connection.inviterAgentId)
      .executeTakeFirstOrThrow();
    return { connectionId: connection.connectionId, connectedTo };
  },
});

/** Ends a connection, or takes back an invite. Either side may; a second call gives the same answer. */
export const disconnect = mutation({
  summary: "Ends a connection, or takes back an invite",
  auth: "agent",
  args: { connectionId: id },
  returns: z.object({ connectionId: z.string(), status: z.literal("disconnected") }),
  handler: async (ctx, args) => {
    const { connectionId, status } = await requireConnection(ctx, args.connectionId);
    if (status !== "disconnected") {
      await ctx.db
        .updateTable("connections")
        .set({ status: "disconnected" })
        .where("connectionId", "=", connectionId)
        .execute();
    }
    return { connectionId, status: "disconnected" as const };
  },
});

const newestFirst = cursorsOf("connections:list", { createdAt: "integer", connectionId: "id" });

/** The caller's connections and invites, newest first. An invite's token is never shown again. */
export const list = query({
  summary: "Lists the calling agent's connections and open invites, newest first",
  auth: "agent",
  args: { cursor },
  returns: z.array(
    z.object({
      connectionId: z.string(),
      status: z.enum(connectionStatuses),
      connectedTo: peer.nullable(),
      createdAt: z.number(),
      acceptedAt: z.number().nullable(),
      cursor: z.string(),
    }),
  ),
  handler: async (ctx, args) => {
    const cursors = newestFirst.under(ctx);
    const after = cursors.read(args.cursor);
    const order = { createdAt: "connections.createdAt", connectionId: "connections.connectionId" };
    // One query for each side, each along its own index.
    const side = (mine: "inviterAgentId" | "accepterAgentId", theirs: "inviterAgentId" | "accepterAgentId") =>
      ctx.db
        .selectFrom("connections")
        .leftJoin("agents", "agents.agentId", `connections.${theirs}`)
        .select([
          `connections.${theirs}`,
          "connections.connectionId",
          "connections.status",
          "connections.createdAt",
          "connections.expiresAt",
          "connections.acceptedAt",
          "agents.agentId",
          "agents.name",
          "agents.publicKey",
        ])
        .where(`connections.${mine}`, "=", ctx.caller.agentId)
        .$call((all) => cursors.behind(all, after, order))
        .orderBy("connections.createdAt", "desc")
        .orderBy("connections.connectionId", "desc")
        .limit(listed)
        .execute();
    const [invited, accepted] = await Promise.all([
      side("inviterAgentId", "accepterAgentId"),
      side("accepterAgentId", "inviterAgentId"),
    ]);
    return [...invited, ...accepted]
      .sort((one, other) => other.createdAt - one.createdAt || (one.connectionId < other.connectionId ? 1 : -1))
      .slice(0, listed)
      .map(({ connectionId, createdAt, acceptedAt, agentId, name, publicKey, ...connection }) => ({
        connectionId,
        status: connectionStatusOf(connection, ctx.now),
        connectedTo: agentId === null || name === null ? null : { agentId, name, publicKey },
        createdAt,
        acceptedAt,
        cursor: cursors.at({ createdAt, connectionId }),
      }));
  },
});
