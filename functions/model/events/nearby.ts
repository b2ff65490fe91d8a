/**
 * The open events around a place, nearest first. Where there are few, the cells around the place are read whole. Where
 * there are many, cells are looked into from the centre outwards, and one that holds more than a handful is divided
 * into four: what is read depends on how many are wanted, not on how many there are.
 */
import type { Expression, Kysely } from "kysely";
import type { QueryContext } from "../../../runtime/context.js";
import { prepared } from "../../../runtime/store/prepared.js";
import type { Database } from "../../../schema/index.js";
import { type Cell, cellOfCode, codesOf, finestLevel, geoCellLevel } from "../../../schema/place-code.js";
import { caps, countedOfOwner } from "../caps.js";
import { distanceKm, geoCellsAround, type Place, quartersOf, reachOf } from "../rules/geo.js";
import { lastTurn } from "./event-caps.js";

/** A cell with more rows than this is divided. */
const mostPerCell = 50;
/** The most rows of one smallest cell, which is not divided: so many events may be open on one spot (caps.ts). */
const mostOnOneSpot = Math.ceil(caps.eventsAtPlace.most / countedOfOwner) * caps.openEventsAtPlace.most;
/** The most rows that one search reads. Where there are more events around, it finds the nearest. */
const mostRead = 2_500;
const cellsAtOnce = 4;
const cellsOfCover = 16;

/** An event as far as the search needs it. `km`: how far away, exactly. */
export interface NearEvent {
  eventId: string;
  createdBy: string;
  turn: number;
  startAt: number;
  km: number;
}

/** Where the last page ended. */
type NearPlace = Pick<NearEvent, "turn" | "km" | "startAt" | "eventId">;

interface NearSearch {
  centre: Place;
  radiusKm: number;
  /** Events that start later are left out (Unix ms). */
  startsUntil: number;
  after: NearPlace | undefined;
  /** How many are wanted. */
  count: number;
}

type StoredEvent = Omit<NearEvent, "km"> & {
  startedAt: number | null;
  endAt: number;
  locationLat: number | null;
  locationLng: number | null;
};

const columns = [
  "eventId",
  "createdBy",
  "turn",
  "startAt",
  "startedAt",
  "endAt",
  "locationLat",
  "locationLng",
] as const;

type Bounds = Record<"geoCell" | "first" | "last" | "limit", Expression<never>>;
const bounds = ["geoCell", "first", "last", "limit"] as const;

const openIn = (db: Kysely<Database>, { geoCell, first, last, limit }: Bounds) =>
  db
    .selectFrom("events")
    .select(columns)
    .where("geoCell", "=", geoCell)
    .where("placeCode", ">=", first)
    .where("placeCode", "<=", last)
    .where("endedAt", "is", null)
    .orderBy("placeCode")
    .limit(limit);

const inCell = prepared(bounds, openIn);
const inCellOfTurn = prepared([...bounds, "turn"], (db, { turn, ...cell }) =>
  openIn(db, cell).where("turn", "=", turn),
);

/** Nearest first; those at the same distance by their start. */
export function byDistance(a: NearPlace, b: NearPlace): number {
  return a.km - b.km || a.startAt - b.startAt || (a.eventId < b.eventId ? -1 : a.eventId > b.eventId ? 1 : 0);
}

/** What comes after `after`, by turn and then nearest first (fair-pages.ts). */
export async function findNearest(ctx: QueryContext, search: NearSearch): Promise<NearEvent[]> {
  const cover = coverOf(search.centre, search.radiusKm);
  const whole = await Promise.all(
    cover.map(async (cell) => (await inCell(ctx, { ...rangeOf(cell), limit: mostPerCell + 1 })).rows),
  );
  if (whole.every(({ length }) => length <= mostPerCell)) {
    const fitting = whole.flat().flatMap((event) => nearEvents(ctx, search, event));
    return fitting.sort((a, b) => a.turn - b.turn || byDistance(a, b)).slice(0, search.count);
  }

  const found: NearEvent[] = [];
  const budget = { rows: mostRead };
  const first = Math.max(search.after?.turn ?? 0, 0);
  for (let turn = first; turn <= lastTurn && found.length < search.count; turn += 1) {
    found.push(...(await nearestOfTurn(ctx, { ...search, count: search.count - found.length }, cover, turn, budget)));
  }
  return found;
}

async function nearestOfTurn(
  ctx: QueryContext,
  search: NearSearch,
  cover: readonly Cell[],
  turn: number,
  budget: { rows: number },
): Promise<NearEvent[]> {
  const { centre, radiusKm, after, count } = search;
  const passedKm = after?.turn === turn ? after.km : 0;
  const reachable = (cells: readonly Cell[]) =>
    cells
      .map((cell) => ({ cell, ...reachOf(cell, centre) }))
      .filter(({ nearestKm, farthestKm }) => nearestKm <= radiusKm && farthestKm >= passedKm);
  let waiting = reachable(cover);
  let nearest: NearEvent[] = [];
  while (budget.rows > 0) {
    // Nothing that is farther than the last one wanted has to be looked at.
    const enoughKm = nearest[count - 1]?.km ?? radiusKm;
    waiting = waiting.filter(({ nearestKm }) => nearestKm <= enoughKm).sort((a, b) => a.nearestKm - b.nearestKm);
    const next = waiting.splice(0, cellsAtOnce);
    if (next.length === 0) break;
    const read = await Promise.all(
      next.map(async ({ cell }) => {
        const limit = cell.level < finestLevel ? mostPerCell + 1 : mostOnOneSpot;
        return { cell, rows: (await inCellOfTurn(ctx, { ...rangeOf(cell), turn, limit })).rows };
      }),
    );
    for (const { cell, rows } of read) {
      budget.rows -= rows.length;
      if (rows.length > mostPerCell && cell.level < finestLevel) waiting.push(...reachable(quartersOf(cell)));
      else nearest.push(...rows.flatMap((event) => nearEvents(ctx, search, event)));
    }
    nearest = nearest.sort(byDistance).slice(0, count);
  }
  return nearest;
}

/** The event with its distance, if it is one that the search is for. */
function nearEvents(
  ctx: QueryContext,
  { centre, radiusKm, startsUntil, after }: NearSearch,
  event: StoredEvent,
): NearEvent[] {
  const { eventId, createdBy, turn, startAt, startedAt, endAt, locationLat: lat, locationLng: lng } = event;
  if (lat === null || lng === null || endAt <= ctx.now || (startAt > startsUntil && startedAt === null)) return [];
  const near = { eventId, createdBy, turn, startAt, km: distanceKm(centre, { lat, lng }) };
  const isBehind = after === undefined || turn > after.turn || (turn === after.turn && byDistance(near, after) > 0);
  return near.km <= radiusKm && isBehind ? [near] : [];
}

/** A few cells that hold all of the circle, none of them much larger than it. */
function coverOf(centre: Place, radiusKm: number): Cell[] {
  let cells = geoCellsAround(centre, radiusKm);
  for (let level = geoCellLevel; level < finestLevel; level += 1) {
    const finer = cells.flatMap(quartersOf).filter((cell) => reachOf(cell, centre).nearestKm <= radiusKm);
    if (finer.length > cellsOfCover) break;
    cells = finer;
  }
  return cells;
}

function rangeOf(cell: Cell): { geoCell: number; first: number; last: number } {
  const { first, last } = codesOf(cell);
  return { geoCell: cellOfCode(first, geoCellLevel), first, last };
}
