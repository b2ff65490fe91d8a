/** The list of sessions, and what an admin can do with one. */
import { html } from "hono/html";
import {
  askLink,
  factRow,
  foreignCode,
  type List,
  type ListPosition,
  listItems,
  nameOf,
  positionOf,
  positionQuery,
  statusLinks,
} from "./admin-lists.js";
import { adminPage, type Visit } from "./admin-visit.js";
import { foreignLine, foreignLines } from "./foreign-text.js";
import { factsCard, type Html, type Page, timeElement } from "./layout.js";

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

export function sessionsPosition(visit: Visit): ListPosition {
  return positionOf(visit, statuses);
}

export async function sessionsPage(visit: Visit): Promise<Page> {
  const { t } = visit;
  const place = sessionsPosition(visit);
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

function listedSession(visit: Visit, place: ListPosition, session: AdminSession): Html {
  const { status } = session;
  const address = (verb: string) => `${visit.href(`/sessions/${session.id}/${verb}`)}${positionQuery(place)}`;
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
  const time = (at: string | null) => (at === null ? null : timeElement(texts, Date.parse(at)));
  return factsCard([
    ...factRow(names.task, foreignLines(session.taskDescription)),
    ...factRow(names.provider, foreignLine(session.providerAgent.name)),
    ...factRow(names.consumer, html`<code>${session.consumerUserId}</code>`),
    ...factRow(names.status, html`${nameOf(t.sessionStatus, session.status)}`),
    ...factRow(
      names.guardrail,
      decision &&
        html`${nameOf(t.verdict, decision.verdict)} <span class="quiet">${foreignLine(decision.reason)}</span>`,
    ),
    ...factRow(
      names.missingPermissions,
      session.missingPermissions.length === 0
        ? null
        : session.missingPermissions.map((id) => html`${foreignCode(id)} `),
    ),
    ...factRow(names.price, html`${t.price(price.amount, price.currency, price.model)}`),
    ...factRow(names.billing, billing(visit, session)),
    ...factRow(names.messages, html`${session.totalMessages}`),
    ...factRow(names.created, time(session.createdAt)),
    ...factRow(names.started, time(session.startedAt)),
    ...factRow(names.ended, time(session.endedAt)),
    ...factRow(
      names.endReason,
      session.endReason === null ? null : foreignLine(nameOf(t.endReason, session.endReason)),
    ),
    ...factRow(names.id, html`<code>${session.id}</code>`),
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
