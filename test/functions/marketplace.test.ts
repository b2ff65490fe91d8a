import fc from "fast-check";
import { beforeAll, describe, expect, test } from "vitest";
import { databases, type User, useServer } from "../support/harness.js";
import { connect, description, draft, freshSlug, listed } from "../support/market.js";
import { expectInvalid } from "../support/refusals.js";

// biome-ignore lint/suspicious/noExplicitAny: what a function answers is what the tests look at.
type Value = any;

describe.each(databases)("marketplace:browse on %s (clawrent.md section 2.5)", (database) => {
  const server = useServer(database);
  const browse = (args: object = {}): Promise<Value> => server.nobody.call("marketplace:browse", args);

  test("shows the card of a listed agent under both names, and nothing private", async () => {
    const alice = await server.user("Alice");
    const agent = await listed(server, alice, {
      capabilities: [{ category: "law", name: "Contracts", description: "Any", tags: ["nda"] }],
      endpoint: "https://secret.example.com",
      priceAmount: "5",
      pricingModel: "per_session",
    });
    const found = await browse({ ownerId: alice.userId });
    const card = {
      id: agent.id,
      name: agent.name,
      slug: agent.slug,
      description,
      roles: "both",
      status: "active",
      onlineStatus: "offline",
      pricingModel: "per_session",
      priceAmount: "5.00",
      currency: "CNY",
      hostingType: "self_hosted",
      approvalMode: "manual",
      transparencyLevel: "moderate",
      verificationLevel: "unverified",
      avgRating: null,
      totalSessions: 0,
      owner: { id: alice.userId, name: "Alice" },
      capabilities: agent.capabilities,
      createdAt: agent.createdAt,
    };
    expect(found).toEqual({ data: [card], agents: [card], total: 1, page: 1, limit: 20, nextCursor: null });
    const detail = await server.nobody.call("marketplace:getBySlug", { slug: agent.slug });
    expect(detail).toEqual({
      ...card,
      longDescription: null,
      requiredPermissions: [],
      maxConcurrentSessions: 5,
      maxConsumerSlots: 1,
    });
    for (const shown of [JSON.stringify(found), JSON.stringify(detail)]) {
      for (const secret of ["secret.example.com", alice.email, "agt_clawrent_"]) expect(shown).not.toContain(secret);
    }
    await connect(server, agent.id);
    await alice.call("agents:activate", { agentId: agent.id });
    expect((await browse({ ownerId: alice.userId })).data).toEqual([{ ...card, onlineStatus: "online" }]);
  });

  test("shows only agents with an active profile, by the slug as well", async () => {
    const alice = await server.user("Alice");
    const waiting = await draft(alice);
    await alice.call("agents:publish", { agentId: waiting.id });
    const suspended = await listed(server, alice);
    await (await server.admin()).call("admin:suspendAgent", { agentId: suspended.id });
    expect(await browse({ ownerId: alice.userId })).toMatchObject({ data: [], total: 0 });
    for (const slug of [waiting.slug, suspended.slug, "no-such-agent"]) {
      await expect(server.nobody.call("marketplace:getBySlug", { slug })).rejects.toMatchObject({
        code: "not_found",
        message: "Agent not found",
      });
    }
  });

  test("shows a taken-off agent nowhere, whichever words it had", async () => {
    const alice = await server.user("Alice");
    const agent = await listed(server, alice, {
      name: "Xylophone 木琴",
      capabilities: [{ category: "xyl", name: "Xy" }],
    });
    const searches = [
      { search: "xylophone" },
      { search: "木琴" },
      { category: "xyl" },
      { search: "木", category: "xyl" },
    ];
    for (const args of searches) expect(await browse(args)).toMatchObject({ total: 1 });
    await (await server.admin()).call("admin:suspendAgent", { agentId: agent.id });
    for (const args of searches) expect(await browse(args)).toMatchObject({ total: 0, data: [] });
    const left = await server.read((db) =>
      db.selectFrom("listingWords").selectAll().where("agentId", "=", agent.id).execute(),
    );
    expect(left).toEqual([]);
  });

  test.each([
    ["limit", { limit: 0 }, { limit: 1 }],
    ["limit", { limit: 1_000 }, { limit: 100 }],
    ["page", { page: -3 }, { page: 1 }],
    ["strings", { page: "2", limit: "7" }, { page: 2, limit: 7 }],
  ])("clamps %s", async (_field, args, expected) => {
    expect(await browse(args)).toMatchObject(expected);
  });

  test.each([
    ["sort", { sort: "cheapest" }],
    ["page", { page: "two" }],
    ["limit", { limit: 1.5 }],
    ["search", { search: "x".repeat(201) }],
  ])("refuses a bad %s", async (field, args) => {
    await expectInvalid(server, () => browse(args), field);
  });

  test("takes null and nothing for all", async () => {
    const { total } = await browse();
    expect(total).toBeGreaterThan(0);
    for (const nothing of [null, "", "  "]) {
      expect(await browse({ search: nothing, category: nothing, ownerId: nothing })).toMatchObject({ total });
    }
  });
});

