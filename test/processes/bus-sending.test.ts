/** What the others are told, in whatever state the bus is: nothing holds it up, and nothing is kept back. */
import { expect, onTestFinished, test, vi } from "vitest";
import { type Notice, NoticeBoard } from "../../runtime/notices.js";
import { closeBoth, describeProcesses, startTwo } from "../support/processes.js";
import { cutSocketsAfterEach, eventually, openAt } from "../support/sockets.js";

cutSocketsAfterEach();

/** All notices, as they come from now on to the end of the test. */
function heardAll(): { of(kind: Notice["kind"]): Notice[] } {
  const notices: Notice[] = [];
  const post = NoticeBoard.prototype.post;
  const spy = vi.spyOn(NoticeBoard.prototype, "post").mockImplementation(function (this: NoticeBoard, notice) {
    notices.push(notice);
    post.call(this, notice);
  });
  onTestFinished(() => spy.mockRestore());
  return { of: (kind) => notices.filter((notice) => notice.kind === kind) };
}

const tells = (heard: ReturnType<typeof heardAll>, agentId: string) =>
  eventually(
    async () => heard.of("serveRulesChanged").some((notice) => "agentId" in notice && notice.agentId === agentId),
    (isSo) => isSo,
  );

describeProcesses("that something was missed", () => {
  test("is told also where a notification is just on its way and nothing follows", async () => {
    const pair = await startTwo();
    const heard = heardAll();
    const bus = pair.one.server.bus;
    bus?.notice([{ kind: "serveRulesChanged", agentId: "first" }]);
    await tells(heard, "first");
    await new Promise((resolve) => setTimeout(resolve, 100));
    const before = heard.of("noticesMissed").length;
    bus?.notice([{ kind: "serveRulesChanged", agentId: "on its way" }]);
    await new Promise((resolve) => setImmediate(resolve));
    // A commit of which nobody looked at what it wrote.
    bus?.tell(undefined, []);
    await tells(heard, "on its way");
    await eventually(
      async () => heard.of("noticesMissed").length,
      (count) => count > before,
    );
    await closeBoth(pair);
  });
});

describeProcesses("a notification that PostgreSQL refuses", () => {
  test("is told of as something that was missed, and holds up nothing behind it", async () => {
    const pair = await startTwo();
    const heard = heardAll();
    const bus = pair.one.server.bus;
    bus?.notice([{ kind: "serveRulesChanged", agentId: "told before" }]);
    await tells(heard, "told before");
    const missed = heard.of("noticesMissed").length;
    bus?.notice([{ kind: "serveRulesChanged", agentId: "x".repeat(9_000) }]);
    await eventually(
      async () => heard.of("noticesMissed").length,
      (count) => count > missed,
    );
    bus?.notice([{ kind: "serveRulesChanged", agentId: "told afterwards" }]);
    await tells(heard, "told afterwards");
    expect(bus?.isConnected).toBe(true);
    await closeBoth(pair);
  });
});

describeProcesses("a name that would be too long for a notification", () => {
  test("from somebody without a credential does not silence the process", async () => {
    const pair = await startTwo({ config: { rateLimits: true } });
    const heard = heardAll();
    pair.one.server.bus?.notice([{ kind: "serveRulesChanged", agentId: "told before" }]);
    await tells(heard, "told before");
    await new Promise((resolve) => setTimeout(resolve, 100));
    const missed = heard.of("noticesMissed").length;
    const socket = await openAt(pair.one, "/ws/group", { sessionId: "x".repeat(9_000), token: "nobody's" });
    await socket.closed;
    pair.one.server.bus?.notice([{ kind: "serveRulesChanged", agentId: "told afterwards" }]);
    await tells(heard, "told afterwards");
    expect(heard.of("callsCounted").length).toBeGreaterThan(0);
    expect(JSON.stringify(heard.of("callsCounted"))).not.toContain("xxx");
    expect(heard.of("noticesMissed")).toHaveLength(missed);
    await closeBoth(pair);
  });
});
