/** `/api/{version}/sync`: Convex's live clients (convex-wire.md sections 4 to 10). */
import type { Socket } from "../sockets/socket.js";
import type { Channel, SocketServer } from "../sockets/socket-server.js";
import { SyncSocket, type SyncSocketParts } from "./sync-socket.js";

/** A live client says nothing but its answers to pings. It has this long for one. */
const mostSilentMs = 120_000;

class SyncChannel implements Channel {
  readonly isLive = true;

  constructor(readonly parts: SyncSocketParts) {}

  async open(socket: Socket): Promise<undefined> {
    socket.mostSilentMs = mostSilentMs;
    socket.handle(new SyncSocket(this.parts, socket));
  }
}

export function addSyncSockets(server: SocketServer, parts: SyncSocketParts): void {
  const channel = new SyncChannel(parts);
  server.addChannel("/api/sync", channel);
  // The segment is the version of Convex's npm package. Any version is taken.
  server.addChannel(/^\/api\/[^/]+\/sync$/, channel);
}
