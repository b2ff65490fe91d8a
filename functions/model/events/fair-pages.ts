/**
 * Pages of a list to which everybody adds: at most three rows of one creator while others' remain, and the rest later.
 * Each event has a turn that no more than three open events of its creator share (event-caps.ts), so a list that
 * goes by turn, and within a turn by its own order, is fair, loses nothing and repeats nothing, and each page reads one
 * stretch of an index. On the page the rows stand in the list's own order.
 */
import { caps } from "../caps.js";
import { eventsPerTurn } from "./event-caps.js";

/** How many rows behind a page have to be read, to see whether any of them are somebody else's. */
export const lookAhead = caps.openEvents.most + 1;

interface Listed {
  createdBy: string;
  turn: number;
}

/** The page at the front of `rows`: what comes next, by turn, up to `limit + lookAhead` of it. */
export function fairPage<Row extends Listed>(rows: readonly Row[], limit: number): readonly Row[] {
  // All the remaining rows fit, so nobody is crowded out.
  if (rows.length <= limit) return rows;
  const shown = new Map<string, number>();
  for (const [index, { createdBy }] of rows.slice(0, limit).entries()) {
    const before = shown.get(createdBy) ?? 0;
    if (before === eventsPerTurn && rows.slice(index).some((other) => other.createdBy !== createdBy)) {
      return rows.slice(0, index);
    }
    shown.set(createdBy, before + 1);
  }
  return rows.slice(0, limit);
}

/** A page in the list's order, each row with the cursor behind which the list goes on. */
export function inListOrder<Row extends Listed>(
  page: readonly Row[],
  compare: (a: Row, b: Row) => number,
  cursorOf: (row: Row) => string,
): { row: Row; cursor: string }[] {
  const last = page.at(-1);
  if (!last) return [];
  // Where a page mixes turns, only the end of the page is one position in the list.
  const mixes = page.some(({ turn }) => turn !== last.turn);
  return [...page].sort(compare).map((row) => ({ row, cursor: cursorOf(mixes ? last : row) }));
}
