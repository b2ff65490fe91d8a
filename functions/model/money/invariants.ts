/**
 * The ledger's invariants (architecture.md section 5), each as a query for what breaks it in one part of a table, or
 * for amounts that have to sum to zero over all parts.
 */
import { type RawBuilder, type SqlBool, sql } from "kysely";

/** The tables that are walked, by their keys, and what their rows are called. */
export const auditedTables = {
  transfers: { key: "transferId", rows: "transfers" },
  ledgerAccounts: { key: "accountId", rows: "accounts" },
  entries: { key: "entryId", rows: "entries" },
  holds: { key: "holdId", rows: "holds" },
  sessions: { key: "sessionId", rows: "sessions" },
  billingRecords: { key: "recordId", rows: "billing records" },
  disputes: { key: "disputeId", rows: "disputes" },
  topUpCodes: { key: "codeId", rows: "codes" },
} as const;
export type AuditedTable = keyof typeof auditedTables;

/** The rows of a part, by the table's key as the query calls it. */
export type Part = (key: string) => RawBuilder<SqlBool>;

export interface Invariant {
  invariant: string;
  /** The table whose rows it is about. */
  of: AuditedTable;
  /** One row for each row of the part that breaks it. */
  broken?(part: Part): RawBuilder<{ key: string }>;
  /** Amounts that have to sum to zero for each key. */
  sums?: { of: AuditedTable; amounts(part: Part): RawBuilder<{ key: string; minor: number }> }[];
}

const isOpen = sql`sessions.status in ('pending_approval', 'active')`;

/** The sum of the entries on one party's wallet by transfers of this kind for the record's session. */
function moved(kind: "payment" | "refund", party: "consumerUserId" | "providerUserId"): RawBuilder<unknown> {
  return sql`coalesce((
    select sum(entries."amountMinor") from transfers join entries on entries."transferId" = transfers."transferId"
    where transfers.kind = ${sql.lit(kind)}
      and (transfers."referenceType" = 'session' and transfers."referenceId" = records."sessionId"
        or transfers."referenceType" = 'record' and transfers."referenceId" = records."recordId")
      and entries."accountId" = 'wallet:' || records.${sql.ref(party)} || ':' || records.currency), 0)`;
}

/** The newest entry of an account. */
const newestEntry = (column: string) => sql`coalesce((
  select ${sql.ref(column)} from entries where entries."accountId" = accounts."accountId"
  order by "position" desc limit 1), 0)`;

