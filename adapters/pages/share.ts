/**
 * `/share/{shareToken}`: a human tells an agent where they are. The browser's own position is offered where JavaScript
 * runs, through the same form that takes numbers by hand: the script fills in the fields and sends it.
 */
import { html } from "hono/html";
import type { CallError } from "../../runtime/errors.js";
import type { HttpApp } from "../http.js";
import { callFunction, type Pages, readForm, sendProblem, sendUnreadableForm } from "./calls.js";
import { parseDegrees, splitPair } from "./coordinates.js";
import { foreignLine } from "./foreign-text.js";
import { factsCard, type Html, type Page, sendPage, textsFor, timeElement } from "./layout.js";
import type { Texts } from "./texts.js";

interface ShareRequest {
  agentName: string;
  label: string | null;
  status: "pending" | "completed" | "expired";
  expiresAt: number;
}

/** The form as it was sent, to be shown again, and which of its fields are wrong. */
interface Entry {
  lat: string;
  lng: string;
  wrong: ReadonlySet<string>;
}

/** What a refused post answers with, by the state that the link is in. */
const afterRefusal = { pending: 400, completed: 409, expired: 410 } as const;
const blank: Entry = { lat: "", lng: "", wrong: new Set() };

export function addSharePage(app: HttpApp, pages: Pages): void {
  const getRequest = "events:getShareRequest";

  app.get("/share/:shareToken", async (c) => {
    const texts = textsFor(c);
    const answer = await callFunction(c, pages, "query", getRequest, { shareToken: c.req.param("shareToken") });
    if (answer.status !== "success") return sendProblem(c, texts, answer, texts.share.missing);
    return sendPage(c, texts, statePage(texts, answer.value as ShareRequest, blank));
  });

  app.post("/share/:shareToken", async (c) => {
    const texts = textsFor(c);
    const form = await readForm(c);
    if (typeof form === "number") return sendUnreadableForm(c, texts, form);
    const shareToken = c.req.param("shareToken");
    const [lat, lng] = splitPair(form.get("lat") ?? "", form.get("lng") ?? "");
    const accuracyMeters = parseDegrees(form.get("accuracyMeters") ?? "");
    const submitted = await callFunction(c, pages, "mutation", "events:submitLocationShare", {
      shareToken,
      // A field that is no number is left out. The function then names the field, as it does where a number is out of
      // range.
      ...(Number.isNaN(parseDegrees(lat)) ? {} : { lat: parseDegrees(lat) }),
      ...(Number.isNaN(parseDegrees(lng)) ? {} : { lng: parseDegrees(lng) }),
      ...(Number.isNaN(accuracyMeters) ? {} : { accuracyMeters }),
    });
    if (submitted.status === "success") {
      return sendPage(c, texts, messagePage(200, texts.share.completed, true));
    }
    if (submitted.status !== "refused") return sendProblem(c, texts, submitted, texts.share.missing);

    // The page for the state that the link is in now, with what was wrong.
    const answer = await callFunction(c, pages, "query", getRequest, { shareToken });
    if (answer.status !== "success") return sendProblem(c, texts, answer, texts.share.missing);
    const entry = { lat: lat.trim(), lng: lng.trim(), wrong: wrongFields(submitted.error) };
    const request = answer.value as ShareRequest;
    const page = statePage(texts, request, entry);
    return sendPage(c, texts, { ...page, status: afterRefusal[request.status] });
  });
}

function wrongFields(error: CallError): Set<string> {
  const issues = Array.isArray(error.data["issues"]) ? (error.data["issues"] as { path: string }[]) : [];
  return new Set(issues.map(({ path }) => path));
}

function statePage(texts: Texts, request: ShareRequest, entry: Entry): Page {
  const { share } = texts;
  if (request.status === "completed") return messagePage(200, share.already, true);
  if (request.status === "expired") return messagePage(410, share.expired);
  return {
    status: 200,
    title: share.ask.title,
    scripts: ["share.js"],
    content: html`<h1>${share.ask.title}</h1>
<p>${share.ask.text}</p>
${factsCard([
  { name: share.askedBy, value: foreignLine(request.agentName) },
  { name: share.reason, value: request.label?.trim() ? foreignLine(request.label) : html`${share.noReason}` },
])}
<p class="quiet">${texts.agentsWords}</p>
<p>${share.privacy}</p>
${browserPosition(share)}
${manualForm(share, entry)}
<p class="quiet">${share.expires} ${timeElement(texts, request.expiresAt)}</p>`,
  };
}

/** Hidden until share.js finds that it runs. */
function browserPosition(t: Texts["share"]): Html {
  return html`<button type="button" id="share" hidden>${t.button}</button>
<p role="status" id="share-status" data-waiting="${t.waiting}" data-sending="${t.sending}" data-denied="${t.denied}"
data-unavailable="${t.unavailable}" data-timeout="${t.timeout}" data-unsupported="${t.unsupported}"></p>`;
}

/** Shown open, since without JavaScript it is the only way. share.js closes it as long as nothing was entered. */
function manualForm(t: Texts["share"], entry: Entry): Html {
  const { wrong } = entry;
  return html`<details id="manual" open${wrong.size > 0 ? html` data-wrong` : ""}>
<summary>${t.manual}</summary>
<form method="post" id="position" novalidate>
${wrong.size > 0 ? html`<p class="wrong" role="alert">${t.invalid}</p>` : ""}
<p class="quiet">${t.manualHint}</p>
${field("lat", t.lat, t.latHint, entry.lat, wrong.has("lat") ? t.latInvalid : undefined)}
${field("lng", t.lng, t.lngHint, entry.lng, wrong.has("lng") ? t.lngInvalid : undefined)}
<input type="hidden" name="accuracyMeters" value="">
<button type="submit">${t.send}</button>
</form>
</details>`;
}

function field(name: string, label: string, hint: string, value: string, problem: string | undefined): Html {
  // Text, not number: a browser would empty a number field with a decimal comma or a pair in it. Most phones' decimal
  // keypads have no minus sign, so the keyboard is the full one.
  return html`<div class="field">
<label for="${name}">${label}</label>
<input type="text" id="${name}" name="${name}" value="${value}" autocomplete="off" autocapitalize="off" spellcheck="false"
aria-describedby="${name}-hint"${problem === undefined ? "" : html` aria-invalid="true"`}>
<p class="${problem === undefined ? "quiet" : "wrong"}" id="${name}-hint">${problem ?? hint}</p>
</div>`;
}

function messagePage(status: number, message: { title: string; text: string }, done = false): Page {
  return {
    status,
    title: message.title,
    content: html`<h1${done ? html` class="done"` : ""}>${message.title}</h1>
<p>${message.text}</p>`,
  };
}
