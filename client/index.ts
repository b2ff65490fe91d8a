/**
 * A typed client for Node and browsers: queries, mutations and subscriptions by the paths of the registry, with the
 * types of their declarations. It imports types alone, so nothing of the server comes along, and needs nothing but
 * `fetch`.
 *
 *   import type { Api } from "tidepool";
 *   const client = createClient<Api>({ url: "http://localhost:3001", token: apiKey });
 *   const threads = await client.query("messages:getThreadsForAgent", {});
 */
import { readEvents } from "./server-sent-events.js";

/** How long to wait before a lost subscription is opened again: at first, and at most. */
const firstWaitMs = 500;
const longestWaitMs = 16_000;

/** The part of zod's types that says what goes in and what comes out. */
interface Schema {
  _zod: { input: unknown; output: unknown };
}
interface Definition {
  kind: "query" | "mutation";
  args: Schema;
  returns: Schema;
}

type Modules = Record<string, Record<string, unknown>>;

/** The paths of one kind, such as `messages:send`. */
export type PathOf<Api extends Modules, Kind extends Definition["kind"]> = {
  [Module in keyof Api & string]: {
    [Name in keyof Api[Module] & string]: Api[Module][Name] extends { kind: Kind } ? `${Module}:${Name}` : never;
  }[keyof Api[Module] & string];
}[keyof Api & string];

type DefinitionAt<Api extends Modules, Path extends string> = Path extends `${infer Module}:${infer Name}`
  ? Api[Module] extends Record<Name, infer Declared extends Definition>
    ? Declared
    : never
  : never;

export type ArgsOf<Api extends Modules, Path extends string> = DefinitionAt<Api, Path>["args"]["_zod"]["input"];
export type ValueOf<Api extends Modules, Path extends string> = DefinitionAt<Api, Path>["returns"]["_zod"]["output"];

export interface ClientOptions {
  /** The server's address, such as `http://localhost:3001`. */
  url: string;
  /** An agent's key or token, or a user's JWT or API key. Without one, only what anybody may call works. */
  token?: string;
  fetch?: typeof fetch;
}

/** The call was refused. `code` is for programs (docs/reference.md section 4), `message` for people. */
export class TidepoolError extends Error {
  override readonly name = "TidepoolError";

  constructor(
    readonly code: string,
    message: string,
    /** Details beside the code, such as `issues` or `retryAfterMs`. */
    readonly data: Record<string, unknown>,
  ) {
    super(message);
  }
}

export interface Subscription {
  /** Ends it. Nothing is called afterwards. */
  unsubscribe(): void;
}

export interface Client<Api extends Modules> {
  /** Reads once. Rejects with a `TidepoolError` where the call is refused. */
  query<Path extends PathOf<Api, "query">>(path: Path, args: ArgsOf<Api, Path>): Promise<ValueOf<Api, Path>>;
  /** Writes. With an `idempotencyKey` it can be sent again, and gets the first answer again. */
  mutation<Path extends PathOf<Api, "mutation">>(
    path: Path,
    args: ArgsOf<Api, Path>,
    options?: { idempotencyKey?: string },
  ): Promise<ValueOf<Api, Path>>;
  /**
   * Calls `onValue` with the query's value, and with each new one. Opens itself again after a lost connection. A
   * refusal of the query goes to `onError`. The subscription goes on until it is ended or the credential is no longer
   * good.
   */
  subscribe<Path extends PathOf<Api, "query">>(
    path: Path,
    args: ArgsOf<Api, Path>,
    onValue: (value: ValueOf<Api, Path>) => void,
    onError?: (error: TidepoolError) => void,
  ): Subscription;
}

export function createClient<Api extends Modules>(options: ClientOptions): Client<Api> {
  const url = options.url.replace(/\/+$/, "");
  const send = options.fetch ?? fetch;
  const credential: Record<string, string> =
    options.token === undefined ? {} : { Authorization: `Bearer ${options.token}` };

  const call = async (kind: Definition["kind"], path: string, args: unknown, headers: Record<string, string>) => {
    const response = await send(`${url}/api/${kind}`, {
      method: "POST",
      headers: { "Content-Type": "application/json", ...credential, ...headers },
      body: JSON.stringify({ path, args, format: "json" }),
    });
    const reply = (await response.json()) as Reply;
    if (reply.status === "success") return reply.value;
    throw errorOf(reply);
  };

  const subscribe = (
    path: string,
    args: unknown,
    onValue: (value: unknown) => void,
    onError: (error: TidepoolError) => void = () => {},
  ): Subscription => {
    const ended = new AbortController();
    const query = new URLSearchParams({ path, args: JSON.stringify(args) });
    /** Whether it is worth trying again. */
    const listen = async (heard: () => void): Promise<boolean> => {
      const response = await send(`${url}/api/subscribe?${query}`, {
        headers: { Accept: "text/event-stream", ...credential },
        signal: ended.signal,
      });
      if (!response.ok || !response.body) {
        const error = errorOf((await response.json()) as Reply);
        if (response.status >= 500 || response.status === 429) return true;
        onError(error);
        return false;
      }
      for await (const { event, data } of readEvents(response.body)) {
        if (ended.signal.aborted) return false;
        heard();
        const said = JSON.parse(data) as unknown;
        if (event === "error") onError(errorOf({ errorData: said as Reply["errorData"] }));
        else onValue(said);
      }
      return true;
    };
    const keepListening = async () => {
      let waitMs = firstWaitMs;
      while (!ended.signal.aborted) {
        const again = await listen(() => {
          waitMs = firstWaitMs;
        }).catch(() => true);
        if (!again) return;
        await pause(waitMs * (0.5 + Math.random()), ended.signal);
        waitMs = Math.min(waitMs * 2, longestWaitMs);
      }
    };
    void keepListening();
    return { unsubscribe: () => ended.abort() };
  };

  return {
    query: (path, args) => call("query", path, args, {}),
    mutation: (path, args, { idempotencyKey } = {}) =>
      call("mutation", path, args, idempotencyKey === undefined ? {} : { "Idempotency-Key": idempotencyKey }),
    subscribe: (path, args, onValue, onError) => subscribe(path, args, onValue as (value: unknown) => void, onError),
  } as Client<Api>;
}

/** What the server answers: a value, a refusal by the function, or one by the gateway. */
interface Reply {
  status?: "success" | "error";
  value?: unknown;
  errorMessage?: string;
  message?: string;
  errorData?: { code?: string; message?: string } & Record<string, unknown>;
}

function errorOf({ errorMessage, message, errorData = {} }: Reply): TidepoolError {
  const { code = "internal", message: told, ...data } = errorData;
  return new TidepoolError(code, errorMessage ?? message ?? told ?? "Server Error", data);
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    const end = () => {
      clearTimeout(timer);
      resolve();
    };
    if (signal.aborted) end();
    else signal.addEventListener("abort", end, { once: true });
  });
}
