/**
 * The ledger: accounts, the transfers between them, and holds (clawrent.md section 6, architecture.md section 5).
 * Whatever moves money does it here, inside the transaction of the call that wants it. Others decide what moves, and
 * when: functions/billing.ts for top-ups, settlement.ts for rents and all that follows from them.
 *
 * A hold reserves a part of a wallet for one session: money that is held can be spent by nothing else. It ends once, as
 * `captured` by the settlement, `released` or `expired`.
 */
import { sql } from "kysely";
import type { MutationContext, QueryContext } from "../../../runtime/context.js";
import { CallError } from "../../../runtime/errors.js";
import { prepared } from "../../../runtime/store/prepared.js";
import type { EntriesTable, HoldsTable, LedgerAccountsTable, TransfersTable } from "../../../schema/ledger.js";
import type { Currency } from "../../../schema/listings.js";
import { printAmount } from "../../../schema/money.js";
import type { SessionsTable } from "../../../schema/sessions.js";

type AccountKind = LedgerAccountsTable["kind"];

export interface Wallet {
  balanceMinor: number;
  heldMinor: number;
  /** Income that a dispute can still take back (pending-income.ts), by the clock. */
  pendingMinor: number;
  /** What can be spent. */
  availableMinor: number;
  /** What is no longer pending by the clock but is still stored as pending. */
  dueMinor: number;
}

/** Calls that change a user's wallets take turns under this key (`oneAtATime`). */
export function walletTurn(userId: string): string {
  return `wallet ${userId}`;
}

function accountId(kind: AccountKind, userId: string, currency: Currency): string {
  return `${kind}:${userId}:${currency}`;
}

export function walletId(userId: string, currency: Currency): string {
  return accountId("wallet", userId, currency);
}

const accountById = prepared(["accountId"], (db, { accountId }) =>
  db
    .selectFrom("ledgerAccounts")
    .select(["balanceMinor", "heldMinor", "pendingMinor"])
    .where("accountId", "=", accountId),
);

const incomeDue = prepared(["userId", "currency", "now"], (db, { userId, currency, now }) =>
  db
    .selectFrom("billingRecords")
    .select(({ fn }) => fn.sum<number | null>("pendingMinor").as("minor"))
    .where("providerUserId", "=", userId)
    .where("releaseAt", "<=", now)
    .where("currency", "=", currency),
);

/** A wallet by the clock. A wallet that was never used has no row, and is empty. */
export async function loadWallet(ctx: QueryContext, userId: string, currency: Currency): Promise<Wallet> {
  const { rows } = await accountById(ctx, { accountId: walletId(userId, currency) });
  const { balanceMinor, heldMinor, ...stored } = rows[0] ?? { balanceMinor: 0, heldMinor: 0, pendingMinor: 0 };
  let dueMinor = 0;
  if (stored.pendingMinor > 0) {
    const [due] = (await incomeDue(ctx, { userId, currency, now: ctx.now })).rows;
    dueMinor = Number(due?.minor ?? 0);
  }
  const pendingMinor = stored.pendingMinor - dueMinor;
  return { balanceMinor, heldMinor, pendingMinor, availableMinor: balanceMinor - heldMinor - pendingMinor, dueMinor };
}

export async function loadWallets(ctx: QueryContext, userId: string): Promise<Record<Currency, Wallet>> {
  const [CNY, USD] = await Promise.all([loadWallet(ctx, userId, "CNY"), loadWallet(ctx, userId, "USD")]);
  return { CNY, USD };
}

/** One side of a transfer: what an account gains, or loses where it is negative. */
export interface NewEntry {
  account: AccountKind;
  userId: string;
  type: EntriesTable["type"];
  amountMinor: number;
  description: string;
  /** How much of the account's held money is freed in the same step. */
  capturedMinor?: number;
  /** How much more of the account's balance is pending from this step on; negative where it is less. */
  pendingMinor?: number;
}

