/**
 * What the code, the tests and the pages cite is there: sections of pages, with their rules and names; files; links and
 * their anchors; commands. Whoever renumbers a page or moves a file finds here who has to hear of it.
 */
import { readFileSync } from "node:fs";
import { dirname, join, normalize } from "node:path";
import { describe, expect, test } from "vitest";
import { pages, readPage, root, trackedFiles } from "../support/repository.js";

/** A heading of a page, and all that stands below it before the next one of its rank. */
interface Section {
  number: string | undefined;
  title: string;
  anchor: string;
  text: string;
}

/** As GitHub makes them. */
function anchorOf(heading: string): string {
  const letters = heading
    .toLowerCase()
    .replaceAll(/\[([^\]]*)\]\([^)]*\)/g, "$1")
    .replaceAll(/[^\p{L}\p{N}\s_-]/gu, "");
  return letters.trim().replaceAll(" ", "-");
}

const withoutCode = (text: string) => text.replaceAll(/^```.*?^```$/gms, "");

function sectionsOf(page: string): Section[] {
  const text = withoutCode(readPage(page));
  const headings = [...text.matchAll(/^(#{1,6}) (.*)$/gm)];
  return headings.map((heading, index) => {
    const [, marks = "", title = ""] = heading;
    const next = headings.slice(index + 1).find(([, other = ""]) => other.length <= marks.length);
    const [, number] = /^(\d+(?:\.\d+)*)\.? /.exec(title) ?? [];
    return { number, title, anchor: anchorOf(title), text: text.slice(heading.index, next?.index) };
  });
}

/** By their file names: comments cite `clawrent.md`, and mean the page of a maintainer and not the served document. */
const byName = new Map(pages.filter((page) => page.startsWith("docs/")).map((page) => [page.split("/").pop(), page]));
const sections = new Map(pages.map((page) => [page, sectionsOf(page)]));
const find = (page: string, number: string) => sections.get(page)?.find((section) => section.number === number);

interface Citation {
  file: string;
  /** As it is written. */
  said: string;
  /** The page's file name. */
  name: string | undefined;
  numbers: string[];
  /** What is said to be inside the section: `rule 3`, `events`. */
  part: string | undefined;
}

const number = String.raw`\d+(?:\.\d+)*`;
const item = String.raw`(?:rule|promise|trap)s? \d+(?: and \d+)?`;
const more = String.raw`(?:(?:, and |, | and | to )${number}(?![\w%]))`;
const list = `(?:section ${number}|sections ${number}(?:, ${item})?${more}*)`;
const cited = new RegExp(
  String.raw`(?:([\w-]+)\.md(?:\)|\`)?,? |(?<!RFC \d+ )\b)(${list})(?:, (${item}|[\w/\`:]+(?=\))))?`,
  "g",
);

/** The numbers of `2.6, 2.7 and 4`, and all those of `4 to 10`. */
function numbersIn(said: string): string[] {
  const written = said.replace(/^sections? /, "").replaceAll(new RegExp(`, ${item}`, "g"), "");
  return written.split(/, and |, | and /).flatMap((entry) => {
    const [from = "", to] = entry.split(" to ");
    if (to === undefined) return [from];
    const head = from.split(".").slice(0, -1);
    const [first, last] = [from, to].map((bound) => Number(bound.split(".").at(-1)));
    const count = (last ?? 0) - (first ?? 0) + 1;
    return Array.from({ length: count }, (_, index) => [...head, (first ?? 0) + index].join("."));
  });
}

/** A link's section is its page's: `[ClawRent, section 2.3](clawrent.md#23-account)`. */
const linked = /\[([^\]]*?)(sections? [^\]]*)\]\((?:[\w./-]*\/)?([\w-]+\.md)[^)]*\)/g;

