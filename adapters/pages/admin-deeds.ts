/**
 * What an admin can do. Every deed has one address: GET shows what it is about and asks, POST does it. So no link does
 * anything, and everything works without a script. The functions decide what may be done when.
 */
import { html } from "hono/html";
import { type AdminAgent, agentFacts, agentPath, agentsPosition, noteField, versionField } from "./admin-agents.js";
import { type List, positionQuery } from "./admin-lists.js";
import { type AdminSession, sessionFacts, sessionsPosition } from "./admin-sessions.js";
import type { DeedName } from "./admin-texts.js";
import { adminPage, type Tab, type Visit } from "./admin-visit.js";
import type { Html, Page } from "./layout.js";

interface Deed {
  /** Names its texts, and the function `admin:<name>` unless it names another one. */
  name: DeedName;
  function?: string;
  /** Below `/admin`, with the `:id` of what it is done to. */
  address: string;
  /** The argument that takes the admin's own words, if any. */
  note?: "note" | "reason";
  /** Whether it takes something away from somebody. */
  grave?: boolean;
  /** What it is about, to be shown to whoever is asked, and the fields that say what they looked at. */
  subject(visit: Visit, id: string): Promise<{ facts: Html; fields?: Html }>;
  /** Whether the form says which version was looked at. */
  isOfVersion?: boolean;
  args(visit: Visit, id: string): Promise<Record<string, string>> | Record<string, string>;
  tab: Tab;
  /** The page that the admin came from. */
  back(visit: Visit): string;
}

const ofAgent = {
  subject: async (visit: Visit, agentId: string) => ({ facts: agentFacts(visit, await findAgent(visit, agentId)) }),
  tab: "agents",
  back: (visit: Visit) => {
    const place = agentsPosition(visit);
    return `${agentPath(place)}${positionQuery(place)}`;
  },
} as const;
const ofAgentItself = { ...ofAgent, note: "note", args: (_visit: Visit, agentId: string) => ({ agentId }) } as const;
const ofReview = {
  ...ofAgentItself,
  isOfVersion: true,
  subject: async (visit: Visit, agentId: string) => {
    const agent = await findAgent(visit, agentId);
    return { facts: agentFacts(visit, agent), fields: versionField(agent) };
  },
} as const;
const ofOwner = {
  ...ofAgent,
  args: async (visit: Visit, agentId: string) => ({ userId: (await findAgent(visit, agentId)).owner?.id ?? "" }),
} as const;
const ofSession = {
  grave: true,
  subject: async (visit: Visit, sessionId: string) => ({
    facts: sessionFacts(visit, await findSession(visit, sessionId)),
  }),
  tab: "sessions",
  back: (visit: Visit) => `/sessions${positionQuery(sessionsPosition(visit))}`,
} as const;

export const adminDeeds: readonly Deed[] = [
  { ...ofReview, name: "approveAgent", address: "/agents/:id/approve" },
  { ...ofReview, name: "rejectAgent", address: "/agents/:id/reject", grave: true },
  { ...ofReview, name: "approveChanges", function: "approveAgent", address: "/agents/:id/approve-changes" },
  { ...ofReview, name: "rejectChanges", function: "rejectAgent", address: "/agents/:id/reject-changes", grave: true },
  { ...ofAgentItself, name: "suspendAgent", address: "/agents/:id/suspend", grave: true },
  { ...ofAgentItself, name: "reinstateAgent", address: "/agents/:id/reinstate" },
  { ...ofOwner, name: "suspendUser", address: "/agents/:id/suspend-owner", grave: true },
  { ...ofOwner, name: "reinstateUser", address: "/agents/:id/reinstate-owner" },
  {
    ...ofSession,
    name: "terminateSession",
    address: "/sessions/:id/terminate",
    note: "reason",
    args: (_visit, sessionId) => ({ sessionId }),
  },
  {
    ...ofSession,
    name: "refund",
    address: "/sessions/:id/refund",
    args: async (visit, sessionId) => ({ recordId: (await findSession(visit, sessionId)).billingRecordId ?? "" }),
  },
];

/** The page that asks. */
export async function askPage(visit: Visit, deed: Deed, id: string): Promise<Page> {
  const { t } = visit;
  const { ask, button } = t.deeds[deed.name];
  const { facts, fields } = await deed.subject(visit, id);
  return adminPage(
    visit,
    deed.tab,
    ask.title,
    html`<p>${ask.text}</p>
<p class="quiet">${t.foreignWords}</p>
${facts}
<form method="post">
${fields ?? ""}
${deed.note ? noteField(visit, "note", deed.note) : ""}
<div class="ways">
<button type="submit"${deed.grave ? html` class="grave"` : ""}>${button}</button>
<a class="way" href="${visit.href(deed.back(visit))}">${t.cancel}</a>
</div>
</form>`,
  );
}

/** Does it, and goes back to a page that says so. */
export async function doDeed(visit: Visit, deed: Deed, id: string, form: URLSearchParams): Promise<Response> {
  const note = deed.note === undefined ? "" : (form.get(deed.note) ?? "").trim();
  const version = form.get("version") ?? "";
  await visit.mutation(`admin:${deed.function ?? deed.name}`, {
    ...(await deed.args(visit, id)),
    ...(deed.note && note !== "" ? { [deed.note]: note } : {}),
    ...(deed.isOfVersion && version !== "" ? { version } : {}),
  });
  const back = deed.back(visit);
  return visit.redirect(`${back}${back.includes("?") ? "&" : "?"}done=${deed.name}`);
}

async function findAgent(visit: Visit, agentId: string): Promise<AdminAgent> {
  const { data } = (await visit.query("admin:listAgents", { agentId })) as List<AdminAgent>;
  return data[0] ?? visit.missing();
}

async function findSession(visit: Visit, sessionId: string): Promise<AdminSession> {
  const { data } = (await visit.query("admin:listSessions", { sessionId })) as List<AdminSession>;
  return data[0] ?? visit.missing();
}
