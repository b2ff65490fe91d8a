/** One socket by itself: how much of what its client sends is held here. */
import { PassThrough } from "node:stream";
import { pino } from "pino";
import { expect, test } from "vitest";
import type { WebSocket } from "ws";
import type { Opener } from "../../../adapters/sockets/opener.js";
import { Socket } from "../../../adapters/sockets/socket.js";
import { heldBytes, openBudgets, sizes } from "../../../runtime/limits.js";
import { ManualClock } from "../../support/clock.js";
import { Wire } from "../../support/wire.js";

function open(takeTurn: (bytes: number) => Promise<void> | undefined = () => undefined) {
  const wire = new Wire();
  const connection = new PassThrough();
  const clock = new ManualClock();
  const held = openBudgets(clock, true);
  const log = pino({ level: "silent" });
  const parts = { log, clock, held, countFrame: () => undefined, track: () => undefined };
  const turns = { takeTurn: (_address: string, bytes: number) => takeTurn(bytes) };
  const socket = new Socket(wire as unknown as WebSocket, connection, "s", "a", 0, { ...parts, ...turns });
  return { wire, connection, held, socket };
}

test("a client that sends large frames waits until they are worked on", async () => {
  const { wire, socket } = open();
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

test("what arrives of a frame counts until it is whole, and then until it is worked on", async () => {
  const { wire, connection, held, socket } = open();
  connection.emit("data", Buffer.alloc(70_000));
  connection.emit("data", Buffer.alloc(30_000));
  expect(held.requests.bytes).toBe(100_000);
  // Its head and 99,000 bytes; what else came is of the next one.
  const rest = 100_000 - 99_000 - 14;
  wire.emit("message", Buffer.from(JSON.stringify({ type: "x" }).padEnd(99_000)), false);
  expect(held.requests.bytes).toBe(100_000);
  socket.handle({ frame: async () => {}, bad: async () => {} });
  await new Promise(setImmediate);
  expect(held.requests.bytes).toBe(rest);
  socket.close({ code: 1012, reason: "" });
  wire.emit("close");
  expect(held.requests.bytes).toBe(0);
});

test("over its address's share of unfinished frames a socket is closed, and a small frame is not refused", () => {
  const one = open();
  const others = one.held.requests.hold({ address: "a", caller: undefined });
  others.add(heldBytes.requests.address - 20_000);
  one.connection.emit("data", Buffer.alloc(20_000));
  expect(one.wire.closedWith).toBeUndefined();
  one.connection.emit("data", Buffer.alloc(1));
  expect(one.wire.closedWith).toBe(1013);

  const small = open();
  small.held.requests.hold({ address: "a", caller: undefined }).add(heldBytes.requests.address);
  small.connection.emit("data", Buffer.alloc(10_000));
  expect(small.wire.closedWith).toBeUndefined();
});

test("a socket that reads nothing is closed once its account has too much unread, wherever that is", () => {
  const { wire, held, socket } = open();
  const opener = { userId: "user", agentId: null, secretHash: null, byAgentToken: false };
  socket.openedBy({ ...opener, revoked: { code: 4001, reason: "" } } as unknown as Opener);
  const others = held.answers.hold({ address: "b", caller: "user" });
  others.add(heldBytes.answers.caller - 100_001);
  wire.bufferedAmount = 100_000;
  socket.send(Buffer.from("{}"));
  expect([wire.closedWith, held.answers.bytes]).toEqual([undefined, heldBytes.answers.caller - 1]);
  wire.bufferedAmount = 100_001;
  socket.send(Buffer.from("{}"));
  expect(wire.closedWith).toBe(1013);
  expect(held.answers.bytes).toBe(heldBytes.answers.caller - 100_001);
});

test("a client that only pings, and reads none of the pongs, is cut", () => {
  const { wire, connection } = open();
  const ping = (times: number) => {
    for (let count = 0; count < times; count += 1) wire.emit("ping", Buffer.alloc(0));
  };
  ping(10_000);
  expect(wire.isTerminated).toBe(false);
  wire.bufferedAmount = 1_000;
  ping(4_000);
  connection.emit("drain");
  ping(4_096);
  expect(wire.isTerminated).toBe(false);
  ping(1);
  expect(wire.isTerminated).toBe(true);
});

test("pings between the pieces of a frame do not hide what has arrived of it", async () => {
  const { wire, connection, held, socket } = open();
  const piece = 10_000;
  for (let count = 1; count <= 50; count += 1) {
    connection.emit("data", Buffer.alloc(piece));
    connection.emit("data", Buffer.alloc(6));
    wire.emit(count % 2 ? "ping" : "pong", Buffer.alloc(0));
    expect(held.requests.bytes).toBeGreaterThanOrEqual(count * piece);
  }
  // Nothing of the pings is counted for ever.
  const whole = 50 * piece - 50 * 8;
  wire.emit("message", Buffer.from(JSON.stringify({ type: "x" }).padEnd(whole)), false);
  socket.handle({ frame: async () => {}, bad: async () => {} });
  await new Promise(setImmediate);
  expect(held.requests.bytes).toBeLessThanOrEqual(6);
});

test("what a closed client sends before it goes counts as well, and over the share of its address it is cut", () => {
  const { wire, connection, held, socket } = open();
  const others = held.requests.hold({ address: "a", caller: undefined });
  others.add(heldBytes.requests.address - 100_000);
  socket.close({ code: 1013, reason: "" });
  connection.emit("data", Buffer.alloc(100_000));
  expect([held.requests.bytes, wire.isTerminated]).toEqual([heldBytes.requests.address, false]);
  connection.emit("data", Buffer.alloc(1));
  expect([held.requests.bytes, wire.isTerminated]).toEqual([heldBytes.requests.address, true]);
  wire.emit("close");
  expect(held.requests.bytes).toBe(heldBytes.requests.address - 100_000);
});

test("a frame that waits for its turn is not overtaken by those behind it", async () => {
  const turns: (() => void)[] = [];
  const { wire, socket } = open((bytes) => (bytes > 100 ? new Promise((resolve) => turns.push(resolve)) : undefined));
  const frame = (type: string, length = 0) =>
    Buffer.from(JSON.stringify({ type, payload: { text: "x".repeat(length) } }));
  const seen: string[] = [];
  socket.handle({ frame: async ({ type }) => void seen.push(type), bad: async () => {} });
  for (const each of [frame("first"), frame("large", 200), frame("behind it"), frame("as large", 200), frame("last")]) {
    wire.emit("message", each, false);
  }
  await new Promise(setImmediate);
  expect(seen).toEqual(["first"]);
  turns[1]?.();
  await new Promise(setImmediate);
  expect(seen).toEqual(["first"]);
  turns[0]?.();
  await new Promise(setImmediate);
  expect(seen).toEqual(["first", "large", "behind it", "as large", "last"]);
  wire.emit("message", frame("at once"), false);
  await new Promise(setImmediate);
  expect(seen.at(-1)).toBe("at once");
});
