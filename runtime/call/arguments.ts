/**
 * A function's arguments and its value, held against its declaration; and what no argument may hold on any surface: text
 * that a database or a client would not give back as it came.
 */
import { CallError, type ErrorData } from "../errors.js";
import { sizes } from "../limits.js";
import { type FunctionDefinition, JsonText, type Runnable } from "./define.js";

const printableAscii = /^[\x20-\x7e]*$/;

/** The arguments as the function declares them. Throws one `invalid_args` for all that is wrong. */
export function parseArgs(definition: FunctionDefinition, args: unknown): object {
  refuseUnstorableArgs(args, definition.jsonArgs);
  const parsed = definition.args.safeParse(args);
  if (parsed.success) return parsed.data;
  throw invalidArgs(parsed.error.issues.map(({ path, message }) => ({ path: asWritten(path, args), message })));
}

/** The field that an issue is about, as far as the caller wrote it: a text that is read as a list has no `status.0`. */
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

/** The declared part of a handler's value. What does not fit the declaration is our fault, not the caller's. */
export function checkValue({ returns }: Runnable, value: unknown, path: string): unknown {
  if (!returns || value instanceof JsonText) return value;
  const checked = returns.safeParse(value);
  if (checked.success) return checked.data;
  throw new Error(`The value of ${path} does not fit its declaration: ${checked.error.message}`);
}

/** Throws `invalid_args` and names the field. Of the arguments named in `free`, any JSON is good. */
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

/** What JSON has no word for, or too much of it. It is stored as JSON text, which escapes whatever a database would not take. */
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
    // Convex's clients refuse such keys when they read them back.
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

/** One `invalid_args` for all that is wrong; the message repeats the first few issues for people. */
export function invalidArgs(issues: { path: string; message: string }[]): CallError {
  const told = issues.slice(0, 3).map(({ path, message }) => (path === "" ? message : `${path}: ${message}`));
  const more = issues.length > told.length ? ` (and ${issues.length - told.length} more)` : "";
  return new CallError("invalid_args", `Invalid arguments: ${told.join("; ")}${more}`, {
    issues: issues.slice(0, 20),
  } satisfies ErrorData);
}
