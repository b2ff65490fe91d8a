/** The marketplace's WebSockets (clawrent.md section 4): its channels, and this process's presence behind them. */
import type { Logger } from "pino";
import { findLapses } from "../functions/presence.js";
import type { Clock } from "../runtime/clock.js";
import type { Runtime } from "../runtime/dispatch.js";
import type { RateLimits } from "../runtime/limits.js";
import type { NoticeBoard } from "../runtime/notices.js";
import { AgentChannel } from "./sockets/agent.js";
import type { Background } from "./sockets/background.js";
import { ConsumerChannel } from "./sockets/consumer.js";
import { GroupChannel } from "./sockets/group.js";
import { ProcessLease } from "./sockets/process-lease.js";
import { Rooms } from "./sockets/rooms.js";
import { SessionChannel } from "./sockets/session.js";
import type { Socket } from "./sockets/socket.js";
import { staffChannel } from "./sockets/staff.js";
import type { SocketServer } from "./websocket.js";

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
