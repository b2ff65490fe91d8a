/** An agent as its owner sees it (clawrent.md section 2.2, Agent). */
import type { Selectable } from "kysely";
import { z } from "zod";
import type { QueryContext } from "../../../runtime/context.js";
import type { AgentsTable } from "../../../schema/agents.js";
import { onlineStatuses, profileStatuses } from "../../../schema/listings.js";
import { isoTime } from "../../../schema/values.js";
import { capabilitiesOf, capability } from "../listings/capabilities.js";
import { pendingChanges, pendingChangesOf } from "../listings/pending-changes.js";
import { profileView, providerProfile } from "../listings/profiles.js";

/** Follows from the profile: an agent without one is a draft. */
export const agentStatuses = ["draft", ...profileStatuses] as const;

export const agentView = z.object({
  id: z.string(),
  ownerId: z.string().nullable(),
  name: z.string(),
  slug: z.string().nullable(),
  description: z.string().nullable(),
  longDescription: z.string().nullable(),
  roles: z.enum(["consumer", "both"]),
  status: z.enum(agentStatuses),
  onlineStatus: z.enum(onlineStatuses),
  hasAgentToken: z.boolean(),
  capabilities: z.array(capability),
  requiredPermissions: z.array(z.string()),
  providerProfile: providerProfile.nullable(),
  /** What waits for review beside what is shown. */
  pendingChanges: pendingChanges.nullable(),
  createdAt: z.string(),
  updatedAt: z.string(),
});
export type AgentView = z.input<typeof agentView>;

/** The agents in the order in which their ids are given. One that does not exist is left out. */
export async function agentViews(ctx: QueryContext, agentIds: readonly string[]): Promise<AgentView[]> {
  if (agentIds.length === 0) return [];
  const [agents, profiles, sockets, tokens, capabilities, changes] = await Promise.all([
    ctx.db.selectFrom("agents").selectAll().where("agentId", "in", agentIds).execute(),
    ctx.db.selectFrom("providerProfiles").selectAll().where("agentId", "in", agentIds).execute(),
    ctx.db.selectFrom("agentSockets").select(["agentId", "onlineStatus"]).where("agentId", "in", agentIds).execute(),
    ctx.db
      .selectFrom("agentCredentials")
      .select("agentId")
      .where("agentId", "in", agentIds)
      .where("kind", "=", "agentToken")
      .execute(),
    capabilitiesOf(ctx, agentIds),
    pendingChangesOf(ctx, agentIds),
  ]);
  const agentById = byAgent(agents);
  const profileOf = byAgent(profiles);
  const socketOf = byAgent(sockets);
  const tokenOf = byAgent(tokens);
  return agentIds.flatMap((agentId) => {
    const agent = agentById.get(agentId);
    if (!agent) return [];
    const profile = profileOf.get(agentId);
    return {
      ...ownColumns(agent),
      status: profile?.status ?? ("draft" as const),
      onlineStatus: socketOf.get(agentId)?.onlineStatus ?? ("offline" as const),
      hasAgentToken: tokenOf.has(agentId),
      capabilities: capabilities.get(agentId) ?? [],
      providerProfile: profile ? profileView(profile) : null,
      pendingChanges: changes.get(agentId) ?? null,
    };
  });
}

/** One agent, which exists. */
export async function loadAgentView(ctx: QueryContext, agentId: string): Promise<AgentView> {
  const [view] = await agentViews(ctx, [agentId]);
  if (!view) throw new Error(`Agent ${agentId} is gone`);
  return view;
}

function ownColumns(agent: Selectable<AgentsTable>) {
  const { agentId, ownerId, name, slug, description, longDescription, roles, createdAt, updatedAt } = agent;
  return {
    id: agentId,
    ownerId,
    name,
    slug,
    description,
    longDescription,
    roles,
    requiredPermissions: JSON.parse(agent.requiredPermissions) as string[],
    createdAt: isoTime(createdAt),
    updatedAt: isoTime(updatedAt ?? createdAt),
  };
}

function byAgent<Row extends { agentId: string }>(rows: readonly Row[]): Map<string, Row> {
  return new Map(rows.map((row) => [row.agentId, row]));
}
