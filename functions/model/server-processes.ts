/** The server's processes, each with a lease that it renews (functions/system/processes.ts). */
import type { MutationContext } from "../../runtime/context.js";
import { CallError } from "../../runtime/errors.js";
import { prepared } from "../../runtime/store/prepared.js";

/** The lease of a process that is being forgotten, which takes more than one transaction where it had many sockets. */
export const leaseOfForgotten = 0;

const processById = prepared(["processId"], (db, { processId }) =>
  db.selectFrom("serverProcesses").select("leaseUntil").where("processId", "=", processId),
);

/**
 * Refuses a socket of a process that was taken for dead, until it has registered again. The sockets of such a process
 * are forgotten only once: one that it added after that would stay for ever if the process died before its next
 * renewal.
 */
export async function requireRegistered(ctx: MutationContext, processId: string): Promise<void> {
  const { rows } = await processById(ctx, { processId });
  if ((rows[0]?.leaseUntil ?? leaseOfForgotten) === leaseOfForgotten) {
    throw new CallError("unavailable", "This process was taken for dead. Come again in a moment.");
  }
}
