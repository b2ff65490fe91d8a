import { describe, expect, test } from "vitest";
import { Caller, databases, minute, type User, useServer } from "../support/harness.js";

describe.each(databases)("follows on %s (clawrent.md section 2.9)", (database) => {
  const server = useServer(database);
  const pair = () => Promise.all([server.user("Alice"), server.user("Bob")]);
  const follow = (follower: User, user: { userId: string }) => follower.call("follows:add", { userId: user.userId });

  test("following shows on both sides, and following again is the same", async () => {
    const [alice, bob] = await pair();
    const createdAt = new Date(server.clock.now()).toISOString();
    expect(await follow(alice, bob)).toEqual({ userId: bob.userId, following: true });
    server.clock.jump(minute);
    expect(await follow(alice, bob)).toEqual({ userId: bob.userId, following: true });

    const page = { total: 1, page: 1, limit: 20, nextCursor: null };
    expect(await alice.call("follows:listFollowing")).toEqual({
      data: [{ userId: bob.userId, name: "Bob", createdAt }],
      ...page,
    });
    expect(await bob.call("follows:listFollowers")).toEqual({
      data: [{ userId: alice.userId, name: "Alice", createdAt }],
      ...page,
    });
    const none = { data: [], total: 0, page: 1, limit: 20, nextCursor: null };
    expect(await alice.call("follows:listFollowers")).toEqual(none);
    expect(await bob.call("follows:listFollowing")).toEqual(none);
  });

  test("no longer following, also where one did not", async () => {
    const [alice, bob] = await pair();
    await follow(alice, bob);
    await follow(bob, alice);
    for (let times = 0; times < 2; times += 1) {
      expect(await alice.call("follows:remove", { userId: bob.userId })).toEqual({
        userId: bob.userId,
        following: false,
      });
    }
    expect(await alice.call("follows:listFollowing")).toMatchObject({ total: 0 });
    expect(await bob.call("follows:listFollowing")).toMatchObject({ total: 1 });
    expect(await alice.call("follows:remove", { userId: "nobody" })).toEqual({ userId: "nobody", following: false });
  });

  test("nobody follows themself or a user who is not there, and nothing is written then", async () => {
    const [alice] = await pair();
    const oneself = { code: "failed_precondition", message: "You cannot follow yourself" };
    await expect(follow(alice, alice)).rejects.toMatchObject(oneself);
    await expect(alice.call("follows:remove", { userId: alice.userId })).rejects.toMatchObject(oneself);
    const missing = follow(alice, { userId: "8f3c1f44-0000-7000-8000-000000000000" });
    await expect(missing).rejects.toMatchObject({ code: "not_found", message: "User not found" });
    expect(await alice.call("follows:listFollowing")).toMatchObject({ total: 0 });
  });

  test("lists are paged, the newest first, and out of range is clamped", async () => {
    const alice = await server.user("Alice");
    const followed: string[] = [];
    for (const name of ["Bob", "Bob", "Bob"]) {
      const bob = await server.user(name);
      await follow(alice, bob);
      followed.unshift(bob.userId);
      server.clock.jump(1);
    }
    const ids = async (args: object) => {
      const { data, total, page, limit } = await alice.call("follows:listFollowing", args);
      return { ids: data.map(({ userId }: { userId: string }) => userId), total, page, limit };
    };
    expect(await ids({ limit: 2 })).toEqual({ ids: followed.slice(0, 2), total: 3, page: 1, limit: 2 });
    expect(await ids({ limit: "2", page: "2" })).toEqual({ ids: followed.slice(2), total: 3, page: 2, limit: 2 });
    expect(await ids({ limit: 0, page: 0 })).toEqual({ ids: followed.slice(0, 1), total: 3, page: 1, limit: 1 });
    expect(await ids({ limit: 1_000, page: 9 })).toEqual({ ids: [], total: 3, page: 9, limit: 100 });
  });

  test("an agent follows for its owner; nobody and an agent without an owner do not", async () => {
    const [alice, bob] = await pair();
    const { agentToken } = await alice.call("agents:create", {
      name: "Helper",
      slug: `helper-${alice.userId.slice(-12)}`,
      description: "Helps Alice with things",
    });
    await new Caller(server, agentToken).call("follows:add", { userId: bob.userId });
    expect(await alice.call("follows:listFollowing")).toMatchObject({ data: [{ userId: bob.userId }] });

    const alone = await server.agent("Alone");
    for (const path of ["follows:add", "follows:remove", "follows:listFollowing", "follows:listFollowers"]) {
      const args = path.startsWith("follows:list") ? {} : { userId: bob.userId };
      await expect(server.nobody.call(path, args)).rejects.toMatchObject({ httpStatus: 401 });
      await expect(alone.call(path, args)).rejects.toMatchObject({ code: "forbidden" });
    }
  });

  test("fifty at once follow once", async () => {
    const [alice, bob] = await pair();
    await Promise.all(Array.from({ length: 50 }, () => follow(alice, bob)));
    expect(await bob.call("follows:listFollowers")).toMatchObject({ total: 1 });
  });
});
