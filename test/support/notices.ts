/** Listens to the notices that functions post. */
import { onTestFinished, vi } from "vitest";
import { type Notice, NoticeBoard } from "../../runtime/notices.js";

/** The notices of one kind that are posted from now to the end of the test. */
export function heard<K extends Notice["kind"]>(kind: K): Notice[] {
  const notices: Notice[] = [];
  const post = NoticeBoard.prototype.post;
  const spy = vi.spyOn(NoticeBoard.prototype, "post").mockImplementation(function (this: NoticeBoard, notice) {
    if (notice.kind === kind) notices.push(notice);
    post.call(this, notice);
  });
  onTestFinished(() => spy.mockRestore());
  return notices;
}
