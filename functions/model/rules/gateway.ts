/**
 * The security gateway: whether one message of a session may go to the other side (clawrent.md sections 7.2 and 7.3).
 * Only instructions are checked. Harm is stopped from either side; what a provider asks for also needs the consumer's
 * grant and has to keep within its constraints. Pure: the caller brings the grants and the earlier messages.
 * What cannot be read (instructions.ts) is refused rather than passed.
 */
import { normalize } from "../../../schema/folding.js";
import type { Side } from "../../../schema/sessions.js";
import { findDanger, findDangerInPaths } from "../guardrail/dangerous-commands.js";
import {
  addressNames,
  commandsIn,
  contentNames,
  isObject,
  type Part,
  partsOf,
  pathNames,
  permissionOf,
  type SentInstruction,
  textsIn,
  textsOf,
} from "./instructions.js";
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
   * The instructions that the provider sent in the last 60 seconds and that passed. Needed only if `needsRecent` says
   * so, and their payloads only for `instruction.batch`.
   */
  recent?: readonly SentInstruction[];
}

type GatewayCategory = "destructive" | "permission" | "constraint" | "rate_limit" | "unreadable";

/** Why the message stops here. */
export interface GatewayRefusal {
  category: GatewayCategory;
  reason: string;
}

/** Put after every command: to look through all of them at once costs less than one at a time. */
const separator = "\n;\n";
/** As much as can be looked through in a few hundredths of a second, while every other caller waits. */
const longestText = 64 * 1_024;

/** One character may become eighteen in the spelling that is looked through, so that length counts too. */
function isTooLong(texts: readonly string[]): boolean {
  const joined = texts.join(separator);
  return joined.length > longestText || normalize(joined, "NFKC").length > longestText;
}

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

/** Whether the check depends on how many messages came before this one: then the caller reads them for `recent`. */
export function needsRecent({ type, payload, senderSide, grants }: CheckedMessage): boolean {
  if (senderSide !== "provider" || !type.startsWith("instruction.")) return false;
  return [...usesOf({ type, payload }).keys()].some(
    (id) => findGrant(grants, id)?.constraints?.rateLimit !== undefined,
  );
}

/** Checks what the provider's instruction needs, part by part, and then how often it may use that. */
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

function quote(text: string): string {
  return JSON.stringify(text.length > 80 ? `${text.slice(0, 80)}…` : text);
}
