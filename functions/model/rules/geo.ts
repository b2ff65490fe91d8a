/**
 * Places on the globe: how far apart two of them are, and how far a place is from the cells in which events are stored
 * (schema/place-code.ts). Pure arithmetic; who may know a place is decided elsewhere.
 */
import { type Cell, geoCellLevel, outlineOf, type Vector, vectorOf } from "../../../schema/place-code.js";

export interface Place {
  lat: number;
  lng: number;
}

/** The mean radius, with which a great-circle distance is off by 0.5 % at most. */
const earthRadiusKm = 6371.0088;
/** A millimetre, so that rounding never leaves out a place on the very edge of a cell. */
const marginKm = 1e-6;

const toRadians = (degrees: number) => (degrees * Math.PI) / 180;

/** The great-circle distance, by the haversine formula, which stays exact for neighbours. */
export function distanceKm(from: Place, to: Place): number {
  const acrossLat = Math.sin(toRadians(to.lat - from.lat) / 2) ** 2;
  const acrossLng = Math.sin(toRadians(to.lng - from.lng) / 2) ** 2;
  const haversine = acrossLat + Math.cos(toRadians(from.lat)) * Math.cos(toRadians(to.lat)) * acrossLng;
  return 2 * earthRadiusKm * Math.asin(Math.sqrt(Math.min(haversine, 1)));
}

function betweenKm(a: Vector, b: Vector): number {
  // Several times as fast as Math.hypot, and no value here is large enough to overflow.
  const chord = Math.sqrt((a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2 + (a[2] - b[2]) ** 2);
  return 2 * earthRadiusKm * Math.asin(Math.min(chord / 2, 1));
}

/** The nearest and the farthest that a place of the cell can be from `centre`. */
export function reachOf(cell: Cell, centre: Place): { nearestKm: number; farthestKm: number } {
  const { middle, corners } = outlineOf(cell);
  const toMiddle = betweenKm(vectorOf(centre), middle);
  const radius = Math.max(...corners.map((corner) => betweenKm(middle, corner))) + marginKm;
  return { nearestKm: Math.max(toMiddle - radius, 0), farthestKm: toMiddle + radius };
}

/** The four cells of the next level that make up a cell. */
export function quartersOf({ level, number }: Cell): Cell[] {
  return [0, 1, 2, 3].map((quarter) => ({ level: level + 1, number: number * 4 + quarter }));
}

/** The `geoCell`s that may hold a place within `radiusKm`. */
export function geoCellsAround(centre: Place, radiusKm: number): Cell[] {
  let cells: Cell[] = [0, 1, 2, 3, 4, 5].map((face) => ({ level: 0, number: face }));
  for (let level = 0; level < geoCellLevel; level += 1) {
    cells = cells.flatMap(quartersOf).filter((cell) => reachOf(cell, centre).nearestKm <= radiusKm);
  }
  return cells;
}
