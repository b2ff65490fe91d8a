/**
 * What the admin's lists share: the status that they show, their pages, their facts, and the buttons that do something.
 */
import { html } from "hono/html";
import type { DeedName } from "./admin-texts.js";
import type { Visit } from "./admin-visit.js";
import { foreignLine } from "./foreign-text.js";
import type { Html } from "./layout.js";

/** As every list of the marketplace is (clawrent.md section 2.1). */
export interface List<Item> {
  data: Item[];
  total: number;
  page: number;
  limit: number;
}

/** Which part of a list is shown. It travels through a deed's address, so that an admin comes back to the same part. */
export interface ListPosition {
  status: string;
  page: number;
}

/** The position that an address names; where it names none of these, the first page of the first status. */
export function positionOf(visit: Visit, statuses: readonly [string, ...string[]]): ListPosition {
  const status = visit.c.req.query("status") ?? "";
  const page = Number(/^[1-9]\d{0,5}$/.exec(visit.c.req.query("page") ?? "")?.[0] ?? 1);
  return { status: statuses.includes(status) ? status : statuses[0], page };
}

/** A position as the end of an address. */
export function positionQuery({ status, page }: ListPosition): string {
  return `?status=${status}${page === 1 ? "" : `&page=${page}`}`;
}

/** Links to the other statuses of a list. */
export function statusLinks(
  visit: Visit,
  path: string,
  statuses: readonly string[],
  names: Record<string, string>,
  current: string,
): Html {
  return html`<nav class="statuses" aria-label="${visit.t.byStatus}">${statuses.map(
    (status) =>
      html`<a href="${visit.href(path)}${positionQuery({ status, page: 1 })}"${
        status === current ? html` aria-current="true"` : ""
      }>${names[status] ?? status}</a>`,
  )}</nav>`;
}

/** The items of a list, how many there are in all, and the way to its other pages. */
export function listItems<Item>(
  visit: Visit,
  path: string,
  place: ListPosition,
  list: List<Item>,
  empty: string,
  show: (item: Item) => Html,
): Html {
  const { t } = visit;
  const pages = Math.max(Math.ceil(list.total / list.limit), 1);
  const to = (page: number) => `${visit.href(path)}${positionQuery({ ...place, page })}`;
  return html`${list.data.length === 0 ? html`<p>${list.total === 0 ? empty : t.empty}</p>` : ""}
${list.data.map(show)}
<div class="pages">
${place.page > 1 ? html`<a class="way" rel="prev" href="${to(Math.min(place.page - 1, pages))}">${t.previous}</a>` : ""}
<span class="quiet">${t.total(list.total)}${pages > 1 ? html` · ${t.page(place.page, pages)}` : ""}</span>
${place.page < pages ? html`<a class="way" rel="next" href="${to(place.page + 1)}">${t.next}</a>` : ""}
</div>`;
}

/** The button of something that is done at once. */
export function deedButton(visit: Visit, deed: DeedName, address: string): Html {
  return html`<form method="post" action="${address}"><button type="submit" class="light">${visit.t.deeds[deed].button}</button></form>`;
}

/** The link to a page that asks first. */
export function askLink(visit: Visit, deed: DeedName, address: string): Html {
  return html`<a class="way grave" href="${address}">${visit.t.deeds[deed].button}</a>`;
}

/** One of our own words for a value; the value itself where we have none. */
export function nameOf(names: Record<string, string>, value: string): string {
  return Object.hasOwn(names, value) ? (names[value] ?? value) : value;
}

/** A row of a card; none where there is no value. */
export function factRow(name: string, value: Html | Html[] | null): { name: string; value: Html | Html[] }[] {
  return value === null ? [] : [{ name, value }];
}

/** An identifier or address that somebody else chose. */
export function foreignCode(value: string): Html {
  return html`<code>${foreignLine(value)}</code>`;
}
