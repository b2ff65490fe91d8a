/** Several processes that start at the same moment. */
import { randomBytes } from "node:crypto";
import pg from "pg";
import { expect, inject, test } from "vitest";
import { startServer } from "../support/harness.js";
import { ask, describeProcesses } from "../support/processes.js";

async function emptyDatabase(): Promise<{ url: string; remove(): Promise<void> }> {
  const server = inject("postgresUrl");
  const name = `tidepool_${randomBytes(8).toString("hex")}`;
  const run = async (statement: string) => {
    const client = new pg.Client(server);
    await client.connect();
    await client.query(statement);
    await client.end();
  };
  await run(`create database ${name} template template0`);
  const url = new URL(server);
  url.pathname = `/${name}`;
  return { url: url.href, remove: () => run(`drop database if exists ${name} with (force)`) };
}

describeProcesses("three processes that start at once", () => {
  test("on an empty database all come up, and know each other", async () => {
    for (let round = 0; round < 12; round += 1) {
      const database = await emptyDatabase();
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
