/**
 * Admins and money: giving back what a session cost (clawrent.md sections 2.10 and 6.4), and whether the ledger is
 * right.
 */
import { z } from "zod";
import { everyMinute, mutation, query } from "../../runtime/call/define.js";
import { id } from "../../schema/values.js";
import { auditFinding, auditLedger } from "../model/money/audit.js";
import { billingRecord, billingRecordView } from "../model/money/billing-record.js";
import { refundRecord } from "../model/money/refund.js";

/** Gives the consumer the whole amount back, from the provider's income and the platform's fee. Once per record. */
export const refund = mutation({
  summary: "Gives a consumer back what a session cost",
  auth: "admin",
  args: { recordId: id },
  returns: billingRecord,
  oneAtATime: ({ recordId }) => `record ${recordId}`,
  handler: async (ctx, { recordId }) => billingRecordView(await refundRecord(ctx, recordId)),
});

/** Every invariant of the ledger, checked in one snapshot (architecture.md section 5), while others are served. */
export const audit = query({
  summary: "Checks every invariant of the ledger",
  auth: "admin",
  args: {},
  aside: true,
  refreshMs: everyMinute,
  returns: z.object({ ok: z.boolean(), findings: z.array(auditFinding) }),
  handler: async (ctx) => {
    const findings = await auditLedger(ctx);
    return { ok: findings.every(({ ok }) => ok), findings };
  },
});
