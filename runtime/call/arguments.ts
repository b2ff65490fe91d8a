/**
 * Checks a call's arguments and a handler's value against the function's declaration. Also refuses what no argument may
 * contain on any surface: text that a database or a client would not return unchanged.
 */
import { CallError, type ErrorData } from "../errors.js";
import { sizes } from "../limits.js";
import { type FunctionDefinition, JsonText, type Runnable } from "./define.js";

const printableAscii = /^[\x20-\x7e]*$/;

/** Parses the arguments. Throws one `invalid_args` that lists everything that is wrong. */
export function parseArgs(definition: FunctionDefinition, args: unknown): object {
  refuseUnstorableArgs(args, definition.jsonArgs);
  const parsed = definition.args.safeParse(args);
  if (parsed.success) return parsed.data;
  throw invalidArgs(parsed.error.issues.map(({ path, message }) => ({ path: asWritten(path, args), message })));
}

/**
 * The path of an issue, cut where the caller wrote a plain value: in a text that is parsed as a list, `status.0` names
 * nothing.
 */
function asWritten(path: readonly PropertyKey[], args: unknown): string {
  const written: PropertyKey[] = [];
  let value = args;
  for (const key of path) {
    if (written.length > 0 && typeof value !== "object") break;
    written.push(key);
    value = (value as Record<PropertyKey, unknown> | null)?.[key];
  }
  return written.join(".");
}

/**
 * The declared fields of a handler's value. A value that does not fit the declaration is our bug, not the caller's
 * mistake.
 */
export function checkValue({ returns }: Runnable, value: unknown, path: string): unknown {
  if (!returns || value instanceof JsonText) return value;
  const checked = returns.safeParse(value);
  if (checked.success) return checked.data;
  throw new Error(`The value of ${path} does not fit its declaration: ${checked.error.message}`);
}

/** Throws `invalid_args` and names the field. Arguments named in `free` may be any JSON. */
function refuseUnstorableArgs(args: unknown, free: readonly string[] = []): void {
  if (typeof args !== "object" || args === null || free.length === 0) {
    refuseUnstorable(args);
    return;
  }
  const rest: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(args)) {
    if (free.includes(name)) refuseNoJson(value, name, 1);
    else rest[name] = value;
  }
  refuseUnstorable(rest);
}

/**
 * Throws if a value is not JSON or too deeply nested. Such arguments are stored as JSON text, which escapes everything
 * that a database would not accept.
 */
function refuseNoJson(value: unknown, path: string, depth: number): void {
  if (typeof value === "bigint" || value instanceof ArrayBuffer) throw unstorable(path, "Only JSON can be sent here");
  if (typeof value === "number" && !Number.isFinite(value)) throw unstorable(path, "Only JSON can be sent here");
  if (typeof value !== "object" || value === null) return;
  if (depth >= sizes.nesting) throw unstorable(path, `Nested too deeply (max ${sizes.nesting} levels)`);
  for (const item of Object.values(value)) refuseNoJson(item, path, depth + 1);
}

function refuseUnstorable(value: unknown, path = "", depth = 0): void {
  if (typeof value === "string") {
    if (value.includes("\0")) throw unstorable(path, "Text cannot hold a NUL character");
    if (!value.isWellFormed()) throw unstorable(path, "Text holds half of a surrogate pair, which is no character");
    return;
  }
  if (typeof value !== "object" || value === null || value instanceof ArrayBuffer) return;
  if (depth >= sizes.nesting) throw unstorable(path, `Nested too deeply (max ${sizes.nesting} levels)`);
  if (Array.isArray(value)) {
    for (const [index, item] of value.entries()) refuseUnstorable(item, `${path}[${index}]`, depth + 1);
    return;
  }
  for (const key of Object.keys(value)) {
    // Convex's clients refuse to read such keys.
    if (key === "__proto__" || key.startsWith("$") || key.length > sizes.keyCharacters || !printableAscii.test(key)) {
      throw unstorable(
        path,
        `A field name must be printable ASCII, of at most ${sizes.keyCharacters} characters, not __proto__ and not start with $`,
      );
    }
    refuseUnstorable((value as Record<string, unknown>)[key], path === "" ? key : `${path}.${key}`, depth + 1);
  }
}

function unstorable(path: string, problem: string): CallError {
  return invalidArgs([{ path, message: problem }]);
}

/** One `invalid_args` for all issues. Its message repeats the first three for people. */
export function invalidArgs(issues: { path: string; message: string }[]): CallError {
  const told = issues.slice(0, 3).map(({ path, message }) => (path === "" ? message : `${path}: ${message}`));
  const more = issues.length > told.length ? ` (and ${issues.length - told.length} more)` : "";
  return new CallError("invalid_args", `Invalid arguments: ${told.join("; ")}${more}`, {
    issues: issues.slice(0, 20),
  } satisfies ErrorData);
}
