/**
 * What a consumer allows the provider to ask of it (clawrent.md section 7.3): the shape of `grantedPermissions`, which
 * of the required ones are missing, and whether one command, path, address or size keeps within a grant's constraints.
 * Pure. Where a value can be read in two ways, it is refused: the consumer's machine may read it in the other way.
 */
import { z } from "zod";
import { normalize } from "../../../schema/folding.js";

const mostPermissions = 100;
const idCharacters = 100;
const mostEntries = 100;
const entryCharacters = 500;
/** The largest size of a whole grant as JSON: it is read with every message, and is part of every list of sessions. */
const mostCharacters = 16 * 1_024;

/** Field names of the wire hold printable ASCII, and so do ids, because they become field names. */
const permissionId = z
  .string()
  .min(1)
  .max(idCharacters)
  .regex(/^[\x20-\x7e]+$/, "must be printable ASCII")
  .refine((id) => id !== "__proto__" && !id.startsWith("$"), "is not a permission id");

const whitelist = z
  .array(
    z
      .string()
      .max(entryCharacters)
      .refine((entry) => entry.trim() !== "", "must not be empty"),
  )
  .max(mostEntries);

/** Null counts as absent, as everywhere in a request; it must not be read as "nothing is allowed" later. */
const constraints = z
  .object({
    commandWhitelist: whitelist.nullish(),
    pathWhitelist: whitelist.nullish(),
    networkWhitelist: whitelist.nullish(),
    /** Uses in any 60 seconds. */
    rateLimit: z.number().int().min(0).max(10_000).nullish(),
    /** Bytes. */
    maxFileSize: z.number().int().min(0).nullish(),
  })
  .transform((given) => {
    const kept: Constraints = {};
    for (const [name, value] of Object.entries(given)) if (value != null) Object.assign(kept, { [name]: value });
    return kept;
  });

/** The bounds of a grant. An empty list allows nothing. */
export interface Constraints {
  commandWhitelist?: string[];
  pathWhitelist?: string[];
  networkWhitelist?: string[];
  rateLimit?: number;
  maxFileSize?: number;
}

interface Grant {
  granted: boolean;
  constraints?: Constraints;
}

/** Permission id → its grant: the only form that is stored and shown. */
export type GrantedPermissions = Record<string, Grant>;

const grant = z.object({ granted: z.boolean(), constraints: constraints.nullish() });
const grantMap = z
  .record(permissionId, z.union([z.boolean(), grant]))
  .refine((map) => Object.keys(map).length <= mostPermissions, `Too many permissions (max ${mostPermissions})`)
  .transform((map) =>
    Object.fromEntries(
      Object.entries(map).map(([id, value]) => [
        id,
        plainGrant(typeof value === "boolean" ? { granted: value } : value),
      ]),
    ),
  );
const grantList = z
  .array(grant.extend({ permissionId }))
  .max(mostPermissions)
  // Two grants of one id could differ, and whichever counted would surprise somebody.
  .refine((list) => new Set(list.map((item) => item.permissionId)).size === list.length, "Names a permission twice")
  .transform((list) => Object.fromEntries(list.map((item) => [item.permissionId, plainGrant(item)])));

/** `grantedPermissions` of a rent or an order item, in either form; parsed into the map form. */
export const grantedPermissions: z.ZodType<GrantedPermissions> = z
  .union([grantMap, grantList])
  .refine((map) => JSON.stringify(map).length <= mostCharacters, `Too long (max ${mostCharacters} characters as JSON)`)
  .default({});

function plainGrant({ granted, constraints }: z.output<typeof grant>): Grant {
  return constraints && Object.keys(constraints).length > 0 ? { granted, constraints } : { granted };
}

/** The grant of a permission; undefined where it was not given. */
export function findGrant(granted: GrantedPermissions, permissionId: string): Grant | undefined {
  // An id like `constructor` must not find what every object inherits.
  const found = Object.hasOwn(granted, permissionId) ? granted[permissionId] : undefined;
  return found?.granted === true ? found : undefined;
}

/** The required permissions that were not granted, each once, in the order in which they are required. */
export function missingPermissions(required: readonly string[], granted: GrantedPermissions): string[] {
  return [...new Set(required)].filter((permissionId) => findGrant(granted, permissionId) === undefined);
}

/**
 * What lets one command line do more than its first word: joining, redirection, and substitution, in POSIX shells,
 * bash, zsh (`=(…)`) and cmd. Quoted ones count too, because the server does not know which shell will read the quotes.
 */
