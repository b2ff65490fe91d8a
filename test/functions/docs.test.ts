/** Documents that admins write and everybody reads (clawrent.md section 8.1). */
import { describe, expect, test } from "vitest";
import { databases, type User, useServer } from "../support/harness.js";
import { expectInvalid, expectRefusal } from "../support/refusals.js";

describe.each(databases)("docs on %s", (database) => {
  const server = useServer(database);

  /** A document that is shown, in a folder of its own that is. */
  async function published(admin: User, title: string, content: string) {
    const folder = await admin.call("docs:create", { type: "folder", title: `Folder of ${title}` });
    const page = await admin.call("docs:create", { type: "document", title, content, parentId: folder.id });
    for (const { id } of [folder, page]) await admin.call("docs:publish", { docId: id });
    return { folder, page };
  }

  test("are drafts until they are published, and read as missing until then", async () => {
    const admin = await server.admin();
    const draft = await admin.call("docs:create", { type: "document", title: "A first page", content: "Hello" });
    expect(draft).toMatchObject({
      type: "document",
      slug: "a-first-page",
      path: "a-first-page",
      parentId: null,
      status: "draft",
      version: 1,
    });
    const missing = { code: "not_found", message: "Document not found" };
    await expectRefusal(server, () => server.nobody.call("docs:get", { docId: draft.id }), missing);
    await expectRefusal(server, () => server.nobody.call("docs:getByPath", { path: draft.path }), missing);
    await expectRefusal(server, () => server.nobody.call("docs:get", { docId: "nothing" }), missing);
    expect((await server.nobody.call("docs:search", { q: "A first page" })).total).toBe(0);
    expect(await admin.call("docs:get", { docId: draft.id })).toEqual(draft);

    const shown = await admin.call("docs:publish", { docId: draft.id });
    expect(shown).toMatchObject({ status: "published", version: 1 });
    expect(await server.nobody.call("docs:get", { docId: draft.id })).toEqual(shown);
    expect(await admin.call("docs:publish", { docId: draft.id })).toMatchObject({ status: "published" });
    await admin.call("docs:unpublish", { docId: draft.id });
    await expectRefusal(server, () => server.nobody.call("docs:get", { docId: draft.id }), missing);
  });

  test("lie in folders, and a hidden folder hides what is in it", async () => {
    const admin = await server.admin();
    const { folder, page } = await published(admin, "Welcome", "Welcome to all");
    expect(page.path).toBe("folder-of-welcome/welcome");
    expect(await server.nobody.call("docs:getByPath", { path: "/folder-of-welcome/welcome/" })).toMatchObject({
      id: page.id,
    });
    const { tree } = await server.nobody.call("docs:getTree");
    const node = tree.find(({ id }: { id: string }) => id === folder.id);
    expect(node).toMatchObject({ type: "folder", children: [{ id: page.id, children: [] }] });

    await admin.call("docs:unpublish", { docId: folder.id });
    await expect(server.nobody.call("docs:get", { docId: page.id })).rejects.toMatchObject({ code: "not_found" });
    expect((await server.nobody.call("docs:search", { q: "Welcome to all" })).total).toBe(0);
    const hidden = (await server.nobody.call("docs:getTree")).tree;
    expect(JSON.stringify(hidden)).not.toContain(page.id);
  });

  test("are found by title and content, in English and Chinese, with what stands around", async () => {
    const admin = await server.admin();
    const long = `${"Before. ".repeat(40)}The ZEBRA page, 100% sure. ${"After. ".repeat(60)}`;
    const { page } = await published(admin, "On animals", long);
    const { page: chinese } = await published(admin, "Chinese", "欢迎使用，这里介绍如何租用智能体");
    const { data } = await server.nobody.call("docs:search", { q: "zebra PAGE" });
    expect(data).toMatchObject([{ id: page.id, path: page.path }]);
    expect(data[0].excerpt).toMatch(/^….*The ZEBRA page, 100% sure\..*…$/);
    for (const q of ["迎使用", "租用", "智能"]) {
      expect((await server.nobody.call("docs:search", { q })).data).toMatchObject([{ id: chinese.id }]);
    }
    expect((await server.nobody.call("docs:search", { q: "%" })).data).toMatchObject([{ id: page.id }]);
    for (const q of ["_ebra", "  ", undefined]) expect((await server.nobody.call("docs:search", { q })).total).toBe(0);
  });

  test("take their slug from the title, also from a Chinese one, and each path once", async () => {
    const admin = await server.admin();
    const create = (args: object) => admin.call("docs:create", { type: "document", ...args });
    expect(await create({ title: "Hello, world! (part 2)" })).toMatchObject({ slug: "hello-world-part-2" });
    expect(await create({ title: "如何 出租" })).toMatchObject({ slug: "如何-出租" });
    expect(await create({ title: "?!", slug: "marks" })).toMatchObject({ slug: "marks" });
    await expectRefusal(server, () => create({ title: "Hello world part 2" }), {
      code: "conflict",
      message: "Path is already taken. Give another slug.",
    });
    await expect(create({ title: "?!" })).rejects.toMatchObject({ code: "invalid_args" });
    await expectInvalid(server, () => create({ title: "x", slug: "a/b" }), "slug");
    await expectInvalid(server, () => create({ title: " " }), "title");
    await expectInvalid(server, () => create({ title: "x", content: "x".repeat(100_001) }), "content");
    const inDocument = await create({ title: "No folder" });
    await expectRefusal(server, () => create({ title: "Child", parentId: inDocument.id }), {
      code: "failed_precondition",
      message: "parentId must be a folder",
    });
    await expectRefusal(server, () => create({ title: "Child", parentId: "nothing" }), {
      code: "not_found",
      message: "Document not found",
    });
  });

  test("keep their path and count their versions when they change, and go when they are deleted", async () => {
    const admin = await server.admin();
    const { folder, page } = await published(admin, "Changing", "One");
    const changed = await admin.call("docs:update", { docId: page.id, title: "Changed", content: "Two" });
    expect(changed).toMatchObject({ title: "Changed", content: "Two", version: 2, path: page.path });
    expect(await admin.call("docs:update", { docId: page.id, changeSummary: "Nothing" })).toMatchObject({
      title: "Changed",
      content: "Two",
      version: 3,
    });
    await expectRefusal(server, () => admin.call("docs:remove", { docId: folder.id }), {
      code: "conflict",
      message: "The folder is not empty. Delete what is in it first.",
    });
    expect(await admin.call("docs:remove", { docId: page.id })).toEqual({ message: "Document deleted" });
    await admin.call("docs:remove", { docId: folder.id });
    await expect(admin.call("docs:get", { docId: page.id })).rejects.toMatchObject({ code: "not_found" });
  });

  test("folders end somewhere", async () => {
    const admin = await server.admin();
    let parentId: string | undefined;
    for (let level = 1; level <= 8; level += 1) {
      parentId = (await admin.call("docs:create", { type: "folder", title: `Level ${level}`, parentId })).id;
    }
    await expectRefusal(server, () => admin.call("docs:create", { type: "folder", title: "Level 9", parentId }), {
      code: "too_large",
      message: "Folders can be 8 levels deep",
    });
  });

  test("nobody but an admin writes them: 403, over REST too", async () => {
    const user = await server.user("Alice");
    for (const path of ["docs:create", "docs:update", "docs:remove", "docs:publish", "docs:unpublish"]) {
      const args = path === "docs:create" ? { type: "document", title: "Mine" } : { docId: "x" };
      await expectRefusal(server, () => user.call(path, args), {
        code: "forbidden",
        message: "Not authorized for this action",
      });
    }
    expect((await user.rest("POST", "/api/mcp/docs", { type: "document", title: "Mine" })).status).toBe(403);
    const chinese = await (await server.admin()).call("docs:create", { type: "document", title: "路径", content: "x" });
    await (await server.admin()).call("docs:publish", { docId: chinese.id });
    const found = await server.nobody.rest("GET", `/api/mcp/docs/by-path/${encodeURIComponent("路径")}`);
    expect(found).toMatchObject({ status: 200, body: { id: chinese.id } });
  });
});
