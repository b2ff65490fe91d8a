/**
 * The security gateway: whether one message of a session may go to the other side (clawrent.md sections 7.2 and 7.3).
 * Only instructions are looked at. Harm is stopped from either side; what a provider asks for also needs the consumer's
 * grant and has to keep within its constraints. Pure: the caller brings the grants and the earlier messages.
 *
 * Hosts differ in where they look for a command or a path, so every place where one may stand is checked, and a part
 * that cannot be read is refused rather than passed.
 */
import { normalize } from "../../../schema/folding.js";
import type { Side } from "../../../schema/sessions.js";
import { findDanger, findDangerInPaths } from "../guardrail/dangerous-commands.js";
import {
  addressRule,
  type Constraints,
  findGrant,
  type GrantedPermissions,
  isCommandAllowed,
  isSizeAllowed,
  pathRule,
} from "./permissions.js";

export interface CheckedMessage {
  /** One of the four families, as `requireMessageType` let it through. */
  type: string;
  payload: Record<string, unknown>;
  senderSide: Side;
  /** The session's grants, in the form in which they are stored. */
  grants: GrantedPermissions;
  /**
   * The instructions that the provider sent in the last 60 seconds and that passed. Needed only if `needsRecent` says so,
   * and their payloads only for `instruction.batch`.
   */
  recent?: readonly SentInstruction[];
}

export interface SentInstruction {
  type: string;
  payload?: unknown;
}

export type GatewayCategory = "destructive" | "permission" | "constraint" | "rate_limit" | "unreadable";

/** Why the message stops here. */
export interface GatewayRefusal {
  category: GatewayCategory;
  reason: string;
}

const batchType = "instruction.batch";
const deepestBatch = 4;

/** Checks one message. Null if it may pass. */
export function checkMessage(message: CheckedMessage): GatewayRefusal | null {
  if (!message.type.startsWith("instruction.")) return null;
  const { commands, paths } = textsOf(message);
  if (isTooLong(commands) || isTooLong(paths)) {
    return { category: "unreadable", reason: `Its commands or paths are too long (max ${longestText} characters)` };
  }
  const harm = findDanger(commands.join(separator))?.what ?? findDangerInPaths(paths);
  if (harm) return { category: "destructive", reason: `Dangerous instruction: ${harm}` };
  return message.senderSide === "provider" ? checkGrants(message) : null;
}

/** Does the check of this message depend on how many came before it? Then the caller reads them for `recent`. */
export function needsRecent({ type, payload, senderSide, grants }: CheckedMessage): boolean {
  if (senderSide !== "provider" || !type.startsWith("instruction.")) return false;
  return [...usesOf({ type, payload }).keys()].some(
    (id) => findGrant(grants, id)?.constraints?.rateLimit !== undefined,
  );
}

/** What the provider's instruction needs, part by part, and then how often it may. */
function checkGrants({ type, payload, grants, recent = [] }: CheckedMessage): GatewayRefusal | null {
  const parts = partsOf(type, payload);
  if (typeof parts === "string") return { category: "unreadable", reason: parts };
  for (const part of parts) {
    const permissionId = permissionOf(part.type);
    const grant = findGrant(grants, permissionId);
    if (!grant) {
      return {
        category: "permission",
        reason: `The consumer did not grant '${permissionId}', which ${part.type} needs`,
      };
    }
    const problem = grant.constraints ? checkConstraints(part, permissionId, grant.constraints) : null;
    if (problem) return { category: "constraint", reason: `${part.type}: ${problem}` };
  }

  const limited = [...countUses(parts)].flatMap(([permissionId, uses]) => {
    const limit = findGrant(grants, permissionId)?.constraints?.rateLimit;
    return limit === undefined ? [] : [{ permissionId, uses, limit }];
  });
  if (limited.length === 0) return null;
  const earlier = recent.map(usesOf);
  for (const { permissionId, uses, limit } of limited) {
    const used = earlier.reduce((sum, counts) => sum + (counts.get(permissionId) ?? 0), uses);
    if (used > limit) {
      return { category: "rate_limit", reason: `'${permissionId}' may be used ${limit} times a minute` };
    }
  }
  return null;
}

const permissions: Readonly<Record<string, string>> = {
  "instruction.exec": "system.exec",
  "instruction.read_file": "file.read",
  "instruction.read_dir": "file.read",
  "instruction.write_file": "file.write",
  "instruction.http": "network.http",
};

/** The permission that an instruction needs: its own type unless the table of section 7.3 says another. */
function permissionOf(type: string): string {
  return Object.hasOwn(permissions, type) ? (permissions[type] ?? type) : type;
}

/** One instruction, with every object in which its fields may stand. */
interface Part {
  type: string;
  fields: readonly Record<string, unknown>[];
}

function usesOf({ type, payload }: SentInstruction): Map<string, number> {
  const parts = partsOf(type, isObject(payload) ? payload : {});
  return countUses(typeof parts === "string" ? [] : parts);
}

