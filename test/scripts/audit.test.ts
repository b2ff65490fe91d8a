import { execFile } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { sql } from "kysely";
import { describe, expect, test } from "vitest";
import { built, root } from "../support/build.js";
import { databases, useServer } from "../support/harness.js";
import { Ledger } from "../support/ledger.js";

async function audit(databaseUrl: string): Promise<{ code: number; lines: string[]; stderr: string }> {
  const environment = { ...process.env, DATABASE_URL: databaseUrl };
  const script = await built("audit");
  return new Promise((resolve) => {
    execFile(process.execPath, [script], { cwd: root, env: environment }, (error, stdout, stderr) => {
      resolve({ code: error ? Number(error.code) : 0, lines: stdout.trimEnd().split("\n"), stderr });
    });
  });
}

describe.each(databases)("npm run audit on %s", (database) => {
  const server = useServer(database);

  test("says of a database in use that every invariant holds, and which one does not", async () => {
    const ledger = new Ledger(server);
    const [alice, bob] = [await ledger.party(), await ledger.party()];
    await ledger.topUp(alice.userId, "10");
    await ledger.end(await ledger.start(alice, bob, { pricingModel: "fixed", priceMinor: 12_345 }));

    const sound = await audit(server.databaseUrl);
    expect(sound).toMatchObject({ code: 0, stderr: "" });
    expect(sound.lines.filter((line) => !line.startsWith("ok     "))).toEqual([]);
    expect(sound.lines).toContain("ok     The entries of every transfer sum to zero: 2 transfers");

    await server.server.store.write(({ db }) =>
      sql`update "ledgerAccounts" set "heldMinor" = 1 where "userId" = ${alice.userId} and kind = 'wallet'`.execute(db),
    );
    const broken = await audit(server.databaseUrl);
    expect(broken.code).toBe(1);
    expect(broken.lines.filter((line) => !line.startsWith("ok     "))).toEqual([
      `BROKEN What an account holds is the sum of its open holds: broken by wallet:${alice.userId}:CNY`,
    ]);
  });
});

test("npm run audit says so where there is no ledger to look at", async () => {
  const folder = mkdtempSync(join(tmpdir(), "tidepool-audit-"));
  const { code, stderr } = await audit(`sqlite:${join(folder, "empty.db")}`);
  rmSync(folder, { recursive: true });
  expect({ code, stderr }).toEqual({
    code: 1,
    stderr: "The database of DATABASE_URL cannot be audited: no such table: transfers\n",
  });
});
