/** The globe (c2c.md section 3, `events:listNearby`: great-circle distance, right across ±180° and at the poles). */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { distanceKm, geoCell, type Place, surroundings } from "../../../functions/model/geo.js";

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

describe("geoCell", () => {
  test("has one number per square, and the same on both sides of the antimeridian", () => {
    expect(geoCell({ lat: -90, lng: -180 })).toBe(0);
    expect(geoCell({ lat: 0.5, lng: 180 })).toBe(geoCell({ lat: 0.5, lng: -180 }));
    expect(geoCell({ lat: 90, lng: 10.5 })).toBe(geoCell({ lat: 89.5, lng: 10.5 }));
    expect(geoCell({ lat: 10.2, lng: 20.9 })).toBe(geoCell({ lat: 10.9, lng: 20.2 }));
    expect(geoCell({ lat: 10.2, lng: 20.9 })).not.toBe(geoCell({ lat: 10.2, lng: 21.1 }));
  });

  test("is an integer between 0 and 64799 for every place", () => {
    fc.assert(
      fc.property(place, (anywhere) => {
        const cell = geoCell(anywhere);
        expect(Number.isInteger(cell) && cell >= 0 && cell < 180 * 360).toBe(true);
      }),
    );
  });
});

describe("surroundings", () => {
  test("hold every place within the radius, wherever the centre is", () => {
    const nearSeams = fc.record({
      lat: fc.constantFrom(-90, -89.9999, -89.6, -0.001, 0, 0.999, 45.5, 89.4, 89.55, 89.9999, 90),
      lng: fc.constantFrom(-180, -179.999, -0.001, 0, 12.3, 179.6, 179.999, 180),
    });
    fc.assert(
      fc.property(
        fc.oneof(place, nearSeams),
        fc.double({ min: 0.05, max: 50, noNaN: true }),
        fc.double({ min: 0, max: 2 * Math.PI, noNaN: true }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        (centre, radiusKm, bearing, part) => {
          const inside = travel(centre, bearing, radiusKm * part);
          const { cells, south, north } = surroundings(centre, radiusKm);
          expect(cells).toContain(geoCell(inside));
          expect(inside.lat).toBeGreaterThanOrEqual(south);
          expect(inside.lat).toBeLessThanOrEqual(north);
        },
      ),
      { numRuns: 2_000 },
    );
  });

  test("are few where squares are wide, and at most two rings at a pole", () => {
    expect(surroundings({ lat: 37.5, lng: -122.5 }, 1).cells).toHaveLength(1);
    expect(surroundings({ lat: 0, lng: 180 }, 1).cells).toHaveLength(4);
    expect(new Set(surroundings({ lat: 0, lng: 180 }, 1).cells)).toEqual(
      new Set(
        [
          { lat: 0.1, lng: 179.9 },
          { lat: 0.1, lng: -179.9 },
          { lat: -0.1, lng: 179.9 },
          { lat: -0.1, lng: -179.9 },
        ].map(geoCell),
      ),
    );
    expect(surroundings({ lat: 89.9, lng: 0 }, 50).cells.length).toBe(360);
  });

  test("name each cell once, even where the circle holds the pole or is as large as the globe", () => {
    for (const [centre, radiusKm] of [
      [{ lat: 90, lng: 180 }, 50],
      [{ lat: 89.56, lng: -180 }, 50],
      [{ lat: 0, lng: 0 }, 30_000],
    ] as const) {
      const { cells } = surroundings(centre, radiusKm);
      expect(new Set(cells).size).toBe(cells.length);
      expect(Math.max(...cells)).toBeLessThan(180 * 360);
    }
  });
});