function countUses(parts: readonly Part[]): Map<string, number> {
  const uses = new Map<string, number>();
  for (const { type } of parts) {
    const permissionId = permissionOf(type);
    uses.set(permissionId, (uses.get(permissionId) ?? 0) + 1);
  }
  return uses;
}

const partLists = ["instructions", "commands", "steps", "items", "parts", "operations", "actions", "messages", "batch"];
const typeNames = ["type", "messageType", "instruction", "action", "op", "kind"];
const bodyNames = ["payload", "params", "arguments", "args", "input", "data"];

/** The instructions that a message is made of: itself, or the parts of a batch. A text says why they cannot be read. */
function partsOf(type: string, payload: Record<string, unknown>): Part[] | string {
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
const pathNames = ["path", "paths", "filePath", "file_path", "file", "filename", "fileName", "dir", "directory"];
const addressNames = ["url", "uri", "href", "endpoint", "baseUrl", "baseURL", "proxy"];
const contentNames = ["content", "contents", "text", "body", "data"];

/** What is wrong with an instruction under the constraints of its grant; null if nothing is. */
function checkConstraints(part: Part, permissionId: string, constraints: Constraints): string | null {
  const { commandWhitelist, pathWhitelist, networkWhitelist, maxFileSize } = constraints;
  // An instruction of another kind may hold anything, so every constraint on it counts.
  const concerns = (...ids: string[]) => ids.includes(permissionId) || permissionId === part.type;

  if (commandWhitelist && concerns("system.exec")) {
    const commands = commandsIn(part);
    if (!commands) return "it needs a command in plain text";
    const refused = commands.find((command) => !isCommandAllowed(command, commandWhitelist));
    if (refused !== undefined) return `the command is not in commandWhitelist: ${quote(refused)}`;
  }
  if (pathWhitelist && concerns("file.read", "file.write")) {
    const paths = textsIn(part, pathNames);
    if (!paths) return "it needs a path in plain text";
    const isAllowed = pathRule(pathWhitelist);
    const refused = paths.find((path) => !isAllowed(path));
    if (refused !== undefined) return `the path is not in pathWhitelist: ${quote(refused)}`;
  }
  if (networkWhitelist && concerns("network.http")) {
    const addresses = textsIn(part, addressNames);
    if (!addresses) return "it needs a url in plain text";
    const isAllowed = addressRule(networkWhitelist);
    const refused = addresses.find((address) => !isAllowed(address));
    if (refused !== undefined) return `the host is not in networkWhitelist: ${quote(refused)}`;
  }
  if (maxFileSize !== undefined && concerns("file.write")) {
    const contents = textsIn(part, contentNames);
    if (!contents) return "it needs its content in plain text";
    if (!contents.every((content) => isSizeAllowed(content, maxFileSize))) {
      return `the content is larger than maxFileSize (${maxFileSize} bytes)`;
    }
  }
  return null;
}

/** Every text under these names; undefined if there is none, or one of them is something else. */
function textsIn(part: Part, names: readonly string[]): string[] | undefined {
  const texts: string[] = [];
  for (const fields of part.fields) {
    for (const name of names) {
      const value = fields[name];
      // `data` may be the object that holds the others, and is looked into as such.
      if (value === undefined || (isObject(value) && bodyNames.includes(name))) continue;
      const listed = Array.isArray(value) ? value : [value];
      if (listed.length === 0 || !listed.every((item) => typeof item === "string")) return undefined;
      texts.push(...listed);
    }
  }
  return texts.length === 0 ? undefined : texts;
}

/** The command lines of an instruction: a text or the words of one, with the arguments that stand beside it. */
function commandsIn(part: Part): string[] | undefined {
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

/** Ends every command: one look at all of them costs less than one at each. */
const separator = "\n;\n";
/** What can be looked through in a few hundredths of a second, while every other caller waits. */
const longestText = 64 * 1_024;

/** One character may be eighteen in the spelling that is looked through, so that counts, too. */
function isTooLong(texts: readonly string[]): boolean {
  const joined = texts.join(separator);
  return joined.length > longestText || normalize(joined, "NFKC").length > longestText;
}

/** Every command and path of a message, at any depth of its payload. */
function textsOf({ type, payload }: CheckedMessage): { commands: string[]; paths: string[] } {
  const commands: string[] = [];
  const paths: string[] = [];
  // A list of work to do instead of calls: a payload can be nested deeply.
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

/** A command whose arguments stand beside it. */
function withArguments(fields: Record<string, unknown>): string[] {
  const args = wordsOf(fields["args"]) ?? wordsOf(fields["arguments"]);
  if (!args) return [];
  return commandNames.flatMap((name) => {
    const words = wordsOf(fields[name]);
    return words ? [[...words, ...args].join(" ")] : [];
  });
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function quote(text: string): string {
  return JSON.stringify(text.length > 80 ? `${text.slice(0, 80)}…` : text);
}
