/**
 * What a command or a path does harm with, whoever asks (clawrent.md section 7.1, row `destructive`): wiping file
 * systems, disks and databases, and reading what holds passwords and private keys. Pure, and linear in the length of
 * the text, which comes from strangers. It looks at what a shell would see behind quotes, escapes and odd spacing. It is
 * a filter for the plain cases and no sandbox: a program can always be written that does harm in another way.
 */
import { normalize } from "../../../schema/folding.js";

export interface Danger {
  kind: "wipe" | "secret";
  /** For people, as in "Blocked: …". */
  what: string;
  /** The text before it, in the form in which it was found. */
  before: string;
  /** The text from it on. */
  from: string;
}

/** The first harm that the text does as a command; null if none is seen. */
export function findDanger(text: string): Danger | null {
  const plain = flatten(text);
  const forms = new Set([plain, unquote(plain), unquote(decodeEscapes(plain))]);
  for (const form of forms) {
    const found = findInForm(form);
    if (found) return found;
  }
  return null;
}

/** What is wrong with the paths themselves; null if nothing is seen. */
export function findDangerInPaths(paths: readonly string[]): string | null {
  const normal = paths.map((path) => normalizedPath(flatten(path)).replaceAll("\n", "_"));
  if (findSecret(normal.join("\n")) !== -1) return "the path of a password file or private key";
  return normal.some((path) => blockDevice.test(path)) ? "the path of a disk" : null;
}

/** Characters that show nothing: zero width, joiners, variation selectors. */
const invisible = /\p{Default_Ignorable_Code_Point}|\p{Cf}/gu;

/** One spelling of letters, spaces and comments; lines stay apart, because a line ends a command. */
function flatten(text: string): string {
  return normalize(text, "NFKC")
    .replace(invisible, "")
    .toLowerCase()
    .replace(/[\r\n\u0085\u2028\u2029]+/g, "\n")
    .replace(/[^\S\n]+/g, " ")
    .replace(/[‘’]/g, "'")
    .replace(/[“”]/g, '"');
}

