/** What the others are told, in whatever state the bus is: nothing holds it up, and nothing is kept back. */
import { expect, onTestFinished, test, vi } from "vitest";
import { type Notice, NoticeBoard } from "../../runtime/notices.js";
import { closeBoth, describeProcesses, startTwo } from "../support/processes.js";
import { eventually } from "../support/sockets.js";

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
