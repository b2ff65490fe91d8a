/** Frames that have their turn after their client has left. */
import { PassThrough } from "node:stream";
import { pino } from "pino";
import { expect, test } from "vitest";
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

test("a query set is subscribed to as long as its client is there, and not for one that has left", async () => {
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
  await modify(1, add(0, "echo:value", { value: 1 }));
  expect(subscriptions.queries).toBe(1);
  wire.emit("close");
  await modify(2, add(1, "echo:value", { value: 2 }));
  expect(subscriptions.queries).toBe(0);
  expect([held.subscriptions.bytes, held.answers.bytes]).toEqual([0, 0]);
});
