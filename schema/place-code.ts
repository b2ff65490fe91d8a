/**
 * Places as numbers, so that an index keeps neighbours together. The globe is projected from its centre onto the six
 * faces of a cube, and each face is divided into four again and again. Cells of one level are about equally large
 * everywhere: the poles and the 180° meridian are not special. A cell's number is that of the face
 * and then two bits for each division, so a cell holds one range of the numbers of its smallest cells.
 */

/** How often a face is divided, down to a cell of about half a metre: 2 + 48 bits, which a number holds exactly. */
export const finestLevel = 24;
/** The level of `geoCell`: squares of 30 to 80 km, a few of which surround any search. */
export const geoCellLevel = 7;

export type Vector = readonly [x: number, y: number, z: number];

/** A place on the unit sphere, to a few micrometres: ±180° are the same meridian, and a pole is a single place. */
export function vectorOf({ lat, lng }: { lat: number; lng: number }): Vector {
  const [phi, lambda] = [(lat * Math.PI) / 180, (lng * Math.PI) / 180];
  const rounded = (part: number) => Math.round(part * 1e12) / 1e12;
  return [rounded(Math.cos(phi) * Math.cos(lambda)), rounded(Math.cos(phi) * Math.sin(lambda)), rounded(Math.sin(phi))];
}

/** The number of the cell of the finest level that holds a place. */
export function placeCode(place: { lat: number; lng: number }): number {
  const vector = vectorOf(place);
  const sizes = vector.map(Math.abs);
  const axis = sizes.indexOf(Math.max(...sizes));
  const size = sizes[axis] ?? 1;
  const [u = 0, v = 0] = vector.filter((_, index) => index !== axis).map((part) => part / size);
  const face = axis * 2 + ((vector[axis] ?? 0) < 0 ? 1 : 0);
  const cells = 2 ** finestLevel;
  const [column, row] = [u, v].map((part) => Math.min(Math.floor(((part + 1) / 2) * cells), cells - 1));
  let code = face;
  for (let bit = finestLevel - 1; bit >= 0; bit -= 1) {
    code = code * 4 + (((column ?? 0) >> bit) & 1) * 2 + (((row ?? 0) >> bit) & 1);
  }
  return code;
}

/** The number, at a coarser level, of the cell that holds the finest cell of a code. */
export function cellOfCode(code: number, level: number): number {
  return Math.floor(code / 4 ** (finestLevel - level));
}

/** A cell of any level: its range of codes, and the middle and the corners of its square on the sphere. */
export interface Cell {
  level: number;
  number: number;
}

/** The codes in a cell, both ends included. */
export function codesOf({ level, number }: Cell): { first: number; last: number } {
  const size = 4 ** (finestLevel - level);
  return { first: number * size, last: (number + 1) * size - 1 };
}

/** The middle of a cell and its corners, as vectors of length one. */
export function outlineOf({ level, number }: Cell): { middle: Vector; corners: Vector[] } {
  let [column, row] = [0, 0];
  let rest = number;
  for (let bit = 0; bit < level; bit += 1) {
    const quarter = rest % 4;
    column += (quarter >> 1) * 2 ** bit;
    row += (quarter & 1) * 2 ** bit;
    rest = Math.floor(rest / 4);
  }
  const face = rest;
  const at = (across: number, along: number): Vector => {
    const [u, v] = [across, along].map((part) => (part / 2 ** level) * 2 - 1);
    const sides = [u ?? 0, v ?? 0];
    const parts = [0, 1, 2].map((axis) => (axis === face >> 1 ? (face % 2 === 0 ? 1 : -1) : (sides.shift() ?? 0)));
    const length = Math.hypot(...parts);
    return parts.map((part) => part / length) as unknown as Vector;
  };
  return {
    middle: at(column + 0.5, row + 0.5),
    corners: [at(column, row), at(column + 1, row), at(column, row + 1), at(column + 1, row + 1)],
  };
}
