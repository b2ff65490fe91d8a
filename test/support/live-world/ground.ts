/** What all parts of the live world share: its people, its dice, and a way to call as one of them. */
import type { Caller as RuntimeCaller } from "../../../runtime/context.js";
import { hashSecret } from "../../../runtime/ids.js";
import { Caller, type RestReply, type TestServer } from "../harness.js";

/** Somebody with a credential that does not expire when the clock jumps. */
export interface Person {
  caller: RuntimeCaller;
  credential: string | undefined;
  /** The id of the agent or user. */
  id: string;
}

/** A query that somebody subscribes to. */
export interface Question {
  who: Person;
  path: string;
  args: Record<string, unknown>;
}

/** How often each function or surface was used with success. */
export type Reached = Map<string, number>;

// biome-ignore lint/suspicious/noExplicitAny: what comes back is what the world goes on with.
export type Value = any;
export type Act = [name: string, act: () => Promise<unknown>];

/** A part of the world: what it makes at the start, what can be watched in it, and what can happen. */
export interface Part {
  open(): Promise<void>;
  questions(): Question[];
  acts(): Act[];
}

export const nobody: Person = { caller: { kind: "anonymous" }, credential: undefined, id: "" };

/** The id of a credential (runtime/context.ts). */
export function idOf(kind: "agent" | "key", secret: string): string {
  return `${kind}_${hashSecret(secret)}`;
}

/** Gives somebody another credential. */
export function giveCredential(person: Person, secret: string): void {
  const { caller } = person;
  if (caller.kind !== "agent" && caller.kind !== "user") throw new Error("Nobody has no credential");
  person.credential = secret;
  person.caller = { ...caller, credentialId: idOf(caller.kind === "agent" ? "agent" : "key", secret) };
}

export function ask(who: Person, path: string, args: Record<string, unknown> = {}): Question {
  return { who, path, args };
}

/** The same act several times, for a deck. */
export function times(number: number, ...[name, act]: Act): Act[] {
  return Array.from({ length: number }, (_, index) => [`${name} ${index}`, act]);
}

/** Random numbers that are the same for the same seed. */
export class Dice {
  #state: number;

  constructor(seed: number) {
    this.#state = seed * 2_654_435_761 + 1;
  }

  below(limit: number): number {
    this.#state = (Math.imul(this.#state ^ (this.#state >>> 15), 2_246_822_519) + 3_266_489_917) >>> 0;
    return this.#state % limit;
  }

  one<T>(of: readonly T[]): T {
    return of[this.below(of.length)] as T;
  }

  shuffled<T>(of: readonly T[]): T[] {
    const left = [...of];
    return of.map(() => left.splice(this.below(left.length), 1)[0] as T);
  }
}

export class Ground {
  /** Agents that registered themselves. Each has its own key. */
  readonly agents: Person[] = [];
  readonly users: Person[] = [];
  /** The users' agents on the marketplace, with tokens. The first is rented at once, the second after an approval. */
  readonly listed: Person[] = [];
  admin: Person = nobody;
  step = 0;

  constructor(
    /** Each act happens on a random one of them. */
    readonly servers: readonly TestServer[],
    readonly dice: Dice,
    readonly reached: Reached,
    /** Resolves once each server has heard what the others did. */
    readonly allHeard: () => Promise<void>,
  ) {}

  get server(): TestServer {
    return this.servers[0] as TestServer;
  }

  /** A random server. */
  get somewhere(): TestServer {
    return this.dice.one(this.servers);
  }

  get now(): number {
    return this.server.clock.now();
  }

  other(user: Person): Person {
    return this.users.find((one) => one !== user) as Person;
  }

  ownerOf(agent: Person): Person {
    return this.users[this.listed.indexOf(agent)] as Person;
  }

  async call(who: Person, path: string, args: object = {}): Promise<Value> {
    const value = await new Caller(this.somewhere, who.credential).call(path, args);
    this.note(path);
    return value;
  }

  async rest(who: Person, method: string, path: string, body?: object): Promise<RestReply> {
    const reply = await new Caller(this.somewhere, who.credential).rest(method, path, body);
    if (reply.status < 300) this.note(`${method} ${path.replaceAll(/[0-9a-f-]{36}/g, ":id")}`);
    return reply;
  }

  /** Notes a success. */
  note(what: string): void {
    this.reached.set(what, (this.reached.get(what) ?? 0) + 1);
  }

  act(who: Person, path: string, args: object = {}): Act {
    return [path, () => this.call(who, path, args)];
  }
}
