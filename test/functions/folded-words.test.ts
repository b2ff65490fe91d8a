/** Words that read alike are the same word: as tags, as intents, in suggestions and on the marketplace. */
import { describe, expect, test } from "vitest";
import { hashSecret } from "../../runtime/ids.js";
import { Caller, databases, hour, startServer, useServer } from "../support/harness.js";
import { listed } from "../support/market.js";
import { databaseBefore } from "../support/older-database.js";
import { arrive, guests, liveEvent } from "./events/support.js";

describe.each(databases)("words that read alike, on %s", (database) => {
  const server = useServer(database);

  test("are one tag of an event, one intent, and shared by who typed them in either way", async () => {
    const host = await server.agent("Host", { claimed: true });
    const { eventId, tags } = await liveEvent(server, host, {
      tags: ["Straßenmusik", "ＳＴＲＡＳＳＥＮＭＵＳＩＫ", "co\u00adworking", "\u200b"],
    });
    expect(tags).toEqual(["strassenmusik", "coworking"]);
    await guests(server, eventId, ["Bob"], { intentTags: ["STRASSENMUSIK"], introNote: "ΔΡΟΜΟΣ, con\u200btracts" });
    const alice = await server.agent("Alice");
    const arrived = await arrive(alice, eventId, {
      intentTags: ["straßen\u200bmusik", "Co\u2060Working"],
      eventGoal: "δρόμοι, δρομος, Contracts",
    });
    expect(arrived.intentTags).toEqual(["strassenmusik", "coworking"]);
    expect(await alice.call("events:getSuggestions", { eventId })).toMatchObject([
      { sharedTags: ["strassenmusik"], score: 30 + 2 * 6 + 10 },
    ]);
    const unknown = alice.call("events:checkIn", { eventId, intentTags: ["ＪＡＺＺ\u200b"] });
    await expect(unknown).rejects.toMatchObject({
      message: "intentTags must match the event tags. Unknown tags: jazz",
    });
    // Nothing to see says as little as nothing.
    const renewed = await alice.call("events:checkIn", { eventId, intentTags: ["\u200b", " "] });
    expect(renewed.intentTags).toEqual(["strassenmusik", "coworking"]);
    expect(await host.call("events:updateTags", { eventId, tags: ["\u200b", "\u00ad"] })).toEqual({
      eventId,
      tags: [],
    });
  });

  test("find the same agents; its capabilities show their tags as they were written", async () => {
    const bob = await server.user("Bob");
    const capabilities = [
      { category: "law", name: "Recht", description: "Miet\u00adrecht", tags: ["Großkunden", "ΝΟΜΟΣ", "İzmir"] },
    ];
    const { id } = await listed(server, bob, { capabilities });
    for (const search of [
      "mietrecht",
      "GROSSKUNDEN",
      "großk",
      "νόμος",
      "νομοσ",
      "izmir",
      "IZMİR",
      "ｍｉｅｔ\u200bｒｅｃｈｔ",
    ]) {
      const found = await server.nobody.call("marketplace:browse", { search });
      expect(found.data, search).toMatchObject([{ id, capabilities: [{ tags: capabilities[0]?.tags }] }]);
    }
  });
});

