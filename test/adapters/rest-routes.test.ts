/** The table of routes against the registry: each names what there is, no two get in each other's way, none is missing. */
import { describe, expect, test } from "vitest";
import { parametersOf, type Route, restRoutes } from "../../adapters/rest-routes.js";
import { coordination, modules } from "../../functions/index.js";
import { Registry } from "../../runtime/call/registry.js";
import { argumentsOf, functionOf } from "../support/routes.js";

const registry = new Registry(modules);
const named = (route: Route) => `${route.method} ${route.path}`;

/** Functions that REST does not reach, and why. */
const withoutRoute: Record<string, string> = {};

/** What the path matches, as a pattern over whole paths. */
function patternOf(path: string): RegExp {
  return new RegExp(`^${path.replaceAll(/:\w+\{\.\+\}/g, ".+").replaceAll(/:\w+/g, "[^/]+")}$`);
}

describe("the table of REST routes", () => {
  test.each(restRoutes.map((route) => [named(route), route] as const))("%s fits its function", (_name, route) => {
    const definition = functionOf(registry, route);
    expect(definition.kind).toBe(route.method === "GET" ? "query" : "mutation");
    const declared = argumentsOf(registry, route);
    for (const name of parametersOf(route)) expect(declared, `${route.call} takes no ${name}`).toContain(name);
  });

  test("no two rows collide", () => {
    const shapes = restRoutes.map((route) => `${route.method} ${route.path.replaceAll(/:\w+/g, ":")}`);
    expect(shapes.filter((shape, index) => shapes.indexOf(shape) !== index)).toEqual([]);
  });

  test("rows of one path spell it alike, so that a wrong method is answered with all of them", () => {
    const spellings = new Map<string, string>();
    for (const { path } of restRoutes) {
      const shape = path.replaceAll(/:\w+/g, ":");
      expect(spellings.get(shape) ?? path).toBe(path);
      spellings.set(shape, path);
    }
  });

  test("fixed segments win over parameters (clawrent.md section 0, rule 16)", () => {
    const paths = [...new Set(restRoutes.map(({ path }) => path))];
    for (const [index, path] of paths.entries()) {
      const shadows = paths.slice(0, index).filter((earlier) => patternOf(earlier).test(path.replaceAll(":", "")));
      expect(shadows, `${path} is never reached`).toEqual([]);
    }
  });

  test("every function of the marketplace has a route", () => {
    const routed = new Set(restRoutes.map(({ call }) => call));
    // Claw-to-Claw is spoken over RPC alone.
    const { functions: rpcOnly } = new Registry(coordination);
    const missing = [...registry.functions]
      .map(([path]) => path)
      .filter((path) => !rpcOnly.has(path) && !routed.has(path) && !(path in withoutRoute));
    expect(missing).toEqual([]);
    for (const path of Object.keys(withoutRoute)) expect(registry.find(path), path).toBeDefined();
  });
});
