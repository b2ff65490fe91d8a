/** The marketplace's WebSockets (clawrent.md section 4): its channels, and this process's presence behind them. */
import type { Logger } from "pino";
import { findLapses } from "../../functions/system/openers.js";
import type { Runtime } from "../../runtime/call/runtime.js";
import type { Clock } from "../../runtime/clock.js";
import type { NoticeBoard } from "../../runtime/notices.js";
import type { RateLimits } from "../../runtime/rate-limits.js";
import type { Background } from "./background.js";
import { AgentChannel } from "./channels/agent.js";
import { ConsumerChannel } from "./channels/consumer.js";
import { GroupChannel } from "./channels/group.js";
import { SessionChannel } from "./channels/session.js";
import { staffChannel } from "./channels/staff.js";
import { ProcessLease } from "./process-lease.js";
import { Rooms } from "./rooms/rooms.js";
import type { Socket } from "./socket.js";
import type { SocketServer } from "./socket-server.js";

export interface MarketplaceSocketsParts {
  runtime: Runtime;
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

export interface Presence {
  /** Forgets sockets of before. Has to be done before any is opened. */
  start(): Promise<void>;
  /** Forgets those of this process. Has to be done after all are closed. */
  end(): Promise<void>;
}

/** Adds the channels to the server. */
export function addMarketplaceSockets(server: SocketServer, parts: MarketplaceSocketsParts): Presence {
  const { runtime, limits, processId } = parts;
  const recheck = (among?: Socket[]) => {
    void parts.background.track(server.recheck((openers) => runtime.runSystem(findLapses, { openers }), among));
  };
  const rooms = new Rooms({
    ...parts,
    identify: (socket, opener) => server.identify(socket, opener),
    recheck: (socket) => recheck([socket]),
  });
  server.addChannel("/ws/agent", new AgentChannel({ ...parts, server }));
  server.addChannel("/ws/agent/consumer", new ConsumerChannel({ ...parts, server }));
  server.addChannel("/ws/session", new SessionChannel(runtime, rooms, processId));
  server.addChannel("/ws/group", new GroupChannel(runtime, rooms, limits, processId));
  server.addChannel("/ws/staff", staffChannel);
  const lease = new ProcessLease({
    ...parts,
    onLost: () => server.restartAll(),
    onForgotten: () => rooms.lookForAbsences(),
  });
  parts.notices.on("noticesMissed", () => recheck());
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