interface NewTransfer {
  kind: TransfersTable["kind"];
  currency: Currency;
  reference: { type: TransfersTable["referenceType"]; id: string };
  entries: NewEntry[];
}

/**
 * Writes a transfer, and the new state of each account. There is one transfer of each kind per reference: a second
 * fails. The caller has made sure that no wallet is overdrawn; if one is, the database refuses and the call is a fault.
 */
export async function postTransfer(ctx: MutationContext, transfer: NewTransfer): Promise<void> {
  const { kind, currency, reference } = transfer;
  // Every transfer locks rows in the same order, so that no two of them can deadlock.
  const entries = transfer.entries
    .map((entry) => ({ ...entry, accountId: accountId(entry.account, entry.userId, currency) }))
    .sort((one, other) => (one.accountId < other.accountId ? -1 : 1));
  const sum = entries.reduce((total, { amountMinor }) => total + BigInt(amountMinor), 0n);
  if (entries.length < 2 || sum !== 0n) throw new Error(`The entries of a ${kind} of ${reference.id} sum to ${sum}`);

  const transferId = ctx.newUuid();
  const changed = await Promise.all(entries.map((entry) => applyEntry(ctx, currency, entry)));
  const written = entries.map((entry, index) => {
    const { balanceMinor, entryCount } = changed[index] ?? { balanceMinor: Number.NaN, entryCount: 0 };
    if (!Number.isSafeInteger(balanceMinor)) throw new Error(`The balance of ${entry.accountId} is not exact any more`);
    return {
      entryId: ctx.newUuid(),
      transferId,
      accountId: entry.accountId,
      position: entryCount,
      userId: entry.account === "wallet" ? entry.userId : null,
      type: entry.type,
      amountMinor: entry.amountMinor,
      balanceAfterMinor: balanceMinor,
      description: entry.description,
      createdAt: ctx.now,
    };
  });
  ctx.commitWaitsFor(
    ctx.db
      .insertInto("transfers")
      .values({
        transferId,
        kind,
        currency,
        referenceType: reference.type,
        referenceId: reference.id,
        createdAt: ctx.now,
      })
      .execute(),
  );
  ctx.commitWaitsFor(ctx.db.insertInto("entries").values(written).execute());
}

const addToAccount = prepared(
  ["accountId", "amountMinor", "capturedMinor", "pendingMinor"],
  (db, { accountId, amountMinor, capturedMinor, pendingMinor }) =>
    db
      .updateTable("ledgerAccounts")
      .set({
        balanceMinor: sql<number>`"balanceMinor" + ${amountMinor}`,
        heldMinor: sql<number>`"heldMinor" - ${capturedMinor}`,
        pendingMinor: sql<number>`"pendingMinor" + ${pendingMinor}`,
        entryCount: sql<number>`"entryCount" + 1`,
      })
      .where("accountId", "=", accountId)
      .returning(["balanceMinor", "entryCount"]),
);

async function applyEntry(
  ctx: MutationContext,
  currency: Currency,
  entry: NewEntry & { accountId: string },
): Promise<Pick<LedgerAccountsTable, "balanceMinor" | "entryCount">> {
  const { accountId, account, userId, amountMinor, capturedMinor = 0, pendingMinor = 0 } = entry;
  const { rows } = await addToAccount(ctx, { accountId, amountMinor, capturedMinor, pendingMinor });
  if (rows[0]) return rows[0];
  const opened = { balanceMinor: amountMinor, entryCount: 1 };
  await ctx.db
    .insertInto("ledgerAccounts")
    .values({ accountId, kind: account, userId, currency, heldMinor: 0, pendingMinor, ...opened })
    .execute();
  return opened;
}

/** Whose wallet a session is paid from. */
type Payer = Pick<SessionsTable, "sessionId" | "consumerUserId" | "currency">;

const addToHeld = prepared(["accountId", "amountMinor"], (db, { accountId, amountMinor }) =>
  db
    .updateTable("ledgerAccounts")
    .set({ heldMinor: sql<number>`"heldMinor" + ${amountMinor}` })
    .where("accountId", "=", accountId)
    .where(sql<number>`"balanceMinor" - "heldMinor" - "pendingMinor"`, ">=", amountMinor)
    .returning("accountId"),
);

