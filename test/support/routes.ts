/** Compares routes with what their functions declare. */
import type { z } from "zod";
import type { Route } from "../../adapters/rest-routes.js";
import type { FunctionDefinition } from "../../runtime/call/define.js";
import type { Registry } from "../../runtime/call/registry.js";

export function functionOf(registry: Registry, { method, path, call }: Route): FunctionDefinition {
  const definition = registry.find(call);
  if (!definition) throw new Error(`${method} ${path} names ${call}, which does not exist`);
  return definition;
}

/** The names of the arguments that a route's function takes. */
export function argumentsOf(registry: Registry, route: Route): string[] {
  return Object.keys((functionOf(registry, route).args as z.ZodObject).shape);
}
