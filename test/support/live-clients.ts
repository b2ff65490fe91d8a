/** Convex's own live clients, on sockets that a test can cut, with a record of what they have seen. */
import { ConvexClient } from "convex/browser";
import type { FunctionReference } from "convex/server";
import { makeFunctionReference } from "convex/server";
import { onTestFinished } from "vitest";
import { WebSocket } from "ws";
import type { TestServer } from "./harness.js";

const patienceMs = 15_000;

// biome-ignore lint/suspicious/noExplicitAny: what comes back is what the tests are about to look at.
export type Value = any;

export const queryAt = (path: string) => makeFunctionReference<"query">(path);
export const mutationAt = (path: string) => makeFunctionReference<"mutation">(path);

/** A WebSocket class for a client, with the sockets that were made of it. */
export function cuttableSockets(): { constructor: typeof globalThis.WebSocket; sockets: WebSocket[]; cut(): void } {
  const sockets: WebSocket[] = [];
  class Cuttable extends WebSocket {
    constructor(address: string) {
      super(address);
      sockets.push(this);
    }
  }
  return {
    constructor: Cuttable as unknown as typeof globalThis.WebSocket,
    sockets,
    cut: () => {
      for (const socket of sockets) socket.terminate();
    },
  };
}

/** Resolves once `isSo` is true. Rejects after a while, and names `what` was waited for. */
export async function until(isSo: () => boolean, what: string | (() => string)): Promise<void> {
  const givenUpAt = Date.now() + patienceMs;
  while (!isSo()) {
    if (Date.now() > givenUpAt) throw new Error(`Waited in vain for ${typeof what === "string" ? what : what()}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** What a subscription has shown, in order. */
export class Seen {
  readonly values: Value[] = [];
  readonly errors: Value[] = [];

  get last(): Value {
    return this.values.at(-1);
  }

  /** Waits until `isIt` is true of the newest value. */
  async shows(isIt: (value: Value) => boolean): Promise<Value> {
    await until(
      () => this.values.length > 0 && isIt(this.last),
      () => `a value; the last of ${this.values.length} was ${JSON.stringify(this.last)?.slice(0, 500)}`,
    );
    return this.last;
  }

  async fails(isIt: (error: Value) => boolean = () => true): Promise<Value> {
    await until(
      () => this.errors.length > 0 && isIt(this.errors.at(-1)),
      () => `an error; there were ${this.errors.length}, and ${this.values.length} values`,
    );
    return this.errors.at(-1);
  }
}

/** One of Convex's clients. */
export class LiveClient {
  readonly client: ConvexClient;
  readonly #sockets = cuttableSockets();
  /** What `setAuth` has reported. */
  readonly signedIn: boolean[] = [];

  constructor(url: string) {
    this.client = new ConvexClient(url, {
      skipConvexDeploymentUrlCheck: true,
      logger: false,
      webSocketConstructor: this.#sockets.constructor,
    });
  }

  /** How many sockets the client has opened so far. */
  get opened(): number {
    return this.#sockets.sockets.length;
  }

  watch(path: string, args: Record<string, unknown> = {}): Seen & { end(): void } {
    const seen = new Seen();
    const end = this.client.onUpdate(
      queryAt(path) as FunctionReference<"query">,
      args,
      (value) => seen.values.push(value),
      (error) => seen.errors.push(error),
    );
    return Object.assign(seen, { end: () => end() });
  }

  mutate(path: string, args: Record<string, unknown> = {}): Promise<Value> {
    return this.client.mutation(mutationAt(path), args);
  }

  /** Signs in and resolves once the server has answered. */
  async signIn(secret: string): Promise<void> {
    const before = this.signedIn.length;
    this.client.setAuth(
      async () => secret,
      (isSignedIn) => this.signedIn.push(isSignedIn),
    );
    await until(() => this.signedIn.length > before, "an answer to setAuth");
  }

  /** Cuts the sockets as a broken network would. */
  cut(): void {
    this.#sockets.cut();
  }
}

/** A live client of the server. It is closed after the test. */
export function liveClient(server: Pick<TestServer, "url"> | { url: string }): LiveClient {
  const client = new LiveClient(server.url);
  onTestFinished(() => client.client.close());
  return client;
}
