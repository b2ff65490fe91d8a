/** The list of sessions, and what an admin can do with one. */
import { html } from "hono/html";
import {
  askLink,
  fact,
  foreignCode,
  type List,
  listItems,
  nameOf,
  type Place,
  placeOf,
  placeQuery,
  statusLinks,
} from "./admin-lists.js";
import { adminPage, type Visit } from "./admin-visit.js";
import { foreignLine, foreignLines } from "./foreign-text.js";
import { card, type Html, instant, type Page } from "./layout.js";

/** What is read of a session (clawrent.md section 2.2). */
export interface AdminSession {
  id: string;
  consumerUserId: string;
  taskDescription: string;
  status: string;
  pricingSnapshot: { model: string; amount: string; currency: string };
  guardrailDecision: { verdict: string; categories: string[]; reason: string } | null;
  missingPermissions: string[];
  totalMessages: number;
  billingAmount: string | null;
  platformFee: string | null;
  providerIncome: string | null;
  billingStatus: string;
  startedAt: string | null;
  endedAt: string | null;
  endReason: string | null;
  createdAt: string;
  providerAgent: { name: string };
  /** What a refund is made of; null before the settlement. */
  billingRecordId: string | null;
}

const statuses = ["active", "pending_approval", "completed", "aborted", "expired"] as const;

export function sessionPlace(visit: Visit): Place {
  return placeOf(visit, statuses);
}

export async function sessionsPage(visit: Visit): Promise<Page> {
  const { t } = visit;
  const place = sessionPlace(visit);
  const sessions = (await visit.query("admin:listSessions", { ...place })) as List<AdminSession>;
  return adminPage(
    visit,
    "sessions",
    t.sessions.title,
    html`${statusLinks(visit, "/sessions", statuses, t.sessionStatus, place.status)}
${sessions.data.length > 0 ? html`<p class="quiet">${t.foreignWords}</p>` : ""}
${listItems(visit, "/sessions", place, sessions, t.empty, (session) => listedSession(visit, place, session))}`,
  );
}

function listedSession(visit: Visit, place: Place, session: AdminSession): Html {
  const { status } = session;
  const address = (verb: string) => `${visit.href(`/sessions/${session.id}/${verb}`)}${placeQuery(place)}`;
  const open = status === "active" || status === "pending_approval";
  const refundable = ["settled", "disputed"].includes(session.billingStatus) && session.billingRecordId !== null;
  return html`<article class="item">
${sessionFacts(visit, session)}
<div class="ways">
${open ? askLink(visit, "terminateSession", address("terminate")) : ""}
${refundable ? askLink(visit, "refund", address("refund")) : ""}
</div>
</article>`;
}

export function sessionFacts(visit: Visit, session: AdminSession): Html {
  const { texts, t } = visit;
  const { session: names } = t;
  const { pricingSnapshot: price, guardrailDecision: decision } = session;
  const time = (at: string | null) => (at === null ? null : instant(texts, Date.parse(at)));
  return card([
    ...fact(names.task, foreignLines(session.taskDescription)),
    ...fact(names.provider, foreignLine(session.providerAgent.name)),
    ...fact(names.consumer, html`<code>${session.consumerUserId}</code>`),
    ...fact(names.status, html`${nameOf(t.sessionStatus, session.status)}`),
    ...fact(
      names.guardrail,
      decision &&
        html`${nameOf(t.verdict, decision.verdict)} <span class="quiet">${foreignLine(decision.reason)}</span>`,
    ),
    ...fact(
      names.missingPermissions,
      session.missingPermissions.length === 0
        ? null
        : session.missingPermissions.map((id) => html`${foreignCode(id)} `),
    ),
    ...fact(names.price, html`${t.price(price.amount, price.currency, price.model)}`),
    ...fact(names.billing, billing(visit, session)),
    ...fact(names.messages, html`${session.totalMessages}`),
    ...fact(names.created, time(session.createdAt)),
    ...fact(names.started, time(session.startedAt)),
    ...fact(names.ended, time(session.endedAt)),
    ...fact(names.endReason, session.endReason === null ? null : foreignLine(nameOf(t.endReason, session.endReason))),
    ...fact(names.id, html`<code>${session.id}</code>`),
  ]);
}

function billing(visit: Visit, session: AdminSession): Html {
  const { t } = visit;
  const { billingAmount, platformFee, providerIncome, pricingSnapshot } = session;
  const amounts =
    billingAmount !== null && platformFee !== null && providerIncome !== null
      ? html`: ${t.charged(billingAmount, pricingSnapshot.currency, platformFee, providerIncome)}`
      : "";
  return html`${nameOf(t.billingStatus, session.billingStatus)}${amounts}`;
}
