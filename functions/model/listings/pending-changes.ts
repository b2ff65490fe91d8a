/**
 * Only what was reviewed is shown. Once an admin has let an agent onto the marketplace, its description and its
 * addresses change only by another review: until then the changes wait here, apart from the agent, and everybody else
 * still sees what was reviewed. There is one row per agent; a further change goes into it.
 *
 * | profile | a change of these fields |
 * | --- | --- |
 * | none, `pending_review`, `rejected` | at once: nobody is shown it, and an admin looks at all of it |
 * | `active` | waits; approving applies it, rejecting drops it, and the agent stays listed |
 * | `suspended` | waits, so that a reinstatement shows nothing new; it is decided once the agent is back |
 */
import { z } from "zod";
import type { MutationContext, QueryContext } from "../../../runtime/context.js";
import { hashSecret } from "../../../runtime/ids.js";
import { type Capability, type capabilities, capabilitiesOf, replaceCapabilities } from "./capabilities.js";
import { relistAgent } from "./listing.js";

/** The reviewed fields, with their new values. */
export const pendingChanges = z.object({
  name: z.string().optional(),
  description: z.string().optional(),
  longDescription: z.string().optional(),
  capabilities: z
    .array(z.object({ category: z.string(), name: z.string(), description: z.string(), tags: z.array(z.string()) }))
    .optional(),
  requiredPermissions: z.array(z.string()).optional(),
  endpoint: z.string().optional(),
  healthCheckUrl: z.string().optional(),
});
type Changes = z.output<typeof pendingChanges>;

/** The same fields, with the values that were reviewed. */
interface Reviewed {
  name: string;
  description: string | null;
  longDescription: string | null;
  capabilities: readonly Capability[];
  requiredPermissions: readonly string[];
  endpoint: string | null;
  healthCheckUrl: string | null;
}

interface Given {
  name?: string | null | undefined;
  description?: string | null | undefined;
  longDescription?: string | null | undefined;
  capabilities?: z.output<typeof capabilities> | null | undefined;
  requiredPermissions?: string[] | null | undefined;
  endpoint?: string | null | undefined;
  healthCheckUrl?: string | null | undefined;
}

/** The reviewed fields among the arguments, as they are stored. A field that is null counts as absent. */
export function changesOf(given: Given): Changes {
  const fields = {
    name: given.name,
    description: given.description,
    longDescription: given.longDescription,
    capabilities: given.capabilities?.map(({ category, name, description, tags }) => ({
      category,
      name,
      description: description ?? "",
      tags: tags ?? [],
    })),
    requiredPermissions: given.requiredPermissions,
    endpoint: given.endpoint,
    healthCheckUrl: given.healthCheckUrl,
  };
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value != null)) as Changes;
}

/** The waiting changes of those of these agents that have any. */
export async function pendingChangesOf(ctx: QueryContext, agentIds: readonly string[]): Promise<Map<string, Changes>> {
  const rows = await ctx.db
    .selectFrom("pendingChanges")
    .select(["agentId", "changes"])
    .where("agentId", "in", agentIds)
    .execute();
  return new Map(rows.map(({ agentId, changes }) => [agentId, JSON.parse(changes) as Changes]));
}

/**
 * Submits these changes for review, together with those that wait already. A value that equals the reviewed one is not
 * a change: that is how an owner takes a change back. The position in the queue is that of the first change that waits.
 */
export async function submitChanges(ctx: MutationContext, agentId: string, given: Changes): Promise<void> {
  if (Object.keys(given).length === 0) return;
  const waiting = (await pendingChangesOf(ctx, [agentId])).get(agentId);
  const reviewed = await loadReviewed(ctx, agentId);
  const changes = JSON.stringify(differing({ ...waiting, ...given }, reviewed));
  if (changes === "{}") await dropChanges(ctx, agentId);
  else if (waiting) {
    await ctx.db
      .updateTable("pendingChanges")
      .set({ changes, updatedAt: ctx.now })
      .where("agentId", "=", agentId)
      .execute();
  } else {
    const made = { createdAt: ctx.now, updatedAt: ctx.now };
    await ctx.db
      .insertInto("pendingChanges")
      .values({ agentId, changes, ...made })
      .execute();
  }
}

