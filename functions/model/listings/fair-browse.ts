/**
 * Pages of the listed agents on which nobody crowds out the others: at most three of one owner while others' remain.
 * Listings are taken in the list's order; further ones of an owner who has three on a page wait for the next page,
 * where they come first. Only where that does not fill a page does each owner get three more, and so on. So every page
 * but the last is full, and page numbers and totals mean what they say.
 *
 * The listings of one owner are shown in the list's order. A reader's position is therefore how far the list was read,
 * and for each owner with waiting listings the last one that was shown. There are never more than `limit / 3` such
 * owners, and an owner has a bounded number of agents, so the number of waiting listings is bounded.
 */
import { caps } from "../caps.js";
import { notOfThisList } from "../cursors.js";

/** How many listings of one owner a page holds while others' remain. */
export const mostOfOwner = 3;

/** The position of a listing in the order, highest first. */
export interface ListingPosition {
  sortKey: number;
  agentId: string;
}
export interface Listing extends ListingPosition {
  ownerId: string;
}

/** The position of a reader. */
interface Progress {
  /** The last listing that was looked at. */
  lookedAt: ListingPosition;
  /** For each owner (by the end of the id) with waiting listings before `lookedAt`: the last one that was shown. */
  lastShown: ReadonlyMap<string, ListingPosition>;
}

/** How many listings after a page may have to be read to fill it. */
export function lookAhead(limit: number): number {
  return Math.ceil(limit / mostOfOwner) * caps.agents.most;
}

function isBehind(one: ListingPosition, other: ListingPosition): boolean {
  return one.sortKey < other.sortKey || (one.sortKey === other.sortKey && one.agentId < other.agentId);
}

/** The position after which a reader may find something that was not shown. */
export function startOf({ lookedAt, lastShown }: Progress): ListingPosition {
  return [...lastShown.values()].reduce((first, shown) => (isBehind(first, shown) ? shown : first), lookedAt);
}

/** Hands out page after page of listings in the list's order, from the front or from where a reader is. */
export class Pages {
  /** Passed over on an earlier page, in the list's order. */
  #waiting: Listing[] = [];
  readonly #unseen: readonly Listing[];
  #next = 0;
  #lookedAt: ListingPosition | undefined;
  readonly #shown: Map<string, ListingPosition>;
  /** Whether the listings reach to where the reader is, so that all that waits is among them. */
  readonly reachesReader: boolean;

  constructor(
    listings: readonly Listing[],
    from: Progress | undefined,
    readonly limit: number,
    readonly most: number,
  ) {
    this.#lookedAt = from?.lookedAt;
    this.#shown = new Map(from?.lastShown);
    const firstUnseen = from ? listings.findIndex((listing) => isBehind(listing, from.lookedAt)) : 0;
    this.reachesReader = firstUnseen >= 0;
    const seen = firstUnseen < 0 ? listings : listings.slice(0, firstUnseen);
    this.#unseen = firstUnseen < 0 ? [] : listings.slice(firstUnseen);
    this.#waiting = seen.filter((listing) => {
      const last = this.#shown.get(tagOf(listing));
      return last !== undefined && isBehind(listing, last);
    });
  }

  /**
   * The next page, of what is among the first `end` unseen listings. `isShort`: three of each owner did not fill it.
   */
  take(end = this.#unseen.length): { page: Listing[]; isShort: boolean } {
    const page: Listing[] = [];
    const places = new Map<string, number>();
    /** Takes from the front of these, up to `most` of one owner. Returns what was passed over. */
    const takeFrom = (listings: Iterable<Listing>, most: number) => {
      const passed: Listing[] = [];
      for (const listing of listings) {
        const had = places.get(listing.ownerId) ?? 0;
        if (had >= most || page.length === this.limit) passed.push(listing);
        else {
          places.set(listing.ownerId, had + 1);
          page.push(listing);
        }
      }
      return passed;
    };
    let passed = takeFrom(this.#waiting, this.most);
    const last = Math.min(end, this.#unseen.length);
    while (page.length < this.limit && this.#next < last) {
      passed.push(...takeFrom(this.#unseen.slice(this.#next, this.#next + 1), this.most));
      this.#next += 1;
    }
    const isShort = page.length < this.limit;
    for (let most = 2 * this.most; page.length < this.limit && passed.length > 0; most += this.most) {
      passed = takeFrom(passed, most);
    }
    if (isShort) page.sort((one, other) => (isBehind(one, other) ? 1 : -1));
    this.#waiting = passed;
    for (const listing of page) this.#shown.set(tagOf(listing), listing);
    this.#lookedAt = this.#unseen[this.#next - 1] ?? this.#lookedAt;
    return { page, isShort };
  }

  /** Whether something is left of the listings that were given. */
  get hasMore(): boolean {
    return this.#waiting.length > 0 || this.#next < this.#unseen.length;
  }

  /** The reader's position now; undefined where nothing was read. */
  get progress(): Progress | undefined {
    if (!this.#lookedAt) return undefined;
    const waiting = new Set(this.#waiting.map(tagOf));
    // What waits beyond these listings goes on waiting.
    const lastShown = [...this.#shown].filter(([owner]) => !this.reachesReader || waiting.has(owner));
    return { lookedAt: this.#lookedAt, lastShown: new Map(lastShown) };
  }
}

/** The random end of an owner's id, which keeps cursors short. */
function tagOf({ ownerId }: Listing): string {
  return ownerId.slice(-12);
}

const nothingWaits = "-";
/** The most owners in a cursor: more than any page leaves waiting. */
const mostWaiting = 100;

export function writeLastShown(lastShown: Progress["lastShown"]): string {
  const owners = [...lastShown].slice(0, mostWaiting);
  return owners.map(([owner, { sortKey, agentId }]) => `${owner} ${sortKey} ${agentId}`).join("\n") || nothingWaits;
}

export function readLastShown(text: string, kind: "integer" | "real"): Progress["lastShown"] {
  const owners = text === nothingWaits ? [] : text.split("\n");
  if (owners.length > mostWaiting) throw notOfThisList();
  return new Map(
    owners.map((each) => {
      const [, owner = "", number = "", agentId = ""] = /^(\S{1,12}) (\S{1,30}) ([\w-]{1,200})$/.exec(each) ?? [];
      const sortKey = Number(number);
      const fits = kind === "integer" ? Number.isSafeInteger(sortKey) : Number.isFinite(sortKey);
      if (owner === "" || !fits || String(sortKey) !== number) throw notOfThisList();
      return [owner, { sortKey, agentId }];
    }),
  );
}
