/** Speaks the sync protocol frame by frame (convex-wire.md sections 5 to 7), as a client in any language would. */
import { randomUUID } from "node:crypto";
import { expect } from "vitest";
import type { ClientOptions } from "ws";
import type { TestServer } from "./harness.js";
import { type Frame, openAt, type TestSocket } from "./sockets.js";

export const zero = "AAAAAAAAAAA=";

export function timeOf(ts: string): bigint {
  return Buffer.from(ts, "base64").readBigUInt64LE();
}

export function timestampOf(time: bigint): string {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(time);
  return bytes.toString("base64");
}

export function add(queryId: number, udfPath: string, args: object = {}, more: object = {}): object {
  return { type: "Add", queryId, udfPath, args: [args], ...more };
}

/** A socket that knows what it has sent, and checks every Transition that it gets. */
export class RawClient {
  #querySet = 0;
  #identity = 0;
  /** The endVersion of the last Transition. */
  version: Frame = { querySet: 0, identity: 0, ts: zero };
  /** What the queries show, by their ids. */
  readonly shown = new Map<number, Frame>();

  constructor(
    readonly socket: TestSocket,
    readonly sessionId: string,
  ) {}

  connect(more: object = {}): this {
    this.socket.send({
      type: "Connect",
      sessionId: this.sessionId,
      connectionCount: 0,
      lastCloseReason: "InitialConnect",
      clientTs: 0,
      ...more,
    });
    return this;
  }

  modify(...modifications: object[]): this {
    const baseVersion = this.#querySet;
    this.#querySet += 1;
    this.socket.send({ type: "ModifyQuerySet", baseVersion, newVersion: this.#querySet, modifications });
    return this;
  }

  authenticate(value: string | undefined): this {
    const token = value === undefined ? { tokenType: "None" } : { tokenType: "User", value };
    this.socket.send({ type: "Authenticate", baseVersion: this.#identity, ...token });
    this.#identity += 1;
    return this;
  }

  mutation(requestId: number, udfPath: string, args: object = {}, more: object = {}): this {
    this.socket.send({ type: "Mutation", requestId, udfPath, args: [args], ...more });
    return this;
  }

  /** The next frame. A Transition is checked against the one before and applied. */
  async next(type?: string): Promise<Frame> {
    const frame = await this.socket.next();
    if (type !== undefined) expect(frame).toMatchObject({ type });
    if (frame.type === "Transition") this.#take(frame);
    return frame;
  }

  /** Applies Transitions until everything that was sent is answered. */
  async answered(): Promise<Frame> {
    let frame: Frame;
    do frame = await this.next("Transition");
    while (this.version.querySet !== this.#querySet || this.version.identity !== this.#identity);
    return frame;
  }

  #take({ startVersion, endVersion, modifications, ...rest }: Frame): void {
    expect(Object.keys(rest)).toEqual(["type"]);
    expect(startVersion).toEqual(this.version);
    expect(timeOf(endVersion.ts) >= timeOf(startVersion.ts)).toBe(true);
    expect(timeOf(endVersion.ts) < 1n << 63n).toBe(true);
    this.version = endVersion;
    for (const modification of modifications) {
      if (modification.type === "QueryRemoved") this.shown.delete(modification.queryId);
      else {
        expect(modification).toMatchObject({ logLines: [], journal: null });
        this.shown.set(modification.queryId, modification);
      }
    }
  }
}

/** A socket at the sync address on which nothing has been sent yet. */
export async function openSync(
  server: TestServer,
  {
    sessionId = randomUUID(),
    path = "/api/1.48.0/sync",
    ...options
  }: ClientOptions & { sessionId?: string; path?: string } = {},
): Promise<RawClient> {
  return new RawClient(await openAt(server, path, {}, options), sessionId);
}
