/** How a page calls functions and reads its forms, and the plain page for an outcome that has no page of its own. */
import { html } from "hono/html";
import type { Outcome } from "../../runtime/call/call.js";
import type { Kind } from "../../runtime/call/define.js";
import type { Dispatcher } from "../../runtime/call/dispatch.js";
import { errorCodes } from "../../runtime/errors.js";
import { type HttpContext, readBody } from "../http.js";
import { newCall, originOf } from "../new-call.js";
import { type Page, sendPage } from "./layout.js";
import type { Texts } from "./texts.js";

/** What every page is given. */
export interface Pages {
  dispatcher: Dispatcher;
  /** Base of every link that is handed out, without a trailing slash. Known only once the server listens. */
  publicUrl(): string;
}

/** An outcome, with the id by which the log knows its call. */
export type LoggedOutcome = Outcome & { requestId: string };

/**
 * Calls a function. Without a JWT it is called as nobody: whoever opens a link proves themselves by the token in it.
 */
export async function callFunction(
  c: HttpContext,
  { dispatcher }: Pages,
  kind: Kind,
  path: string,
  args: Record<string, unknown>,
  jwt?: string,
): Promise<LoggedOutcome> {
  const authorization = jwt === undefined ? undefined : `Bearer ${jwt}`;
  const call = newCall({ path, kind, args }, { ...originOf(c), authorization });
  return { ...(await dispatcher.dispatch(call)), requestId: call.requestId };
}

/** The fields of a posted form, or the status that says why there are none. */
export async function readForm(c: HttpContext): Promise<URLSearchParams | number> {
  const contentType = c.env.incoming.headers["content-type"] ?? "application/x-www-form-urlencoded";
  if (!/^application\/x-www-form-urlencoded\s*(;|$)/i.test(contentType)) {
    c.env.incoming.resume();
    return 415;
  }
  const body = await readBody(c);
  return typeof body === "string" ? new URLSearchParams(body) : errorCodes[body.code].status;
}

/** The page for an answer that the caller has no state for. `missing` is what it says where the token opens nothing. */
export function sendProblem(
  c: HttpContext,
  texts: Texts,
  answer: Exclude<LoggedOutcome, { status: "success" }>,
  missing: Texts["problems"]["missing"],
): Promise<Response> {
  const { problems } = texts;
  if (answer.status === "fault") {
    const id = html`<p class="quiet">${problems.requestId} <code>${answer.requestId}</code></p>`;
    return sendPage(c, texts, problemPage(500, problems.fault, id));
  }
  const { code, data } = answer.error;
  // A token that no function takes opens as little as a wrong one.
  if (code === "not_found" || code === "invalid_args") return sendPage(c, texts, problemPage(404, missing));
  const problem = code === "rate_limited" ? problems.tooMany : code === "unavailable" ? problems.busy : problems.fault;
  const { retryAfterMs } = data;
  return sendPage(c, texts, {
    ...problemPage(errorCodes[code].status, problem),
    ...(typeof retryAfterMs === "number" ? { retryAfterMs } : {}),
  });
}

/** The page for a form that could not be read. */
export function sendUnreadableForm(c: HttpContext, texts: Texts, status: number): Promise<Response> {
  return sendPage(c, texts, problemPage(status, texts.problems.unreadable));
}

function problemPage(status: number, problem: { title: string; text: string }, more = html``): Page {
  return {
    status,
    title: problem.title,
    content: html`<h1>${problem.title}</h1>
<p>${problem.text}</p>
${more}`,
  };
}