/** The text of a file with its comments' lines joined, as a sentence goes on behind the end of a line. */
function readJoined(file: string): string {
  const text = readFileSync(join(root, file), "utf8");
  if (!file.endsWith(".md")) return text.replaceAll(/\n\s*(?:\*|\/\/|#) /g, " ");
  return withoutCode(text)
    .replaceAll(/\n(?=\S)/g, " ")
    .replaceAll(linked, "$1 $3 $2");
}

const texts = new Map(
  trackedFiles
    .filter((file) => /\.(ts|md|py|js|css|sh)$/.test(file) && !/^adapters\/documents\/.*md$/.test(file))
    // Here are citations that are wrong.
    .filter((file) => file !== "test/documents/citations.test.ts")
    .map((file) => [file, readJoined(file)]),
);

/** A section without a page is of the page that was named before it in the file; on a page, of that page itself. */
function citationsOf(file: string, text: string): Citation[] {
  let name = file.startsWith("docs/") ? file.split("/").pop()?.replace(".md", "") : undefined;
  return [...text.matchAll(cited)].map((match) => {
    const [said, named, found = "", part] = match;
    const isOwn = file.endsWith(".md") && named === undefined;
    if (named !== undefined && !file.endsWith(".md")) name = named;
    const [within] = new RegExp(item).exec(found) ?? [];
    return { file, said, name: isOwn ? name : (named ?? name), numbers: numbersIn(found), part: within ?? part };
  });
}

/** Whether a section has the numbered rule, or names the thing. */
function has(section: Section, part: string): boolean {
  const numbers = /^(?:rule|promise|trap)s? (.*)$/.exec(part)?.[1]?.split(" and ");
  if (!numbers) return section.text.toLowerCase().includes(part.replaceAll("`", "").toLowerCase());
  return numbers.every((one) =>
    new RegExp(`^(?:\\| *)?(?:\\*\\*)?(?:rule )?${one}(?:\\.| *\\|)`, "im").test(section.text),
  );
}

/** What is wrong with a citation; undefined where it holds. */
function wrongWith({ name, numbers, part }: Citation): string | undefined {
  const page = byName.get(`${name}.md`);
  if (page === undefined) return `there is no page docs/…/${name}.md`;
  for (const one of numbers) if (!find(page, one)) return `${page} has no section ${one}`;
  const holder = find(page, numbers[0] ?? "");
  if (part !== undefined && holder && !has(holder, part)) return `${page} has no '${part}' in section ${numbers[0]}`;
  return undefined;
}

describe("what is cited is there", () => {
  const citations = [...texts].flatMap(([file, text]) => citationsOf(file, text));

  test("sections, and the rules and names in them", () => {
    expect(citations.length).toBeGreaterThan(250);
    const wrong = citations.map((citation) => {
      const problem = wrongWith(citation);
      return problem && `${citation.file}: "${citation.said}": ${problem}`;
    });
    expect(wrong.filter((problem) => problem !== undefined)).toEqual([]);
  });

  test("a citation that is wrong is found", () => {
    const problems = (text: string) => citationsOf("functions/some.ts", text).map(wrongWith);
    expect(problems("(clawrent.md sections 2.4 and 3)")).toEqual([undefined]);
    expect(problems("(clawrent.md sections 2.4 and 33)")).toEqual(["docs/protocol/clawrent.md has no section 33"]);
    expect(problems("(clawrent.md section 6.20)")).toEqual(["docs/protocol/clawrent.md has no section 6.20"]);
    expect(problems("(convex-wire.md sections 4 to 99)")).toEqual(["docs/protocol/convex-wire.md has no section 12"]);
    expect(problems("(design.md section 4)")).toEqual(["there is no page docs/…/design.md"]);
    expect(problems("(architecture.md section 2, promise 5)")).toEqual([undefined]);
    expect(problems("(architecture.md section 2, promise 50)")).toEqual([expect.stringContaining("no 'promise 50'")]);
    expect(problems("(claw-to-claw.md section 3, weather)")).toEqual([expect.stringContaining("no 'weather'")]);
    expect(problems("(clawrent.md section 4.3), and later (section 4.99)")).toEqual([
      undefined,
      "docs/protocol/clawrent.md has no section 4.99",
    ]);
  });

  test("headings that are cited by their names", () => {
    for (const [file, text] of texts) {
      for (const [said, name, title = ""] of text.matchAll(/\b(architecture)\.md, (?!section)([A-Za-z][\w ]*)/g)) {
        const named = sections.get(byName.get(`${name}.md`) ?? "")?.map((section) => section.title.toLowerCase());
        const isThere = named?.some((one) => one.replace(/^[\d.]+ /, "") === title.toLowerCase());
        expect(isThere, `${file}: ${said}`).toBe(true);
      }
    }
  });

  test("files and folders", () => {
    const folders = new Set(trackedFiles.flatMap((file) => foldersOf(file)));
    const missing: string[] = [];
    const path = /(?<![\w./-])(?:adapters|functions|runtime|schema|scripts|client|test|bench|docs)\/[\w./-]*[\w/]/g;
    for (const file of texts.keys()) {
      for (const [said] of proseOf(file).matchAll(path)) {
        const isFile = /\.(ts|md|py|css|sh)$/.test(said);
        const isFolder = said.endsWith("/") && file.endsWith(".md");
        // Agents download these from the server by the shorter name.
        const isThere = trackedFiles.includes(said) || trackedFiles.includes(`adapters/documents/${said}`);
        if (isFile ? !isThere : isFolder && !folders.has(said)) missing.push(`${file}: ${said}`);
      }
    }
    expect(missing).toEqual([]);
  });

  test.each(pages)("links and anchors of %s", (page) => {
    const links = withoutCode(readPage(page)).matchAll(/\]\(([^)\s]+)\)/g);
    for (const [, target = ""] of links) {
      if (/^(https?|mailto):/.test(target)) continue;
      const [path = "", anchor] = target.split("#");
      const file = path === "" ? page : normalize(join(dirname(page), path));
      const isThere =
        trackedFiles.includes(file) || trackedFiles.some((other) => other.startsWith(`${file.replace(/\/$/, "")}/`));
      expect(isThere, `${page} links to ${target}`).toBe(true);
      if (anchor === undefined) continue;
      expect(
        sections.get(file)?.map((section) => section.anchor),
        `${page} links to ${target}`,
      ).toContain(anchor);
    }
  });

  test("commands", () => {
    const { scripts } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { scripts: object };
    for (const page of pages) {
      for (const [said, name = ""] of readPage(page).matchAll(/npm run ([\w:-]+)/g)) {
        expect(Object.keys(scripts), `${page}: ${said}`).toContain(name);
      }
    }
  });

  test("the two commands of the README are the ones that CI runs and that start a server", () => {
    const readme = readPage("README.md");
    expect(readme.split("\n").length).toBeLessThanOrEqual(181);
    expect(readme).toContain("```bash\nnpm ci && npm start\n```");
    expect(readme).toContain("```bash\nnpm ci && npm run check\n```");
    expect(readFileSync(join(root, ".ci/run"), "utf8")).toContain("\nnpm ci && npm run check\n");
  });
});

/** A page without its blocks of code, or the comments of a source. */
function proseOf(file: string): string {
  const text = readFileSync(join(root, file), "utf8");
  if (file.endsWith(".md")) return withoutCode(text);
  return [...text.matchAll(/^\s*\/\*[\s\S]*?\*\/|\/\/ .*$|^#.*$/gm)].join("\n");
}

function foldersOf(file: string): string[] {
  const parts = file.split("/").slice(0, -1);
  return parts.map((_, index) => `${parts.slice(0, index + 1).join("/")}/`);
}
