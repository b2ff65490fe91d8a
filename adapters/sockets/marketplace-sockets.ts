/**
 * The marketplace's WebSockets (clawrent.md section 4): their channels, and the rows that say which process holds them.
 */
import type { Logger } from "pino";
import { findLapses } from "../../functions/system/openers.js";
import type { Admission } from "../../runtime/call/admission.js";
import type { Dispatcher } from "../../runtime/call/dispatch.js";
import type { Clock } from "../../runtime/clock.js";
import type { NoticeBoard } from "../../runtime/notices.js";
import type { RateLimits } from "../../runtime/rate-limits.js";
import type { Background } from "./background.js";
import { AgentChannel } from "./channels/agent.js";
import { ConsumerChannel } from "./channels/consumer.js";
import { GroupChannel } from "./channels/group.js";
import { SessionChannel } from "./channels/session.js";
import { staffChannel } from "./channels/staff.js";
import { Openers } from "./openers.js";
import { ProcessLease } from "./process-lease.js";
import { Rooms } from "./rooms/rooms.js";
import type { SocketServer } from "./socket-server.js";

export interface MarketplaceSocketsParts {
  dispatcher: Dispatcher;
  admission: Admission;
  notices: NoticeBoard;
  clock: Clock;
  log: Logger;
  limits: RateLimits;
  background: Background;
  /** Names this process among those on the same database. */
  processId: string;
  /** Whether it is the only one. */
  alone: boolean;
}

/** The rows by which the database knows which process holds which socket. */
export interface SocketRows {
  /**
   * Forgets the sockets that this process had before, and says that it lives. To be done before any socket is opened.
   */
  start(): Promise<void>;
  /** Forgets the sockets of this process. To be done after all are closed. */
  end(): Promise<void>;
}

/** Adds the channels to the server. */
export function addMarketplaceSockets(server: SocketServer, parts: MarketplaceSocketsParts): SocketRows {
  const { dispatcher, admission, notices, log, limits, background, processId } = parts;
  const openers = new Openers(notices, log, (some) => dispatcher.runSystem(findLapses, { openers: some }));
  const rooms = new Rooms({ ...parts, openers });
  server.addChannel("/ws/agent", new AgentChannel({ ...parts, openers }));
  server.addChannel("/ws/agent/consumer", new ConsumerChannel({ ...parts, openers }));
  server.addChannel("/ws/session", new SessionChannel(dispatcher, rooms, processId));
  server.addChannel("/ws/group", new GroupChannel(dispatcher, admission, rooms, limits, processId));
  server.addChannel("/ws/staff", staffChannel);
  const lease = new ProcessLease({
    ...parts,
    onLost: () => server.restartAll(),
    onForgotten: () => rooms.lookForAbsences(),
  });
  notices.on("noticesMissed", () => void background.track(openers.recheck()));
  return {
    start: async () => {
      await lease.start();
      await rooms.start();
    },
    end: async () => {
      await rooms.stop();
      await rooms.confirmations.write();
      await lease.end();
    },
  };
}
