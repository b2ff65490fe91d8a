/**
 * `/ws/agent`: the control channel of a provider agent (clawrent.md section 4.2). It tells the agent of its sessions
 * and of its status, and is the reason why the agent counts as connected.
 */
import type { Logger } from "pino";
import { closeAgentSocket, openAgentSocket, recheckAgent } from "../../../functions/system/agent-sockets.js";
import { type Announcement, listAnnouncements, markAnnounced } from "../../../functions/system/announcements.js";
import type { Admission } from "../../../runtime/call/admission.js";
import type { Dispatcher } from "../../../runtime/call/dispatch.js";
import type { Clock } from "../../../runtime/clock.js";
import type { AgentCaller } from "../../../runtime/context.js";
import type { NoticeBoard, NoticeOf } from "../../../runtime/notices.js";
import { isoTime } from "../../../schema/values.js";
import { newCall } from "../../new-call.js";
import { agentCallerOf, invalidToken, lapsedClosings } from "../agent-token.js";
import type { Background } from "../background.js";
import { type Closing, closingOf, closings } from "../close-codes.js";
import { channelFrame, limitFrame, systemError } from "../frames.js";
import type { InboundFrame } from "../inbound-frame.js";
import { SocketIndex } from "../index-by-key.js";
import type { Openers } from "../openers.js";
import type { Socket } from "../socket.js";
import type { Channel } from "../socket-server.js";

export interface ChannelParts {
  dispatcher: Dispatcher;
  admission: Admission;
  notices: NoticeBoard;
  clock: Clock;
  log: Logger;
  background: Background;
  openers: Openers;
  processId: string;
}

export class AgentChannel implements Channel {
  readonly #parts: ChannelParts;
  readonly #open = new SocketIndex<AgentSocket>();

