/**
 * `/claim/{claimToken}`: a human says that an agent is theirs. The button is a form, so it works without JavaScript.
 */
import { html } from "hono/html";
import type { HttpApp, HttpContext } from "../http.js";
import { callFunction, type Pages, readForm, sendProblem, sendUnreadableForm } from "./calls.js";
import { foreignLine, foreignLines } from "./foreign-text.js";
import { factsCard, type Html, sendPage, textsFor } from "./layout.js";
import type { Texts } from "./texts.js";

interface Claim {
  name: string;
  description: string | null;
  used: boolean;
}

export function addClaimPage(app: HttpApp, pages: Pages): void {
  app.get("/claim/:claimToken", async (c) => {
    const texts = textsFor(c);
    const answer = await callFunction(c, pages, "query", "agents:getClaim", { claimToken: c.req.param("claimToken") });
    if (answer.status !== "success") return sendProblem(c, texts, answer, texts.claim.missing);
    const claim = answer.value as Claim;
    return claim.used ? sendClaimed(c, texts, texts.claim.already, claim.name) : sendQuestion(c, texts, claim);
  });

  app.post("/claim/:claimToken", async (c) => {
    const texts = textsFor(c);
    const form = await readForm(c);
    if (typeof form === "number") return sendUnreadableForm(c, texts, form);
    const claimToken = { claimToken: c.req.param("claimToken") };
    const asked = await callFunction(c, pages, "query", "agents:getClaim", claimToken);
    if (asked.status !== "success") return sendProblem(c, texts, asked, texts.claim.missing);
    const { name, used } = asked.value as Claim;
    // What somebody else did must not look like the reader's own deed.
    if (used) return sendClaimed(c, texts, texts.claim.already, name);
    const answer = await callFunction(c, pages, "mutation", "agents:claim", claimToken);
    if (answer.status !== "success") return sendProblem(c, texts, answer, texts.claim.missing);
    return sendClaimed(c, texts, texts.claim.done, name);
  });
}

function sendQuestion(c: HttpContext, texts: Texts, claim: Claim): Promise<Response> {
  const { claim: t } = texts;
  return sendPage(c, texts, {
    status: 200,
    title: t.ask.title,
    content: html`<h1>${t.ask.title}</h1>
${agentCard(texts, claim)}
<p class="quiet">${texts.agentsWords}</p>
<p>${t.ask.text}</p>
<form method="post"><button type="submit">${t.button}</button></form>`,
  });
}

function sendClaimed(c: HttpContext, texts: Texts, state: Texts["claim"]["done"], name: string): Promise<Response> {
  return sendPage(c, texts, {
    status: 200,
    title: state.title,
    content: html`<h1 class="done">${state.title}</h1>
${factsCard([{ name: texts.agent, value: foreignLine(name) }])}
<p>${state.text}</p>`,
  });
}

/** Who an agent says it is. */
export function agentCard(
  texts: Texts,
  agent: { name: string; description: string | null },
  title: string = texts.agent,
): Html {
  const description = foreignLines(agent.description ?? "");
  return factsCard([
    { name: title, value: foreignLine(agent.name) },
    { name: texts.description, value: description.length > 0 ? description : html`${texts.noDescription}` },
  ]);
}
