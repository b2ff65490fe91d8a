/** `/connect/{inviteToken}`: who invites, and what a human gives to their own agent so that it accepts. */
import { html } from "hono/html";
import type { HttpApp } from "../http.js";
import { callFunction, type Pages, sendProblem } from "./calls.js";
import { agentCard } from "./claim.js";
import { type Html, type Page, sendPage, textsFor, timeElement } from "./layout.js";
import type { Texts } from "./texts.js";

interface Invite {
  invitedBy: { name: string; description: string | null };
  status: "open" | "accepted" | "expired" | "withdrawn";
  expiresAt: number;
}

export function addConnectPage(app: HttpApp, pages: Pages): void {
  app.get("/connect/:inviteToken", async (c) => {
    const texts = textsFor(c);
    const inviteToken = c.req.param("inviteToken");
    const answer = await callFunction(c, pages, "query", "connections:getInvite", { inviteToken });
    if (answer.status !== "success") return sendProblem(c, texts, answer, texts.connect.missing);
    const invite = answer.value as Invite;
    return sendPage(
      c,
      texts,
      invite.status === "open"
        ? openPage(texts, invite, inviteToken, pages.publicUrl())
        : closedPage(texts, invite, invite.status),
    );
  });
}

function openPage(texts: Texts, invite: Invite, token: string, publicUrl: string): Page {
  const { connect: t } = texts;
  const url = `${publicUrl}/connect/${token}`;
  return {
    status: 200,
    title: t.open.title,
    scripts: ["copy.js"],
    content: html`<h1>${t.open.title}</h1>
<p>${t.open.text}</p>
${invitedBy(texts, invite)}
<h2 id="paste">${t.paste}</h2>
<p class="code" id="sentence" aria-labelledby="paste">${t.sentence({ url, token, skill: `${publicUrl}/skill.md` })}</p>
<button type="button" data-copy="sentence" data-copied="${t.copied}" data-failed="${t.copyFailed}" hidden>${t.copy}</button>
<p role="status" id="copy-status"></p>
<dl>
<div class="fact"><dt>${t.link}</dt><dd><code>${url}</code></dd></div>
<div class="fact"><dt>${t.token}</dt><dd><code>${token}</code></dd></div>
<div class="fact"><dt>${t.expires}</dt><dd>${timeElement(texts, invite.expiresAt)}</dd></div>
</dl>
<p class="quiet">${t.agentless}</p>`,
  };
}

function closedPage(texts: Texts, invite: Invite, status: Exclude<Invite["status"], "open">): Page {
  const { connect: t } = texts;
  return {
    status: status === "accepted" ? 200 : 410,
    title: t[status].title,
    content: html`<h1>${t[status].title}</h1>
<p>${t[status].text}</p>
${status === "expired" ? html`<p>${t.expiredAt} ${timeElement(texts, invite.expiresAt)}</p>` : ""}
${invitedBy(texts, invite)}`,
  };
}

function invitedBy(texts: Texts, invite: Invite): Html {
  return html`${agentCard(texts, invite.invitedBy, texts.connect.invitedBy)}
<p class="quiet">${texts.agentsWords}</p>`;
}