describe.each(databases)("searching on %s", (database) => {
  const server = useServer(database);
  const agents = {
    contracts: { name: "Contract Reader", description: "Reads contracts and leases for you" },
    data: { name: "数据分析助手", description: "清洗数据,画图表,写报告。支持中文和英文" },
    mixed: { name: "GPT翻译Pro", description: "Translates 合同 and e-mails, C++ too" },
    cafe: {
      name: "Café Concierge",
      description: "Finds 100% good_places 🎉 for coffee",
      capabilities: [
        {
          category: "Travel & Food",
          name: "Restaurant booking",
          description: "Reserves tables",
          tags: ["brunch", "早午餐"],
        },
      ],
    },
  };
  beforeAll(async () => {
    const alice = await server.user("Alice");
    for (const agent of Object.values(agents)) await listed(server, alice, agent);
  });
  const names = async (args: object) => {
    const { data, total } = (await server.nobody.call("marketplace:browse", args)) as Value;
    expect(total).toBe(data.length);
    return data.map(({ name }: { name: string }) => name).sort();
  };
  const { contracts, data, mixed, cafe } = agents;

  test.each<[string, { name: string }[]]>([
    ["contract", [contracts]],
    ["CONTRACTS", [contracts]],
    ["contract reader", [contracts]],
    ["reader contract", [contracts]],
    ["lease", [contracts]],
    ["contract tables", []],
    ["ontract", []],
    ["cafe", [cafe]],
    ["CAFÉ", [cafe]],
    ["brunch", [cafe]],
    ["reserves", [cafe]],
    ["booking", [cafe]],
    ["travel food", [cafe]],
    ["good_places", [cafe]],
    ["数", [data]],
    ["数据", [data]],
    ["数据分", [data]],
    ["数据分析", [data]],
    ["数据分析助手", [data]],
    ["助手", [data]],
    ["手", [data]],
    ["据数", []],
    ["中文", [data]],
    ["报告", [data]],
    ["翻译", [mixed]],
    ["合同", [mixed]],
    ["同", [mixed]],
    ["gpt", [mixed]],
    ["GPT翻译", [mixed]],
    ["翻译pro", [mixed]],
    ["翻译 合同", [mixed]],
    ["翻译 数据", []],
    ["早午餐", [cafe]],
    ["ｃｏｎｔｒａｃｔ", [contracts]],
    ["e-mails", [mixed]],
    ["C++", [mixed, contracts, cafe]],
    ["a", [contracts, mixed]],
    ["contract!!!", [contracts]],
    ["“contract”, (reader)?", [contracts]],
    ["contract 🎉", [contracts]],
    ["🎉", []],
    ["!!!", []],
    ["%", []],
    ["_", []],
    ["%contract", [contracts]],
    ["contr%", [contracts]],
    ["contr_ct", []],
    ["*", []],
    ["contr*", [contracts]],
    ["' or 1=1 --", []],
    ['"; drop table "agents"; --', []],
    ["\\", []],
    ["contract\u{10ffff}", [contracts]],
    ["zzz", []],
  ])("for %j", async (search, expected) => {
    expect(await names({ search })).toEqual(expected.map(({ name }) => name).sort());
  });

  test("together with a category and an owner, each of which must fit", async () => {
    const bob = await server.user("Bob");
    const own = await listed(server, bob, {
      name: "Bob's reader",
      capabilities: [
        { category: "law", name: "Reading" },
        { category: "law", name: "More reading" },
      ],
    });
    expect(await names({ search: "reader", ownerId: bob.userId })).toEqual([own.name]);
    expect(await names({ search: "reader", category: "law" })).toEqual([own.name]);
    expect(await names({ category: "law", ownerId: bob.userId })).toEqual([own.name]);
    expect(await names({ category: " law " })).toEqual([own.name]);
    expect(await names({ search: "coffee", category: "law" })).toEqual([]);
    expect(await names({ search: "reader", category: "Law" })).toEqual([]);
    expect(await names({ ownerId: "nobody" })).toEqual([]);
    expect(await names({ category: "Travel & Food" })).toEqual([cafe.name]);
  });

  test("whatever is typed, it is answered, and never with an agent that lacks a word of it", async () => {
    await fc.assert(
      fc.asyncProperty(fc.string({ unit: "grapheme", maxLength: 60 }), async (typed) => {
        const search = typed.toWellFormed().replaceAll("\0", "");
        fc.pre(search.length <= 200);
        const answer = (await server.nobody.call("marketplace:browse", { search })) as Value;
        expect(answer.data).toHaveLength(Math.min(answer.total, 20));
      }),
      { numRuns: 150 },
    );
  });

  test("finds an agent by its new words from the moment an admin approves them, and no longer by the old", async () => {
    const admin = await server.admin();
    const alice = await server.user("Alice");
    const { id: agentId } = await listed(server, alice, { name: "Quokka" });
    const found = async (search: string) =>
      ((await server.nobody.call("marketplace:browse", { search })) as Value).data.map(({ id }: Value) => id);
    expect(await found("quokka")).toEqual([agentId]);
    await alice.call("agents:update", { agentId, name: "Wombat", description: "Digs holes 挖洞 all day" });
    expect(await found("quokka")).toEqual([agentId]);
    await admin.call("admin:approveAgent", { agentId });
    expect(await found("quokka")).toEqual([]);
    expect(await found("wombat 挖洞")).toEqual([agentId]);
    await alice.call("agents:update", { agentId, capabilities: [{ category: "digging", name: "Burrows" }] });
    await admin.call("admin:approveAgent", { agentId });
    expect(await found("burrows wombat")).toEqual([agentId]);
    await alice.call("agents:update", { agentId, capabilities: [] });
    await admin.call("admin:approveAgent", { agentId });
    expect(await found("burrows")).toEqual([]);
    expect(await found("wombat")).toEqual([agentId]);
  });
});

