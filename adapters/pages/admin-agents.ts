/** The review queue and the list of all agents: everything that an admin needs to judge one, and what can be done. */
import { html } from "hono/html";
import { type Capabilities, capabilityList, changesTable } from "./admin-changes.js";
import {
  askLink,
  deedButton,
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
import type { AdminTexts } from "./admin-texts.js";
import { adminPage, type Visit } from "./admin-visit.js";
import { foreignLine, foreignLines } from "./foreign-text.js";
import { factsCard, type Html, type Page, timeElement } from "./layout.js";

/** What is read of an agent (clawrent.md section 2.2) and its owner. */
export interface AdminAgent {
  id: string;
  owner: { id: string; name: string; email: string; status: string } | null;
  name: string;
  slug: string | null;
  description: string | null;
  longDescription: string | null;
  status: string;
  onlineStatus: string;
  capabilities: Capabilities;
  requiredPermissions: string[];
  providerProfile: Profile | null;
  /** The fields that wait for review, with their new values. */
  pendingChanges: Partial<Record<keyof AdminTexts["changes"]["fields"], unknown>> | null;
  /** Names what is shown here. */
  version: string;
  createdAt: string;
}

interface Profile {
  pricingModel: string;
  priceAmount: string;
  currency: string;
  hostingType: string;
  endpoint: string | null;
  healthCheckUrl: string | null;
  transparencyLevel: string;
  approvalMode: string;
  maxConcurrentSessions: number;
  maxConsumerSlots: number;
  totalSessions: number;
  reviewNote: string | null;
  updatedAt: string;
}

/** New agents, and listed agents whose owners want to change something of them. */
const queues = ["pending_review", "changed"] as const;
const listed = ["active", "suspended", "rejected"] as const;

/** The part of the agents that an address names: the review queue, or a part of the list. */
export function agentsPosition(visit: Visit): ListPosition {
  return positionOf(visit, [...queues, ...listed]);
}

/** The page that shows a part of the agents. */
export function agentPath({ status }: ListPosition): string {
  return queues.some((queue) => queue === status) ? "" : "/agents";
}

export async function queuePage(visit: Visit): Promise<Page> {
  const { t } = visit;
  const place = positionOf(visit, queues);
  const isOfChanges = place.status === "changed";
  const agents = (await visit.query("admin:listAgents", { ...place })) as List<AdminAgent>;
  return adminPage(
    visit,
    "queue",
    t.queue.title,
    html`${statusLinks(visit, "", queues, t.agentStatus, place.status)}
<p>${isOfChanges ? t.changes.text : t.queue.text}</p>
${agents.data.length > 0 ? html`<p class="quiet">${t.foreignWords}</p>` : ""}
${listItems(visit, "", place, agents, isOfChanges ? t.changes.empty : t.queue.empty, (agent) => queued(visit, place, agent))}`,
  );
}

/** One form with two buttons: the note goes with whichever is pressed. */
function queued(visit: Visit, place: ListPosition, agent: AdminAgent): Html {
  const { t } = visit;
  const address = (verb: string) => `${visit.href(`/agents/${agent.id}/${verb}`)}${positionQuery(place)}`;
  const [approve, reject] =
    place.status === "changed"
      ? ([
          ["approveChanges", "approve-changes"],
          ["rejectChanges", "reject-changes"],
        ] as const)
      : ([
          ["approveAgent", "approve"],
          ["rejectAgent", "reject"],
        ] as const);
  return html`<article class="item">
${agentFacts(visit, agent)}
<form method="post" action="${address(approve[1])}">
${versionField(agent)}
${noteField(visit, `note-${agent.id}`, "note")}
<div class="ways">
<button type="submit">${t.deeds[approve[0]].button}</button>
<button type="submit" class="grave" formaction="${address(reject[1])}">${t.deeds[reject[0]].button}</button>
</div>
</form>
</article>`;
}

/** Has the decision refused where the owner changed the agent after this page was made. */
export function versionField({ version }: AdminAgent): Html {
  return html`<input type="hidden" name="version" value="${version}">`;
}

/** What the functions take. */
const noteCharacters = { note: 1_000, reason: 500 };

export function noteField(visit: Visit, id: string, name: "note" | "reason"): Html {
  const { t } = visit;
  const label = name === "note" ? t.queue.note : t.reason;
  return html`<div class="field"><label for="${id}">${label} <span class="quiet">(${t.optional})</span></label>
<textarea id="${id}" name="${name}" rows="2" maxlength="${noteCharacters[name]}"></textarea></div>`;
}

export async function agentsPage(visit: Visit): Promise<Page> {
  const { t } = visit;
  const place = positionOf(visit, listed);
  const agents = (await visit.query("admin:listAgents", { ...place })) as List<AdminAgent>;
  return adminPage(
    visit,
    "agents",
    t.agents.title,
    html`${statusLinks(visit, "/agents", listed, t.agentStatus, place.status)}
${agents.data.length > 0 ? html`<p class="quiet">${t.foreignWords}</p>` : ""}
${listItems(visit, "/agents", place, agents, t.empty, (agent) => listedAgent(visit, place, agent))}`,
  );
}

function listedAgent(visit: Visit, place: ListPosition, agent: AdminAgent): Html {
  const { owner, status } = agent;
  const address = (verb: string) => `${visit.href(`/agents/${agent.id}/${verb}`)}${positionQuery(place)}`;
  const { brief, more } = factRows(visit, agent);
  return html`<article class="item">
${agent.pendingChanges === null ? "" : html`<p class="wrong">${visit.t.changes.waiting}</p>`}
${factsCard(brief)}
<details><summary>${visit.t.more}</summary>
${factsCard(more)}
</details>
<div class="ways">
${status === "active" ? askLink(visit, "suspendAgent", address("suspend")) : ""}
${status === "suspended" ? deedButton(visit, "reinstateAgent", address("reinstate")) : ""}
${owner?.status === "active" ? askLink(visit, "suspendUser", address("suspend-owner")) : ""}
${owner?.status === "suspended" ? deedButton(visit, "reinstateUser", address("reinstate-owner")) : ""}
</div>
</article>`;
}

/** All that is known of an agent, and the changes of it that wait. */
export function agentFacts(visit: Visit, agent: AdminAgent): Html {
  const { brief, more } = factRows(visit, agent);
  return html`${agent.pendingChanges === null ? "" : changesTable(visit, agent)}${factsCard([...brief, ...more])}`;
}

/**
 * The facts that tell an agent from others, and the rest. Its addresses are plain text, so that nobody follows them
 * from here.
 */
function factRows(visit: Visit, agent: AdminAgent) {
  const { texts, t } = visit;
  const { agent: names } = t;
  const profile = agent.providerProfile;
  const permissions = agent.requiredPermissions.map((id) => html`${foreignCode(id)} `);
  const brief = [
    ...factRow(names.name, foreignLine(agent.name)),
    ...factRow(names.owner, ownerLine(visit, agent.owner)),
    ...factRow(names.slug, agent.slug === null ? null : foreignCode(agent.slug)),
    ...factRow(names.description, paragraphs(visit, agent.description)),
    ...factRow(names.price, profile && html`${t.price(profile.priceAmount, profile.currency, profile.pricingModel)}`),
    ...factRow(names.online, html`${nameOf(t.onlineStatus, agent.onlineStatus)}`),
    ...factRow(names.earlierNote, profile?.reviewNote ? foreignLines(profile.reviewNote) : null),
  ];
  const more = [
    ...factRow(names.longDescription, agent.longDescription ? foreignLines(agent.longDescription) : null),
    ...factRow(names.capabilities, capabilityList(visit, agent.capabilities)),
    ...factRow(names.permissions, permissions.length > 0 ? permissions : html`${t.none}`),
    ...(profile === null ? [] : termRows(visit, profile)),
    ...factRow(names.registered, timeElement(texts, Date.parse(agent.createdAt))),
  ];
  return { brief, more };
}

function termRows({ texts, t }: Visit, profile: Profile) {
  const { agent: names } = t;
  return [
    ...factRow(names.hosting, html`${nameOf(t.hostingType, profile.hostingType)}`),
    ...factRow(names.endpoint, profile.endpoint === null ? null : foreignCode(profile.endpoint)),
    ...factRow(names.healthCheck, profile.healthCheckUrl === null ? null : foreignCode(profile.healthCheckUrl)),
    ...factRow(names.approval, html`${nameOf(t.approvalMode, profile.approvalMode)}`),
    ...factRow(names.transparency, html`${nameOf(t.transparencyLevel, profile.transparencyLevel)}`),
    ...factRow(names.atOnce, html`${profile.maxConcurrentSessions}`),
    ...factRow(names.slots, html`${profile.maxConsumerSlots}`),
    ...factRow(names.totalSessions, html`${profile.totalSessions}`),
    ...factRow(names.submitted, timeElement(texts, Date.parse(profile.updatedAt))),
  ];
}

function ownerLine(visit: Visit, owner: AdminAgent["owner"]): Html {
  const { t } = visit;
  if (owner === null) return html`${t.none}`;
  const standing = owner.status === "active" ? "" : html` <strong class="wrong">${t.agent.suspendedOwner}</strong>`;
  return html`${foreignLine(owner.name)} <span class="quiet">${foreignLine(owner.email)}</span>${standing}`;
}

function paragraphs(visit: Visit, text: string | null): Html | Html[] {
  const lines = foreignLines(text ?? "");
  return lines.length > 0 ? lines : html`${visit.texts.noDescription}`;
}
