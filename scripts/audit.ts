#!/usr/bin/env node
/**
 * `npm run audit` checks every invariant of the ledger in the database of `DATABASE_URL`, which may be in use. It
 * prints a line for each and exits with 1 if one is broken.
 */
import { auditLedger } from "../functions/model/money/audit.js";
import { readConfig } from "../runtime/config.js";
import { openStore } from "../runtime/store/database.js";

const store = await openStore(readConfig(process.env).databaseUrl);
try {
  const findings = await store.readAside((db) => auditLedger({ db }));
  for (const { invariant, ok, detail } of findings) console.log(`${ok ? "ok    " : "BROKEN"} ${invariant}: ${detail}`);
  if (findings.some(({ ok }) => !ok)) process.exitCode = 1;
} catch (error) {
  console.error(`The database of DATABASE_URL cannot be audited: ${error instanceof Error ? error.message : error}`);
  process.exitCode = 1;
} finally {
  await store.close();
}
