/**
 * Documents that admins write and everybody reads (clawrent.md section 8.1). They form a tree of folders. A document
 * that is not published, or lies in a folder that is not, exists for admins only. There are few, all written by hand,
 * so they are read as a whole where that is simplest.
 */
import { z } from "zod";
import { mutation, query } from "../runtime/call/define.js";
import type { Caller, MutationContext, QueryContext } from "../runtime/context.js";
import { CallError } from "../runtime/errors.js";
import type { DocsTable } from "../schema/docs.js";
import { normalize } from "../schema/folding.js";
import { shownName } from "../schema/names.js";
import { cursor, id, isoTime, limitOf, text } from "../schema/values.js";
import { cursorsOf } from "./model/cursors.js";

const titleCharacters = 200;
const contentCharacters = 100_000;
const slugCharacters = 80;
/** The most documents in all, and the most folders inside one another. */
const mostDocs = 2_000;
const mostLevels = 8;
/** Characters shown around what a search found. */
const excerptBefore = 60;
const excerptAfter = 140;

const docTypes = ["folder", "document"] as const;

const doc = z.object({
  id: z.string(),
  type: z.enum(docTypes),
  title: z.string(),
  slug: z.string(),
  path: z.string(),
  parentId: z.string().nullable(),
  content: z.string(),
  icon: z.string().nullable(),
  status: z.enum(["draft", "published"]),
  version: z.number(),
  createdAt: z.string(),
  updatedAt: z.string(),
});

type Tree = {
  id: string;
  type: "folder" | "document";
  title: string;
  slug: string;
  path: string;
  icon: string | null;
  children: Tree[];
};
const tree: z.ZodType<Tree> = z.object({
  id: z.string(),
  type: z.enum(docTypes),
  title: z.string(),
  slug: z.string(),
  path: z.string(),
  icon: z.string().nullable(),
  get children() {
    return z.array(tree);
  },
});

const slug = z
  .string()
  .regex(/^[\p{L}\p{M}\p{N}]+(?:-[\p{L}\p{M}\p{N}]+)*$/u, "must be letters and digits, with single hyphens between")
  .pipe(text(slugCharacters, 1));

/** The tree of all that is published, by slug within a folder. */
export const getTree = query({
  summary: "The tree of published documents",
  auth: "none",
  args: {},
  returns: z.object({ tree: z.array(tree) }),
  handler: async (ctx) => {
    const published = await readPublished(ctx, ["docId", "type", "title", "slug", "path", "parentId", "icon"]);
    const nodes = new Map<string, Tree>(
      published.map(({ docId, parentId: _parentId, ...node }) => [docId, { ...node, id: docId, children: [] }]),
    );
    const roots: Tree[] = [];
    for (const { docId, parentId } of published) {
      const siblings = parentId === null ? roots : nodes.get(parentId)?.children;
      const node = nodes.get(docId);
      if (node) siblings?.push(node);
    }
    return { tree: roots };
  },
});

/** A published document by its path, such as `guides/welcome`. */
export const getByPath = query({
  summary: "A published document by its path",
  auth: "none",
  args: { path: z.string().max(mostLevels * (slugCharacters + 1)) },
  returns: doc,
  handler: async (ctx, args) => {
    const path = normalize(args.path, "NFC").replace(/^\/+|\/+$/g, "");
    const found = await ctx.db.selectFrom("docs").selectAll().where("path", "=", path).executeTakeFirst();
    return view(await requireReadable(ctx, found));
  },
});

const byPath = cursorsOf("docs:search", { path: "text" });

/** Published documents that have the words in their title or content; without words, none. */
export const search = query({
  summary: "Searches published documents",
  auth: "none",
  args: { q: text(200).nullish(), limit: limitOf(mostDocs, mostDocs), cursor },
  returns: z.object({
    data: z.array(z.object({ id: z.string(), title: z.string(), path: z.string(), excerpt: z.string() })),
    total: z.number(),
    nextCursor: z.string().nullable(),
  }),
  handler: async (ctx, args) => {
    const cursors = byPath.under(ctx, { q: args.q });
    const after = cursors.read(args.cursor);
    const wanted = normalize(args.q ?? "", "NFC")
      .trim()
      .toLowerCase();
    if (wanted === "") return { data: [], total: 0, nextCursor: null };
    const published = await readPublished(ctx, ["docId", "parentId", "title", "path", "content"]);
    const found = published.flatMap(({ docId, title, path, content }) => {
      const text = normalize(content, "NFC");
      const at = text.toLowerCase().indexOf(wanted);
      if (at < 0 && !normalize(title, "NFC").toLowerCase().includes(wanted)) return [];
      return [{ id: docId, title, path, excerpt: excerptOf(text, Math.max(at, 0)) }];
    });
    const behind = after === undefined ? found : found.filter(({ path }) => inBytes(path, after.path) > 0);
    const { rows, nextCursor } = cursors.page(behind, args.limit, (doc) => doc);
    return { data: rows, total: found.length, nextCursor };
  },
});

