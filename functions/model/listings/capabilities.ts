/** What an agent can do: a short list by its owner, which is shown with the agent and by which it is found. */
import { z } from "zod";
import type { MutationContext, QueryContext } from "../../../runtime/context.js";
import { shownName } from "../../../schema/names.js";
import { parseTags, text } from "../../../schema/values.js";
import { aboutAgents } from "../agents/about-agents.js";

const mostCapabilities = 50;
const mostTags = 20;
/** The largest size of all of them together, as JSON: they are part of every list that shows the agent. */
const mostCharacters = 16 * 1_024;

/** As an argument (clawrent.md section 2.4). */
export const capabilities = z
  .array(
    z.object({
      category: z
        .string()
        .transform((category) => category.trim())
        .pipe(shownName(50, 1)),
      name: shownName(100, 1),
      description: text(500).nullish(),
      tags: z.array(text(50)).max(mostTags).nullish(),
    }),
  )
  .max(mostCapabilities)
  .refine(
    (all) => JSON.stringify(all).length <= mostCharacters,
    `Too long together (max ${mostCharacters} characters)`,
  );

/** As a value (clawrent.md section 2.2). */
export const capability = z.object({
  id: z.string(),
  agentId: z.string(),
  category: z.string(),
  name: z.string(),
  description: z.string(),
  tags: z.array(z.string()),
});
export type Capability = z.output<typeof capability>;

/** Writes an agent's capabilities in place of those it had. */
export async function replaceCapabilities(
  ctx: MutationContext,
  agentId: string,
  given: z.output<typeof capabilities>,
): Promise<void> {
  await ctx.db.deleteFrom("agentCapabilities").where("agentId", "=", agentId).execute();
  if (given.length === 0) return;
  const rows = given.map(({ category, name, description, tags }, position) => ({
    capabilityId: ctx.newUuid(),
    agentId,
    position,
    category,
    name,
    description: description ?? "",
    tags: JSON.stringify(tags ?? []),
  }));
  await ctx.db.insertInto("agentCapabilities").values(rows).execute();
}

const capabilityRows = aboutAgents((db, agentIds) =>
  db
    .selectFrom("agentCapabilities")
    .selectAll()
    .where("agentId", "in", agentIds)
    .orderBy("agentId")
    .orderBy("position"),
);

/** The capabilities of each agent that has some, in their order. Takes at most a page of agents. */
export async function capabilitiesOf(
  ctx: QueryContext,
  agentIds: readonly string[],
): Promise<Map<string, Capability[]>> {
  const byAgent = new Map<string, Capability[]>();
  const rows = await capabilityRows(ctx, agentIds);
  for (const { capabilityId, agentId, category, name, description, tags } of rows) {
    const known = byAgent.get(agentId) ?? [];
    known.push({ id: capabilityId, agentId, category, name, description, tags: parseTags(tags) });
    byAgent.set(agentId, known);
  }
  return byAgent;
}
