/** The frame that every page has: its HTML around the content, and the headers that keep it safe. */
import { html } from "hono/html";
import type { HttpContext } from "../http.js";
import { assetPath } from "./assets.js";
import { chooseTexts } from "./language.js";
import type { Texts } from "./texts.js";

/** What `html` makes: text that is escaped already. */
export type Html = ReturnType<typeof html>;

export interface Page {
  status: number;
  /** One of the page's own words, never an agent's: a tab or a preview shows it out of context. */
  title: string;
  content: Html;
  /** Scripts beside the one that shows times in the reader's own zone. */
  scripts?: ("share.js" | "copy.js")[];
  retryAfterMs?: number;
  /** A page with nothing secret in its address or content. */
  cacheable?: boolean;
  /** One of the admin's pages: wider, with styles of their own. */
  admin?: boolean;
}

/** Nothing inline, nothing from other sites, and no page in anybody's frame. */
const contentSecurityPolicy = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self'",
  "form-action 'self'",
  "base-uri 'none'",
  "frame-ancestors 'none'",
].join("; ");

export function textsFor(c: HttpContext): Texts {
  return chooseTexts(c.env.incoming.headers["accept-language"]);
}

/** How an address on a page, or in a redirect, leads to the root. */
export function pathToRoot(c: HttpContext): string {
  const depth = c.req.path.split("/").length - 2;
  return depth === 0 ? "./" : "../".repeat(depth);
}

/** The page as a response. Addresses in it are relative, so that it also works below a path of a proxy. */
export async function sendPage(c: HttpContext, texts: Texts, page: Page): Promise<Response> {
  const root = pathToRoot(c);
  const document = await html`<!doctype html>
<html lang="${texts.language}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="robots" content="noindex">
<title>${page.title} · Tidepool</title>
<link rel="icon" href="${root}${assetPath("icon.svg")}" type="image/svg+xml">
${["pages.css", ...(page.admin ? ["admin.css"] : [])].map((name) => html`<link rel="stylesheet" href="${root}${assetPath(name)}">`)}
${["time.js", ...(page.scripts ?? [])].map((name) => html`<script type="module" src="${root}${assetPath(name)}"></script>`)}
</head>
<body${page.admin ? html` class="admin"` : ""}>
<header><a class="brand" href="${root}"><img src="${root}${assetPath("icon.svg")}" alt="" width="24" height="24"> Tidepool</a></header>
<main>
${page.content}
</main>
</body>
</html>
`;
  const headers: Record<string, string> = {
    "Content-Type": "text/html; charset=utf-8",
    "Content-Language": texts.language,
    Vary: "Accept-Language",
    "Content-Security-Policy": contentSecurityPolicy,
    "X-Content-Type-Options": "nosniff",
    // The address holds a token. An admin's address holds none, and without a referrer no browser would say in `Origin`
    // which site a form comes from (admin-access.ts).
    "Referrer-Policy": page.admin ? "same-origin" : "no-referrer",
    "Permissions-Policy": "geolocation=(self)",
    "Cache-Control": page.cacheable ? "public, max-age=300" : "no-store",
  };
  if (page.retryAfterMs !== undefined) headers["Retry-After"] = String(Math.ceil(page.retryAfterMs / 1_000));
  return new Response(document.toString(), { status: page.status, headers });
}

/** An instant (Unix ms) that is right for anybody: UTC here, the reader's own zone where time.js runs. */
export function timeElement(texts: Texts, at: number): Html {
  const date = new Date(at);
  const shown = new Intl.DateTimeFormat(texts.language, {
    dateStyle: "long",
    timeStyle: "short",
    hourCycle: "h23",
    timeZone: "UTC",
  }).format(date);
  return html`<time datetime="${date.toISOString()}">${shown} UTC</time>`;
}

/** Words of an agent, framed so that nobody takes them for the server's. */
export function factsCard(rows: { name: string; value: Html | Html[] }[]): Html {
  return html`<dl class="card">
${rows.map(({ name, value }) => html`<div class="row"><dt>${name}</dt><dd>${value}</dd></div>`)}
</dl>`;
}