/** The text as a POSIX shell would read it: without quotes and escapes, with the spaces that it would make. */
function unquote(text: string): string {
  return (
    text
      .replace(/\\\n/g, "")
      .replace(/\$(?:\{ifs\}|ifs(?![a-z0-9_]))(?:\$[0-9])?/g, " ")
      // Empty in most shells, and put inside words to break them up.
      .replace(/\$(?:[@*0-9]|\{[@*0-9]\})/g, "")
      .replace(/\$\{home\}/g, "$home")
      // `{rm,-rf,/}` is three words.
      .replace(/(?<![^\s;&|(])\{([^{}\s]*)\}/g, (braces, inside: string) =>
        inside.includes(",") ? inside.replaceAll(",", " ") : braces,
      )
      .replace(/["'\\]/g, "")
  );
}

/** `\x72` and `\162`, as `printf` and `$'…'` read them. */
function decodeEscapes(text: string): string {
  return text
    .replace(/\$'/g, "'")
    .replace(/\\(?:x([0-9a-f]{2})|u00([0-9a-f]{2})|0?([0-7]{3}))/g, (_escape, hex, unicode, octal) => {
      const code = octal === undefined ? Number.parseInt(hex ?? unicode, 16) : Number.parseInt(octal, 8);
      return code >= 0x20 && code < 0x7f ? String.fromCharCode(code) : " ";
    });
}

interface Word {
  text: string;
  index: number;
}

function findInForm(form: string): Danger | null {
  const danger = (kind: Danger["kind"], what: string, index: number): Danger => ({
    kind,
    what,
    before: form.slice(0, index),
    from: form.slice(index),
  });
  for (const { pattern, what } of phrases) {
    const found = pattern.exec(form);
    if (found) return danger("wipe", what, found.index);
  }
  if (forkBomb.test(form.replace(/\s/g, ""))) return danger("wipe", "a fork bomb", form.indexOf("("));
  if (runsDecoded(form)) return danger("wipe", "a command that is hidden in an encoding", 0);

  for (const { words, earlier } of simpleCommands(form)) {
    const seen = new Set<string>();
    for (const [position, word] of words.entries()) {
      const program = programOf(word.text);
      // What follows the first one includes what follows the others, so each program is looked at once in a command.
      if (!checks.has(program) || seen.has(program)) continue;
      seen.add(program);
      const what = wipes(program, words, position, earlier);
      if (what) return danger("wipe", what, word.index);
    }
    const folder = words.find((word) => /(?:^|[/\\])\.(?:ssh|gnupg)[/\\]?$/.test(word.text));
    if (folder && copies.has(programOf(words[0]?.text ?? ""))) return danger("secret", secretFile, folder.index);
  }

  const paths = form.replace(/[^\s;&|()<>`"']+/g, (word) => (/[/\\%]/.test(word) ? normalizedPath(word) : word));
  const at = findSecret(paths);
  return at === -1 ? null : { kind: "secret", what: secretFile, before: paths.slice(0, at), from: paths.slice(at) };
}

/** White space or a comment between two words of SQL. */
const gap = "(?:\\s|/\\*[^*]{0,40}\\*/){1,4}";
/** Disks and their parts, not the other devices. */
const disk = "/dev/(?:sd|hd|vd|xvd|nvme|mmcblk|r?disk|mapper/|md\\d|dm-)";
const blockDevice = new RegExp(`^(?:of=)?${disk}`);

/** Harm that is one phrase wherever it stands. Every gap is bounded. */
const phrases: readonly { pattern: RegExp; what: string }[] = [
  { pattern: new RegExp(`\\bdrop${gap}(?:table|database|schema|keyspace)\\b`), what: "dropping a table or database" },
  { pattern: new RegExp(`\\btruncate${gap}table\\b`), what: "emptying a table" },
  { pattern: /\bdelete from [\w."`[\]]{1,100} ?(?:;|$|["'](?! ?where))/m, what: "deleting every row of a table" },
  { pattern: /\bdropdatabase ?\(/, what: "dropping a database" },
  { pattern: new RegExp(`> ?${disk}`), what: "writing over a disk" },
  {
    pattern: /\b(?:vssadmin delete shadows|wbadmin delete|diskutil (?:erase|zero|secureerase))/,
    what: "erasing a disk",
  },
  {
    pattern:
      /\b(?:rmtree|rmsync|rmdirsync|rimraf|rm_rf|rm_r|remove_dir_all|remove_all)(?:\.sync)? ?\( ?["'`]?(?:\/|~|[a-z]:)[/\\]{0,4}["'`]? ?[,)]/,
    what: "removing a whole file system",
  },
];

const forkBomb = /([\w:.]{1,20})\(\)\{\1\|\1&\};?\1/;
const shells = "(?:ba|z|da|k|c|tc|fi)?sh";
const decodes = /\bbase(?:64|32)\b[^\n;|]{0,100} -{1,2}d|\bxxd\b[^\n;|]{0,40} -\w{0,5}r|\bopenssl\b[^\n;|]{0,60} -d\b/;
const runs = new RegExp(
  `\\| ?(?:sudo )?(?:/[\\w/]{0,40}/)?(?:${shells}|python\\d?|perl|node)\\b|\\beval\\b|\\b${shells} -c\\b`,
);
const encodedPowershell = /\b(?:powershell|pwsh)(?:\.exe)?\b[^\n;|]{0,200} -e(?:nc|ncodedcommand|c)? /;

function runsDecoded(form: string): boolean {
  return form.split("\n").some((line) => encodedPowershell.test(line) || (decodes.test(line) && runs.test(line)));
}

interface SimpleCommand {
  words: Word[];
  /** The words of the commands before it in the same pipeline, which `xargs` reads. */
  earlier: Word[];
}

/** Commands without joins. Substitutions are commands of their own. */
function simpleCommands(form: string): SimpleCommand[] {
  const commands: SimpleCommand[] = [{ words: [], earlier: [] }];
  for (const { 0: text, index } of form.matchAll(/[^\s;&|()<>`]+|[;&|()`\n]/g)) {
    const current = commands[commands.length - 1] as SimpleCommand;
    if (!/^[;&|()`\n]$/.test(text)) current.words.push({ text, index });
    else if (current.words.length > 0) {
      commands.push({ words: [], earlier: text === "|" ? current.words : [] });
    }
  }
  return commands;
}

/** `/usr/bin/rm`, `\rm` and `rm.exe` are `rm`; `$` is a program that is named by a variable. */
function programOf(word: string): string {
  const name = word
    .slice(Math.max(word.lastIndexOf("/"), word.lastIndexOf("\\")) + 1)
    .replace(/^["']|["']$|\.(?:exe|com)$/g, "");
  return name.startsWith("$") ? "$" : name.startsWith("mkfs.") ? "mkfs" : name;
}

/** Behind these a program's name is only looked up, or is a command of another program. */
const notRun = new Set("man which whatis whereis apropos type tldr git svn hg docker podman npm aws gsutil".split(" "));

/** What harm the program at this position does with the words behind it. */
function wipes(program: string, words: readonly Word[], position: number, earlier: readonly Word[]): string | null {
  if (notRun.has(words[position - 1]?.text ?? "")) return null;
  const args = words.slice(position + 1).map((word) => word.text);
  const piped = words.slice(0, position).some((word) => word.text === "xargs" || word.text === "parallel");
  return checks.get(program)?.(args, piped ? earlier.map((word) => word.text) : []) ?? null;
}

type Check = (args: string[], piped: string[]) => string | null;

const isFlag = (arg: string) => /^-./.test(arg);
const hasFlag = (args: string[], letter: string, long: string) =>
  args.some((arg) => arg.startsWith(`--${long}`) || (/^-[a-z]+$/.test(arg) && arg.includes(letter)));
const wholeSystem = "removing a whole file system";

const remove: Check = (args, piped) => {
  if (args.some((arg) => arg.startsWith("--no-preserve"))) return wholeSystem;
  if (!hasFlag(args, "r", "recursive") && !args.includes("/s")) return null;
  const targets = args.filter((arg) => !isFlag(arg) && !/^\/[sqf]$/.test(arg));
  return [...targets, ...piped].some((target) => isWhole(target, true)) ? wholeSystem : null;
};
/** A program whose name is in a variable: only what is unmistakable. */
const removeUnnamed: Check = (args) =>
  hasFlag(args, "r", "recursive") && hasFlag(args, "f", "force") && args.some((arg) => isWhole(arg, false))
    ? wholeSystem
    : null;
const changeModes: Check = (args) =>
  // Homes and the like are given to their users that way.
  hasFlag(args, "r", "recursive") &&
  args.some((arg) => isWhole(arg, false) && !/^(?:~|\$home|\/(?:home|users|opt|srv|volumes)(?!\w))/.test(arg))
    ? "changing the rights of a whole file system"
    : null;
const findAndRemove: Check = (args) => {
  const options = args.findIndex((arg) => arg.startsWith("-"));
  const removes =
    args.includes("-delete") ||
    args.some((arg, at) => /^-(?:exec|ok)/.test(arg) && /^(?:\S*\/)?(?:rm|shred|unlink)$/.test(args[at + 1] ?? ""));
  const picks = args.some(
    (arg, at) =>
      /^-(?:i?name|i?path|i?regex|[mac]time|[mac]min|newer|size|empty)/.test(arg) &&
      !/^["'\\]*\*?["'\\]*$/.test(args[at + 1] ?? "-"),
  );
  return removes && !picks && args.slice(0, Math.max(options, 0)).some((root) => isWhole(root, false))
    ? wholeSystem
    : null;
};
const overwriteDisk: Check = (args) => (args.some((arg) => blockDevice.test(arg)) ? "writing over a disk" : null);
const formatDisk: Check = (args) =>
  args.length > 0 && args.every((arg) => /^-{1,2}(?:h|help|v|version)$/.test(arg)) ? null : "formatting a disk";
const formatDrive: Check = (args) => (args.some((arg) => /^[a-z]:[/\\]?$/.test(arg)) ? "formatting a disk" : null);

const checks = new Map<string, Check>([
  ["$", removeUnnamed],
  ...["rm", "del", "erase", "rd", "rmdir", "remove-item", "ri", "shred"].map((name): [string, Check] => [
    name,
    name === "shred" ? (args) => overwriteDisk(args, []) ?? remove(args, []) : remove,
  ]),
  ["chmod", changeModes],
  ["chown", changeModes],
  ["chgrp", changeModes],
  ["icacls", changeModes],
  ["find", findAndRemove],
  ...["dd", "cp", "tee", "blkdiscard", "wipefs", "sgdisk"].map((name): [string, Check] => [name, overwriteDisk]),
  ...["mkfs", "mke2fs", "newfs"].map((name): [string, Check] => [name, formatDisk]),
  ["format", formatDrive],
  ["mv", (args) => (args.includes("/dev/null") && args.some((arg) => isWhole(arg, false)) ? wholeSystem : null)],
  ["flushall", () => "emptying a database"],
]);

/** Is this target a whole system, drive, home or, where `relative`, the whole folder one is in? */
function isWhole(target: string, relative: boolean): boolean {
  const bare = target.replace(/^["'`]|["'`,:!?]{1,3}$/g, "");
  if (bare === "") return false;
  if (/^(?:\.{1,2}|\*|\.\*|\*\.\*|\.{1,2}[/\\]|(?:\.{1,2}[/\\])+\.?\*?)$/.test(bare)) return relative;
  const path = normalizedPath(bare.replace(/^(?:\$home|\$env:userprofile|%userprofile%|\$env:home)/, "~"));
  // The folder itself, or all that is in it.
  const folder = path.replace(/\/(?:\*+|\.\*|\*\.\*)$/, "") || "/";
  return (
    folder === "/" ||
    /^\/[^/]*[*?[][^/]*$/.test(folder) ||
    /^~[\w-]*$/.test(folder) ||
    /^[a-z]:$/.test(folder) ||
    systemFolder.test(folder)
  );
}

const systemFolder =
  /^(?:\/(?:bin|boot|dev|etc|home|lib|lib32|lib64|opt|proc|root|sbin|srv|sys|usr|var|users|system|library|applications|private|volumes)|\/usr\/(?:bin|lib|lib64|local|sbin|share)|\/var\/lib|\/(?:home|users)\/[^/]+|[a-z]:\/(?:windows|windows\/system32|users|program files|programdata|users\/[^/]+))$/;

/** With plain slashes, without `.`, `..`, percent-encoding, `file://` and what follows a NUL. */
function normalizedPath(path: string): string {
  let decoded = path;
  for (let round = 0; round < 3 && decoded.includes("%"); round += 1) {
    decoded = decoded.replace(/%([0-9a-f]{2})/g, (_encoded, hex: string) =>
      // No new white space: it would make two words of one.
      String.fromCharCode(Number.parseInt(hex, 16)).replace(/\s/, "_"),
    );
  }
  const slashed = (decoded.toLowerCase().split("\0", 1)[0] ?? "")
    .replaceAll("\\", "/")
    .replace(/^file:\/{2,3}(?=\/)|^file:\/\/[^/]*|^file:/, "");
  const segments: string[] = [];
  for (const segment of slashed.split("/")) {
    if (segment === "" || segment === ".") continue;
    if (segment === "..") segments.pop();
    else segments.push(segment);
  }
  return `${slashed.startsWith("/") ? "/" : ""}${segments.join("/")}`;
}

const secretFile = "reading a password file or private key";
/** The name ends here. */
const end = "(?![\\w-])";
const secretPaths: readonly RegExp[] = [
  `(?<![\\w.-])etc/(?:\\{(?:[^{}\\s]{0,60},)?)?(?:shadow|gshadow|master\\.passwd|sudoers|security/passwd)-?${end}`,
  "(?<![\\w.-])id_(?:rsa|dsa|ecdsa|ed25519)(?![a-z0-9]|[\\w.-]{0,40}\\.pub(?!\\w))",
  // Keys have any name there; what is not one is known.
  "\\.ssh/(?!known_hosts|config(?!\\w)|[\\w.@-]{1,100}\\.pub(?!\\w))[^\\s/\"'`,:;!?)]",
  `ssh_host_\\w{1,40}_key${end}(?!\\.pub)`,
  "etc/ssl/private/",
  "\\.gnupg/(?:private-keys|secring|[^\\s/]{0,100}\\*)",
  `private[-_.]?key[\\w-]{0,40}\\.(?:pem|key|der|p8|pk8|asc|gpg|txt)${end}`,
  `(?:privkey\\d{0,9}|(?<![\\w.-])key|(?<!pub|public)[-_.]key)\\.pem${end}`,
  `[\\w-]\\.(?:ppk|p12|pfx)${end}`,
  `(?<![^\\s/])(?:server|client|tls|ssl|ca|private|domain|host)\\.key${end}`,
  `(?<![\\w-])\\.(?:netrc|pgpass|git-credentials)${end}`,
  `\\.(?:aws/credentials|kube/config|docker/config\\.json|clawrent/config\\.json)${end}`,
  `(?<![\\w-])wallet\\.dat${end}`,
  `(?:system32/config/(?:sam|security)|(?<![\\w-])ntds\\.dit)${end}`,
  `proc/(?:self|[\\d*]{1,10})/(?:environ|mem)${end}`,
].map((source) => new RegExp(source));
/** Where wildcards may point, by the last two segments. */
const secretNames = [
  "etc/shadow",
  "etc/gshadow",
  ".ssh/id_rsa",
  ".ssh/id_ed25519",
  ".ssh/id_ecdsa",
  ".aws/credentials",
];
const copies = new Set(["tar", "zip", "7z", "cp", "scp", "rsync", "mv", "cat", "grep"]);

/** Where a text with normalised paths names a secret file; -1 if nowhere. */
function findSecret(text: string): number {
  for (const pattern of secretPaths) {
    const at = text.search(pattern);
    if (at !== -1) return at;
  }
  for (const { 0: word, index } of text.matchAll(/[^\s;&|()<>`"']+/g)) {
    if (/[*?[]/.test(word) && word.includes("/") && mayMeanSecret(word)) return index;
  }
  return -1;
}

function mayMeanSecret(path: string): boolean {
  const pattern = path
    .slice(-200)
    .split("/")
    .slice(-2)
    .join("/")
    .replace(/\[[^\]/]{1,40}\]/g, "?");
  // `/etc/*` may mean anything; with another letter it means what it finds.
  if (pattern.replace(/[*?]/g, "").length < 5) return false;
  return secretNames.some((name) => matchesGlob(name, pattern));
}

/** `*` and `?` inside segments. Only the last star is tried again, so the work is at most name × pattern. */
function matchesGlob(name: string, pattern: string): boolean {
  let nameAt = 0;
  let patternAt = 0;
  let star = -1;
  let retryAt = 0;
  while (nameAt < name.length) {
    const wanted = pattern[patternAt];
    if (wanted === "*") {
      star = patternAt;
      patternAt += 1;
      retryAt = nameAt;
    } else if (wanted === name[nameAt] || (wanted === "?" && name[nameAt] !== "/")) {
      nameAt += 1;
      patternAt += 1;
    } else if (star >= 0 && name[retryAt] !== "/") {
      retryAt += 1;
      nameAt = retryAt;
      patternAt = star + 1;
    } else return false;
  }
  return /^\**$/.test(pattern.slice(patternAt));
}
