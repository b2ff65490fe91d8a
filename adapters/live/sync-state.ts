/**
 * The state of one live client in the sync protocol (convex-wire.md section 7): as whom it asks, which version it was
 * sent, and what is due. The state describes what is to be done next (`next`) and is told what was done; it does
 * nothing itself. There is no socket here, no timer and no run of a query, so it is tested with frames alone.
 *
 * A Transition is prepared as a `Round`: `beginRound` takes all that is due, the socket gathers the answers and hands
 * them to `answered`, and `endRound` makes the frame, or puts back what cannot be told now.
 */
import type { Caller } from "../../runtime/context.js";
import type { WholeFrame } from "../sockets/whole-frame.js";
import type { Answer } from "./answers.js";
import { type Modified, QuerySet, type WatchedQuery } from "./query-set.js";
import type { SyncBytes } from "./sync-bytes.js";
import { comeAgain } from "./sync-closings.js";
import {
  type Change,
  changedQuery,
  type Frame,
  type ModifyQuerySet,
  transitionFrame,
  type Version,
} from "./sync-frames.js";

/**
 * While so many frames are not taken by the network, nothing is written: what changes meanwhile goes into the next one.
 */
const mostUnsent = 2;
/** Replies and refusals that wait to be sent. With more than these, no further frame is taken. */
const mostWaiting = 1_000;
/** How many results are kept for one socket before its client is asked to come again. */
export const mostDone = 2_000;

/** As whom the client asks. */
export interface Identity {
  /** Undefined: as nobody. */
  secret: string | undefined;
  caller: Caller | undefined;
}

export const anonymousIdentity: Identity = { secret: undefined, caller: undefined };

/** A Transition that is being prepared. */
export interface Round {
  readonly owes: boolean;
  readonly identity: Identity;
  readonly received: { querySet: number; identity: number };
  /** The instant at which it was begun, where the client waits for one. */
  readonly now: bigint;
  readonly ready: readonly Change[];
  readonly due: readonly WatchedQuery[];
  /**
   * Of what is due, in its order. Undefined where the query was removed before its turn, or there is no room for its
   * answer.
   */
  readonly answers: (Answer | undefined)[];
  /** What the answers and changes are counted as until they are part of a frame. */
  bytes: number;
}

/** An answer that the client does not have. */
interface News {
  queryId: number;
  answer: Answer;
}

/** What is to be done: look at the credential again, say what there is to say (now or in a moment), or nothing. */
export type Next = "verify" | "say" | "say in a moment" | "nothing";

export class SyncState {
  /** Undefined until the client has said Connect. */
  clientSessionId: string | undefined;
  /** Whether the credential has to be looked at before anything more is said. */
  isDoubted = false;
  /** Whether a mutation of the client runs. */
  isMutating = false;
  /** Whether queries wait until there is room for their answers. */
  lacksRoom = false;
  /** The versions of what the client has asked for. */
  readonly received = { querySet: 0, identity: 0 };
  /** The version that it was sent. */
  #sent: Version = { querySet: 0, identity: 0, ts: 0n };
  #identity = anonymousIdentity;
  readonly #queries: QuerySet;
  /** Replies to mutations and actions. */
  readonly #replies: Frame[] = [];
  /** The lengths of the frames that the network has not taken yet. */
  readonly #unsent: number[] = [];
  /** Whether queries were asked for, or waited for long enough. */
  #hasBegun = false;
  /** Whether the client waits for a Transition, even one without changes. */
  #owes = false;
  /** Whether there may be something to put into a Transition. */
  #isDirty = false;
  /** The number of the first mutation on this socket. */
  #firstMutation: number | undefined;
  /** How many mutations were done: their results are kept until the client comes again. */
  #done = 0;

  constructor(readonly bytes: SyncBytes) {
    this.#queries = new QuerySet(bytes);
  }

  get identity(): Identity {
    return this.#identity;
  }

  get queries(): Iterable<WatchedQuery> {
    return this.#queries.all;
  }

