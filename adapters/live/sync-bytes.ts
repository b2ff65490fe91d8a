/**
 * What is held for one live client, in bytes: the arguments of its queries, and what it is sent until the network has
 * it.
 */
import { callerKey, type Holding } from "../../runtime/byte-budget.js";
import type { Caller } from "../../runtime/context.js";
import type { Held } from "../../runtime/limits.js";

export class SyncBytes {
  readonly #held: Held;
  readonly #address: string;
  readonly #giveUp: () => void;
  #caller: Caller | undefined;
  #arguments: Holding;
  #answers: Holding;

  /** `giveUp` ends the client, where others need the room. */
  constructor(held: Held, address: string, giveUp: () => void) {
    this.#held = held;
    this.#address = address;
    this.#giveUp = giveUp;
    this.#arguments = this.#holdArguments();
    this.#answers = this.#holdAnswers();
  }

  #holdArguments(): Holding {
    return this.#held.subscriptions.hold(this.#holder);
  }

  #holdAnswers(): Holding {
    return this.#held.answers.hold(this.#holder, this.#giveUp);
  }

  get #holder() {
    return { address: this.#address, caller: callerKey(this.#caller) };
  }

  /** Counts everything as another caller's from now on. */
  moveTo(caller: Caller | undefined): void {
    this.#caller = caller;
    const [args, answers] = [this.#arguments, this.#answers];
    this.#arguments = this.#holdArguments();
    this.#answers = this.#holdAnswers();
    this.#arguments.add(args.bytes);
    this.#answers.add(answers.bytes);
    args.end();
    answers.end();
  }

  /** Takes the arguments of a query, or returns false and takes nothing. */
  takeArguments(bytes: number): boolean {
    return this.#arguments.take(bytes);
  }

  freeArguments(bytes: number): void {
    this.#arguments.add(-bytes);
  }

  /** To count the arguments of one mutation while it runs. */
  holdRequest(): Holding {
    return this.#held.requests.hold(this.#holder);
  }

  /** Whether there is room for one more answer, however large it turns out to be. */
  get hasRoom(): boolean {
    return this.#answers.hasRoom;
  }

  /** Takes something that is to be sent, or returns false and takes nothing. */
  takeAnswer(bytes: number): boolean {
    return this.#answers.take(bytes);
  }

  /** Takes it whatever the bounds. */
  addAnswer(bytes: number): void {
    this.#answers.add(bytes);
  }

  freeAnswer(bytes: number): void {
    this.#answers.add(-bytes);
  }

  /** Calls back once there may be room again. Returns how to cancel that. */
  whenFreed(callback: () => void): () => void {
    return this.#held.answers.whenFreed(callback);
  }

  end(): void {
    this.#arguments.end();
    this.#answers.end();
  }
}
