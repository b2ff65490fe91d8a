import { expect, test } from "vitest";
import { Member } from "../../../../adapters/sockets/rooms/member.js";
import type { Socket } from "../../../../adapters/sockets/socket.js";
import type { Dispatcher } from "../../../../runtime/call/dispatch.js";
import type { MessageNotice } from "../../../../runtime/notices.js";

const alice = { participantId: "alice", side: "consumer" as const, userId: "alice", agentId: null, slotIndex: 0 };
const reader = {
  participantId: "reader",
  side: "provider" as const,
  userId: "bob",
  agentId: "reader",
  slotIndex: null,
};

function message(stamp: number): MessageNotice {
  const common = { clientId: null, type: "dialogue.message", payload: "{}", sender: alice, mentions: null };
  return { messageId: String(stamp), ...common, targetSlot: null, stamp };
}

/** A member over a store and a network of the test's own. */
function member() {
  const stored: MessageNotice[] = [];
  const written: string[] = [];
  const reads: (() => void)[] = [];
  const write = (frame: Buffer) => {
    written.push(String((JSON.parse(String(frame)) as { id?: string; note?: string }).id ?? "note"));
  };
  const socket = {
    gone: false,
    onPong: () => {},
    ping: () => {},
    send: write,
    sendAndDrain: async (frame: Buffer) => write(frame),
  } as unknown as Socket;
  const dispatcher = {
    runSystem: (_definition: unknown, { after, upTo }: { after: number; upTo: number }) =>
      new Promise((resolve) => {
        // What the snapshot holds is settled when the read begins.
        const found = stored.filter(({ stamp }) => stamp > after && stamp <= upTo);
        reads.push(() => resolve(found));
      }),
  } as unknown as Dispatcher;
  const joined = { email: "", confirmedAt: 0, present: [] };
  const made = new Member(socket, "session", "session", 10, 10, reader, "none", joined, dispatcher, () => {});
  const commit = (stamp: number) => {
    stored.push(message(stamp));
    made.sendMessage(stamp, Buffer.from(JSON.stringify({ id: String(stamp) })));
  };
  return { made, commit, reads, written };
}

// Between the last look at the store and the first live frame there is no instant in which a message could fall through.
test.each(Array.from({ length: 12 }, (_, ticks) => ticks))(
  "a message that commits %d turns after the backlog was read arrives once, in order",
  async (ticks) => {
    const { made, commit, reads, written } = member();
    commit(11);
    const started = made.start();
    reads.shift()?.();
    for (let tick = 0; tick < ticks; tick += 1) await undefined;
    commit(12);
    made.send(13, Buffer.from('{"note":true}'));
    for (let tick = 0; tick < 50; tick += 1) {
      reads.shift()?.();
      await undefined;
    }
    await started;
    commit(14);
    expect(written).toEqual(["11", "12", "note", "14"]);
  },
);
