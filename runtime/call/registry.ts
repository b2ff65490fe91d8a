/** Maps a path to its function. Every surface, the reference and the test of who may call what are made from it. */
import { CallError } from "../errors.js";
import type { FunctionDefinition, Kind } from "./define.js";

/** The modules by name. Each value is the module's namespace object. */
export type Modules = Record<string, Record<string, unknown>>;

const moduleName = /^[A-Za-z0-9_.]{1,64}(\/[A-Za-z0-9_.]{1,64})*$/;
const titles = { query: "Query", mutation: "Mutation" } as const;
const functionName = /^[A-Za-z0-9_]{1,64}$/;

/** All functions that callers can reach. */
export class Registry {
  readonly functions: ReadonlyMap<string, FunctionDefinition>;
  /**
   * Callers spell a path in several ways; each spelling is worked out once. Bounded, because callers choose the
   * spellings.
   */
  readonly #canonical = new Map<string, string>();

  /** Throws on a malformed path and on an export that is not a function definition, so the server does not start. */
  constructor(modules: Modules) {
    const functions = new Map<string, FunctionDefinition>();
    for (const [module, exports] of Object.entries(modules)) {
      if (!moduleName.test(module)) throw new Error(`Malformed module name '${module}'`);
      for (const [name, exported] of Object.entries(exports)) {
        if (!functionName.test(name)) throw new Error(`Malformed function name '${module}:${name}'`);
        if (!isDefinition(exported)) throw new Error(`'${module}:${name}' is not a query() or mutation()`);
        functions.set(`${module}:${name}`, exported);
      }
    }
    this.functions = functions;
  }

  find(path: string): FunctionDefinition | undefined {
    return this.functions.get(path) ?? this.functions.get(this.canonicalPath(path));
  }

  /** The function that a call names. Throws `not_found` if there is none, or none of that kind. */
  callable(path: string, kind: Kind | undefined): FunctionDefinition {
    const definition = this.find(path);
    if (!definition) throw missingFunction(path);
    if (kind === undefined || kind === definition.kind) return definition;
    throw new CallError(
      "not_found",
      `Trying to execute ${path} as ${titles[kind]}, but it is defined as ${titles[definition.kind]}.`,
    );
  }

  /** `a/b.js:c` is `a/b:c`, and a path without a colon names the module's default export (convex-wire.md section 1). */
  canonicalPath(path: string): string {
    const known = this.#canonical.get(path);
    if (known !== undefined) return known;
    const colon = path.lastIndexOf(":");
    const module = colon < 0 ? path : path.slice(0, colon);
    const canonical = `${module.replace(/\.js$/, "")}:${colon < 0 ? "default" : path.slice(colon + 1)}`;
    if (this.#canonical.size < 1000) this.#canonical.set(path, canonical);
    return canonical;
  }
}

/** The refusal of a path that names no function. */
export function missingFunction(path: string): CallError {
  return new CallError("not_found", `Could not find public function for '${path}'`);
}

function isDefinition(value: unknown): value is FunctionDefinition {
  return typeof value === "object" && value !== null && "handler" in value && "returns" in value && "auth" in value;
}