export const ledgerInvariants: readonly Invariant[] = [
  {
    invariant: "The entries of every transfer sum to zero",
    of: "transfers",
    broken: (part) => sql`
      select transfers."transferId" as key from transfers left join entries on entries."transferId" = transfers."transferId"
      where ${part("transfers.transferId")}
      group by transfers."transferId" having coalesce(sum("amountMinor"), 1) <> 0`,
  },
  {
    invariant: "Every entry is in the currency of its transfer, and only wallets' entries are somebody's",
    of: "entries",
    broken: (part) => sql`
      select "entryId" as key from entries
      join transfers on transfers."transferId" = entries."transferId"
      join "ledgerAccounts" accounts on accounts."accountId" = entries."accountId"
      where ${part("entryId")} and (transfers.currency <> accounts.currency
        or entries."userId" is distinct from case when accounts.kind = 'wallet' then accounts."userId" end)`,
  },
  {
    // Every entry continues from the one before it, so the newest one has the sum and the number of all.
    invariant: "Every balance is the sum of its entries",
    of: "ledgerAccounts",
    broken: (part) => sql`
      select accounts."accountId" as key from "ledgerAccounts" accounts
      where ${part("accounts.accountId")}
        and ("balanceMinor" <> ${newestEntry("balanceAfterMinor")} or "entryCount" <> ${newestEntry("position")})`,
  },
  {
    invariant: "Every entry follows on the one before it",
    of: "entries",
    broken: (part) => sql`
      select entries."entryId" as key
      from entries left join entries before
        on before."accountId" = entries."accountId" and before."position" = entries."position" - 1
      where ${part("entries.entryId")} and (
        (before."entryId" is null and entries."position" <> 1)
        or entries."balanceAfterMinor" <> coalesce(before."balanceAfterMinor", 0) + entries."amountMinor")`,
  },
  {
    invariant: "No wallet has less than it holds and has pending, and no fees are negative",
    of: "ledgerAccounts",
    broken: (part) => sql`
      select "accountId" as key from "ledgerAccounts"
      where ${part("accountId")} and ("heldMinor" < 0 or "pendingMinor" < 0
        or (kind <> 'outside' and "balanceMinor" < "heldMinor" + "pendingMinor"))`,
  },
  {
    invariant: "All accounts of a currency sum to zero",
    of: "ledgerAccounts",
    sums: [
      {
        of: "ledgerAccounts",
        amounts: (part) => sql`
          select currency as key, cast(sum("balanceMinor") as bigint) as minor from "ledgerAccounts"
          where ${part("accountId")} group by currency`,
      },
    ],
  },
  {
    invariant: "Wallets and fees are what was topped up, credited and redeemed",
    of: "ledgerAccounts",
    sums: [
      {
        of: "ledgerAccounts",
        amounts: (part) => sql`
          select currency as key, cast(sum("balanceMinor") as bigint) as minor from "ledgerAccounts"
          where ${part("accountId")} and kind <> 'outside' group by currency`,
      },
      {
        of: "entries",
        amounts: (part) => sql`
          select currency as key, cast(-sum("amountMinor") as bigint) as minor
          from entries join transfers on transfers."transferId" = entries."transferId"
          where ${part("entryId")} and type = 'recharge' group by currency`,
      },
    ],
  },
  {
    invariant: "What an account holds is the sum of its open holds",
    of: "ledgerAccounts",
    sums: [
      {
        of: "ledgerAccounts",
        amounts: (part) => sql`
          select "accountId" as key, "heldMinor" as minor from "ledgerAccounts"
          where ${part("accountId")} and "heldMinor" <> 0`,
      },
      {
        of: "holds",
        amounts: (part) => sql`
          select "accountId" as key, cast(-sum("amountMinor") as bigint) as minor from holds
          where ${part("holdId")} and status = 'held' group by "accountId"`,
      },
    ],
  },
  {
    invariant: "What is pending of an account is what is pending of its records",
    of: "ledgerAccounts",
    sums: [
      {
        of: "ledgerAccounts",
        amounts: (part) => sql`
          select "accountId" as key, "pendingMinor" as minor from "ledgerAccounts"
          where ${part("accountId")} and "pendingMinor" <> 0`,
      },
      {
        of: "billingRecords",
        amounts: (part) => sql`
          select 'wallet:' || "providerUserId" || ':' || currency as key, cast(-sum("pendingMinor") as bigint) as minor
          from "billingRecords" where ${part("recordId")} and "pendingMinor" <> 0
          group by "providerUserId", currency`,
      },
    ],
  },
  {
    invariant: "A hold is on its consumer's wallet, and open exactly as long as its session is",
    of: "holds",
    broken: (part) => sql`
      select "holdId" as key from holds join sessions on sessions."sessionId" = holds."sessionId"
      where ${part("holdId")} and ((holds.status = 'held') <> (${isOpen})
        or "accountId" <> 'wallet:' || sessions."consumerUserId" || ':' || sessions.currency)`,
  },
  {
    invariant: "Every open session that costs something holds money",
    of: "sessions",
    broken: (part) => sql`
      select sessions."sessionId" as key from sessions left join holds on holds."sessionId" = sessions."sessionId"
      where ${part("sessions.sessionId")} and ${isOpen} and "priceMinor" > 0 and "holdId" is null`,
  },
  {
    invariant: "Nothing is held for a session or charged beyond its limit",
    of: "sessions",
    broken: (part) => sql`
      select sessions."sessionId" as key from sessions left join holds on holds."sessionId" = sessions."sessionId"
      where ${part("sessions.sessionId")} and ("billingAmountMinor" > "maxAmountMinor"
        or holds."amountMinor" > "maxAmountMinor"
        or (${isOpen} and "priceMinor" > 0 and "maxAmountMinor" is null))`,
  },
  {
    invariant: "A session that was completed is settled, with one record, and no other is",
    of: "sessions",
    broken: (part) => sql`
      select sessions."sessionId" as key
      from sessions left join "billingRecords" records on records."sessionId" = sessions."sessionId"
      where ${part("sessions.sessionId")}
      group by sessions."sessionId", sessions.status, sessions."billingStatus"
      having count("recordId") <> case when sessions."billingStatus" = 'pending' then 0 else 1 end
        or (sessions.status = 'completed') <> (sessions."billingStatus" <> 'pending')
        or max(records.status) <> sessions."billingStatus"`,
  },
  {
    invariant: "Every charge is fee plus income, in the record as in the session",
    of: "billingRecords",
    broken: (part) => sql`
      select "recordId" as key
      from "billingRecords" records join sessions on sessions."sessionId" = records."sessionId"
      where ${part("recordId")} and ("amountMinor" <> records."platformFeeMinor" + records."providerIncomeMinor"
        or "amountMinor" is distinct from "billingAmountMinor"
        or records."platformFeeMinor" is distinct from sessions."platformFeeMinor"
        or records."providerIncomeMinor" is distinct from sessions."providerIncomeMinor")`,
  },
  {
    invariant: "Every record's amount was paid once, and given back as far as it was refunded",
    of: "billingRecords",
    broken: (part) => sql`
      select "recordId" as key from "billingRecords" records
      where ${part("recordId")} and (${moved("payment", "consumerUserId")} <> -"amountMinor"
        or ${moved("payment", "providerUserId")} <> "providerIncomeMinor"
        or ${moved("refund", "consumerUserId")} <> "refundedMinor"
        or ${moved("refund", "providerUserId")} <> "refundedFeeMinor" - "refundedMinor"
        or case when status = 'refunded' then "refundedMinor" <> "amountMinor"
          else "refundedMinor" >= "amountMinor" and "amountMinor" > 0 end)`,
  },
  {
    invariant: "What is pending of a record is all that its provider kept of it",
    of: "billingRecords",
    broken: (part) => sql`
      select "recordId" as key from "billingRecords" records
      where ${part("recordId")} and "pendingMinor" <> case when "releaseAt" is null then 0
        else "providerIncomeMinor" - "refundedMinor" + "refundedFeeMinor" end`,
  },
  {
    invariant: "A dispute is of a settled session's consumer, and its income is pending while it is open",
    of: "disputes",
    broken: (part) => sql`
      select "disputeId" as key from disputes
      join sessions on sessions."sessionId" = disputes."sessionId"
      left join "billingRecords" records on records."sessionId" = disputes."sessionId"
      where ${part("disputeId")} and ("recordId" is null or "disputedAt" is null
        or disputes."consumerUserId" <> sessions."consumerUserId"
        or (disputes.status = 'open' and "releaseAt" is distinct from "decideBy")
        or (decision = 'part' and "refundedMinor" = 0) or (decision = 'all' and records.status <> 'refunded'))`,
  },
  {
    invariant: "A code that was redeemed brought its amount in, and no other brought in anything",
    of: "topUpCodes",
    broken: (part) => sql`
      select "codeId" as key from "topUpCodes" codes
      left join transfers on transfers.kind = 'recharge' and transfers."referenceType" = 'code'
        and transfers."referenceId" = codes."codeId"
      left join entries on entries."transferId" = transfers."transferId" and entries.type = 'recharge'
      where ${part("codeId")} and (("redeemedAt" is null) <> ("entryId" is null)
        or entries."amountMinor" <> codes."amountMinor"
        or "accountId" <> 'wallet:' || "redeemedBy" || ':' || codes.currency)`,
  },
  {
    invariant: "Every payment and refund is of a session with a record, and every recharge of money from outside",
    of: "transfers",
    broken: (part) => sql`
      select "transferId" as key
      from transfers left join "billingRecords" records on records."sessionId" = transfers."referenceId"
      where ${part("transferId")} and ((kind = 'recharge') <> ("referenceType" in ('topup', 'credit', 'code'))
        or ("referenceType" = 'session' and "recordId" is null)
        or ("referenceType" = 'record' and not exists (
          select 1 from "billingRecords" others where others."recordId" = transfers."referenceId"))
        or ("referenceType" = 'code' and not exists (
          select 1 from "topUpCodes" codes where codes."codeId" = transfers."referenceId")))`,
  },
];
