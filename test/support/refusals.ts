/** Checks refusals: the exact answer, and that nothing was written. */
import { expect } from "vitest";
import type { Database } from "../../schema/index.js";
import type { Caller, TestServer } from "./harness.js";

/** Outside the Basic Multilingual Plane: two UTF-16 units, four bytes of UTF-8, one character. */
export const wave = "🌊";

/** Three bytes of UTF-8, one character. */
export const tide = "潮";

/** All tables. The type makes sure that a new table is added here. */
export const tables = Object.keys({
  agents: true,
  agentCredentials: true,
  connections: true,
  threads: true,
  messages: true,
  approvals: true,
  events: true,
  checkins: true,
  intros: true,
  locationShares: true,
  idempotency: true,
  users: true,
  signIns: true,
  mailedCodes: true,
  mailboxes: true,
  codeAskers: true,
  outbox: true,
  follows: true,
  agentCapabilities: true,
  providerProfiles: true,
  pendingChanges: true,
  listingWords: true,
  listingCategories: true,
  listingCounts: true,
  favorites: true,
  cartItems: true,
  sessions: true,
  sessionParticipants: true,
  sessionMessages: true,
  blockedMessages: true,
  orders: true,
  agentSockets: true,
  sessionSockets: true,
  sessionAbsences: true,
  serverProcesses: true,
  ledgerAccounts: true,
  transfers: true,
  entries: true,
  holds: true,
  billingRecords: true,
  disputes: true,
  topUpCodes: true,
  docs: true,
} satisfies Record<keyof Database, true>) as (keyof Database)[];

/** Every row of every table, for comparison. */
export async function everything(server: TestServer): Promise<string[]> {
  return server.read(async (db) => {
    const rows: string[] = [];
    for (const table of tables) {
      // A process renews its lease at any time.
      if (table === "serverProcesses") continue;
      const stored = await db.selectFrom(table).selectAll(table).execute();
      // Any call of a user may update when their sign-in was last seen.
      rows.push(...stored.map((row) => `${table} ${JSON.stringify({ ...row, lastSeenAt: undefined })}`));
    }
    return rows.sort();
  });
}

export interface Expected {
  code: string;
  message: string;
  /** What `errorData` contains besides the code; not checked if left out. */
  data?: Record<string, unknown>;
}

/** Expects the function to refuse in exactly this way and to change nothing in the database. */
export async function expectRefusal(server: TestServer, call: () => Promise<unknown>, expected: Expected) {
  const before = await everything(server);
  await expect(call()).rejects.toMatchObject({ httpStatus: 200, ...expected });
  expect(await everything(server)).toEqual(before);
}

/** Expects `invalid_args` with `field` among the issues, and no change in the database. */
export async function expectInvalid(server: TestServer, call: () => Promise<unknown>, field: string) {
  const before = await everything(server);
  const refused = await call().then(
    (value) => expect.fail(`accepted, with ${JSON.stringify(value)}`),
    (error: unknown) => error as { httpStatus: number; code: string; data: { issues: { path: string }[] } },
  );
  expect(refused).toMatchObject({ httpStatus: 200, code: "invalid_args" });
  expect(refused.data.issues.map(({ path }) => path)).toContain(field);
  expect(await everything(server)).toEqual(before);
}

/** An answer exactly as it came, for comparing answers byte for byte. */
export interface RawAnswer {
  status: number;
  body: string;
}

/** Calls without interpreting the answer. `authorization` replaces the caller's own header. */
export async function rawCall(
  caller: Caller,
  path: string,
  args: unknown = {},
  authorization: string | undefined = caller.credential === undefined ? undefined : `Bearer ${caller.credential}`,
): Promise<RawAnswer> {
  const kind = caller.on.server.registry.find(path)?.kind ?? "query";
  const response = await fetch(`${caller.on.url}/api/${kind}`, {
    method: "POST",
    headers: { "Content-Type": "application/json", ...(authorization === undefined ? {} : { authorization }) },
    body: JSON.stringify({ path, args, format: "json" }),
  });
  return { status: response.status, body: await response.text() };
}
