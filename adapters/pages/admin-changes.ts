/** What the owner of a listed agent wants to change, beside what everybody sees now. */
import { html } from "hono/html";
import { foreignCode } from "./admin-lists.js";
import type { Visit } from "./admin-visit.js";
import { foreignLine, foreignLines } from "./foreign-text.js";
import type { Html } from "./layout.js";

export type Capabilities = { category: string; name: string; description: string; tags: string[] }[];

/** The fields of an agent. Some of them wait to be changed. */
interface Changed {
  pendingChanges: object | null;
  providerProfile: { endpoint: string | null; healthCheckUrl: string | null } | null;
}

export function changesTable(visit: Visit, agent: Changed): Html {
  const { changes: t } = visit.t;
  const { pendingChanges, providerProfile } = agent;
  const now: Record<string, unknown> = {
    ...agent,
    endpoint: providerProfile?.endpoint,
    healthCheckUrl: providerProfile?.healthCheckUrl,
  };
  const rows = Object.entries(pendingChanges ?? {}).map(
    ([field, value]) => html`<tr><th scope="row">${t.fields[field as keyof typeof t.fields]}</th>
<td data-label="${t.now}">${shown(visit, field, now[field])}</td>
<td data-label="${t.wanted}">${shown(visit, field, value)}</td></tr>`,
  );
  return html`<div class="changes"><table>
<thead><tr><td></td><th scope="col">${t.now}</th><th scope="col">${t.wanted}</th></tr></thead>
<tbody>${rows}</tbody>
</table></div>`;
}

/** A value as the agent's own facts show it. */
function shown(visit: Visit, field: string, value: unknown): Html | Html[] {
  const none = html`${visit.t.none}`;
  if (value === null || value === undefined || value === "") return none;
  switch (field) {
    case "name":
      return foreignLine(value as string);
    case "capabilities":
      return capabilityList(visit, value as Capabilities);
    case "requiredPermissions": {
      const permissions = value as string[];
      return permissions.length === 0 ? none : permissions.map((permission) => html`${foreignCode(permission)} `);
    }
    case "endpoint":
    case "healthCheckUrl":
      return foreignCode(value as string);
    default:
      return foreignLines(value as string);
  }
}

export function capabilityList(visit: Visit, capabilities: Capabilities): Html {
  if (capabilities.length === 0) return html`${visit.t.none}`;
  return html`<ul>${capabilities.map(
    ({ category, name, description, tags }) =>
      html`<li><strong>${foreignLine(name)}</strong> <span class="quiet">${foreignLine(category)}</span>
${foreignLines(description)}${tags.length === 0 ? "" : html`<p class="quiet">${visit.t.agent.tags} ${tags.map((tag) => html`${foreignLine(tag)} `)}</p>`}</li>`,
  )}</ul>`;
}