/** Applies what waits, or drops it. Returns whether anything was waiting. */
export async function decideChanges(ctx: MutationContext, agentId: string, isApproved: boolean): Promise<boolean> {
  const changes = (await pendingChangesOf(ctx, [agentId])).get(agentId);
  if (!changes) return false;
  await dropChanges(ctx, agentId);
  if (isApproved) {
    await applyChanges(ctx, agentId, changes);
    await relistAgent(ctx, agentId);
  }
  return true;
}

/** Writes the changes to the agent itself. The caller lists a listed agent anew. */
export async function applyChanges(ctx: MutationContext, agentId: string, changes: Changes): Promise<void> {
  const { capabilities, requiredPermissions, endpoint, healthCheckUrl, ...texts } = changes;
  await ctx.db
    .updateTable("agents")
    .set({
      ...texts,
      ...(requiredPermissions && { requiredPermissions: JSON.stringify(requiredPermissions) }),
      updatedAt: ctx.now,
    })
    .where("agentId", "=", agentId)
    .execute();
  if (capabilities) await replaceCapabilities(ctx, agentId, capabilities);
  if (endpoint !== undefined || healthCheckUrl !== undefined) {
    await ctx.db
      .updateTable("providerProfiles")
      .set({ ...(endpoint && { endpoint }), ...(healthCheckUrl && { healthCheckUrl }), updatedAt: ctx.now })
      .where("agentId", "=", agentId)
      .execute();
  }
}

export async function dropChanges(ctx: MutationContext, agentId: string): Promise<void> {
  await ctx.db.deleteFrom("pendingChanges").where("agentId", "=", agentId).execute();
}

/**
 * Names what an admin was shown of an agent: what was reviewed and what waits. A decision brings it along, so that
 * nothing is approved that the owner has changed since the page was loaded.
 */
export function versionOf(reviewed: Reviewed, changes: Changes | null): string {
  const { name, description, longDescription, requiredPermissions, endpoint, healthCheckUrl } = reviewed;
  const texts = [name, description, longDescription, requiredPermissions, endpoint, healthCheckUrl];
  return hashSecret(JSON.stringify([texts, comparable(reviewed.capabilities), changes])).slice(0, 32);
}

async function loadReviewed(ctx: QueryContext, agentId: string): Promise<Reviewed> {
  const [row, capabilities] = await Promise.all([
    ctx.db
      .selectFrom("agents")
      .innerJoin("providerProfiles as profile", "profile.agentId", "agents.agentId")
      .select(["name", "description", "longDescription", "requiredPermissions", "endpoint", "healthCheckUrl"])
      .where("agents.agentId", "=", agentId)
      .executeTakeFirstOrThrow(),
    capabilitiesOf(ctx, [agentId]),
  ]);
  return {
    ...row,
    requiredPermissions: JSON.parse(row.requiredPermissions) as string[],
    capabilities: capabilities.get(agentId) ?? [],
  };
}

function differing(changes: Changes, reviewed: Reviewed): Changes {
  const before: Record<string, unknown> = { ...reviewed, capabilities: comparable(reviewed.capabilities) };
  // An empty long description looks the same as none.
  before.longDescription ??= "";
  return Object.fromEntries(
    Object.entries(changes).filter(([field, value]) => JSON.stringify(value) !== JSON.stringify(before[field])),
  ) as Changes;
}

/** Capabilities without their ids, which say nothing about what the agent can do. */
function comparable(capabilities: readonly Capability[]): unknown {
  return capabilities.map(({ category, name, description, tags }) => ({ category, name, description, tags }));
}
