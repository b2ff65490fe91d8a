/** Several processes that start at the same moment. */
import { expect, test } from "vitest";
import { createDatabase } from "../support/databases.js";
import { startServer } from "../support/harness.js";
import { ask, describeProcesses } from "../support/processes.js";

describeProcesses("three processes that start at once", () => {
  test("on an empty database all come up, and know each other", async () => {
    for (let round = 0; round < 12; round += 1) {
      const database = await createDatabase("postgres", { bare: true });
      const all = await Promise.allSettled([1, 2, 3].map(() => startServer("postgres", { databaseUrl: database.url })));
      const reasons = all.flatMap((one) => (one.status === "rejected" ? [String(one.reason)] : []));
      expect(reasons).toEqual([]);
      expect(await ask(database.url, `select 1 from "serverProcesses"`)).toHaveLength(3);
      for (const one of all) if (one.status === "fulfilled") await one.value.close();
      expect(await ask(database.url, `select 1 from "serverProcesses"`)).toHaveLength(0);
      await database.remove();
    }
  }, 200_000);

  test("with different secrets: one of them does", async () => {
    for (let round = 0; round < 8; round += 1) {
      const first = await startServer("postgres");
      await first.server.close();
      const all = await Promise.allSettled(
        [1, 2, 3].map((number) =>
          startServer("postgres", {
            databaseUrl: first.databaseUrl,
            config: { jwtSecret: `secret number ${number} of the three that do not agree` },
          }),
        ),
      );
      expect(all.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
      for (const one of all) if (one.status === "fulfilled") await one.value.close();
      await first.remove();
    }
  }, 120_000);
});
