/**
 * The audit of the ledger: looks for whatever breaks an invariant (invariants.ts). All of it is asked of one snapshot,
 * so the invariants hold at every moment, also while the server is at work, and an operator may ask whenever they like.
 *
 * No statement looks at more than a few hundred rows: every table is walked along its key in parts, and each part is
 * judged by every invariant of that table. Sums are added up over the parts.
 */
import { sql } from "kysely";
import { z } from "zod";
import type { QueryContext } from "../../../runtime/context.js";
import { dialectOf } from "../../../runtime/store/dialects.js";
import { type AuditedTable, auditedTables, type Invariant, ledgerInvariants, type Part } from "./invariants.js";

/** What the audit says of one invariant. */
export const auditFinding = z.object({ invariant: z.string(), ok: z.boolean(), detail: z.string() });
export type AuditFinding = z.output<typeof auditFinding>;

/** How many of the broken ones a finding names. */
const named = 5;

/** How many rows one step looks at, each with the few rows that belong to it. */
export const rowsPerPart = 500;

/** Asks the database for everything that breaks an invariant of the ledger. `ctx` has to be one snapshot. */
export async function auditLedger(ctx: Pick<QueryContext, "db">): Promise<AuditFinding[]> {
  const rows = new Map<AuditedTable, number>();
  const judged = ledgerInvariants.map((invariant) => new Judged(invariant));
  for (const table of Object.keys(auditedTables) as AuditedTable[]) {
    let count = 0;
    for await (const part of partsOf(ctx, table)) {
      for (const one of judged) await one.look(ctx, table, part.holds);
      count += part.rows;
    }
    rows.set(table, count);
  }
  const findings = judged.map((one) => one.finding(`${rows.get(one.of)} ${auditedTables[one.of].rows}`));
  return [...findings, await auditJournal(ctx)];
}

/** A table's rows in parts, in the order of its key. */
async function* partsOf(
  { db }: Pick<QueryContext, "db">,
  table: AuditedTable,
): AsyncGenerator<{ holds: Part; rows: number }> {
  const key = sql.ref(auditedTables[table].key);
  for (let after = ""; ; ) {
    const part = await sql<{ last: string | null; rows: number }>`
      select max(${key}) as last, count(*) as rows from (
        select ${key} from ${sql.table(table)} where ${key} > ${after} order by ${key} limit ${sql.lit(rowsPerPart)}
      ) as part`.execute(db);
    const { last = null, rows = 0 } = part.rows[0] ?? {};
    if (last === null) return;
    const from = after;
    yield { holds: (name) => sql`(${sql.ref(name)} > ${from} and ${sql.ref(name)} <= ${last})`, rows: Number(rows) };
    if (rows < rowsPerPart) return;
    after = last;
  }
}

/** One invariant, and the rows found so far that break it. */
class Judged {
  readonly #invariant: Invariant;
  readonly #keys: string[] = [];
  #broken = 0;
  /** What does not sum to zero yet. */
  readonly #sums = new Map<string, number>();

  constructor(invariant: Invariant) {
    this.#invariant = invariant;
  }

  get of(): AuditedTable {
    return this.#invariant.of;
  }

  async look({ db }: Pick<QueryContext, "db">, table: AuditedTable, part: Part): Promise<void> {
    const { of, broken, sums = [] } = this.#invariant;
    if (broken && of === table) for (const { key } of (await broken(part).execute(db)).rows) this.#breaks(key);
    for (const sum of sums) {
      if (sum.of !== table) continue;
      for (const { key, minor } of (await sum.amounts(part).execute(db)).rows) {
        const total = (this.#sums.get(key) ?? 0) + minor;
        if (total === 0) this.#sums.delete(key);
        else this.#sums.set(key, total);
      }
    }
  }

  #breaks(key: string): void {
    this.#broken += 1;
    if (this.#keys.length < named) this.#keys.push(key);
  }

  finding(whole: string): AuditFinding {
    for (const key of this.#sums.keys()) this.#breaks(key);
    const ok = this.#broken === 0;
    return { invariant: this.#invariant.invariant, ok, detail: ok ? whole : brokenBy(this.#keys, this.#broken) };
  }
}

/** Whether the triggers that keep the journal's rows from changing are in place. */
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
    detail: missing.length > 0 ? brokenBy(missing.slice(0, named), missing.length) : `${wanted.length} triggers`,
  };
}

function brokenBy(keys: string[], count: number): string {
  return `broken by ${keys.join(", ")}${count > keys.length ? ` and ${count - keys.length} more` : ""}`;
}
