/** Where notices were missed, everybody who holds a credential looks again, and one caller's thousand sockets come in turns. */
import { pino } from "pino";
import { expect, test } from "vitest";
import { Credentials } from "../../../adapters/live/credentials.js";
import type { Caller } from "../../../runtime/context.js";
import { NoticeBoard } from "../../../runtime/notices.js";
import { sqliteDialect } from "../../../runtime/store/dialects.js";
import { Turns, turnsOn } from "../../../runtime/turns.js";
import { ManualClock } from "../../support/clock.js";

const agent = (agentId: string): Caller =>
  ({ kind: "agent", agentId, ownerId: null, credentialId: `of ${agentId}` }) as Caller;

test("another's one socket looks in the first round, and with the rest nothing is lost", async () => {
  const clock = new ManualClock();
  const notices = new NoticeBoard(pino({ level: "silent" }));
  const credentials = new Credentials(notices, clock, new Turns(turnsOn(sqliteDialect.callsAtOnce, clock, undefined)));
  const looked: string[] = [];
  const hold = (caller: Caller, name: string) => {
    let isDoubted = false;
    credentials.watch("c2c_secret", caller, () => {
      if (isDoubted) return;
      isDoubted = true;
      const look = async () => {
        await new Promise((resolve) => setImmediate(resolve));
        looked.push(name);
      };
      void credentials.check(caller, "192.0.2.1", look);
    });
  };
  for (let socket = 0; socket < 1_000; socket += 1) hold(agent("alice"), "alice");
  hold(agent("bob"), "bob");
  notices.post({ kind: "noticesMissed", since: 0 });
  while (looked.length < 1_001) await new Promise((resolve) => setImmediate(resolve));
  expect(looked.indexOf("bob")).toBeLessThanOrEqual(16);
});

test("a look that fails fails for whoever asked, and the next one has its turn", async () => {
  const clock = new ManualClock();
  const notices = new NoticeBoard(pino({ level: "silent" }));
  const credentials = new Credentials(notices, clock, new Turns(turnsOn(sqliteDialect.callsAtOnce, clock, undefined)));
  const failed = credentials.check(undefined, "192.0.2.1", () => Promise.reject(new Error("no")));
  const next = credentials.check(undefined, "192.0.2.1", async () => "yes");
  await expect(failed).rejects.toThrow("no");
  expect(await next).toBe("yes");
});