/** As they were stored while tags were only lower-cased. More than one batch of each. */
const many = 1_100;
const start = Date.parse("2026-02-10T16:50:50Z");
const numbered = (kind: string, index: number) => `${kind}_${String(index).padStart(5, "0")}`;
const numbers = Array.from({ length: many }, (_, index) => index);
const made = { createdAt: start, updatedAt: start };
const profile = {
  ownerId: "bob",
  pricingModel: "fixed",
  priceMinor: 0,
  currency: "CNY",
  hostingType: "self_hosted",
  transparencyLevel: "moderate",
  approvalMode: "auto",
  maxConcurrentSessions: 1,
  maxConsumerSlots: 1,
  slotAssignmentMode: "flexible",
  allowSharedConsumer: 0,
  verificationLevel: "unverified",
  totalSessions: 0,
  endedSessions: 0,
  ...made,
};
const agent = (agentId: string) => ({
  agentId,
  name: `${agentId} Straße`,
  description: "con\u00adtracts",
  slug: agentId.replace("_", "-"),
  claimTokenHash: hashSecret(agentId),
  createdAt: start,
  ownerId: "bob",
});
const listedAgents = numbers.map((index) => numbered("agent", index));
const before = {
  users: [
    {
      userId: "bob",
      email: "bob@example.com",
      name: "Bob",
      passwordHash: "bob",
      apiKeyHash: "bob",
      role: "both",
      status: "active",
      ...made,
    },
  ],
  agents: [...listedAgents, "draft", "suspended"].map(agent),
  agentCredentials: [
    { secretHash: hashSecret("c2c_first"), agentId: listedAgents[0], kind: "apiKey", createdAt: start },
  ],
  providerProfiles: [...listedAgents, "suspended"].map((agentId) => ({
    profileId: agentId,
    agentId,
    status: agentId === "suspended" ? "suspended" : "active",
    ...profile,
  })),
  agentCapabilities: [
    {
      capabilityId: "capability",
      agentId: listedAgents.at(-1),
      position: 0,
      category: "law",
      name: "Law",
      description: "",
      tags: JSON.stringify(["Großkunden"]),
    },
  ],
  listingWords: [
    ...listedAgents.flatMap((agentId) =>
      [...agentId.split("_"), "straße", "con", "tracts"].map((word) => ({ word, agentId })),
    ),
    ...["law", "großkunden"].map((word) => ({ word, agentId: listedAgents.at(-1) })),
  ],
  listingCounts: [{ category: "", listed: many }],
  events: numbers.map((index) => ({
    eventId: numbered("evt", index),
    name: "Mixer",
    tags: index === 1 ? "[]" : JSON.stringify(["straße", "strasse", "co\u00adworking", "\u200b", "ß".repeat(50)]),
    startAt: start,
    endAt: start + hour,
    createdBy: listedAgents[0],
    createdAt: start,
  })),
  checkins: numbers.map((index) => ({
    checkinId: numbered("chk", index),
    eventId: numbered("evt", 0),
    agentId: listedAgents[index],
    status: index % 2 === 0 ? "active" : "expired",
    checkedInAt: start,
    expiresAt: start + hour,
    intentTags: JSON.stringify(index === 2 ? ["\u200b"] : ["co\u00adworking", "straße"]),
    introEnabled: 1,
    introDueAt: start,
  })),
};

describe.each(databases)("a database from before words were folded, on %s", (database) => {
  test("has its tags, intents and listings folded, and they go on being found", async () => {
    const old = await databaseBefore(database, "0016-folded-words", before as never);
    const server = await startServer(database, { databaseUrl: old.url });
    try {
      const rows = await server.read(async (db) => ({
        events: await db.selectFrom("events").select("tags").orderBy("eventId").execute(),
        checkins: await db.selectFrom("checkins").select("intentTags").orderBy("checkinId").execute(),
        words: await db.selectFrom("listingWords").select(["agentId", "word"]).orderBy("agentId").execute(),
      }));
      const folded = JSON.stringify(["strasse", "coworking", "s".repeat(50)]);
      expect(rows.events.map(({ tags }) => tags)).toEqual(numbers.map((index) => (index === 1 ? "[]" : folded)));
      expect(rows.checkins.map(({ intentTags }) => intentTags)).toEqual(
        numbers.map((index) => (index === 2 ? "[]" : JSON.stringify(["coworking", "strasse"]))),
      );
      const wordsNow = listedAgents.flatMap((agentId) => {
        const more = agentId === listedAgents.at(-1) ? ["law", "grosskunden"] : [];
        return [...agentId.split("_"), "strasse", "contracts", ...more].map((word) => `${agentId}: ${word}`);
      });
      expect(rows.words.map(({ agentId, word }) => `${agentId}: ${word}`).sort()).toEqual(wordsNow.sort());

      const first = new Caller(server, "c2c_first");
      const eventId = numbered("evt", 0);
      const renewed = await first.call("events:checkIn", { eventId, intentTags: ["STRAẞE"] });
      expect(renewed).toMatchObject({ updated: true, intentTags: ["strasse"] });
      const found = await server.nobody.call("marketplace:browse", { search: "GROSSKUNDEN straße Contracts" });
      expect(found.data).toMatchObject([{ id: listedAgents.at(-1) }]);
    } finally {
      await server.close();
      await old.remove();
    }
  });
});