describe.each(databases)("pages and sorts on %s", (database) => {
  const server = useServer(database);
  let ids: string[] = [];
  beforeAll(async () => {
    const alice = await server.user("Alice");
    for (let index = 0; index < 11; index += 1) {
      ids.push(
        (await listed(server, alice, { name: `Common ${index}`, capabilities: [{ category: "all", name: "x" }] })).id,
      );
      server.clock.jump(1);
    }
    ids = ids.reverse();
    // What sessions leave behind, with ties: the newer agent comes first among equals.
    await server.server.store.write(async ({ db }) => {
      for (const [index, agentId] of ids.entries()) {
        await db
          .updateTable("providerProfiles")
          .set({ totalSessions: index % 3, completionRate: index % 4 === 0 ? null : (index % 4) / 4 })
          .where("agentId", "=", agentId)
          .execute();
      }
    });
  });
  const sorted = (rank: (index: number) => number) =>
    [...ids.keys()].sort((one, other) => rank(other) - rank(one) || one - other).map((index) => ids[index]);
  const orders = {
    newest: () => ids,
    popular: () => sorted((index) => index % 3),
    rating: () => sorted((index) => (index % 4 === 0 ? -1 : index % 4)),
  };

  test.each(
    Object.keys(orders).flatMap((sort) =>
      [{}, { search: "common" }, { category: "all" }, { search: "com", category: "all" }].map((more) => ({
        sort,
        more,
      })),
    ),
  )("$sort with $more comes page by page, each agent once", async ({ sort, more }) => {
    const seen: string[] = [];
    for (let page = 1; page <= 4; page += 1) {
      const answer = (await server.nobody.call("marketplace:browse", { sort, ...more, page, limit: 4 })) as Value;
      expect(answer).toMatchObject({ total: 11, page, limit: 4 });
      expect(answer.data).toHaveLength([4, 4, 3, 0][page - 1] ?? 0);
      seen.push(...answer.data.map(({ id }: Value) => id));
    }
    expect(seen).toEqual(orders[sort as keyof typeof orders]());
  });

  test.each([{}, { search: "common" }, { category: "all" }])("a page far behind is empty (%j)", async (more) => {
    const answer = await server.nobody.call("marketplace:browse", { ...more, page: 1_000_000, limit: 100 });
    expect(answer).toEqual({ data: [], agents: [], total: 11, page: 1_000_000, limit: 100, nextCursor: null });
  });
});

