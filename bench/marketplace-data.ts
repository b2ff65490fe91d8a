/** What the marketplace contains before it is measured: people with keys and wallets, and listed agents. */

import { userKeyPrefix } from "../runtime/call/caller.js";
import { hashSecret, newSecret, newUuid } from "../runtime/ids.js";
import type { Store } from "../runtime/store/store.js";
import { wordsOf } from "../schema/search-words.js";

export interface Marketplace {
  /** One API key for each consumer. */
  consumers: string[];
  provider: string;
  agentIds: string[];
}

const startedMs = Date.UTC(2025, 0, 1);
const rowsAtOnce = 500;
const subjects = [
  "legal",
  "medical",
  "software",
  "travel",
  "music",
  "finance",
  "garden",
  "kitchen",
  "history",
  "chess",
];
const skills = ["translate", "summarise", "review", "plan", "draw", "count", "draft", "test", "explain", "sort"];
const chinese = ["翻译法律合同", "总结医学论文", "检查软件代码", "安排旅行计划", "编写音乐评论"];

/**
 * The word of the measured search, and how many listed agents have it: as many in a small filling as in a large one.
 */
export const searched = { word: "zebrafish", agents: 40 };

/**
 * Fills a migrated database. Every agent is approved and activated, and costs 0.01 per session. All belong to one
 * provider unless `agentsPerOwner` is given.
 */
export async function fillMarketplace(
  store: Store,
  filling: { consumers: number; agents: number; agentsPerOwner?: number },
): Promise<Marketplace> {
  const perOwner = filling.agentsPerOwner ?? filling.agents;
  const owners = Math.ceil(filling.agents / perOwner);
  const people = Array.from({ length: filling.consumers + owners }, (_, index) => ({
    userId: newUuid(startedMs),
    apiKey: newSecret(userKeyPrefix),
    email: `user-${index}@example.com`,
  }));
  const [provider] = people as [(typeof people)[number]];
  await store.write(async ({ db }) => {
    const user = { passwordHash: "none", role: "both", status: "active", avatarUrl: null } as const;
    const rows = people.map(({ userId, apiKey, email }) => ({
      ...user,
      userId,
      email,
      name: email,
      apiKeyHash: hashSecret(apiKey),
      createdAt: startedMs,
      updatedAt: startedMs,
    }));
    await db.insertInto("users").values(rows).execute();
  });

  const agentIds: string[] = [];
  for (let first = 0; first < filling.agents; first += rowsAtOnce) {
    const made = Array.from({ length: Math.min(rowsAtOnce, filling.agents - first) }, (_, index) =>
      listedAgent(first + index, filling.agents, people[(first + index) % owners]?.userId ?? ""),
    );
    await store.write(async ({ db }) => {
      await db
        .insertInto("agents")
        .values(made.map(({ agent }) => agent))
        .execute();
      await db
        .insertInto("providerProfiles")
        .values(made.map(({ profile }) => profile))
        .execute();
      const words = made.flatMap(({ agent, words }) => words.map((word) => ({ word, agentId: agent.agentId })));
      for (let from = 0; from < words.length; from += rowsAtOnce) {
        await db
          .insertInto("listingWords")
          .values(words.slice(from, from + rowsAtOnce))
          .execute();
      }
    });
    agentIds.push(...made.map(({ agent }) => agent.agentId));
  }
  await store.write(({ db }) =>
    db.insertInto("listingCounts").values({ category: "", listed: filling.agents }).execute(),
  );
  return { consumers: people.slice(owners).map(({ apiKey }) => apiKey), provider: provider.apiKey, agentIds };
}

function listedAgent(index: number, of: number, ownerId: string) {
  const createdAt = startedMs + index;
  const agentId = newUuid(createdAt);
  const pick = (words: string[], step: number) => words[Math.floor(index / step) % words.length] ?? "";
  const found = index % Math.floor(of / searched.agents) === 0 ? ` ${searched.word}` : "";
  const name = `Agent ${index}`;
  const description = `We ${pick(skills, 1)} ${pick(subjects, 10)} texts, ${pick(chinese, 7)}, agent${index}${found}`;
  const times = { createdAt, updatedAt: createdAt };
  return {
    agent: {
      agentId,
      name,
      description,
      claimTokenHash: agentId,
      claimedAt: createdAt,
      publicKey: null,
      ownerId,
      slug: `agent-${index}`,
      longDescription: null,
      roles: "both" as const,
      publishDefaults: null,
      serveRules: null,
      ...times,
    },
    profile: {
      profileId: newUuid(createdAt),
      agentId,
      ownerId,
      status: "active" as const,
      pricingModel: "per_session" as const,
      priceMinor: 100,
      currency: "CNY" as const,
      hostingType: "self_hosted" as const,
      endpoint: null,
      healthCheckUrl: null,
      transparencyLevel: "moderate" as const,
      approvalMode: "auto" as const,
      maxConcurrentSessions: 1_000,
      maxConsumerSlots: 1,
      slotAssignmentMode: "flexible",
      allowSharedConsumer: 0,
      verificationLevel: "none",
      totalSessions: 0,
      endedSessions: 0,
      completionRate: null,
      reviewNote: null,
      activatedAt: createdAt,
      ...times,
    },
    words: [...new Set(wordsOf(`${name} ${description}`))],
  };
}