/** Compares as the database sorts paths. */
function inBytes(one: string, other: string): number {
  return Buffer.compare(Buffer.from(one), Buffer.from(other));
}

/** A document by its id; admins read drafts too. */
export const get = query({
  summary: "A published document by its id",
  auth: "none",
  args: { docId: id },
  returns: doc,
  handler: async (ctx, args) => {
    const found = await findDoc(ctx, args.docId);
    return view(found && isAdmin(ctx.caller) ? found : await requireReadable(ctx, found));
  },
});

/** Writes a new document or folder, as a draft. */
export const create = mutation({
  summary: "Writes a new document or folder, as a draft",
  auth: "admin",
  args: {
    type: z.enum(docTypes),
    title: shownName(titleCharacters, 1),
    parentId: id.nullish(),
    content: text(contentCharacters).nullish(),
    slug: slug.nullish(),
    icon: text(50).nullish(),
  },
  returns: doc,
  oneAtATime: () => "documents",
  handler: async (ctx, args) => {
    const parent = args.parentId == null ? undefined : await requireDoc(ctx, args.parentId);
    if (parent && parent.type !== "folder") {
      throw new CallError("failed_precondition", "parentId must be a folder", { type: parent.type });
    }
    const { count } = await ctx.db
      .selectFrom("docs")
      .select(({ fn }) => fn.countAll<number>().as("count"))
      .executeTakeFirstOrThrow();
    if (Number(count) >= mostDocs) throw new CallError("too_large", `There are ${mostDocs} documents already`);
    if ((parent?.path.split("/").length ?? 0) >= mostLevels) {
      throw new CallError("too_large", `Folders can be ${mostLevels} levels deep`);
    }

    const itsSlug = normalize(args.slug ?? slugOf(args.title), "NFC");
    const path = parent ? `${parent.path}/${itsSlug}` : itsSlug;
    const taken = await ctx.db.selectFrom("docs").select("docId").where("path", "=", path).executeTakeFirst();
    if (taken) throw new CallError("conflict", "Path is already taken. Give another slug.", { path });
    const written: DocsTable = {
      docId: ctx.newUuid(),
      type: args.type,
      title: args.title,
      slug: itsSlug,
      parentId: parent?.docId ?? null,
      path,
      content: args.content ?? "",
      icon: args.icon ?? null,
      status: "draft",
      version: 1,
      changeSummary: null,
      createdAt: ctx.now,
      updatedAt: ctx.now,
    };
    await ctx.db.insertInto("docs").values(written).execute();
    return view(written);
  },
});

/** Changes a document's title or content; its path stays, so that links keep working. */
export const update = mutation({
  summary: "Changes a document's title or content",
  auth: "admin",
  args: {
    docId: id,
    title: shownName(titleCharacters, 1).nullish(),
    content: text(contentCharacters).nullish(),
    changeSummary: text(500).nullish(),
  },
  returns: doc,
  handler: async (ctx, args) => {
    const before = await requireDoc(ctx, args.docId);
    return change(ctx, before, {
      title: args.title ?? before.title,
      content: args.content ?? before.content,
      changeSummary: args.changeSummary ?? null,
      version: before.version + 1,
    });
  },
});

/** Deletes a document, or a folder with nothing in it. */
export const remove = mutation({
  summary: "Deletes a document, or an empty folder",
  auth: "admin",
  args: { docId: id },
  returns: z.object({ message: z.string() }),
  handler: async (ctx, args) => {
    const { docId } = await requireDoc(ctx, args.docId);
    const child = await ctx.db.selectFrom("docs").select("docId").where("parentId", "=", docId).executeTakeFirst();
    if (child) throw new CallError("conflict", "The folder is not empty. Delete what is in it first.");
    await ctx.db.deleteFrom("docs").where("docId", "=", docId).execute();
    return { message: "Document deleted" };
  },
});

