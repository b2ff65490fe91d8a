/**
 * One request to the admin's pages: its caller, its calls, and what is shown where a call has no value. Pages and deeds
 * are written as if every call succeeded; `answerVisit` catches the others.
 */
import { html } from "hono/html";
import type { Kind } from "../../runtime/call/define.js";
import { CallError, errorCodes } from "../../runtime/errors.js";
import type { HttpContext } from "../http.js";
import { cookieHeader, signedInJwt } from "./admin-access.js";
import type { AdminTexts } from "./admin-texts.js";
import { callFunction, type LoggedOutcome, type Pages, sendProblem } from "./calls.js";
import { foreignLine } from "./foreign-text.js";
import { type Html, type Page, pathToRoot, sendPage, textsFor } from "./layout.js";
import type { Texts } from "./texts.js";

/** Thrown by a visit's calls: there is no value, and this is why. */
class Unanswered {
  constructor(readonly answer: Exclude<LoggedOutcome, { status: "success" }>) {}
}

export class Visit {
  readonly texts: Texts;
  readonly jwt: string | undefined;

  constructor(
    readonly c: HttpContext,
    readonly pages: Pages,
  ) {
    this.texts = textsFor(c);
    this.jwt = signedInJwt(c);
  }

  get t(): AdminTexts {
    return this.texts.admin;
  }

  /** The address of an admin's page, from the page that is being shown. */
  href(path: string): string {
    return `${pathToRoot(this.c)}admin${path}`;
  }

  query(path: string, args: Record<string, unknown>): Promise<unknown> {
    return this.#value("query", path, args);
  }

  mutation(path: string, args: Record<string, unknown>): Promise<unknown> {
    return this.#value("mutation", path, args);
  }

  async #value(kind: Kind, path: string, args: Record<string, unknown>): Promise<unknown> {
    const answer = await callFunction(this.c, this.pages, kind, path, args, this.jwt);
    if (answer.status !== "success") throw new Unanswered(answer);
    return answer.value;
  }

  /** Ends the visit where a list does not hold what was asked for. */
  missing(): never {
    throw new Unanswered({ status: "refused", error: new CallError("not_found", "Nothing found"), requestId: "" });
  }

  /** After something was done: to a page that says so. Reloading that page does nothing again. */
  redirect(path: string): Response {
    return new Response(null, { status: 303, headers: { Location: this.href(path), "Cache-Control": "no-store" } });
  }
}

/** The answer to a visit of somebody who is signed in; for anybody else, the sign-in form. */
export async function answerVisit(visit: Visit, answer: (visit: Visit) => Promise<Response>): Promise<Response> {
  const { c, texts, t } = visit;
  if (visit.jwt === undefined) {
    const looks = c.req.method === "GET" || c.req.method === "HEAD";
    return sendPage(c, texts, looks ? signInPage(visit, 200) : signInPage(visit, 401, t.signIn.ended));
  }
  try {
    return await answer(visit);
  } catch (thrown) {
    if (!(thrown instanceof Unanswered)) throw thrown;
    return sendUnanswered(visit, thrown.answer);
  }
}

function sendUnanswered(visit: Visit, answer: Exclude<LoggedOutcome, { status: "success" }>): Promise<Response> {
  const { c, texts, t } = visit;
  if (answer.status === "fault") return sendProblem(c, texts, answer, t.missing);
  switch (answer.error.code) {
    case "unauthenticated":
      return sendSignedOut(visit, signInPage(visit, 401, t.signIn.ended));
    case "forbidden":
      return sendSignedOut(visit, signInPage(visit, 403, t.signIn.lost));
    case "invalid_args":
      // Either what the admin wrote is wrong, or the address is, and then it opens nothing.
      return issuesOf(answer.error).some(({ path }) => path === "note" || path === "reason")
        ? sendPage(c, texts, refusedPage(visit, answer.error))
        : sendPage(c, texts, missingPage(visit));
    case "not_found":
      return sendPage(c, texts, missingPage(visit));
    case "rate_limited":
    case "unavailable":
    case "internal":
      return sendProblem(c, texts, answer, t.missing);
    default:
      return sendPage(c, texts, refusedPage(visit, answer.error));
  }
}

/** A page for somebody whose cookie is not valid, or no longer. */
async function sendSignedOut(visit: Visit, page: Page): Promise<Response> {
  const response = await sendPage(visit.c, visit.texts, page);
  response.headers.append("Set-Cookie", cookieHeader(visit.pages.publicUrl(), undefined));
  return response;
}

function issuesOf(error: CallError): { path: string }[] {
  const { issues } = error.data;
  return Array.isArray(issues) ? (issues as { path: string }[]) : [];
}

/** Why a function refused, in its own words. They may hold a user's, so they are framed like those. */
function refusedPage(visit: Visit, error: CallError): Page {
  const { refused } = visit.t;
  const page = adminPage(visit, undefined, refused.title, html`<p>${refused.text} ${foreignLine(error.message)}</p>`);
  return { ...page, status: errorCodes[error.code].status };
}

function missingPage(visit: Visit): Page {
  const { missing } = visit.t;
  return { ...adminPage(visit, undefined, missing.title, html`<p>${missing.text}</p>`), status: 404 };
}

export function signInPage(visit: Visit, status: number, problem?: string, email = ""): Page {
  const { signIn: t } = visit.t;
  return {
    status,
    title: t.title,
    admin: true,
    content: html`<h1>${t.title}</h1>
<p>${t.text}</p>
${problem === undefined ? "" : html`<p class="wrong" role="alert">${problem}</p>`}
<form method="post" action="${visit.href("/sign-in")}" class="narrow">
<div class="field"><label for="email">${t.email}</label>
<input type="email" id="email" name="email" value="${email}" autocomplete="username" required></div>
<div class="field"><label for="password">${t.password}</label>
<input type="password" id="password" name="password" autocomplete="current-password" required></div>
<button type="submit">${t.button}</button>
</form>`,
  };
}

/** The part of the pages that is shown. */
export type Tab = "queue" | "agents" | "sessions" | "audit";

const tabPaths: Record<Tab, string> = { queue: "", agents: "/agents", sessions: "/sessions", audit: "/audit" };

/** A page of somebody who is signed in: the menu, what was just done, the content. */
export function adminPage(visit: Visit, tab: Tab | undefined, title: string, content: Html): Page {
  const { t } = visit;
  const tabs = Object.entries(tabPaths) as [Tab, string][];
  return {
    status: 200,
    title,
    admin: true,
    content: html`<div class="menu">
<nav aria-label="${t.menu}">${tabs.map(
      ([name, path]) =>
        html`<a href="${visit.href(path)}"${name === tab ? html` aria-current="page"` : ""}>${t.tabs[name]}</a>`,
    )}</nav>
<form method="post" action="${visit.href("/sign-out")}"><button type="submit" class="light">${t.signOut}</button></form>
</div>
${doneNotice(visit)}
<h1>${title}</h1>
${content}`,
  };
}

/** What the redirect says was done: one of our own sentences, by its name. Whatever else stands there shows nothing. */
function doneNotice(visit: Visit): Html {
  const done = new Map(Object.entries(visit.t.deeds)).get(visit.c.req.query("done") ?? "");
  return done ? html`<p class="notice" role="status">${done.done}</p>` : html``;
}
