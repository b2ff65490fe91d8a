/**
 * `/ws/agent/consumer`: the control channel of a consumer-side agent (clawrent.md section 4.5). It only tells the agent
 * what happens: the agent counts as connected by `/ws/agent` alone, and its next poll finds what it missed here.
 */
import { findConsumerAnnouncement, recheckConsumer } from "../../../functions/system/announcements.js";
import { findLapses } from "../../../functions/system/openers.js";
import { sizes } from "../../../runtime/limits.js";
import { isoTime } from "../../../schema/values.js";
import { agentCallerOf, invalidToken, lapsedClosings } from "../agent-token.js";
import { type Closing, closingOf, closings } from "../close-codes.js";
import { channelFrame, limitFrame, systemError } from "../frames.js";
import { SocketIndex } from "../index-by-key.js";
import type { Socket } from "../socket.js";
import type { Channel } from "../socket-server.js";
import type { ChannelParts } from "./agent.js";

type ConsumerChannelParts = Omit<ChannelParts, "processId">;

export class ConsumerChannel implements Channel {
  readonly #parts: ConsumerChannelParts;
  readonly #open = new SocketIndex<Socket>();
  /** The tellings of each agent, one after the other, so that the end of a session does not overtake its start. */
  readonly #telling = new Map<string, Promise<void>>();

  constructor(parts: ConsumerChannelParts) {
    this.#parts = parts;
    const { notices, background } = parts;
    notices.on("consumerSessionStarted", ({ agentId, sessionId }) => this.#tellStart(agentId, sessionId));
    notices.on("consumerSessionEnded", ({ agentId, sessionId, reason, at }) =>
      this.#tellEnd(agentId, sessionId, reason, at),
    );
    notices.on("sessionLimit", (notice) => {
      if (notice.consumerAgentId !== null) this.#tell(notice.consumerAgentId, async () => limitFrame(notice));
    });
    notices.on("noticesMissed", ({ since }) => void background.track(this.#tellSince(since)));
    notices.on("serveRulesChanged", ({ agentId }) => {
      this.#tell(agentId, async () => channelFrame("serve.rules_updated", {}));
    });
  }

  /** Tells again what may have been missed since then. Clients know sessions by their ids, and ask for the rules. */
  async #tellSince(since: number): Promise<void> {
    const { dispatcher, log } = this.#parts;
    for (const agentId of this.#open.keys()) {
      try {
        for (const { sessionId, endedAt, reason } of await dispatcher.runSystem(recheckConsumer, { agentId, since })) {
          if (endedAt === null) this.#tellStart(agentId, sessionId);
          else this.#tellEnd(agentId, sessionId, reason, endedAt);
        }
        this.#tell(agentId, async () => channelFrame("serve.rules_updated", {}));
      } catch (error) {
        log.warn({ err: error }, "consumer agents not told; they have to come again");
        for (const socket of this.#open.get(agentId)) socket.close(closings.restart);
      }
    }
  }

  #tellStart(agentId: string, sessionId: string): void {
    const { dispatcher, clock } = this.#parts;
    this.#tell(agentId, async () => {
      const announcement = await dispatcher.runSystem(findConsumerAnnouncement, { sessionId });
      return announcement && channelFrame("session.new", { ...announcement, timestamp: isoTime(clock.now()) });
    });
  }

  #tellEnd(agentId: string, sessionId: string, reason: string, endedAt: number): void {
    this.#tell(agentId, async () => channelFrame("session.ended", { sessionId, reason, timestamp: isoTime(endedAt) }));
  }

  async open(socket: Socket, query: URLSearchParams): Promise<Closing | undefined> {
    const { dispatcher, admission, openers } = this.#parts;
    const caller = await agentCallerOf(admission, socket, query.get("token"));
    if ("code" in caller) return caller;
    const { agentId, credentialId, ownerId: userId } = caller;
    const opener = { credentialId, agentId, userId };
    if (this.#open.count(agentId) >= sizes.consumerSocketsPerAgent) return closings.tooMany;
    openers.identify(socket, { ...opener, ...lapsedClosings });
    this.#open.add(agentId, socket, socket);
    // Asked only now: notice of a later lapse reaches the socket.
    try {
      const [lapse] = await dispatcher.runSystem(findLapses, { openers: [opener] });
      if (lapse) return lapsedClosings[lapse];
    } catch (error) {
      return closingOf(error, invalidToken);
    }
    socket.send(channelFrame("agent.connected", { agentId }));
    const unknown = (message: string) => socket.send(systemError("invalid_args", message));
    socket.handle({ frame: async () => unknown("Unknown frame type"), bad: async (message) => unknown(message) });
    return undefined;
  }

  #tell(agentId: string, read: () => Promise<Buffer | null>): void {
    if (this.#open.count(agentId) === 0) return;
    const { background, log } = this.#parts;
    const before = this.#telling.get(agentId) ?? Promise.resolve();
    const told = before.then(async () => {
      try {
        const bytes = await read();
        for (const socket of this.#open.get(agentId)) if (bytes) socket.send(bytes);
      } catch (error) {
        log.warn({ err: error }, "a consumer agent was not told");
      }
      if (this.#telling.get(agentId) === told) this.#telling.delete(agentId);
    });
    this.#telling.set(agentId, told);
    void background.track(told);
  }
}
