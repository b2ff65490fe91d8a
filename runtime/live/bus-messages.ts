/**
 * The messages that a process sends to the others: its writes and its notices, cut into pieces that fit into a
 * PostgreSQL notification. When they are sent is up to bus.ts.
 */
import { forOthers, type Notice } from "../notices.js";
import { WriteSet } from "./read-and-write-sets.js";

/** PostgreSQL accepts payloads of less than 8,000 bytes. */
const mostBytes = 7_800;

/** One part of a message: a table with the values that were written to it, or a notice. */
type Item = { w: unknown } | { n: Notice };

/** What one process tells the others in one notification. */
export interface Message {
  from: string;
  /** Rises with every message of a process, so that a message that was sent twice is handled once. */
  number: number;
  items: Item[];
  /** Something before this message could not be told. */
  lost?: true;
  /** The process is stopping and has told everything. */
  bye?: true;
}

/** What a process has still to tell. */
export class Untold {
  #writes = new WriteSet();
  #notices: Notice[] = [];
  #number = 0;
  /** Something could not be told, so the others have to read everything again. */
  isLost = false;

  constructor(readonly processId: string) {}

  get notices(): number {
    return this.#notices.length;
  }

  get isEmpty(): boolean {
    return !this.isLost && this.#notices.length === 0 && this.#writes.isEmpty;
  }

  /** `writes` is undefined if nobody recorded what was written. */
  addWrites(writes: WriteSet | undefined): void {
    if (writes) this.#writes.merge(writes);
    else this.isLost = true;
  }

  /** Leaves out what does not concern other processes. */
  addNotice(notice: Notice): void {
    const told = forOthers(notice);
    if (told) this.#notices.push(told);
  }

  /** Drops everything; the others will have to read again. */
  giveUp(): void {
    this.#writes = new WriteSet();
    this.#notices = [];
    this.isLost = true;
  }

  /** Takes everything, or the writes alone, as messages. */
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
      // The rest of a message takes about two hundred bytes.
      if (bytes + length > mostBytes - 200) close();
      part.push(item);
      bytes += length;
    }
    close();
    if (this.isLost) messages.push(this.message([]));
    return messages;
  }

  /** The next message. `items` are JSON already. */
  message(items: readonly string[], more: Pick<Message, "bye"> = {}): string {
    this.#number += 1;
    const head = { from: this.processId, number: this.#number, ...more, ...(this.isLost ? { lost: true } : {}) };
    this.isLost = false;
    return `${JSON.stringify(head).slice(0, -1)},"items":[${items.join(",")}]}`;
  }
}

/** Leaves the text out of a notice if it is too long to send; processes that need it read it from the database. */
function shortened(notice: Notice): Notice {
  if (notice.kind !== "sessionMessage" || notice.message === null) return notice;
  const { payload, mentions } = notice.message;
  // JSON text inside JSON takes up to twice its length, and each mention up to 64 bytes more.
  const bytes = 2 * Buffer.byteLength(payload) + 64 * (mentions?.length ?? 0);
  return bytes <= mostBytes / 2 ? notice : { ...notice, message: null };
}
