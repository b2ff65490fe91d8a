/** One socket by itself: how much of what its client sends is held here. */
import { EventEmitter } from "node:events";
import { PassThrough } from "node:stream";
import { pino } from "pino";
import { expect, test } from "vitest";
import { WebSocket } from "ws";
import { Socket } from "../../../adapters/sockets/socket.js";
import { sizes } from "../../../runtime/limits.js";

/** What a socket uses of `ws`. */
class Wire extends EventEmitter {
  readyState: number = WebSocket.OPEN;
  isPaused = false;
  bufferedAmount = 0;
  pause() {
    this.isPaused = true;
  }
  resume() {
    this.isPaused = false;
  }
  send() {}
}

test("a client that sends large frames waits until they are worked on", async () => {
  const wire = new Wire();
  const log = pino({ level: "silent" });
  const nothing = () => undefined;
  const socket = new Socket(
    wire as unknown as WebSocket,
    new PassThrough(),
    "s",
    "a",
    log,
    nothing,
    nothing,
    nothing,
    0,
  );
  const large = Buffer.from(JSON.stringify({ type: "x", payload: { text: "x".repeat(sizes.heldBytes / 2) } }));

  wire.emit("message", large, false);
  expect(wire.isPaused).toBe(false);
  wire.emit("message", large, false);
  expect(wire.isPaused).toBe(true);

  let finish = () => {};
  const worked = new Promise<void>((resolve) => {
    finish = resolve;
  });
  socket.handle({ frame: () => worked, bad: async () => {} });
  // What is worked on is held just as well.
  expect(wire.isPaused).toBe(true);
  finish();
  await new Promise(setImmediate);
  expect(wire.isPaused).toBe(false);
});
