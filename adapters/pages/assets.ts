/** The static files of the pages: read once at start, named with a hash of their content, and kept by browsers. */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import type { HttpApp } from "../http.js";
import { servedFile } from "../served-files.js";

const types = {
  "pages.css": "text/css; charset=utf-8",
  "admin.css": "text/css; charset=utf-8",
  "share.js": "text/javascript; charset=utf-8",
  "copy.js": "text/javascript; charset=utf-8",
  "time.js": "text/javascript; charset=utf-8",
  "icon.svg": "image/svg+xml",
} as const;

export interface StaticFile {
  content: string;
  type: string;
  etag: string;
}

/** A file beside the code that names it, with its tag. */
function readStaticFile(file: URL, type: string): StaticFile {
  return staticFile(readFileSync(file, "utf8"), type);
}

export function staticFile(content: string, type: string): StaticFile {
  return { content, type, etag: createHash("sha256").update(content).digest("base64url").slice(0, 16) };
}

/** The file as a response, or 304 where the reader has it already. */
export function sendStatic(file: StaticFile, ifNoneMatch: string | undefined, cacheControl: string): Response {
  const etag = `"${file.etag}"`;
  const headers = { ETag: etag, "Cache-Control": cacheControl, "X-Content-Type-Options": "nosniff" };
  // A proxy that compresses marks the tag as weak.
  const known = ifNoneMatch?.split(",").some((tag) => tag.trim().replace(/^W\//, "") === etag);
  if (known) return new Response(null, { status: 304, headers });
  return new Response(file.content, { headers: { ...headers, "Content-Type": file.type } });
}

const assets = new Map(
  Object.entries(types).map(([name, type]) => [name, readStaticFile(servedFile(`pages/assets/${name}`), type)]),
);

/**
 * Where a page finds an asset, relative to the root. A changed file has another address, so a copy never goes stale.
 */
export function assetPath(name: string): string {
  return `assets/${name}?v=${assets.get(name)?.etag}`;
}

export function addAssetRoutes(app: HttpApp): void {
  app.get("/assets/:name", (c) => {
    const file = assets.get(c.req.param("name"));
    if (!file) return c.notFound();
    const current = c.req.query("v") === file.etag;
    const cacheControl = current ? "public, max-age=31536000, immutable" : "public, max-age=300";
    return sendStatic(file, c.env.incoming.headers["if-none-match"], cacheControl);
  });
}
