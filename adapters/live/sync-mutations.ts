/** The mutations of one live client: done one after the other, each as who the client was when it came. */
import { type Holding, parsedBytes } from "../../runtime/byte-budget.js";
import type { Admission } from "../../runtime/call/admission.js";
import type { Call, Outcome } from "../../runtime/call/call.js";
import type { Dispatcher } from "../../runtime/call/dispatch.js";
import type { Caller } from "../../runtime/context.js";
import { CallError } from "../../runtime/errors.js";
import { parsedArgumentBytes, sizes } from "../../runtime/limits.js";
import type { Watches } from "../../runtime/live/watches.js";
import type { Timestamps } from "../../runtime/timestamps.js";
import { newCall } from "../new-call.js";
import type { Closing } from "../sockets/close-codes.js";
import type { Socket } from "../sockets/socket.js";
import { readArgsText } from "../wire.js";
import { isUnavailable, isVerdict } from "./credentials.js";
import { closingAfter, comeAgain } from "./sync-closings.js";
import { argumentsTooLarge, type CallFrame, callFailed, mutationSucceeded, noComponents } from "./sync-frames.js";
import type { Identity, SyncState } from "./sync-state.js";

export interface SyncMutationsParts {
  dispatcher: Dispatcher;
  admission: Admission;
  watches: Watches;
  timestamps: Timestamps;
}

/** What mutations need of the socket that they come by. */
export interface MutationSocket {
  readonly socket: Socket;
  readonly state: SyncState;
  readonly isEnded: boolean;
  /** Resolves when replies can be added. */
  roomForReplies(): Promise<void>;
  /** Waits for a database that is away, and says whether the client is still there. */
  hasWaited(): Promise<boolean>;
  refuseCredential(error: unknown): void;
  refuseCall(frame: CallFrame, error: CallError): void;
  /** Has the state looked at for what is to be done next. */
  wake(): void;
  oweTransition(): void;
  end(closing: Closing): void;
}

export class SyncMutations {
  #last: Promise<void> = Promise.resolve();

  constructor(
    readonly parts: SyncMutationsParts,
    readonly client: MutationSocket,
  ) {}

  /** Resolves once all that were added are answered. */
  get done(): Promise<void> {
    return this.#last;
  }

  add(frame: CallFrame, clientSessionId: string): void {
    const { state, socket } = this.client;
    const { identity } = state;
    state.noteMutation(frame.requestId);
    this.#last = this.#last
      .then(() => this.#mutate(frame, identity, clientSessionId))
      .catch((error: unknown) => {
        socket.log.error({ socket: socket.id, err: error }, "a mutation's frame failed");
        this.client.end(comeAgain("a mutation could not be answered"));
      });
  }

  async #mutate(frame: CallFrame, identity: Identity, clientSessionId: string): Promise<void> {
    const { client } = this;
    await client.roomForReplies();
    // A mutation that has arrived is done even where its client has left. Where this side has ended the socket it is
    // not begun, and the client sends it again.
    if (client.isEnded) return;
    if (frame.componentPath) return client.refuseCall(frame, noComponents());
    let caller: Caller | undefined;
    try {
      // Whoever it stands for now: a credential that was revoked since the frame came changes nothing any more.
      if (identity.secret !== undefined) {
        caller = await this.parts.admission.authenticate(identity.secret, client.socket.address);
      }
    } catch (error) {
      if (isUnavailable(error) && (await client.hasWaited())) return this.#mutate(frame, identity, clientSessionId);
      const isCurrent = identity.secret === client.state.identity.secret;
      return isCurrent || !isVerdict(error) ? client.refuseCredential(error) : client.refuseCall(frame, error);
    }
    const text = frame.args ?? "null";
    if (Buffer.byteLength(text) > sizes.frameBytes) return client.refuseCall(frame, argumentsTooLarge());
    const parsed = client.state.bytes.holdRequest();
    if (!parsed.take(Math.min(parsedBytes(text), parsedArgumentBytes))) {
      parsed.end();
      if (await client.hasWaited()) return this.#mutate(frame, identity, clientSessionId);
      return;
    }
    const args = readArgsText(text);
    if (args instanceof CallError) {
      parsed.end();
      return client.refuseCall(frame, args);
    }
    const { requestId, udfPath } = frame;
    const call = newCall(
      { path: udfPath, kind: "mutation", args },
      { address: client.socket.address, ...(caller ? { caller } : {}) },
      { resent: { clientSessionId, requestId, isFirst: client.state.isFirstMutation(requestId) } },
    );
    const outcome = await this.#run(call, parsed);
    if (outcome.status !== "rejected" || !isUnavailable(outcome.error)) return this.#answer(frame, call, outcome);
    // It may have been done or not. When it is asked for again, here or by the client on its next socket, it is done
    // once.
    if (await client.hasWaited()) return this.#mutate(frame, identity, clientSessionId);
    client.end(closingAfter(outcome.error));
  }

  async #run(call: Call, parsed: Holding): Promise<Outcome> {
    const { state } = this.client;
    state.isMutating = true;
    const outcome = await this.parts.dispatcher.dispatch(call).finally(() => parsed.end());
    // It may have touched many queries, which are shown before it resolves.
    await this.parts.watches.awake();
    state.isMutating = false;
    return outcome;
  }

  #answer({ requestId }: CallFrame, call: Call, outcome: Outcome): void {
    const { state } = this.client;
    if (outcome.status === "success") {
      const { timestamps } = this.parts;
      const ts = outcome.ts ?? timestamps.next();
      timestamps.raise(ts);
      state.mutationDone(mutationSucceeded(requestId, outcome, ts), outcome.isReplayed === true);
      this.client.oweTransition();
    } else {
      state.reply(callFailed("Mutation", requestId, outcome, call.requestId));
      this.client.wake();
    }
  }
}
