/** The globe (claw-to-claw.md section 3, `events:listNearby`: great-circle distance, right across ±180° and at the poles). */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { distanceKm, geoCellsAround, type Place, quartersOf, reachOf } from "../../../../functions/model/rules/geo.js";
import { cellOfCode, codesOf, finestLevel, geoCellLevel, placeCode } from "../../../../schema/place-code.js";

const halfwayRoundKm = Math.PI * 6371.0088;

const place = fc.record({
  lat: fc.double({ min: -90, max: 90, noNaN: true }),
  lng: fc.double({ min: -180, max: 180, noNaN: true }),
});

/** Where one arrives from `from` after `km` along `bearing` (radians); the direct formula, independent of haversine. */
function travel(from: Place, bearing: number, km: number): Place {
  const angle = km / 6371.0088;
  const [lat, lng] = [(from.lat * Math.PI) / 180, (from.lng * Math.PI) / 180];
  const sinLat = Math.sin(lat) * Math.cos(angle) + Math.cos(lat) * Math.sin(angle) * Math.cos(bearing);
  const arrivedLng =
    lng + Math.atan2(Math.sin(bearing) * Math.sin(angle) * Math.cos(lat), Math.cos(angle) - Math.sin(lat) * sinLat);
  const degrees = (arrivedLng * 180) / Math.PI;
  return {
    lat: (Math.asin(Math.min(1, Math.max(-1, sinLat))) * 180) / Math.PI,
    lng: ((((degrees + 180) % 360) + 360) % 360) - 180,
  };
}

describe("distanceKm", () => {
  test.each([
    ["Paris to London", { lat: 48.8566, lng: 2.3522 }, { lat: 51.5074, lng: -0.1278 }, 343.6],
    ["across the antimeridian", { lat: 0, lng: 179.995 }, { lat: 0, lng: -179.995 }, 1.112],
    ["over the north pole", { lat: 89.995, lng: 0 }, { lat: 89.995, lng: 180 }, 1.112],
    ["at a pole, whatever the longitude", { lat: -90, lng: 12 }, { lat: -90, lng: -170 }, 0],
    ["to the antipode", { lat: 10, lng: 20 }, { lat: -10, lng: -160 }, halfwayRoundKm],
  ])("%s", (_name, from, to, km) => {
    expect(distanceKm(from, to)).toBeCloseTo(km, km > 1_000 ? 3 : km > 100 ? 0 : 3);
  });

  test("is symmetric, never negative, never NaN, at most halfway round", () => {
    fc.assert(
      fc.property(place, place, (from, to) => {
        const km = distanceKm(from, to);
        expect(km).toBeGreaterThanOrEqual(0);
        expect(km).toBeLessThanOrEqual(halfwayRoundKm + 1e-6);
        expect(distanceKm(to, from)).toBeCloseTo(km, 6);
      }),
    );
  });
});

describe("cells", () => {
  const nearSeams = fc.record({
    lat: fc.constantFrom(-90, -89.9999, -89.6, -45, -35.2643896, -0.001, 0, 0.999, 35.2643897, 45, 89.55, 89.9999, 90),
    lng: fc.constantFrom(-180, -179.999, -135, -45, -0.001, 0, 12.3, 44.9999, 45, 135, 179.6, 179.999, 180),
  });
  const anywhere = fc.oneof(place, nearSeams);
  const geoCell = (of: Place) => cellOfCode(placeCode(of), geoCellLevel);

  test("one place has one number, however its meridian is written; neighbours mostly share a square", () => {
    expect(placeCode({ lat: 0.5, lng: 180 })).toBe(placeCode({ lat: 0.5, lng: -180 }));
    expect(placeCode({ lat: 90, lng: 10.5 })).toBe(placeCode({ lat: 90, lng: -77 }));
    expect(geoCell({ lat: 10.2, lng: 20.9 })).toBe(geoCell({ lat: 10.21, lng: 20.91 }));
    expect(geoCell({ lat: 10.2, lng: 20.9 })).not.toBe(geoCell({ lat: 10.2, lng: 22.9 }));
  });

  test("a number is a whole one that no database rounds, and lies in its cell at every level", () => {
    fc.assert(
      fc.property(anywhere, fc.integer({ min: 0, max: finestLevel }), (of, level) => {
        const code = placeCode(of);
        expect(Number.isSafeInteger(code) && code >= 0).toBe(true);
        const cell = { level, number: cellOfCode(code, level) };
        const { first, last } = codesOf(cell);
        expect(code >= first && code <= last).toBe(true);
        expect(reachOf(cell, of).nearestKm).toBe(0);
        if (level < finestLevel) {
          expect(quartersOf(cell).map(({ number }) => number)).toContain(cellOfCode(code, level + 1));
        }
      }),
    );
  });

  test("what is in a cell is no nearer and no farther than the cell's reach", () => {
    fc.assert(
      fc.property(anywhere, anywhere, fc.integer({ min: 2, max: finestLevel }), (of, centre, level) => {
        const { nearestKm, farthestKm } = reachOf({ level, number: cellOfCode(placeCode(of), level) }, centre);
        const km = distanceKm(centre, of);
        // The other end of the globe is where the haversine formula is least exact, and no search gets there.
        if (km > 10_000) return;
        expect(km).toBeGreaterThanOrEqual(nearestKm);
        expect(km).toBeLessThanOrEqual(farthestKm);
      }),
      { numRuns: 2_000 },
    );
  });

  test("those around a place hold every place within the radius, and are few, at the poles too", () => {
    fc.assert(
      fc.property(
        anywhere,
        fc.double({ min: 0.05, max: 50, noNaN: true }),
        fc.double({ min: 0, max: 2 * Math.PI, noNaN: true }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        (centre, radiusKm, bearing, part) => {
          const cells = geoCellsAround(centre, radiusKm).map(({ number }) => number);
          expect(cells).toContain(geoCell(travel(centre, bearing, radiusKm * part)));
          expect(new Set(cells).size).toBe(cells.length);
          expect(cells.length).toBeLessThanOrEqual(24);
        },
      ),
      { numRuns: 2_000 },
    );
    expect(geoCellsAround({ lat: 37.5, lng: -122.5 }, 1).length).toBeLessThanOrEqual(4);
  });
});
