/**
 * Places on the globe: how far apart two of them are, and which one-degree squares a search near a place must look at.
 * Pure arithmetic on degrees; who may know a place is decided elsewhere.
 */

export interface Place {
  lat: number;
  lng: number;
}

/** What a search within a radius has to read: every place in the radius lies in one of the cells and between the latitudes. */
export interface Surroundings {
  cells: number[];
  south: number;
  north: number;
}

/** The mean radius, with which a great-circle distance is off by 0.5 % at most. */
const earthRadiusKm = 6371.0088;
const rows = 180;
const columns = 360;
/** About 0.1 m, so that rounding never leaves out a place on the very edge. */
const marginDegrees = 1e-6;

const toRadians = (degrees: number) => (degrees * Math.PI) / 180;
const toDegrees = (radians: number) => (radians * 180) / Math.PI;

/** The great-circle distance, by the haversine formula, which stays exact for neighbours. */
export function distanceKm(from: Place, to: Place): number {
  const acrossLat = Math.sin(toRadians(to.lat - from.lat) / 2) ** 2;
  const acrossLng = Math.sin(toRadians(to.lng - from.lng) / 2) ** 2;
  const haversine = acrossLat + Math.cos(toRadians(from.lat)) * Math.cos(toRadians(to.lat)) * acrossLng;
  return 2 * earthRadiusKm * Math.asin(Math.sqrt(Math.min(haversine, 1)));
}

/** The number of the one-degree square that holds a place. ±180° is one meridian; the poles belong to the outermost rows. */
export function geoCell(place: Place): number {
  return cellAt(Math.min(Math.floor(place.lat) + rows / 2, rows - 1), Math.floor(place.lng) + columns / 2);
}

/** What surrounds `centre`, up to `radiusKm` away. */
export function surroundings(centre: Place, radiusKm: number): Surroundings {
  const angle = radiusKm / earthRadiusKm;
  const reach = toDegrees(angle) + marginDegrees;
  const south = Math.max(centre.lat - reach, -90);
  const north = Math.min(centre.lat + reach, 90);
  // A circle that holds a pole crosses every meridian; any other is widest a little poleward of its centre.
  const holdsPole = south === -90 || north === 90;
  const sideways = holdsPole
    ? columns / 2
    : toDegrees(Math.asin(Math.min(Math.sin(angle) / Math.cos(toRadians(centre.lat)), 1))) + marginDegrees;
  const west = Math.floor(centre.lng - sideways);
  const width = Math.min(Math.floor(centre.lng + sideways) - west + 1, columns);

  const cells: number[] = [];
  const lastRow = Math.min(Math.floor(north) + rows / 2, rows - 1);
  for (let row = Math.floor(south) + rows / 2; row <= lastRow; row += 1) {
    for (let step = 0; step < width; step += 1) cells.push(cellAt(row, west + columns / 2 + step));
  }
  return { cells, south, north };
}

function cellAt(row: number, column: number): number {
  return row * columns + (((column % columns) + columns) % columns);
}