/** Shows a document to everybody, if its folders are shown. Repeating changes nothing. */
export const publish = mutation({
  summary: "Shows a document to everybody",
  auth: "admin",
  args: { docId: id },
  returns: doc,
  handler: async (ctx, args) => change(ctx, await requireDoc(ctx, args.docId), { status: "published" }),
});

/** Hides a document, and with a folder all that is in it. Repeating changes nothing. */
export const unpublish = mutation({
  summary: "Hides a document, or a folder with all that is in it",
  auth: "admin",
  args: { docId: id },
  returns: doc,
  handler: async (ctx, args) => change(ctx, await requireDoc(ctx, args.docId), { status: "draft" }),
});

/** The published documents whose folders are published too, by path. */
async function readPublished<Column extends keyof DocsTable>(
  ctx: QueryContext,
  columns: readonly (Column | "docId" | "parentId")[],
): Promise<Pick<DocsTable, Column | "docId" | "parentId">[]> {
  const rows = (await ctx.db
    .selectFrom("docs")
    .select(columns as readonly (keyof DocsTable)[])
    .where("status", "=", "published")
    .orderBy("path")
    .execute()) as Pick<DocsTable, Column | "docId" | "parentId">[];
  const parents = new Map(rows.map(({ docId, parentId }) => [docId, parentId]));
  const isShown = (docId: string | null): boolean =>
    docId === null || (parents.has(docId) && isShown(parents.get(docId) ?? null));
  return rows.filter(({ docId }) => isShown(docId));
}

function findDoc(ctx: QueryContext, docId: string): Promise<DocsTable | undefined> {
  return ctx.db.selectFrom("docs").selectAll().where("docId", "=", docId).executeTakeFirst();
}

async function requireDoc(ctx: QueryContext, docId: string): Promise<DocsTable> {
  const found = await findDoc(ctx, docId);
  if (!found) throw new CallError("not_found", "Document not found");
  return found;
}

/** The document, if everybody may read it: a draft, or a document in a draft folder, reads as missing. */
async function requireReadable(ctx: QueryContext, found: DocsTable | undefined): Promise<DocsTable> {
  for (let level: DocsTable | undefined = found; level?.status === "published"; ) {
    if (level.parentId === null) return found as DocsTable;
    level = await findDoc(ctx, level.parentId);
  }
  throw new CallError("not_found", "Document not found");
}

async function change(
  ctx: MutationContext,
  before: DocsTable,
  changes: Partial<DocsTable>,
): Promise<z.input<typeof doc>> {
  const after = { ...changes, updatedAt: ctx.now };
  await ctx.db.updateTable("docs").set(after).where("docId", "=", before.docId).execute();
  return view({ ...before, ...after });
}

function isAdmin(caller: Caller): boolean {
  return caller.kind === "user" && caller.isAdmin;
}

function view({ docId, createdAt, updatedAt, changeSummary: _changeSummary, ...same }: DocsTable): z.input<typeof doc> {
  return { ...same, id: docId, createdAt: isoTime(createdAt), updatedAt: isoTime(updatedAt) };
}

/** A title as a part of a path; Chinese stays Chinese. */
function slugOf(title: string): string {
  const words =
    normalize(title, "NFC")
      .toLowerCase()
      .match(/[\p{L}\p{M}\p{N}]+/gu) ?? [];
  const joined = [...words.join("-")].slice(0, slugCharacters).join("").replace(/-+$/, "");
  if (joined === "")
    throw new CallError("invalid_args", "The title has no letter or digit to make a slug of. Give a slug.");
  return joined;
}

/** A piece of the text around a character of it. */
function excerptOf(content: string, at: number): string {
  const from = Math.max(0, at - excerptBefore);
  const piece = content.slice(from, at + excerptAfter).toWellFormed();
  const flat = piece.replace(/\s+/g, " ").replaceAll("\ufffd", "").trim();
  return `${from > 0 ? "…" : ""}${flat}${at + excerptAfter < content.length ? "…" : ""}`;
}
