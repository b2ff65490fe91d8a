/**
 * An agent as everybody sees it (clawrent.md section 2.2, AgentCard): never its endpoint, a token or its owner's
 * address.
 */
import { z } from "zod";
import type { QueryContext } from "../../../runtime/context.js";
import { currencies, onlineStatuses, pricingModels } from "../../../schema/listings.js";
import { printAmount } from "../../../schema/money.js";
import { isoTime } from "../../../schema/values.js";
import { aboutAgents } from "../agents/about-agents.js";
import { agentStatuses } from "../agents/agent-view.js";
import { capabilitiesOf, capability } from "./capabilities.js";

export const agentCard = z.object({
  id: z.string(),
  name: z.string(),
  slug: z.string().nullable(),
  description: z.string().nullable(),
  roles: z.enum(["consumer", "both"]),
  status: z.enum(agentStatuses),
  onlineStatus: z.enum(onlineStatuses),
  pricingModel: z.enum(pricingModels).nullable(),
  priceAmount: z.string().nullable(),
  currency: z.enum(currencies).nullable(),
  hostingType: z.string().nullable(),
  approvalMode: z.string().nullable(),
  transparencyLevel: z.string().nullable(),
  verificationLevel: z.string().nullable(),
  avgRating: z.null(),
  totalSessions: z.number(),
  owner: z.object({ id: z.string(), name: z.string() }).nullable(),
  capabilities: z.array(capability),
  createdAt: z.string(),
});
export type AgentCard = z.input<typeof agentCard>;

const cardRows = aboutAgents((db, agentIds) =>
  db
    .selectFrom("agents")
    .leftJoin("providerProfiles as profile", "profile.agentId", "agents.agentId")
    .leftJoin("users as owner", "owner.userId", "agents.ownerId")
    .leftJoin("agentSockets as socket", "socket.agentId", "agents.agentId")
    .select([
      "agents.agentId",
      "agents.name",
      "agents.slug",
      "agents.description",
      "agents.roles",
      "agents.createdAt",
      "agents.ownerId",
      "owner.name as ownerName",
      "socket.onlineStatus",
      "profile.status",
      "profile.pricingModel",
      "profile.priceMinor",
      "profile.currency",
      "profile.hostingType",
      "profile.approvalMode",
      "profile.transparencyLevel",
      "profile.verificationLevel",
      "profile.totalSessions",
    ])
    .where("agents.agentId", "in", agentIds),
);

/** The cards by agent id; at most a page of them. */
export async function agentCards(ctx: QueryContext, agentIds: readonly string[]): Promise<Map<string, AgentCard>> {
  const [rows, capabilities] = await Promise.all([cardRows(ctx, agentIds), capabilitiesOf(ctx, agentIds)]);
  return new Map(
    rows.map((row) => {
      const { agentId, ownerId, ownerName, priceMinor, createdAt, ...same } = row;
      const card: AgentCard = {
        ...same,
        id: agentId,
        status: same.status ?? "draft",
        onlineStatus: same.onlineStatus ?? "offline",
        priceAmount: priceMinor === null ? null : printAmount(priceMinor),
        avgRating: null,
        totalSessions: same.totalSessions ?? 0,
        owner: ownerId === null || ownerName === null ? null : { id: ownerId, name: ownerName },
        capabilities: capabilities.get(agentId) ?? [],
        createdAt: isoTime(createdAt),
      };
      return [agentId, card];
    }),
  );
}

/** The cards in the order in which the ids are given. */
export async function cardsInOrder(ctx: QueryContext, agentIds: readonly string[]): Promise<AgentCard[]> {
  const cards = await agentCards(ctx, agentIds);
  return agentIds.flatMap((agentId) => cards.get(agentId) ?? []);
}
