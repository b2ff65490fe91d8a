/**
 * The ledger's invariants, each as a query for what breaks it (design.md section 5). They are asked of one snapshot, so
 * they hold at every moment of a server that is at work, and an operator may ask whenever they like.
 */
import { type RawBuilder, sql } from "kysely";
import { z } from "zod";
import type { QueryContext } from "../../runtime/context.js";
import { dialectOf } from "../../runtime/dialects.js";

/** What the audit says of one invariant. */
export const auditFinding = z.object({ invariant: z.string(), ok: z.boolean(), detail: z.string() });
export type AuditFinding = z.output<typeof auditFinding>;

/** How many of the broken ones a finding names. */
const named = 5;

interface Invariant {
  invariant: string;
  /** The table whose rows it is about. */
  of: keyof typeof counted;
  /** One row for each that breaks it. */
  broken: RawBuilder<{ key: string }>;
}

const counted = {
  ledgerAccounts: "accounts",
  transfers: "transfers",
  entries: "entries",
  holds: "holds",
  sessions: "sessions",
  billingRecords: "billing records",
};

const isOpen = sql`sessions.status in ('pending_approval', 'active')`;

/** What the transfers of a kind for the record's session came to on one party's wallet. */
function moved(kind: "payment" | "refund", party: "consumerUserId" | "providerUserId"): RawBuilder<unknown> {
  return sql`coalesce((
    select sum(entries."amountMinor") from transfers join entries on entries."transferId" = transfers."transferId"
    where transfers.kind = ${sql.lit(kind)} and transfers."referenceType" = 'session'
      and transfers."referenceId" = records."sessionId"
      and entries."accountId" = 'wallet:' || records.${sql.ref(party)} || ':' || records.currency), 0)`;
}

const invariants: readonly Invariant[] = [
  {
    invariant: "The entries of every transfer sum to zero",
    of: "transfers",
    broken: sql`
      select transfers."transferId" as key from transfers left join entries on entries."transferId" = transfers."transferId"
      group by transfers."transferId" having coalesce(sum("amountMinor"), 1) <> 0`,
  },
  {
    invariant: "Every entry is in the currency of its transfer, and only wallets' entries are somebody's",
    of: "entries",
    broken: sql`
      select "entryId" as key from entries
      join transfers on transfers."transferId" = entries."transferId"
      join "ledgerAccounts" accounts on accounts."accountId" = entries."accountId"
      where transfers.currency <> accounts.currency
        or entries."userId" is distinct from case when accounts.kind = 'wallet' then accounts."userId" end`,
  },
  {
    invariant: "Every balance is the sum of its entries",
    of: "ledgerAccounts",
    broken: sql`
      select accounts."accountId" as key
      from "ledgerAccounts" accounts left join entries on entries."accountId" = accounts."accountId"
      group by accounts."accountId", accounts."balanceMinor", accounts."entryCount"
      having coalesce(sum("amountMinor"), 0) <> accounts."balanceMinor" or count("entryId") <> accounts."entryCount"`,
  },
  {
    invariant: "Every entry follows on the one before it",
    of: "entries",
    broken: sql`
      select key from (
        select "entryId" as key, "position", "amountMinor", "balanceAfterMinor",
          row_number() over of_account as number, lag("balanceAfterMinor") over of_account as before
        from entries window of_account as (partition by "accountId" order by "position")
      ) as chain
      where "position" <> number or "balanceAfterMinor" <> coalesce(before, 0) + "amountMinor"`,
  },
  {
    invariant: "No wallet has less than it holds, and no fees are negative",
    of: "ledgerAccounts",
    broken: sql`
      select "accountId" as key from "ledgerAccounts"
      where "heldMinor" < 0 or (kind <> 'outside' and "balanceMinor" < "heldMinor")`,
  },
  {
    invariant: "All accounts of a currency sum to zero",
    of: "ledgerAccounts",
    broken: sql`select currency as key from "ledgerAccounts" group by currency having sum("balanceMinor") <> 0`,
  },
  {
    invariant: "Wallets and fees are what was topped up",
    of: "ledgerAccounts",
    broken: sql`
      select currency as key from (
        select currency, "balanceMinor" as minor from "ledgerAccounts" where kind <> 'outside'
        union all
        select currency, -"amountMinor" from entries join transfers on transfers."transferId" = entries."transferId"
        where type = 'recharge'
      ) as balances
      group by currency having sum(minor) <> 0`,
  },
  {
    invariant: "What an account holds is the sum of its open holds",
    of: "ledgerAccounts",
    broken: sql`
      select accounts."accountId" as key from "ledgerAccounts" accounts
      left join holds on holds."accountId" = accounts."accountId" and holds.status = 'held'
      group by accounts."accountId", accounts."heldMinor"
      having coalesce(sum("amountMinor"), 0) <> accounts."heldMinor"`,
  },
  {
    invariant: "A hold is on its consumer's wallet, and open exactly as long as its session is",
    of: "holds",
    broken: sql`
      select "holdId" as key from holds join sessions on sessions."sessionId" = holds."sessionId"
      where (holds.status = 'held') <> (${isOpen})
        or "accountId" <> 'wallet:' || sessions."consumerUserId" || ':' || sessions.currency`,
  },
  {
    invariant: "Every open session that costs something holds money",
    of: "sessions",
    broken: sql`
      select sessions."sessionId" as key from sessions left join holds on holds."sessionId" = sessions."sessionId"
      where ${isOpen} and "priceMinor" > 0 and "holdId" is null`,
  },
  {
    invariant: "A session that was completed is settled, with one record, and no other is",
    of: "sessions",
    broken: sql`
      select sessions."sessionId" as key
      from sessions left join "billingRecords" records on records."sessionId" = sessions."sessionId"
      group by sessions."sessionId", sessions.status, sessions."billingStatus"
      having count("recordId") <> case when sessions."billingStatus" = 'pending' then 0 else 1 end
        or (sessions.status = 'completed') <> (sessions."billingStatus" <> 'pending')
        or max(records.status) <> sessions."billingStatus"`,
  },
  {
    invariant: "Every charge is fee plus income, in the record as in the session",
    of: "billingRecords",
    broken: sql`
      select "recordId" as key
      from "billingRecords" records join sessions on sessions."sessionId" = records."sessionId"
      where "amountMinor" <> records."platformFeeMinor" + records."providerIncomeMinor"
        or "amountMinor" is distinct from "billingAmountMinor"
        or records."platformFeeMinor" is distinct from sessions."platformFeeMinor"
        or records."providerIncomeMinor" is distinct from sessions."providerIncomeMinor"`,
  },
  {
    invariant: "Every record's amount was paid once, and given back once where it was refunded",
    of: "billingRecords",
    broken: sql`
      select "recordId" as key from "billingRecords" records
      where ${moved("payment", "consumerUserId")} <> -"amountMinor"
        or ${moved("payment", "providerUserId")} <> "providerIncomeMinor"
        or ${moved("refund", "consumerUserId")} <> case when status = 'refunded' then "amountMinor" else 0 end
        or ${moved("refund", "providerUserId")} <> case when status = 'refunded' then -"providerIncomeMinor" else 0 end`,
  },
  {
    invariant: "Every payment and refund is of a session with a record, and every recharge of a top-up",
    of: "transfers",
    broken: sql`
      select "transferId" as key
      from transfers left join "billingRecords" records on records."sessionId" = transfers."referenceId"
      where (kind = 'recharge') <> ("referenceType" = 'topup') or (kind <> 'recharge' and "recordId" is null)`,
  },
];

