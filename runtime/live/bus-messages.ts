/**
 * What a process has to tell the others, and its messages: what was written and the notices, cut into pieces that fit
 * into a notification.
 */
import { forOthers, type Notice } from "../notices.js";
import { WriteSet } from "./read-and-write-sets.js";

/** PostgreSQL takes less than 8,000 bytes. */
const mostBytes = 7_800;

/** One part of a message: a table that was written to, or a notice. */
type Item = { w: unknown } | { n: Notice };

export interface Message {
  from: string;
  /** Rises with every message of a process, so that one that was sent twice is heard once. */
  number: number;
  items: Item[];
  /** Something before this one was given up. */
  lost?: true;
  /** The process ends, with everything told. */
  bye?: true;
}

/** What is to be told and is not yet on its way. */
export class Untold {
  #writes = new WriteSet();
  #notices: Notice[] = [];
  #number = 0;
  /** Something cannot be told: the others have to read everything again. */
  isLost = false;

  constructor(readonly processId: string) {}

  get notices(): number {
    return this.#notices.length;
  }

  get isEmpty(): boolean {
    return !this.isLost && this.#notices.length === 0 && this.#writes.isEmpty;
  }

  /** `writes` is undefined where nobody looked at what was written. */
  addWrites(writes: WriteSet | undefined): void {
    if (writes) this.#writes.merge(writes);
    else this.isLost = true;
  }

  addNotice(notice: Notice): void {
    const told = forOthers(notice);
    if (told) this.#notices.push(told);
  }

  giveUp(): void {
    this.#writes = new WriteSet();
    this.#notices = [];
    this.isLost = true;
  }

  /** Takes all of it, or the writes alone, as messages. */
  take(what: "all" | "writes" = "all"): string[] {
    const items: string[] = [];
    for (const [table, columns] of this.#writes.toJson()) {
      const item = JSON.stringify({ w: [table, columns] });
      const fits = Buffer.byteLength(item) <= mostBytes / 2;
      items.push(fits ? item : JSON.stringify({ w: [table, columns.map(([column]) => [column, null])] }));
    }
    this.#writes = new WriteSet();
    if (what === "all") {
      for (const notice of this.#notices) items.push(JSON.stringify({ n: shortened(notice) }));
      this.#notices = [];
    }

    const messages: string[] = [];
    let part: string[] = [];
    let bytes = 0;
    const close = () => {
      if (part.length > 0) messages.push(this.message(part));
      part = [];
      bytes = 0;
    };
    for (const item of items) {
      const length = Buffer.byteLength(item) + 1;
      // The rest of a message takes some two hundred bytes.
      if (bytes + length > mostBytes - 200) close();
      part.push(item);
      bytes += length;
    }
    close();
    if (this.isLost) messages.push(this.message([]));
    return messages;
  }

  /** The next message, with items that are JSON already. */
  message(items: readonly string[], more: Pick<Message, "bye"> = {}): string {
    this.#number += 1;
    const head = { from: this.processId, number: this.#number, ...more, ...(this.isLost ? { lost: true } : {}) };
    this.isLost = false;
    return `${JSON.stringify(head).slice(0, -1)},"items":[${items.join(",")}]}`;
  }
}

/** A message that is too long to travel is read by whoever needs it. */
function shortened(notice: Notice): Notice {
  if (notice.kind !== "sessionMessage" || notice.message === null) return notice;
  const { payload, mentions } = notice.message;
  // JSON text in JSON: up to twice as long, before the marks of other alphabets.
  const bytes = 2 * Buffer.byteLength(payload) + 64 * (mentions?.length ?? 0);
  return bytes <= mostBytes / 2 ? notice : { ...notice, message: null };
}
