/**
 * The answer at an address where there is nothing: a page for a person who mistyped it, JSON for a program. The address
 * of a WebSocket that was asked for without an upgrade says what is missing.
 */
import { html } from "hono/html";
import { type HttpApp, type HttpContext, sendReply } from "../http.js";
import { rejectionReply } from "../wire.js";
import { sendPage, textsFor } from "./layout.js";

/** `isSocket`: whether a WebSocket can be opened at a path. */
export function addMissingPage(app: HttpApp, isSocket: (path: string) => boolean): void {
  app.notFound((c) => {
    if (isSocket(c.req.path)) {
      const message = "This address is a WebSocket: ask for it with Connection: Upgrade and Upgrade: websocket";
      const reply = sendReply(c, rejectionReply(426, "UpgradeRequired", "invalid_args", message));
      reply.headers.set("Upgrade", "websocket");
      return reply;
    }
    if (!isForAPerson(c)) {
      return sendReply(c, rejectionReply(404, "NotFound", "not_found", "There is nothing at this address"));
    }
    const texts = textsFor(c);
    const { title, text } = texts.problems.missing;
    return sendPage(c, texts, {
      status: 404,
      title,
      content: html`<h1>${title}</h1>
<p>${text}</p>`,
    });
  });
}

/** Browsers name HTML when a person opens an address. Programs do not, and neither does a page's `fetch`. */
function isForAPerson({ req, env }: HttpContext): boolean {
  return ["GET", "HEAD"].includes(req.method) && (env.incoming.headers.accept ?? "").includes("text/html");
}
