/** What must hold of all money, a line per invariant. */
import { html } from "hono/html";
import { nameOf } from "./admin-lists.js";
import { adminPage, type Visit } from "./admin-visit.js";
import type { Page } from "./layout.js";

interface Finding {
  /** A sentence. */
  invariant: string;
  ok: boolean;
  detail: string;
}

export async function auditPage(visit: Visit): Promise<Page> {
  const { audit: t } = visit.t;
  const { ok: allHold, findings } = (await visit.query("admin:audit", {})) as { ok: boolean; findings: Finding[] };
  return adminPage(
    visit,
    "audit",
    t.title,
    html`<p>${t.text}</p>
<p class="${allHold ? "notice" : "notice wrong"}"><strong>${allHold ? t.allHold : t.broken}</strong></p>
<ul class="findings">${findings.map(
      ({ invariant, ok, detail }) =>
        html`<li class="${ok ? "holds" : "fails"}"><span>${nameOf(t.invariants, invariant)}</span>
<strong>${ok ? t.holds : t.fails}</strong>
<span class="quiet" lang="en">${detail}</span></li>`,
    )}</ul>`,
  );
}
