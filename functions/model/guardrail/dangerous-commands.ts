/**
 * How a command or a path does harm, whoever asks (clawrent.md section 7.1, row `destructive`): wiping file systems,
 * disks and databases, and reading what holds passwords and private keys. Pure, and linear in the length of the text,
 * which comes from strangers. It looks at what a shell would see behind quotes, escapes and odd spacing. It is a filter
 * for the plain cases and no sandbox: a program can always be written that does harm in another way.
 */
import { findSecret } from "./secret-paths.js";
import { decodeEscapes, flatten, normalizedPath, programOf, simpleCommands, unquote, type Word } from "./shell-text.js";

interface Danger {
  kind: "wipe" | "secret";
  /** For people, as in "Blocked: …". */
  what: string;
  /** The text before it, in the form in which it was found. */
  before: string;
  /** The text from there on. */
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

/** Programs that read or copy a folder with all that is in it. */
const copies = new Set(["tar", "zip", "7z", "cp", "scp", "rsync", "mv", "cat", "grep"]);
const secretFile = "reading a password file or private key";

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
      // The words behind a program's first mention include those behind its others, so each program is checked once.
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

/** Phrases that mean harm wherever they stand. Every gap is bounded. */
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

/** After one of these words a program is only looked up, or the word is a command of another program. */
const notRun = new Set("man which whatis whereis apropos type tldr git svn hg docker podman npm aws gsutil".split(" "));

/** The harm that the program at this position does with the words after it. */
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
/** A program whose name is in a variable: only unmistakable cases count. */
const removeUnnamed: Check = (args) =>
  hasFlag(args, "r", "recursive") && hasFlag(args, "f", "force") && args.some((arg) => isWhole(arg, false))
    ? wholeSystem
    : null;
const changeModes: Check = (args) =>
  // This is how home folders and the like are handed to their users.
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

/** Whether this target is a whole system, drive, home or, where `relative`, the whole current folder. */
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
