/**
 * What a message asks to be done: the instructions that it is made of, and every command and path in them (clawrent.md
 * section 7.3). Hosts differ in where they look for one, so every place where one may stand is read. Pure.
 */
import { normalize } from "../../../schema/folding.js";

const batchType = "instruction.batch";
const deepestBatch = 4;

export interface SentInstruction {
  type: string;
  payload?: unknown;
}

const permissions: Readonly<Record<string, string>> = {
  "instruction.exec": "system.exec",
  "instruction.read_file": "file.read",
  "instruction.read_dir": "file.read",
  "instruction.write_file": "file.write",
  "instruction.http": "network.http",
};

/** The permission that an instruction needs: its own type unless the table of section 7.3 says another. */
export function permissionOf(type: string): string {
  return Object.hasOwn(permissions, type) ? (permissions[type] ?? type) : type;
}

/** One instruction, with every object in which its fields may stand. */
export interface Part {
  type: string;
  fields: readonly Record<string, unknown>[];
}

const partLists = ["instructions", "commands", "steps", "items", "parts", "operations", "actions", "messages", "batch"];
const typeNames = ["type", "messageType", "instruction", "action", "op", "kind"];
const bodyNames = ["payload", "params", "arguments", "args", "input", "data"];

/** The instructions of a message: itself, or the parts of a batch. A string says why they cannot be read. */
export function partsOf(type: string, payload: Record<string, unknown>): Part[] | string {
  if (type !== batchType) return [{ type, fields: fieldsOf(payload) }];
  const parts: Part[] = [];
  const problem = collectParts([payload], parts, 1);
  return problem ?? parts;
}

function collectParts(bodies: readonly Record<string, unknown>[], into: Part[], depth: number): string | null {
  if (depth > deepestBatch) return `Batches are nested too deeply (max ${deepestBatch} levels)`;
  // A part list that is an object may still be read by a host, so it is not passed over.
  const lists = bodies
    .flatMap((body) => partLists.map((name) => body[name]))
    .filter((list) => list != null && typeof list === "object");
  if (!lists.every(Array.isArray) || lists.every((list) => list.length === 0)) {
    return `A batch needs its parts in a list (${partLists.slice(0, 3).join(", ")}, …)`;
  }
  for (const member of lists.flat() as unknown[]) {
    // A bare text is a command line.
    const part = typeof member === "string" ? { type: "instruction.exec", command: member } : member;
    if (!isObject(part)) return "A part of the batch is neither an object nor a command";
    const fields = fieldsOf(part);
    const type = plainTypeOf(part, fields);
    if (!type) return "A part of the batch does not say its type plainly";
    if (!type.startsWith("instruction.")) continue;
    if (type !== batchType) into.push({ type, fields });
    else {
      const problem = collectParts(fields, into, depth + 1);
      if (problem) return problem;
    }
  }
  return null;
}

/** The one type that a part can be read as; undefined if it names none, or several. */
function plainTypeOf(part: Record<string, unknown>, fields: readonly Record<string, unknown>[]): string | undefined {
  const named = (names: readonly string[]) => names.filter((name) => part[name] !== undefined);
  const [first] = [named(["type", "messageType"]), named(typeNames)].filter((names) => names.length > 0);
  const types = new Set((first ?? []).map((name) => typeOfPart(part[name])));
  // A host may merge what a part wraps into the part itself.
  for (const wrapped of fields.slice(1)) {
    const inner = typeOfPart(wrapped["type"]);
    if (inner !== undefined && (inner === batchType || Object.hasOwn(permissions, inner))) types.add(inner);
  }
  const [type] = types;
  return types.size === 1 ? type : undefined;
}

/** `exec`, ` Instruction.Exec ` and `instruction.exec` are one type. */
function typeOfPart(value: unknown): string | undefined {
  if (typeof value !== "string") return undefined;
  const name = normalize(value, "NFKC").trim().toLowerCase().replaceAll("-", "_");
  if (name === "") return undefined;
  if (name.startsWith("instruction.")) return name;
  return /^(?:dialogue|result|session)\./.test(name) ? name : `instruction.${name}`;
}

/** The object itself and the ones that it may wrap its fields in. */
function fieldsOf(object: Record<string, unknown>): Record<string, unknown>[] {
  return [object, ...bodyNames.map((name) => object[name]).filter(isObject)];
}

