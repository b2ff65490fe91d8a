/**
 * The server's processes on one database, each with a lease that it renews. When a lease runs out, the other processes
 * forget that process and every socket that it held.
 */
import { systemMutation } from "../../runtime/call/define.js";
import type { MutationContext } from "../../runtime/context.js";
import { notifyStatus } from "../model/agents/agent-presence.js";
import { leaseOfForgotten } from "../model/server-processes.js";
import { noteAbsence } from "../model/session/session-absences.js";

/** How long a process counts as alive without renewing its lease. */
const leaseMs = 30_000;
/**
 * How many sockets of each kind one transaction forgets: each takes several statements, and a process may have had
 * thousands.
 */
export const forgottenAtOnce = 100;

/** Tells two secrets apart without revealing either. */
function secretCheckOf(ctx: MutationContext): string {
  return ctx.derive("check of the secret").slice(0, 16);
}

/**
 * Registers a process that starts, and forgets sockets that cannot be open any more: all of them where the process has
 * the database for itself, else those of processes whose lease has run out.
 */
export const startProcess = systemMutation(
  "processes.start",
  async (ctx, { processId, alone }: { processId: string; alone: boolean }) => {
    const others = await ctx.db.selectFrom("serverProcesses").selectAll().execute();
    const dead = others.filter(({ leaseUntil }) => alone || leaseUntil <= ctx.now);
    // What is left of a dead process is forgotten with later renewals of the lease.
    const atOnce = alone ? Number.MAX_SAFE_INTEGER : forgottenAtOnce;
    for (const other of dead) await forgetProcess(ctx, other.processId, atOnce);
    if (alone) {
      await ctx.db.deleteFrom("agentSockets").execute();
      await ctx.db.deleteFrom("sessionSockets").execute();
    }
    const secretCheck = secretCheckOf(ctx);
    const stranger = others.find(
      (other) => !dead.includes(other) && (other.secretCheck ?? secretCheck) !== secretCheck,
    );
    if (stranger) return { sameSecret: false };
    await ctx.db
      .insertInto("serverProcesses")
      .values({ processId, leaseUntil: ctx.now + leaseMs, secretCheck })
      .execute();
    return { sameSecret: true };
  },
);

interface Renewal {
  /** False where another process has taken this one for dead. */
  alive: boolean;
  /** When the next of the other leases runs out, unless it is renewed; now, where there is more to forget. */
  nextEndAt: number | null;
  forgotten: number;
}

/**
 * Renews a process's lease, and forgets processes whose lease ran out. `alive: false` says that another process has
 * taken this one for dead, after a pause of the machine: its sockets are forgotten and have to connect again.
 */
export const renewLease = systemMutation(
  "processes.renewLease",
  async (ctx, { processId }: { processId: string }): Promise<Renewal> => {
    const leaseUntil = ctx.now + leaseMs;
    const before = await ctx.db
      .selectFrom("serverProcesses")
      .select("leaseUntil")
      .where("processId", "=", processId)
      .executeTakeFirst();
    if (before) {
      await ctx.db.updateTable("serverProcesses").set({ leaseUntil }).where("processId", "=", processId).execute();
    } else {
      const secretCheck = secretCheckOf(ctx);
      await ctx.db.insertInto("serverProcesses").values({ processId, leaseUntil, secretCheck }).execute();
    }
    const others = await ctx.db
      .selectFrom("serverProcesses")
      .select(["processId", "leaseUntil"])
      .where("processId", "<>", processId)
      .orderBy("leaseUntil")
      .execute();
    // A process that is late itself, because the database was away, cannot judge who is dead.
    const isLate = before !== undefined && before.leaseUntil <= ctx.now;
    const dead = isLate ? [] : others.filter((other) => other.leaseUntil <= ctx.now);
    let forgotten = 0;
    for (const other of dead) if (await forgetProcess(ctx, other.processId, forgottenAtOnce)) forgotten += 1;
    const more = forgotten < dead.length;
    if (forgotten > 0) ctx.notify({ kind: "processForgotten" });
    const next = others.find((other) => other.leaseUntil > ctx.now);
    const nextEndAt = more ? ctx.now : (next?.leaseUntil ?? null);
    const alive = before !== undefined && before.leaseUntil !== leaseOfForgotten;
    return { alive, nextEndAt, forgotten: dead.length };
  },
);

/** Forgets a process that ends, and every socket that it held. */
export const endProcess = systemMutation("processes.end", async (ctx, { processId }: { processId: string }) => ({
  more: !(await forgetProcess(ctx, processId, forgottenAtOnce)),
}));

/**
 * Forgets up to `limit` of a process's sockets of each kind, and after the last the process. Returns whether it was
 * all.
 */
async function forgetProcess(ctx: MutationContext, processId: string, limit: number): Promise<boolean> {
  const agentSockets = ctx.db
    .selectFrom("agentSockets")
    .select("agentId")
    .where("processId", "=", processId)
    .orderBy("agentId")
    .limit(limit);
  const agents = await ctx.db
    .deleteFrom("agentSockets")
    .where("processId", "=", processId)
    .where("agentId", "in", agentSockets)
    .returning("agentId")
    .execute();
  for (const { agentId } of agents) notifyStatus(ctx, agentId, "offline");
  const sessionSockets = ctx.db
    .selectFrom("sessionSockets")
    .select("socketId")
    .where("processId", "=", processId)
    .orderBy("socketId")
    .limit(limit);
  const gone = await ctx.db
    .deleteFrom("sessionSockets")
    .where("processId", "=", processId)
    .where("socketId", "in", sessionSockets)
    .returning(["sessionId", "participantId", "slotIndex"])
    .execute();
  for (const absent of gone) await noteAbsence(ctx, absent);
  if (agents.length === limit || gone.length === limit) {
    await ctx.db
      .updateTable("serverProcesses")
      .set({ leaseUntil: leaseOfForgotten })
      .where("processId", "=", processId)
      .execute();
    return false;
  }
  await ctx.db.deleteFrom("serverProcesses").where("processId", "=", processId).execute();
  return true;
}
