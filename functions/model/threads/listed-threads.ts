/**
 * Which of an agent's threads a page shows. If all fit, it shows all, the most recently active first. If they do not,
 * each peer's newest thread (the one last active) comes before all others, so that no eager peer pushes those of the
 * others off the page; within a page the order stays. Which thread was a peer's newest when the reading began does not
 * change any more (schema/threads.ts, `supersededAt`), so over all pages nothing is lost or repeated while threads are
 * opened and written in.
 */
import { type NotNull, type SqlBool, sql } from "kysely";
import type { AgentQuery } from "../../../runtime/context.js";
import type { ThreadStatus, ThreadsTable } from "../../../schema/threads.js";
import { cursorsOf, type Position } from "../cursors.js";
import { hourOf, lastActiveAt, threadStatusInSql } from "../rules/thread-states.js";
import { lastSupersededAt } from "./threads.js";

const keys = {
  /** The greatest `supersededAt` when the reading began. */
  asOf: "integer",
  /** How far the peers' newest threads were read, and how far the others. */
  newestAt: "integer",
  newestId: "id",
  othersAt: "integer",
  othersId: "id",
} as const;
const mostRecentFirst = cursorsOf("messages:getThreadsForAgent", keys);

/** Before every thread. */
const beginning = {
  newestAt: Number.MAX_SAFE_INTEGER,
  newestId: "z",
  othersAt: Number.MAX_SAFE_INTEGER,
  othersId: "z",
};

interface Behind {
  at: number;
  id: string;
}
/** A thread with its other agent. */
interface Thread extends ThreadsTable {
  agentId: string;
  name: string;
  publicKey: string | null;
  statusNow: ThreadStatus;
  lastActiveAt: number;
}

/** Which threads: the peers' newest as of an instant, those of them that were superseded since, the others, or all. */
type Part = "newest" | "newestSince" | "others" | "all";

export async function pageOfThreads(
  ctx: AgentQuery,
  status: ThreadStatus | null,
  limit: number,
  cursor: string | null | undefined,
) {
  const cursors = mostRecentFirst.under(ctx, { status });
  const read = (part: Part, asOf: number, behind: Behind, most: number) =>
    readThreads(ctx, status, { part, asOf, behind, most });

  const given = cursors.read(cursor);
  const from = given ?? beginning;
  let page: Thread[] | undefined;
  let asOf = given?.asOf ?? 0;
  if (given === undefined) {
    const all = await read("all", 0, { at: from.othersAt, id: from.othersId }, limit + 1);
    if (all.length <= limit) {
      page = all;
      asOf = Math.max(0, ...all.map(({ supersededAt }) => supersededAt ?? 0));
    } else asOf = await lastSupersededAt(ctx, ctx.caller.agentId);
  }
  if (page === undefined) {
    const behindNewest = { at: from.newestAt, id: from.newestId };
    const newest = await Promise.all([
      read("newest", asOf, behindNewest, limit),
      given === undefined ? [] : read("newestSince", asOf, behindNewest, limit),
    ]);
    page = newest.flat().sort(byActivity).slice(0, limit);
    if (page.length < limit) {
      const room = limit - page.length;
      page.push(...(await read("others", asOf, { at: from.othersAt, id: from.othersId }, room)));
      page.sort(byActivity);
    }
  }

  const at: Position<typeof keys> = { ...from, asOf };
  return page.map((thread) => {
    const isOther = thread.supersededAt !== null && thread.supersededAt <= asOf;
    Object.assign(
      at,
      isOther
        ? { othersAt: thread.lastActiveAt, othersId: thread.threadId }
        : { newestAt: thread.lastActiveAt, newestId: thread.threadId },
    );
    return { ...thread, cursor: cursors.at(at) };
  });
}

function byActivity(one: Thread, other: Thread): number {
  return other.lastActiveAt - one.lastActiveAt || (one.threadId < other.threadId ? 1 : -1);
}

/** The first threads of a part behind a position. One query a side, each along its own index. */
async function readThreads(
  ctx: AgentQuery,
  wanted: ThreadStatus | null,
  { part, asOf, behind, most }: { part: Part; asOf: number; behind: Behind; most: number },
): Promise<Thread[]> {
  const status = threadStatusInSql(ctx.now);
  const side = (mine: "agentAId" | "agentBId", theirs: "agentAId" | "agentBId") =>
    ctx.db
      .selectFrom("threads")
      .leftJoin("agents", "agents.agentId", `threads.${theirs}`)
      .selectAll("threads")
      .select(["agents.agentId", "agents.name", "agents.publicKey", status.as("statusNow")])
      .select(lastActiveAt.as("lastActiveAt"))
      .where(`threads.${mine}`, "=", ctx.caller.agentId)
      .$if(part === "newest", (threads) => threads.where("threads.supersededAt", "is", null))
      .$if(part === "newestSince", (threads) => threads.where("threads.supersededAt", ">", asOf))
      .$if(part === "others", (threads) => threads.where("threads.supersededAt", "<=", asOf))
      .$if(wanted !== null, (threads) => threads.where(status, "=", wanted ?? "negotiating"))
      .$if(behind.at !== beginning.newestAt, (threads) =>
        threads
          .where("threads.activeHour", "<=", sql<number>`cast(${hourOf(behind.at)} as bigint)`)
          .where(
            sql<SqlBool>`(${lastActiveAt}, ${sql.ref("threads.threadId")}) < (cast(${behind.at} as bigint), ${behind.id})`,
          ),
      )
      .orderBy("threads.activeHour", "desc")
      .orderBy(lastActiveAt, "desc")
      .orderBy("threads.threadId", "desc")
      .limit(most)
      // Both agents of a thread exist.
      .$narrowType<{ agentId: NotNull; name: NotNull }>()
      .execute();
  const [opened, joined] = await Promise.all([side("agentAId", "agentBId"), side("agentBId", "agentAId")]);
  return [...opened, ...joined].sort(byActivity).slice(0, most);
}
