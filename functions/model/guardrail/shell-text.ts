/**
 * Text as a shell would see it, behind quotes, escapes and odd spacing: one spelling, simple commands, and paths as
 * they resolve. Pure, and linear in the length of the text.
 */
import { normalize } from "../../../schema/folding.js";

/** Characters that cannot be seen: zero width, joiners, variation selectors. */
const invisible = /\p{Default_Ignorable_Code_Point}|\p{Cf}/gu;

/** One spelling of letters, spaces and comments; lines stay apart, because a line ends a command. */
export function flatten(text: string): string {
  return normalize(text, "NFKC")
    .replace(invisible, "")
    .toLowerCase()
    .replace(/[\r\n\u0085\u2028\u2029]+/g, "\n")
    .replace(/[^\S\n]+/g, " ")
    .replace(/[‘’]/g, "'")
    .replace(/[“”]/g, '"');
}

/** The text as a POSIX shell would read it: without quotes and escapes, with the spaces that it would make. */
export function unquote(text: string): string {
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
export function decodeEscapes(text: string): string {
  return text
    .replace(/\$'/g, "'")
    .replace(/\\(?:x([0-9a-f]{2})|u00([0-9a-f]{2})|0?([0-7]{3}))/g, (_escape, hex, unicode, octal) => {
      const code = octal === undefined ? Number.parseInt(hex ?? unicode, 16) : Number.parseInt(octal, 8);
      return code >= 0x20 && code < 0x7f ? String.fromCharCode(code) : " ";
    });
}

export interface Word {
  text: string;
  index: number;
}

interface SimpleCommand {
  words: Word[];
  /** The words of the commands before it in the same pipeline, which `xargs` reads. */
  earlier: Word[];
}

/** The simple commands of a line. Substitutions are commands of their own. */
export function simpleCommands(form: string): SimpleCommand[] {
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
export function programOf(word: string): string {
  const name = word
    .slice(Math.max(word.lastIndexOf("/"), word.lastIndexOf("\\")) + 1)
    .replace(/^["']|["']$|\.(?:exe|com)$/g, "");
  return name.startsWith("$") ? "$" : name.startsWith("mkfs.") ? "mkfs" : name;
}

/** With plain slashes, without `.`, `..`, percent-encoding, `file://` and what follows a NUL. */
export function normalizedPath(path: string): string {
  let decoded = path;
  for (let round = 0; round < 3 && decoded.includes("%"); round += 1) {
    decoded = decoded.replace(/%([0-9a-f]{2})/g, (_encoded, hex: string) =>
      // White space is not decoded: it would make two words of one.
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
