/** Where reads go on beside one another: none of the callers has all places. */
import { describe, expect, test } from "vitest";
import { databases, useServer } from "../../support/harness.js";
import { eventually } from "../../support/sockets.js";

describe.runIf(databases.includes("postgres"))("reads on PostgreSQL", () => {
  const server = useServer("postgres");

  test("a third of the places is one caller's at most; the others' and the server's own find theirs", async () => {
    const { store } = server.server;
    const places = Math.floor(store.dialect.callsAtOnce / 3);
    const begun: string[] = [];
    const ends: (() => void)[] = [];
    const read = (who: string) =>
      store.read(
        async () => {
          begun.push(who);
          await new Promise<void>((resolve) => ends.push(resolve));
        },
        undefined,
        who,
      );
    const all = Array.from({ length: 3 * places }, () => read("flood"));
    await eventually(
      async () => begun.length,
      (count) => count === places,
    );
    all.push(read("alice"), read(""));
    await eventually(
      async () => begun.length,
      (count) => count === places + 2,
    );
    expect(begun.slice(places).sort()).toEqual(["", "alice"]);
    while (begun.length < all.length || ends.length > 0) {
      ends.shift()?.();
      await new Promise(setImmediate);
    }
    await Promise.all(all);
  });
});
