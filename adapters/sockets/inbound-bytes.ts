/**
 * The bytes that one socket has sent and that are not dealt with yet: those of whole frames that wait or are worked on,
 * and those that have arrived of a frame that is not whole.
 */
import type { Holding } from "../../runtime/byte-budget.js";
import { type Held, sizes } from "../../runtime/limits.js";

export class InboundBytes {
  readonly #holding: Holding;
  /** Of the frames that wait or are worked on. */
  #frames = 0;
  /** Of a frame that is not whole yet, and of what was read last. */
  #part = 0;
  #chunk = 0;

  /** `giveUp` closes the socket, where others need the room. */
  constructor(held: Held, address: string, giveUp: () => void) {
    this.#holding = held.requests.hold({ address, caller: undefined }, giveUp);
  }

  /** Of the frames that wait or are worked on. */
  get frames(): number {
    return this.#frames;
  }

  /** More was read. */
  arrived(bytes: number): void {
    this.#chunk = bytes;
    this.#part += bytes;
  }

  /** Whether what has arrived of a frame is more than any frame may have. */
  get isFrameTooLarge(): boolean {
    return this.#part > sizes.liveFrameBytes + this.#chunk;
  }

  /** Counts what has arrived; false where there is no room for it. */
  count(): boolean {
    const more = this.#frames + this.#part - this.#holding.bytes;
    return more <= 0 || this.#holding.take(more);
  }

  /** A frame is whole: what else has arrived is of the next, and came with what was read last. */
  frameIsWhole(length: number): void {
    const headBytes = length < 126 ? 6 : length < 0x1_0000 ? 8 : 14;
    this.#part = Math.max(0, Math.min(this.#part - length - headBytes, this.#chunk));
  }

  /** A ping or a pong, which may come between the pieces of a frame: those are still held. */
  controlIsWhole(length: number): void {
    this.#part = Math.max(0, this.#part - length - 6);
  }

  /** A whole frame waits. */
  keep(length: number): void {
    this.#frames += length;
  }

  /** Frames were dealt with, or are not going to be. */
  drop(length: number): void {
    this.#frames -= length;
    this.#holding.set(Math.min(this.#holding.bytes, this.#frames + this.#part));
  }

  end(): void {
    this.#holding.end();
  }
}