const commandNames = ["command", "cmd", "commandLine", "command_line", "script"];
export const pathNames = ["path", "paths", "filePath", "file_path", "file", "filename", "fileName", "dir", "directory"];
export const addressNames = ["url", "uri", "href", "endpoint", "baseUrl", "baseURL", "proxy"];
export const contentNames = ["content", "contents", "text", "body", "data"];

/** Every text under these names; undefined if there is none, or one of them is not a text. */
export function textsIn(part: Part, names: readonly string[]): string[] | undefined {
  const texts: string[] = [];
  for (const fields of part.fields) {
    for (const name of names) {
      const value = fields[name];
      // `data` may be the object that holds the other fields, and is then read as that.
      if (value === undefined || (isObject(value) && bodyNames.includes(name))) continue;
      const listed = Array.isArray(value) ? value : [value];
      if (listed.length === 0 || !listed.every((item) => typeof item === "string")) return undefined;
      texts.push(...listed);
    }
  }
  return texts.length === 0 ? undefined : texts;
}

/** The command lines of an instruction: a text or a list of words, with the arguments in the field beside it. */
export function commandsIn(part: Part): string[] | undefined {
  const commands: string[] = [];
  for (const fields of part.fields) {
    for (const name of [...commandNames, "argv", "commands"]) {
      if (fields[name] === undefined) continue;
      const words = wordsOf(fields[name]);
      const args = fields["args"] === undefined || isObject(fields["args"]) ? [] : wordsOf(fields["args"]);
      if (!words || words.length === 0 || !args) return undefined;
      if (name === "commands") commands.push(...words);
      else commands.push([...words, ...args].join(" "));
    }
  }
  return commands.length === 0 ? undefined : commands;
}

function wordsOf(value: unknown): string[] | undefined {
  if (typeof value === "string") return [value];
  return Array.isArray(value) && value.every((item) => typeof item === "string") ? value : undefined;
}

/** Names of fields that hold commands, paths or addresses, without case, `_` and `-`. */
const commandFields = new Set(
  [
    ...commandNames,
    ...partLists,
    "args",
    "argv",
    "arguments",
    "shell",
    "run",
    "exec",
    "code",
    "sql",
    "query",
    "statement",
  ].map(plainName),
);
const pathFields = new Set(
  [...pathNames, ...addressNames, "cwd", "src", "source", "dest", "destination", "target", "from", "to", "files"].map(
    plainName,
  ),
);
/** Lists whose texts are the words of one command. */
const wordLists = new Set([...commandNames, "args", "argv", "arguments"].map(plainName));
/** Text that a command instruction may run, and that others only carry. */
const textFields = new Set(["content", "text", "input", "stdin", "body", "data"]);
const carriers = /(?:write_file|read_file|read_dir|http)$/;

function plainName(name: string): string {
  return name.toLowerCase().replace(/[_-]/g, "");
}

/** Every command and path of a message, at any depth of its payload. */
export function textsOf({ type, payload }: { type: string; payload: Record<string, unknown> }): {
  commands: string[];
  paths: string[];
} {
  const commands: string[] = [];
  const paths: string[] = [];
  // A work list instead of recursion: a payload can be nested deeply.
  const waiting: { value: unknown; name: string; type: string }[] = [{ value: payload, name: "", type }];
  for (let next = waiting.pop(); next; next = waiting.pop()) {
    const { value, name } = next;
    if (typeof value === "string") {
      if (commandFields.has(name) || (textFields.has(name) && !carriers.test(next.type))) commands.push(value);
      else if (pathFields.has(name)) paths.push(value);
    } else if (Array.isArray(value)) {
      if (wordLists.has(name)) commands.push(value.filter((item) => typeof item === "string").join(" "));
      for (const item of value) waiting.push({ value: item, name, type: next.type });
    } else if (isObject(value)) {
      const own = value === payload ? undefined : typeNames.map((key) => typeOfPart(value[key])).find(Boolean);
      commands.push(...withArguments(value));
      for (const [key, item] of Object.entries(value)) {
        waiting.push({ value: item, name: plainName(key), type: own ?? next.type });
      }
    }
  }
  return { commands, paths };
}

/** A command whose arguments are in a field beside it. */
function withArguments(fields: Record<string, unknown>): string[] {
  const args = wordsOf(fields["args"]) ?? wordsOf(fields["arguments"]);
  if (!args) return [];
  return commandNames.flatMap((name) => {
    const words = wordsOf(fields[name]);
    return words ? [[...words, ...args].join(" ")] : [];
  });
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