describe.each(databases)("more listings than one search looks at on %s", (database) => {
  const server = useServer(database);
  const many = 6_000;
  const idOf = (index: number) => `00000000-0000-7000-8000-${String(index).padStart(12, "0")}`;
  beforeAll(async () => {
    const { userId } = await server.user("Alice");
    await server.server.store.write(async ({ db }) => {
      for (let from = 0; from < many; from += 500) {
        const indexes = Array.from({ length: 500 }, (_, offset) => from + offset);
        await db
          .insertInto("agents")
          .values(
            indexes.map((index) => ({
              agentId: idOf(index),
              name: "Common",
              description,
              claimTokenHash: idOf(index),
              claimedAt: 1,
              publicKey: null,
              createdAt: index,
              ownerId: userId,
              slug: `many-${index}`,
            })),
          )
          .execute();
        await db
          .insertInto("providerProfiles")
          .values(
            indexes.map((index) => ({
              profileId: idOf(index),
              agentId: idOf(index),
              ownerId: userId,
              status: "active" as const,
              pricingModel: "fixed" as const,
              priceMinor: 1,
              currency: "CNY" as const,
              hostingType: "self_hosted" as const,
              endpoint: null,
              healthCheckUrl: null,
              transparencyLevel: "moderate" as const,
              approvalMode: "auto" as const,
              maxConcurrentSessions: 1,
              maxConsumerSlots: 1,
              slotAssignmentMode: "flexible",
              allowSharedConsumer: 0,
              verificationLevel: "unverified",
              totalSessions: index,
              endedSessions: 0,
              completionRate: null,
              reviewNote: null,
              activatedAt: null,
              createdAt: 1,
              updatedAt: 1,
            })),
          )
          .execute();
        const words = indexes.flatMap((index) =>
          ["common", ...(index % 1_000 === 7 ? ["rare"] : [])].map((word) => ({ word, agentId: idOf(index) })),
        );
        await db.insertInto("listingWords").values(words).execute();
        await db
          .insertInto("listingCategories")
          .values(indexes.map((index) => ({ category: "all", agentId: idOf(index) })))
          .execute();
      }
      await db
        .insertInto("listingCounts")
        .values([
          { category: "", listed: many },
          { category: "all", listed: many },
        ])
        .execute();
    });
  });
  const browse = async (args: object) => {
    const { data, total } = (await server.nobody.call("marketplace:browse", { limit: 3, ...args })) as Value;
    return { ids: data.map(({ id }: Value) => id), total };
  };
  const newest = [many - 1, many - 2, many - 3].map(idOf);

  test("are all counted and reached without a search", async () => {
    expect(await browse({})).toEqual({ ids: newest, total: many });
    expect(await browse({ category: "all", sort: "popular" })).toEqual({ ids: newest, total: many });
    expect(await browse({ page: many / 3 })).toEqual({ ids: [2, 1, 0].map(idOf), total: many });
    expect(await browse({ page: many / 3, category: "all" })).toEqual({ ids: [2, 1, 0].map(idOf), total: many });
  });

  test("are looked at from the front of the order for a word that is everywhere", async () => {
    for (const sort of ["newest", "popular"]) {
      expect(await browse({ search: "common", sort })).toEqual({ ids: newest, total: 5_000 });
    }
  });

  test("are all looked at for a word that is rare, alone or beside another", async () => {
    const rare = { ids: [5_007, 4_007, 3_007].map(idOf), total: 6 };
    for (const search of ["rare", "common rare", "rare com"]) {
      expect(await browse({ search })).toEqual(rare);
      expect(await browse({ search, sort: "popular", category: "all" })).toEqual(rare);
    }
  });
});

describe.each(databases)("marketplace:listCategories on %s", (database) => {
  const server = useServer(database);

  test("counts the listed agents of each category, the fullest first", async () => {
    const alice = await server.user("Alice");
    const withCategories = (...categories: string[]) =>
      listed(server, alice, { capabilities: categories.map((category) => ({ category, name: "Anything" })) });
    expect(await server.nobody.call("marketplace:listCategories")).toEqual({
      data: [],
      categories: [],
      nextCursor: null,
    });
    await withCategories("law", "law", "food");
    await withCategories("law");
    const other = await withCategories("翻译", "food", "art");
    await draft(alice, { capabilities: [{ category: "hidden", name: "x" }] });
    const data = [
      { name: "food", count: 2 },
      { name: "law", count: 2 },
      { name: "art", count: 1 },
      { name: "翻译", count: 1 },
    ];
    expect(await server.nobody.call("marketplace:listCategories")).toEqual({
      data,
      categories: data,
      nextCursor: null,
    });
    await (await server.admin()).call("admin:suspendAgent", { agentId: other.id });
    const left = [
      { name: "law", count: 2 },
      { name: "food", count: 1 },
    ];
    expect(await server.nobody.call("marketplace:listCategories")).toEqual({
      data: left,
      categories: left,
      nextCursor: null,
    });
  });
});