// biome-ignore lint/suspicious/noControlCharactersInRegex: a control character can end a command.
const joining = /[;&|`<>\x00-\x08\x0a-\x1f\x7f\u0085\u2028\u2029]|\$[({]|=\(/;

/** Whether the command's first word is in the list, and it is a single command. */
export function isCommandAllowed(command: string, list: readonly string[]): boolean {
  const [first = ""] = command.replace(/^[ \t]+/, "").split(/[ \t]/, 1);
  return first !== "" && list.includes(first) && !joining.test(command);
}

/** Whether the normalised path is an entry or below one. The list is read once for all the paths of an instruction. */
export function pathRule(list: readonly string[]): (path: string) => boolean {
  const entries = list.map(normalizedPath).filter((entry) => entry !== null);
  return (path) => {
    const wanted = normalizedPath(path);
    return (
      wanted !== null &&
      entries.some(
        ({ root, segments }) =>
          root === wanted.root && segments.every((segment, index) => segment === wanted.segments[index]),
      )
    );
  };
}

/** Percent-encoded dots, slashes, backslashes, NULs and percent signs: some host would decode them. */
const encoded = /%(?:2e|2f|5c|00|25|u[0-9a-f]{4}|c0|c1|e0%80)/i;
/** Segments of dots and spaces alone: Windows drops trailing ones, so `.. ` goes up a folder. */
const climbing = /^(?=.{2})[. ]+$/;
// biome-ignore lint/suspicious/noControlCharactersInRegex: no control character is part of an honest path.
const oddCharacters = /[\x00-\x1f\x7f`]|\$[({]/;

interface NormalizedPath {
  /** `/`, a drive (`C:/`), `~` or `~name`, or nothing for a relative path. */
  root: string;
  segments: string[];
}

/** Null for a path that two systems could read in two ways. */
function normalizedPath(path: string): NormalizedPath | null {
  if (oddCharacters.test(path) || encoded.test(path)) return null;
  const slashed = path.trim().replaceAll("\\", "/");
  // A network share on Windows, and plain `/` on POSIX.
  if (slashed === "" || slashed.startsWith("//")) return null;
  const segments = slashed.split("/").filter((segment) => segment !== "" && segment !== ".");
  // Full-width dots are dots to some systems.
  if (segments.some((segment) => climbing.test(normalize(segment, "NFKC")))) return null;
  if (slashed.startsWith("/")) return { root: "/", segments };

  const [first = ""] = segments;
  if (first.startsWith("~")) return { root: first, segments: segments.slice(1) };
  if (/^[a-z]:/i.test(first)) {
    // `C:file` is relative to a folder that the server does not know.
    return /^[a-z]:\//i.test(slashed) ? { root: `${first.toUpperCase()}/`, segments: segments.slice(1) } : null;
  }
  // `file:` and the like are addresses.
  return /^[a-z][a-z0-9+.-]+:/i.test(first) ? null : { root: "", segments };
}

/**
 * Is the address's host in the list? An entry is a host (`api.example.com`), or all hosts below one (`*.example.com`,
 * `.example.com`); with `:port` it is that port alone. The list is read once for all the addresses of an instruction.
 */
export function addressRule(list: readonly string[]): (address: string) => boolean {
  const entries = list.map((entry) => hostEntry(entry.trim().toLowerCase())).filter((entry) => entry !== null);
  return (address) => {
    const target = hostOf(address);
    return target !== null && entries.some((entry) => matchesEntry(target, entry));
  };
}

interface Target {
  host: string;
  port: string;
}

/** Null for anything that is not plainly `http(s)://host[:port]/…`. */
function hostOf(address: string): Target | null {
  // Parsers differ on backslashes, white space and control characters, and a user name can look like a host.
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what this looks for.
  if (/[\s\\\x00-\x1f\x7f]/.test(address)) return null;
  const authority = /^https?:\/\/([^/]+)/i.exec(address)?.[1];
  if (authority === undefined || /[@%]/.test(authority)) return null;
  let url: URL;
  try {
    url = new URL(address);
  } catch {
    return null;
  }
  return { host: plainHost(url.hostname), port: url.port || (url.protocol === "https:" ? "443" : "80") };
}

interface HostEntry {
  host: string;
  /** Undefined for any. */
  port: string | undefined;
  /** Whether it stands for the hosts below it instead of itself. */
  below: boolean;
}

/** Null for an entry that names no host. */
function hostEntry(entry: string): HostEntry | null {
  const below = /^\*?\./.exec(entry)?.[0];
  const named = below === undefined ? entry : entry.slice(below.length);
  // The same parser for both, so that they agree on IDN, on IPv4 in other bases and on brackets.
  const isBareIpv6 = /^[0-9a-f:.]+$/.test(named) && named.indexOf(":") !== named.lastIndexOf(":");
  if (!/^[^\s/\\@?#%]+$/.test(named)) return null;
  let url: URL;
  try {
    url = new URL(`http://${isBareIpv6 ? `[${named}]` : named}`);
  } catch {
    return null;
  }
  const port = isBareIpv6 ? undefined : /:(\d+)$/.exec(named)?.[1];
  return {
    host: plainHost(url.hostname),
    port: port === undefined ? undefined : String(Number(port)),
    below: below !== undefined,
  };
}

function matchesEntry(target: Target, { host, port, below }: HostEntry): boolean {
  if (port !== undefined && port !== target.port) return false;
  return below ? target.host.endsWith(`.${host}`) : target.host === host;
}

function plainHost(hostname: string): string {
  return hostname.toLowerCase().replace(/\.$/, "");
}

/** Whether the content, written as UTF-8, fits. */
export function isSizeAllowed(content: string, maxFileSize: number): boolean {
  return Buffer.byteLength(content) <= maxFileSize;
}
