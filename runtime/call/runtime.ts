/** The part of the runtime that adapters see. */
import type { Clock } from "../clock.js";
import type { Caller } from "../context.js";
import type { Held } from "../limits.js";
import type { Seen, Watches } from "../live/watches.js";
import type { Timestamps } from "../timestamps.js";
import type { Admission } from "./admission.js";
import type { Call, Outcome } from "./call.js";
import type { SystemFunction } from "./define.js";
import type { Dispatcher } from "./dispatch.js";
import type { Registry } from "./registry.js";

export interface RuntimeParts {
  registry: Registry;
  dispatcher: Dispatcher;
  admission: Admission;
  clock: Clock;
  held: Held;
  live: Watches;
  timestamps: Timestamps;
  publicUrl: string;
}

/** What adapters may ask of the runtime. */
export class Runtime {
  readonly #parts: RuntimeParts;

  constructor(parts: RuntimeParts) {
    this.#parts = parts;
  }

  get registry(): Registry {
    return this.#parts.registry;
  }

  /** Base of every link that is handed out, without a trailing slash. */
  get publicUrl(): string {
    return this.#parts.publicUrl;
  }

  /** Unix milliseconds, by the server's clock. */
  now(): number {
    return this.#parts.clock.now();
  }

  get live(): Watches {
    return this.#parts.live;
  }

  /** The budgets of bytes that are held for callers. */
  get held(): Held {
    return this.#parts.held;
  }

  get timestamps(): Timestamps {
    return this.#parts.timestamps;
  }

  dispatch(call: Call, seen?: Seen): Promise<Outcome> {
    return this.#parts.dispatcher.dispatch(call, seen);
  }

  runSystem<Args extends object, Returns>(definition: SystemFunction<Args, Returns>, args?: Args): Promise<Returns> {
    return this.#parts.dispatcher.runSystem(definition, args);
  }

  authenticate(secret: string, address: string): Promise<Caller> {
    return this.#parts.admission.authenticate(secret, address);
  }

  authenticateHeaders(headers: Pick<Call, "authorization" | "apiKey">, address: string): Promise<Caller> {
    return this.#parts.admission.authenticateHeaders(headers, address);
  }
}