/** A listing as a reader would describe it. */
interface Described {
  name: string;
  description: string;
  categories: string[];
}

describe.each(databases)("the listing under random changes on %s", (database) => {
  const server = useServer(database);
  const words = ["alpha", "alpine", "beta", "数据", "据分析", "合同", "e-mail"];
  const categories = ["law", "art", "翻译"];
  const described = fc.record({
    name: fc.array(fc.constantFrom(...words), { minLength: 1, maxLength: 3 }).map((parts) => parts.join(" ")),
    description: fc
      .array(fc.constantFrom(...words), { minLength: 2, maxLength: 4 })
      .map((parts) => `${parts.join(" ")} .........`),
    categories: fc.uniqueArray(fc.constantFrom(...categories), { maxLength: 3 }),
  });
  const asFields = ({ name, description, categories }: Described) => ({
    name,
    description,
    capabilities: categories.map((category) => ({ category, name: "-" })),
  });
  const change = fc.oneof(
    fc.record({ kind: fc.constant("make" as const), what: described }),
    fc.record({ kind: fc.constant("change" as const), which: fc.nat(), what: described }),
    fc.record({ kind: fc.constantFrom("suspend" as const, "reinstate" as const), which: fc.nat() }),
  );
  /** Found by a search for one word: Latin ones by their beginning, Chinese ones anywhere. */
  const contains = ({ name, description, categories }: Described, word: string) => {
    const text = [name, description, ...categories].join(" ");
    return /\p{Script=Han}/u.test(word) ? text.includes(word) : ` ${text}`.includes(` ${word}`);
  };

  test("counts, categories and searches fit what is listed after every step", async () => {
    const admin = await server.admin();
    await fc.assert(
      fc.asyncProperty(fc.array(change, { minLength: 3, maxLength: 12 }), async (changes) => {
        const owner: User = await server.user("Alice");
        const before = ((await server.nobody.call("marketplace:browse")) as Value).total;
        const counts = async () =>
          new Map<string, number>(
            ((await server.nobody.call("marketplace:listCategories")) as Value).data.map(({ name, count }: Value) => [
              name,
              count,
            ]),
          );
        const countedBefore = await counts();
        const known: { agentId: string; what: Described; listed: boolean; wanted?: Described | undefined }[] = [];
        for (const step of changes) {
          if (step.kind === "make") {
            const { id } = await listed(server, owner, { ...asFields(step.what), slug: freshSlug() });
            known.push({ agentId: id, what: step.what, listed: true });
          } else {
            const agent = known[step.which % Math.max(known.length, 1)];
            if (!agent) continue;
            const { agentId } = agent;
            if (step.kind === "change") {
              const { pendingChanges } = await owner.call("agents:update", { agentId, ...asFields(step.what) });
              agent.wanted = pendingChanges === null ? undefined : step.what;
            } else if (agent.listed === (step.kind === "suspend")) {
              await admin.call(`admin:${step.kind}Agent`, { agentId });
              agent.listed = !agent.listed;
            }
            if (agent.listed && agent.wanted) {
              await admin.call("admin:approveAgent", { agentId });
              agent.what = agent.wanted;
              agent.wanted = undefined;
            }
          }
          const shown = known.filter((agent) => agent.listed);
          expect(await server.nobody.call("marketplace:browse", { limit: 1 })).toMatchObject({
            total: before + shown.length,
          });
          const counted = await counts();
          for (const category of categories) {
            const own = shown.filter(({ what }) => what.categories.includes(category)).length;
            expect(counted.get(category) ?? 0).toBe((countedBefore.get(category) ?? 0) + own);
          }
          for (const search of ["alp", "alpine", "beta", "数据", "据", "合", "art", "翻译"]) {
            const found = (await server.nobody.call("marketplace:browse", {
              search,
              ownerId: owner.userId,
              limit: 100,
            })) as Value;
            const expected = shown.filter(({ what }) => contains(what, search)).map(({ agentId }) => agentId);
            expect(new Set(found.data.map(({ id }: Value) => id))).toEqual(new Set(expected));
            expect(found.total).toBe(expected.length);
          }
        }
      }),
      { numRuns: 8 },
    );
  }, 60_000);
});
