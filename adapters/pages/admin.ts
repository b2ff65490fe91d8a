/**
 * `/admin`: sign in, review agents, look at agents, sessions and the ledger (clawrent.md section 2.10). Every page and
 * every form is a call of a function with the signed-in user's JWT, so the rules are those of every other caller.
 */
import { html } from "hono/html";
import type { HttpApp, HttpContext } from "../http.js";
import { cookieHeader, isOwnForm } from "./admin-access.js";
import { agentsPage, queuePage } from "./admin-agents.js";
import { auditPage } from "./admin-audit.js";
import { adminDeeds, askPage, doDeed } from "./admin-deeds.js";
import { sessionsPage } from "./admin-sessions.js";
import { answerVisit, signInPage, Visit } from "./admin-visit.js";
import { callFunction, type Pages, readForm, sendProblem, sendUnreadableForm } from "./calls.js";
import { type Page, sendPage } from "./layout.js";

export function addAdminPages(app: HttpApp, pages: Pages): void {
  const get = (address: string, show: (visit: Visit) => Promise<Page>) =>
    app.get(address, (c) =>
      answerVisit(new Visit(c, pages), async (visit) => sendPage(c, visit.texts, await show(visit))),
    );
  const post = (address: string, act: (visit: Visit, form: URLSearchParams) => Promise<Response>) =>
    app.post(address, (c) => withForm(new Visit(c, pages), act));

  get("/admin", queuePage);
  get("/admin/agents", agentsPage);
  get("/admin/sessions", sessionsPage);
  get("/admin/audit", auditPage);
  for (const deed of adminDeeds) {
    const address = `/admin${deed.address}`;
    const id = (c: HttpContext) => c.req.param("id") ?? "";
    get(address, (visit) => askPage(visit, deed, id(visit.c)));
    post(address, (visit, form) => answerVisit(visit, () => doDeed(visit, deed, id(visit.c), form)));
  }
  post("/admin/sign-in", signIn);
  post("/admin/sign-out", signOut);
}

/** The form of a post that these pages sent. */
async function withForm(
  visit: Visit,
  act: (visit: Visit, form: URLSearchParams) => Promise<Response>,
): Promise<Response> {
  const { c, texts, t } = visit;
  if (!isOwnForm(c, visit.pages.publicUrl())) {
    c.env.incoming.resume();
    return sendPage(c, texts, {
      status: 403,
      title: t.foreign.title,
      admin: true,
      content: html`<h1>${t.foreign.title}</h1>
<p>${t.foreign.text}</p>
<p><a class="way" href="${visit.href("")}">${t.back}</a></p>`,
    });
  }
  const form = await readForm(c);
  return typeof form === "number" ? sendUnreadableForm(c, texts, form) : act(visit, form);
}

/** The right password of somebody who is no admin gets no cookie: it would open nothing here. */
async function signIn(visit: Visit, form: URLSearchParams): Promise<Response> {
  const { c, pages, texts, t } = visit;
  const email = form.get("email") ?? "";
  const answer = await callFunction(c, pages, "mutation", "users:signIn", {
    email,
    password: form.get("password") ?? "",
  });
  if (answer.status === "success") {
    const { user, token } = answer.value as { user: { isAdmin: boolean }; token: string };
    if (!user.isAdmin) {
      await callFunction(c, pages, "mutation", "users:signOut", {}, token);
      return sendPage(c, texts, signInPage(visit, 403, t.signIn.notAdmin, email));
    }
    return redirectWith(visit, token);
  }
  if (answer.status === "fault") return sendProblem(c, texts, answer, t.missing);
  const { code, data } = answer.error;
  switch (code) {
    case "unauthenticated":
    case "invalid_args":
      return sendPage(c, texts, signInPage(visit, 401, t.signIn.wrong, email));
    case "forbidden":
      return sendPage(c, texts, signInPage(visit, 403, t.signIn.suspended, email));
    case "rate_limited": {
      const { retryAfterMs } = data;
      const page = signInPage(visit, 429, t.signIn.tooMany, email);
      return sendPage(c, texts, { ...page, ...(typeof retryAfterMs === "number" ? { retryAfterMs } : {}) });
    }
    default:
      return sendProblem(c, texts, answer, t.missing);
  }
}

/** The cookie is removed in any case. Where its sign-in could not be ended, that runs out by itself. */
async function signOut(visit: Visit): Promise<Response> {
  if (visit.jwt !== undefined) await callFunction(visit.c, visit.pages, "mutation", "users:signOut", {}, visit.jwt);
  return redirectWith(visit, undefined);
}

/** To the first page, with the cookie of a sign-in or without any. */
function redirectWith(visit: Visit, jwt: string | undefined): Response {
  const response = visit.redirect("");
  response.headers.append("Set-Cookie", cookieHeader(visit.pages.publicUrl(), jwt));
  return response;
}