/** Asks the database for everything that breaks an invariant of the ledger. `ctx` has to be one snapshot. */
export async function auditLedger(ctx: Pick<QueryContext, "db">): Promise<AuditFinding[]> {
  const findings: AuditFinding[] = [];
  for (const { invariant, of, broken } of invariants) {
    const { rows } = await broken.execute(ctx.db);
    const keys = rows.map(({ key }) => key);
    const detail = keys.length > 0 ? brokenBy(keys) : `${await count(ctx, of)} ${counted[of]}`;
    findings.push({ invariant, ok: keys.length === 0, detail });
  }
  return [...findings, await auditJournal(ctx)];
}

async function count(ctx: Pick<QueryContext, "db">, table: keyof typeof counted): Promise<number> {
  const { rows } = await ctx.db
    .selectFrom(table)
    .select(({ fn }) => fn.countAll<number>().as("rows"))
    .executeTakeFirstOrThrow();
  return Number(rows);
}

/** Whether the triggers are at work that keep the journal's rows as they are. */
async function auditJournal({ db }: Pick<QueryContext, "db">): Promise<AuditFinding> {
  const dialect = dialectOf(db);
  const { rows } = await sql<{ name: string }>`${sql.raw(dialect.activeTriggers)}`.execute(db);
  const wanted = ["transfers", "entries"]
    .flatMap((journal) => dialect.appendOnly(journal))
    .flatMap((statement) => /^create trigger "(\w+)"/.exec(statement)?.[1] ?? []);
  const missing = wanted.filter((trigger) => !rows.some(({ name }) => name === trigger));
  return {
    invariant: "The journal cannot be changed",
    ok: missing.length === 0,
    detail: missing.length > 0 ? brokenBy(missing) : `${wanted.length} triggers`,
  };
}

function brokenBy(keys: string[]): string {
  const more = keys.length > named ? ` and ${keys.length - named} more` : "";
  return `broken by ${keys.slice(0, named).join(", ")}${more}`;
}
