/** A small world in which random things happen, and all questions that its people could subscribe to. */
import { day, hour, minute, type TestServer } from "./harness.js";
import { Coordination } from "./live-world/coordination.js";
import { Documents } from "./live-world/documents.js";
import { type Act, Dice, Ground, type Part, type Question, type Reached, times } from "./live-world/ground.js";
import { Marketplace } from "./live-world/marketplace.js";
import { Money } from "./live-world/money.js";
import { People } from "./live-world/people.js";

export type { Question, Reached } from "./live-world/ground.js";

/**
 * This many consecutive seeds start at different places of the same deck. With enough steps, each act is dealt for one
 * of them.
 */
const seedsOfADeck = 4;

const ofTime = /^(a second|time|days)/;

export class LiveWorld {
  readonly #parts: readonly Part[];
  #deck: string[] | undefined;

  private constructor(
    readonly ground: Ground,
    readonly seed: number,
  ) {
    // Every part needs the people, and money is first earned on the marketplace.
    this.#parts = [People, Coordination, Marketplace, Money, Documents].map((Of) => new Of(ground));
  }

  /** A world with something of everything in it, in which every mutation has succeeded once. */
  static async make(
    servers: readonly TestServer[],
    seed: number,
    reached: Reached = new Map(),
    allHeard = async () => {},
  ): Promise<LiveWorld> {
    const world = new LiveWorld(new Ground(servers, new Dice(seed), reached, allHeard), seed);
    for (const part of world.#parts) await part.open();
    return world;
  }

  /** Everything that somebody could watch in this world now. */
  questions(): Question[] {
    return this.#parts.flatMap((part) => part.questions());
  }

  /** How many different things can happen if time stands still. */
  get variety(): number {
    return this.#names(true).length;
  }

  /**
   * One random thing happens, or is refused. Each thing happens once before one is repeated. With `still`, time does
   * not move.
   */
  async happen(still = false): Promise<string> {
    this.ground.step += 1;
    const acts = new Map(this.#acts());
    this.#deck ??= this.#firstDeck(still);
    if (this.#deck.length === 0) this.#deck = this.ground.dice.shuffled(this.#names(still));
    const name = this.#deck.pop() ?? "";
    await acts
      .get(name)?.()
      .catch((error: unknown) => {
        if (!("code" in (error as object)) || (error as { code: string }).code === "internal") throw error;
      });
    return name;
  }

  /** Runs the timers that are due by now. */
  async settle(): Promise<void> {
    for (const server of this.ground.servers) await server.settle();
  }

  #firstDeck(still: boolean): string[] {
    const group = Math.floor((this.seed - 1) / seedsOfADeck);
    const all = new Dice(group).shuffled(this.#names(still));
    const from = Math.floor((((this.seed - 1) % seedsOfADeck) * all.length) / seedsOfADeck);
    return [...all.slice(from), ...all.slice(0, from)].reverse();
  }

  #names(still: boolean): string[] {
    return [...new Map(this.#acts()).keys()].filter((name) => !still || !ofTime.test(name));
  }

  #acts(): Act[] {
    return [...this.#parts.flatMap((part) => part.acts()), ...this.#time()];
  }

  #time(): Act[] {
    const { dice, server } = this.ground;
    const { clock } = server;
    return [
      ...times(3, "a second", async () => clock.jump(1_000)),
      ...times(4, "time", async () => clock.jump(dice.one([minute, 6 * minute, 20 * minute, hour]))),
      ["days", async () => clock.jump(dice.below(3) === 0 ? dice.one([day, 2 * day, 8 * day]) : 2 * hour)],
    ];
  }
}