  constructor(parts: ChannelParts) {
    this.#parts = parts;
    const { notices } = parts;
    notices.on("announcementsDue", ({ agentId }) => {
      for (const open of this.#open.get(agentId)) open.announce();
    });
    notices.on("agentStatusChanged", ({ agentId, onlineStatus, at }) => {
      for (const open of this.#open.get(agentId)) open.hearStatus(onlineStatus, at);
    });
    notices.on("participantResumed", ({ agentId, sessionId }) => {
      if (agentId === null) return;
      for (const open of this.#open.get(agentId)) open.send("session.participant_resumed", { sessionId });
    });
    notices.on("sessionLimit", (notice) => {
      for (const open of this.#open.get(notice.providerAgentId)) open.tellLimit(notice);
    });
    notices.on("noticesMissed", () => void parts.background.track(this.#recheckAll()));
  }

  /** Has every channel look up what notices would have told it. */
  async #recheckAll(): Promise<void> {
    for (const agentId of this.#open.keys()) {
      for (const open of this.#open.get(agentId)) await open.recheck();
    }
  }

  async open(socket: Socket, query: URLSearchParams): Promise<Closing | undefined> {
    const { dispatcher, admission, openers, background, processId } = this.#parts;
    const caller = await agentCallerOf(admission, socket, query.get("token"));
    if ("code" in caller) return caller;
    const { agentId, credentialId, ownerId: userId } = caller;
    const opener = { credentialId, agentId, userId };
    const entry = new AgentSocket(socket, caller, this.#parts);
    // From here on notices of this agent reach the socket, and so does the end of its credential.
    openers.identify(socket, { ...opener, ...lapsedClosings });
    this.#open.add(agentId, entry, socket);

    const forget = () =>
      background.ensure("disconnecting an agent", () =>
        dispatcher.runSystem(closeAgentSocket, { agentId, socketId: socket.id }),
      );
    try {
      const connected = await dispatcher.runSystem(openAgentSocket, {
        opener,
        agentId,
        socketId: socket.id,
        processId,
      });
      if ("lapse" in connected) return lapsedClosings[connected.lapse];
      socket.onGone(forget);
      entry.greet(connected.name, connected.onlineStatus);
      return undefined;
    } catch (error) {
      // The commit may still have happened.
      forget();
      return closingOf(error, invalidToken);
    }
  }
}

type OnlineStatus = "online" | "offline" | "busy";

/** One open control channel. */
class AgentSocket {
  /** What this socket was told, as long as the database does not know it. */
  readonly #told = new Map<string, Announcement["status"]>();
  #greeted = false;
  /** The last status before the greeting: the one that its own coming set, or a later one. */
  #statusBeforeGreeting: { onlineStatus: OnlineStatus; at: number } | undefined;
  #statusesTold = 0;
  #lastTold: OnlineStatus | undefined;
  #lastAt = 0;
  #announcing: Promise<void> | undefined;
  #due = false;
  #pings = 0;
  readonly #awaitingPong = new Map<string, () => void>();

  constructor(
    readonly socket: Socket,
    readonly caller: AgentCaller,
    readonly parts: ChannelParts,
  ) {
    socket.onPong((payload) => {
      this.#awaitingPong.get(payload)?.();
      this.#awaitingPong.delete(payload);
    });
  }

  send(type: string, payload: object): void {
    if (this.#greeted) this.socket.send(channelFrame(type, payload));
  }

  tellLimit(notice: NoticeOf<"sessionLimit">): void {
    if (this.#greeted) this.socket.send(limitFrame(notice));
  }

  greet(name: string, onlineStatus: OnlineStatus): void {
    const { agentId } = this.caller;
    this.#greeted = true;
    this.#lastTold = onlineStatus;
    this.#lastAt = this.parts.clock.now();
    this.send("agent.connected", { agentId, name, onlineStatus, timestamp: isoTime(this.parts.clock.now()) });
    const later = this.#statusBeforeGreeting;
    if (later && later.onlineStatus !== onlineStatus) this.tellStatus(later.onlineStatus, later.at);
    this.#announceAll(true);
    this.socket.handle({
      frame: (inbound) => this.#take(inbound),
      bad: async (message) => this.socket.send(systemError("invalid_args", message)),
    });
  }

  /**
   * The status has changed. Where a newer change of another process arrived before it, the database knows the status.
   */
  hearStatus(onlineStatus: OnlineStatus, at: number): void {
    if (this.#greeted && at < this.#lastAt) void this.parts.background.track(this.recheck());
    else this.tellStatus(onlineStatus, at);
  }

  tellStatus(onlineStatus: OnlineStatus, at: number): void {
    if (!this.#greeted) {
      this.#statusBeforeGreeting = { onlineStatus, at };
      return;
    }
    this.#statusesTold += 1;
    this.#lastTold = onlineStatus;
    this.#lastAt = at;
    this.send("agent.status_updated", { agentId: this.caller.agentId, onlineStatus, timestamp: isoTime(at) });
  }

  /** There is something to announce. Before the greeting nothing is done, as everything is announced after it. */
  announce(): void {
    if (this.#greeted) this.#announceAll(false);
  }

  /** Checks whether this is still the agent's channel, and tells what it may not have been told. */
  async recheck(): Promise<void> {
    if (!this.#greeted || this.socket.gone) return;
    try {
      const told = this.#statusesTold;
      const found = await this.parts.dispatcher.runSystem(recheckAgent, { agentId: this.caller.agentId });
      if (found.socketId !== this.socket.id) {
        return this.socket.close(found.socketId === null ? closings.restart : closings.replaced);
      }
      const isNews = told === this.#statusesTold && found.onlineStatus !== this.#lastTold;
      if (isNews) this.tellStatus(found.onlineStatus, this.parts.clock.now());
      // A client that waits to be let in again comes back. Any other client knows that it is in.
      for (const sessionId of found.absentFrom) this.send("session.participant_resumed", { sessionId });
      this.announce();
    } catch (error) {
      this.socket.close(closingOf(error, invalidToken));
    }
  }

  /** Announces once at a time, and once more after it where something came up meanwhile. */
  #announceAll(again: boolean): void {
    if (this.#announcing) {
      this.#due = true;
      return;
    }
    this.#announcing = this.#lookAndTell(again)
      .catch((error: unknown) => {
        // The client comes again, and is told then what it was not told now.
        this.socket.close(closingOf(error, invalidToken));
      })
      .finally(() => {
        this.#announcing = undefined;
        if (!this.#due) return;
        this.#due = false;
        if (!this.socket.gone) this.#announceAll(false);
      });
    void this.parts.background.track(this.#announcing);
  }

  async #lookAndTell(again: boolean): Promise<void> {
    const { agentId, credentialId } = this.caller;
    const announcements = await this.parts.dispatcher.runSystem(listAnnouncements, { agentId, credentialId, again });
    const told: { sessionId: string; status: Announcement["status"] }[] = [];
    for (const announcement of announcements) {
      const { sessionId, status } = announcement;
      if (this.#told.get(sessionId) === status) continue;
      const frames = this.#told.has(sessionId) ? (["session.approved"] as const) : announcement.frames;
      for (const type of frames) this.send(type, payloadOf(type, announcement, this.parts.clock.now()));
      this.#told.set(sessionId, status);
      told.push({ sessionId, status });
    }
    if (told.length > 0) this.#markOncePonged(told);
  }

  /** A pong proves that the client has read what was sent before the ping; a buffered write proves nothing. */
  #markOncePonged(announced: { sessionId: string; status: Announcement["status"] }[]): void {
    this.#pings += 1;
    const ping = `announced ${this.#pings}`;
    this.#awaitingPong.set(ping, () =>
      this.parts.background.ensure("marking announcements", async () => {
        await this.parts.dispatcher.runSystem(markAnnounced, { announced });
        // An announcing that began before must not take them as new, so they are forgotten after it.
        await this.#announcing;
        for (const { sessionId, status } of announced) {
          if (this.#told.get(sessionId) === status) this.#told.delete(sessionId);
        }
      }),
    );
    this.socket.ping(ping);
  }

  async #take({ type, payload }: InboundFrame): Promise<void> {
    if (type !== "agent.status_update") {
      this.socket.send(systemError("invalid_args", "Unknown frame type"));
      return;
    }
    const { onlineStatus } = payload;
    if (onlineStatus !== "busy" && onlineStatus !== "online") {
      this.socket.send(systemError("invalid_args", "onlineStatus must be 'busy' or 'online'"));
      return;
    }
    const { agentId } = this.caller;
    const toldBefore = this.#statusesTold;
    const call = newCall(
      { path: "agents:setOnlineStatus", kind: "mutation", args: { agentId, onlineStatus } },
      { caller: this.caller, address: this.socket.address },
    );
    const outcome = await this.parts.dispatcher.dispatch(call);
    if (outcome.status === "fault") this.socket.send(systemError("internal", "Server error"));
    else if (outcome.status !== "success") this.socket.send(systemError(outcome.error.code, outcome.error.message));
    // A change was told as one already. Where there was none, this is the answer.
    else if (this.#statusesTold === toldBefore) this.tellStatus(onlineStatus, this.parts.clock.now());
  }
}

function payloadOf(type: Announcement["frames"][number], announcement: Announcement, now: number): object {
  const { frames: _frames, ...details } = announcement;
  const timestamp = isoTime(now);
  if (type === "session.new") return { ...details, timestamp };
  const { sessionId, sessionToken, taskDescription, consumerUserId } = details;
  return { sessionId, sessionToken, status: "active", taskDescription, consumerUserId, slotIndex: 0, timestamp };
}
