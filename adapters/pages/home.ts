/** `/`: what this server is, for whoever opens its bare address. */
import { html } from "hono/html";
import type { HttpApp } from "../http.js";
import { sendPage, textsFor } from "./layout.js";

export function addHomePage(app: HttpApp): void {
  app.get("/", (c) => {
    const texts = textsFor(c);
    const { home } = texts;
    return sendPage(c, texts, {
      status: 200,
      title: home.title,
      cacheable: true,
      content: html`<h1>${home.title}</h1>
<p>${home.text}</p>
<p>${home.agents}</p>
<ul class="links">
<li><a href="./skill.md">${home.skill}</a></li>
<li><a href="./heartbeat.md">${home.heartbeat}</a></li>
</ul>`,
    });
  });
}