/**
 * Reserves money for a session, whose row must be there already. Refuses with `insufficient_funds` where less is
 * available. What costs nothing needs no hold. Pending income that is due was released before (`currentWallet`).
 */
export async function placeHold(ctx: MutationContext, session: Payer, amountMinor: number): Promise<void> {
  if (amountMinor === 0) return;
  const { sessionId, consumerUserId, currency } = session;
  const accountId = walletId(consumerUserId, currency);
  const { rows } = await addToHeld(ctx, { accountId, amountMinor });
  if (rows.length === 0) {
    const { availableMinor } = await loadWallet(ctx, consumerUserId, currency);
    const [needed, available] = [printAmount(amountMinor), printAmount(availableMinor)];
    throw new CallError(
      "insufficient_funds",
      `Insufficient balance. ${needed} ${currency} must be available to start, and ${available} ${currency} is. Top up your wallet.`,
      { needed, available, currency },
    );
  }
  const hold = { holdId: ctx.newUuid(), sessionId, accountId, amountMinor };
  ctx.commitWaitsFor(
    ctx.db
      .insertInto("holds")
      .values({ ...hold, status: "held", createdAt: ctx.now, endedAt: null })
      .execute(),
  );
}

type OpenHold = Pick<HoldsTable, "holdId" | "accountId" | "amountMinor">;

const openHold = prepared(["sessionId"], (db, { sessionId }) =>
  db
    .selectFrom("holds")
    .select(["holdId", "accountId", "amountMinor"])
    .where("sessionId", "=", sessionId)
    .where("status", "=", sql.lit("held")),
);

export async function findHold(ctx: QueryContext, sessionId: string): Promise<OpenHold | undefined> {
  const { rows } = await openHold(ctx, { sessionId });
  return rows[0];
}

const addToHold = prepared(["holdId", "amountMinor"], (db, { holdId, amountMinor }) =>
  db
    .updateTable("holds")
    .set({ amountMinor: sql<number>`"amountMinor" + ${amountMinor}` })
    .where("holdId", "=", holdId),
);

/** Reserves more for a session. Returns whether that much was available; if not, nothing changed. */
export async function growHold(ctx: MutationContext, hold: OpenHold, byMinor: number): Promise<boolean> {
  const { rows } = await addToHeld(ctx, { accountId: hold.accountId, amountMinor: byMinor });
  if (rows.length === 0) return false;
  ctx.commitWaitsFor(addToHold(ctx, { holdId: hold.holdId, amountMinor: byMinor }));
  return true;
}

/** Gives back what is held for a session that ended without a settlement. */
export async function releaseHold(ctx: MutationContext, sessionId: string, as: "released" | "expired"): Promise<void> {
  const hold = await findHold(ctx, sessionId);
  if (!hold) return;
  endHold(ctx, hold, as);
  letGo(ctx, hold);
}

/** Ends a hold's row. What the wallet holds follows: by `letGo`, or with the entry that takes the money. */
export function endHold(ctx: MutationContext, hold: OpenHold, status: Exclude<HoldsTable["status"], "held">): void {
  ctx.commitWaitsFor(
    ctx.db.updateTable("holds").set({ status, endedAt: ctx.now }).where("holdId", "=", hold.holdId).execute(),
  );
}

const lessHeld = prepared(["accountId", "amountMinor"], (db, { accountId, amountMinor }) =>
  db
    .updateTable("ledgerAccounts")
    .set({ heldMinor: sql<number>`"heldMinor" - ${amountMinor}` })
    .where("accountId", "=", accountId),
);

/** Makes the money of a hold that ends available again. */
export function letGo(ctx: MutationContext, { accountId, amountMinor }: OpenHold): void {
  ctx.commitWaitsFor(lessHeld(ctx, { accountId, amountMinor }));
}
