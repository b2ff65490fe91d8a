/**
 * Replies that wait behind another one on their connection, because their requests were sent without waiting for an
 * answer.
 */
import type { ServerResponse } from "node:http";
import type { Socket } from "node:net";

export class WaitingReplies {
  readonly #byConnection = new WeakMap<Socket, Set<ServerResponse>>();

  /**
   * Closes a reply with its connection. Node does so only for the reply that is being sent. Those behind it would never
   * hear that the connection has ended, and keep what they hold for ever.
   */
  closeWith(connection: Socket, reply: ServerResponse): void {
    const replies = this.#byConnection.get(connection) ?? this.#addConnection(connection);
    replies.add(reply);
    reply.once("close", () => replies.delete(reply));
  }

  #addConnection(connection: Socket): Set<ServerResponse> {
    const replies = new Set<ServerResponse>();
    this.#byConnection.set(connection, replies);
    connection.once("close", () => closeUnsent(replies));
    return replies;
  }
}

function closeUnsent(replies: Iterable<ServerResponse>): void {
  for (const reply of replies) {
    if (reply.closed || reply.socket !== null) continue;
    reply.destroy();
    Reflect.set(reply, "_closed", true);
    reply.emit("close");
  }
}
