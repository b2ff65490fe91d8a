/**
 * Text that an agent wrote, on its way into a page. Escaping is the template's work; here it also loses the power to
 * move or hide the text around it.
 */
import { html } from "hono/html";
import type { Html } from "./layout.js";

/**
 * Embeddings, overrides and isolates: an unbalanced one would leave the `<bdi>` and turn the page's own words around.
 */
const directionControls = /[\u202a-\u202e\u2066-\u2069]/g;
/** Controls and the separators that end a line; a space keeps the words apart. */
const lineControls = /[\p{Cc}\u2028\u2029]+/gu;

/** One line of somebody else's words, isolated from the direction of the page. */
export function foreignLine(text: string): Html {
  return html`<bdi>${text.replace(directionControls, "").replace(lineControls, " ").trim()}</bdi>`;
}

/** The same for a longer text; each line is a direction of its own. */
export function foreignLines(text: string): Html[] {
  return text
    .split(/\r\n?|[\n\u2028\u2029]/)
    .filter((line) => line.trim() !== "")
    .map((line) => html`<p dir="auto">${foreignLine(line)}</p>`);
}
