/**
 * Who opened which socket, so that it closes when they lose the right to it. A notice says so at once; where notices
 * may have been lost, the database is asked (functions/model/standing.ts).
 */
import type { Logger } from "pino";
import type { Lapse } from "../../functions/model/standing.js";
import type { NoticeBoard } from "../../runtime/notices.js";
import { closings } from "./close-codes.js";
import { SocketIndex } from "./index-by-key.js";
import type { Opener } from "./opener.js";
import type { Socket } from "./socket.js";

/** How many sockets are asked about at a time. */
const atOnce = 100;

export class Openers {
  readonly #ofCredential = new SocketIndex<Socket>();
  readonly #ofAgent = new SocketIndex<Socket>();
  readonly #ofUser = new SocketIndex<Socket>();

  constructor(
    notices: NoticeBoard,
    readonly log: Logger,
    /** Says of each opener why its credential opens nothing any more; null where it does. */
    readonly look: (openers: Opener[]) => Promise<(Lapse | null)[]>,
  ) {
    notices.on("credentialEnded", ({ credentialId }) => {
      for (const socket of this.#ofCredential.get(credentialId)) closeAs(socket, "revoked");
    });
    // Whom its credential stands for is looked up when it comes back.
    notices.on("agentOwnerChanged", ({ agentId }) => {
      for (const socket of this.#ofAgent.get(agentId)) closeAs(socket, "moved");
    });
    notices.on("userStandingChanged", ({ userId, suspended }) => {
      if (suspended) for (const socket of this.#ofUser.get(userId)) closeAs(socket, "suspended");
    });
  }

  /** Whoever opened a socket is known now. */
  identify(socket: Socket, opener: Opener): void {
    socket.openedBy(opener);
    this.#ofCredential.add(opener.credentialId, socket, socket);
    if (opener.agentId !== null) this.#ofAgent.add(opener.agentId, socket, socket);
    if (opener.userId !== null) this.#ofUser.add(opener.userId, socket, socket);
  }

  /** Closes the sockets whose opener has lost the right to them, among some or all. */
  async recheck(among: Socket[] = this.#all()): Promise<void> {
    const sockets = among.filter(({ opener, gone }) => opener && !gone);
    for (let from = 0; from < sockets.length; from += atOnce) {
      const some = sockets.slice(from, from + atOnce);
      let lapses: (Lapse | null)[];
      try {
        lapses = await this.look(some.map(({ opener }) => opener as Opener));
      } catch (error) {
        this.log.warn({ err: error }, "sockets not checked; they have to come again");
        lapses = some.map(() => "moved");
      }
      for (const [index, socket] of some.entries()) {
        const lapse = lapses[index];
        if (lapse) closeAs(socket, lapse);
      }
    }
  }

  #all(): Socket[] {
    return this.#ofCredential.keys().flatMap((credentialId) => this.#ofCredential.get(credentialId));
  }
}

function closeAs(socket: Socket, lapse: Lapse): void {
  const { opener } = socket;
  if (lapse === "moved") socket.close(closings.restart);
  else if (opener) socket.close(lapse === "revoked" ? opener.revoked : opener.suspended);
}