  get next(): Next {
    if (this.isDoubted) return "verify";
    if (this.#unsent.length >= mostUnsent) return "nothing";
    if (this.#replies.length === 0 && !this.isBehind) return "nothing";
    // What is due may come of the client's own mutation, whose reply is there in a moment: then one Transition is
    // enough.
    return this.isMutating ? "say in a moment" : "say";
  }

  /** Whether a Transition is due that can be prepared now. */
  get isBehind(): boolean {
    return this.#isDirty && this.#hasBegun && !this.lacksRoom;
  }

  /** Whether so much waits to be sent, or there is so little room for it, that no further frame is taken. */
  get isFull(): boolean {
    const replies = this.#replies.length;
    return replies + this.#queries.ready > mostWaiting || (replies > 0 && !this.bytes.hasRoom);
  }

  /** Changes the query set. The client waits for a Transition from then on. */
  modify({ baseVersion, newVersion, modifications }: ModifyQuerySet): Modified {
    if (baseVersion !== this.received.querySet || newVersion <= baseVersion) {
      return { added: [], removed: [], closing: comeAgain("the query set's version does not follow") };
    }
    const modified = this.#queries.modify(modifications);
    if (modified.closing) return modified;
    this.received.querySet = newVersion;
    this.#hasBegun = true;
    this.owe();
    return modified;
  }

  /** Whether the client has the query. */
  has(query: WatchedQuery): boolean {
    return this.#queries.has(query);
  }

  /** The client asks as somebody else from now on: all its queries are asked again. */
  become(identity: Identity): void {
    this.#identity = identity;
    this.isDoubted = false;
    this.bytes.moveTo(identity.caller);
    this.#queries.touchAll(false);
    this.#isDirty = true;
  }

  /** The answer of a query may have changed. */
  touch(query: WatchedQuery): void {
    this.#queries.touch(query);
    this.#isDirty = true;
  }

  /** The client waits for a Transition. Returns whether its first queries are to be waited for from now on. */
  owe(): boolean {
    const isWaiting = !this.#hasBegun && !this.#owes;
    this.#owes = true;
    this.#isDirty = true;
    return isWaiting;
  }

  /** Queries were waited for long enough. */
  begin(): void {
    this.#hasBegun = true;
  }

  /** A mutation has arrived. */
  noteMutation(requestId: number): void {
    this.#firstMutation ??= requestId;
  }

  isFirstMutation(requestId: number): boolean {
    return requestId === this.#firstMutation;
  }

  /** A mutation was done. Its result is kept until the client shows that it has it. */
  mutationDone(reply: Frame, isReplayed: boolean): void {
    this.#done += 1;
    // Another process may have done it, and its notice of that may still be on its way.
    if (isReplayed) this.#queries.touchAll(true);
    this.reply(reply);
  }

  /** Adds a reply, to be sent before the next Transition. */
  reply(frame: Frame): void {
    this.bytes.addAnswer(frame.length);
    this.#replies.push(frame);
  }

  /**
   * The replies that wait. A mutation's goes before the Transition whose queries run after it: only that reaches its
   * instant.
   */
  takeReplies(): Frame[] {
    const replies = this.#replies.splice(0);
    for (const reply of replies) this.bytes.freeAnswer(reply.length);
    return replies;
  }

  /** Whether this query's new answer is all that there is to say. */
  isAlone(query: WatchedQuery): boolean {
    const isOnly = this.#queries.isOnlyDue(query) && this.#replies.length === 0 && !this.#owes;
    return isOnly && this.next === "say" && this.bytes.hasRoom;
  }

  /** The Transition of one answer that is all there is to say; undefined where the client has the answer. */
  tellAlone(query: WatchedQuery, answer: Answer): WholeFrame | undefined {
    this.#queries.takeDue();
    this.#isDirty = false;
    if (query.sent?.equals(answer.mark)) return undefined;
    query.sent = answer.mark;
    const from = this.#sent;
    this.#sent = { ...this.received, ts: answer.readAt > from.ts ? answer.readAt : from.ts };
    return answer.transition(query.queryId, from, this.#sent);
  }

  /**
   * Begins a Transition from what was sent last to what was received by now; undefined where there is no room for it.
   */
  beginRound(nextInstant: () => bigint): Round | undefined {
    if (this.#queries.due > 0 && !this.bytes.hasRoom) return undefined;
    const round = {
      owes: this.#owes,
      identity: this.#identity,
      received: { ...this.received },
      now: this.#owes ? nextInstant() : 0n,
      ...this.#queries.takeReady(),
      due: this.#queries.takeDue(),
      answers: [],
    };
    this.#isDirty = false;
    this.#owes = false;
    return round;
  }

  /** Takes the answer of what is due at this index, and counts it unless the client has it. */
  answered(round: Round, index: number, answer: Answer | undefined): void {
    round.answers[index] = answer;
    if (!answer || round.due[index]?.sent?.equals(answer.mark)) return;
    round.bytes += answer.bytes;
    this.bytes.addAnswer(answer.bytes);
  }

  /**
   * The Transition of a round; undefined where there is nothing to say. `isPart`: there was no room for some of the
   * answers, which are due again.
   */
  endRound(round: Round): { frame: WholeFrame | undefined; isPart: boolean } {
    const { owes, identity, ready, due, answers } = round;
    this.bytes.freeAnswer(round.bytes);
    const isSameIdentity = this.#identity === identity;
    if (isSameIdentity && answers.some((answer) => answer?.isLapsed)) this.isDoubted = true;
    if (this.isDoubted || !isSameIdentity) {
      // Whoever reads these answers may have lost the right to them. They are asked for again once that is known.
      this.#postpone(due, owes);
      this.#queries.putBack(ready);
      return { frame: undefined, isPart: false };
    }
    const news: News[] = [];
    const postponed: WatchedQuery[] = [];
    for (const [index, query] of due.entries()) {
      const answer = answers[index];
      if (!this.#queries.has(query)) continue;
      if (!answer) postponed.push(query);
      else if (!query.sent?.equals(answer.mark)) {
        query.sent = answer.mark;
        news.push({ queryId: query.queryId, answer });
      }
    }
    const isPart = postponed.length > 0;
    if (isPart) this.#postpone(postponed, owes);
    if (news.length === 0 && ready.length === 0 && (!owes || isPart)) return { frame: undefined, isPart };
    return { frame: this.#transition(round, news, isPart), isPart };
  }

  #transition({ owes, received, now, ready }: Round, news: readonly News[], isPart: boolean): WholeFrame {
    const from = this.#sent;
    const { querySet, identity } = isPart ? from : received;
    // A client that waits for a Transition gets one of now. Any other is dated by the answers that it brings, so that
    // it is the same for all clients. Where something was touched while the queries had their turns it keeps the old
    // date, because a mutation of the client's own would seem to be shown and is not yet. It keeps it also where there
    // was no room for all answers: only the last part reaches what the client waits for.
    const ts = isPart ? from.ts : owes ? now : this.#queries.due > 0 ? from.ts : latest(from.ts, news);
    const to = { querySet, identity, ts };
    this.#sent = to;
    const [first] = news;
    if (first && news.length === 1 && ready.length === 0) return first.answer.transition(first.queryId, from, to);
    const changes = news.map(({ queryId, answer }) => changedQuery(queryId, answer.result));
    return transitionFrame(from, to, [...ready, ...changes]);
  }

  /** Has these asked again, and remembers that the client waits. */
  #postpone(due: readonly WatchedQuery[], owes: boolean): void {
    for (const query of due) this.#queries.touch(query);
    this.#owes ||= owes;
    this.#isDirty = true;
  }

  /** A frame was written, which the network has not taken yet. Returns whether there is no other such frame. */
  wrote(bytes: number): boolean {
    this.bytes.addAnswer(bytes);
    return this.#unsent.push(bytes) === 1;
  }

  /** The network has taken the oldest frame. */
  taken(): void {
    this.bytes.freeAnswer(this.#unsent.shift() ?? 0);
  }

  /** Whether the network has taken every frame. */
  get isAllTaken(): boolean {
    return this.#unsent.length === 0;
  }

  /** Whether many results are kept for the client and nothing is going on: a good moment for it to come again. */
  get mayComeAgain(): boolean {
    if (this.#done < mostDone || this.isMutating) return false;
    return this.isAllTaken && this.#replies.length === 0 && !this.#isDirty;
  }

  /** The socket is gone. */
  end(): void {
    this.#queries.end();
    this.bytes.end();
  }
}

/** The instant at which the newest of these answers was read, where that is after `ts`. */
function latest(ts: bigint, news: readonly News[]): bigint {
  return news.reduce((newest, { answer }) => (answer.readAt > newest ? answer.readAt : newest), ts);
}
