/** Queries that a client no longer has: nothing of them stays, neither watched nor counted. */
import { PassThrough } from "node:stream";
import { pino } from "pino";
import { expect, onTestFinished, test, vi } from "vitest";
import type { WebSocket } from "ws";
import { Credentials } from "../../../adapters/live/credentials.js";
import { Subscriptions } from "../../../adapters/live/subscriptions.js";
import { SyncSocket } from "../../../adapters/live/sync-socket.js";
import { Socket } from "../../../adapters/sockets/socket.js";
import { openBudgets } from "../../../runtime/limits.js";
import { NoticeBoard } from "../../../runtime/notices.js";
import { Turns } from "../../../runtime/turns.js";
import { ManualClock } from "../../support/clock.js";
import { echoModules } from "../../support/echo.js";
import { useServer } from "../../support/harness.js";
import { add } from "../../support/sync-frames.js";
import { Wire } from "../../support/wire.js";

const server = useServer("sqlite", { modules: echoModules });

async function connected() {
  const { dispatcher, registry, watches, timestamps } = server.server;
  const clock = new ManualClock();
  const log = pino({ level: "silent" });
  const held = openBudgets(clock, true);
  const turns = new Turns({ clock, atOnce: 1, perCaller: 1, togetherMs: 0, budget: undefined });
  const live = { dispatcher, registry, watches, timestamps, held, clock };
  const subscriptions = new Subscriptions({ ...live, turns, sharedDatabase: false });
  const credentials = new Credentials(new NoticeBoard(log), clock, turns);
  const wire = new Wire();
  const turn = { countFrame: () => undefined, takeTurn: () => undefined, track: () => undefined };
  const parts = { log, clock, held, ...turn };
  const socket = new Socket(wire as unknown as WebSocket, new PassThrough(), "s", "192.0.2.1", 0, parts);
  const client = new SyncSocket({ ...live, subscriptions, credentials, admission: undefined as never }, socket);
  const say = (frame: object) => client.raw(Buffer.from(JSON.stringify(frame)));
  const modify = (version: number, ...modifications: object[]) =>
    say({ type: "ModifyQuerySet", baseVersion: version - 1, newVersion: version, modifications });

  await say({ type: "Connect", sessionId: "a client's session" });
  return { subscriptions, wire, held, modify };
}

test("a query set is subscribed to as long as its client is there, and not for one that has left", async () => {
  const { subscriptions, wire, held, modify } = await connected();
  await modify(1, add(0, "echo:value", { value: 1 }));
  expect(subscriptions.queries).toBe(1);
  wire.emit("close");
  await modify(2, add(1, "echo:value", { value: 2 }));
  expect(subscriptions.queries).toBe(0);
  expect([held.subscriptions.bytes, held.answers.bytes]).toEqual([0, 0]);
});

test("a query that the frame that adds it also removes is not subscribed to", async () => {
  const { subscriptions, wire, held, modify } = await connected();
  const remove = (queryId: number) => ({ type: "Remove", queryId });
  const asked = add(1, "echo:value", { value: 1 });
  await modify(1, asked, remove(1));
  expect(subscriptions.queries).toBe(0);
  await modify(2, asked, remove(1), asked);
  expect(subscriptions.queries).toBe(1);
  await modify(3, remove(1));
  expect(subscriptions.queries).toBe(0);
  wire.emit("close");
  expect([held.subscriptions.bytes, held.answers.bytes]).toEqual([0, 0]);
});

test("a query that takes the place of an equal one is not read again", async () => {
  const { subscriptions, wire, modify } = await connected();
  const reads = vi.spyOn(server.server.dispatcher, "dispatch");
  onTestFinished(() => reads.mockRestore());
  await modify(1, add(1, "echo:value", { value: "same" }));
  await vi.waitFor(() => expect(reads).toHaveBeenCalledTimes(1));
  await modify(2, add(2, "echo:value", { value: "same" }), { type: "Remove", queryId: 1 });
  await new Promise(setImmediate);
  expect(subscriptions.queries).toBe(1);
  expect(reads).toHaveBeenCalledTimes(1);
  wire.emit("close");
});
