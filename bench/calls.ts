/** The two calls that are measured, and the check that each server answers them correctly first. */
import { isDeepStrictEqual } from "node:util";
import { payload, type Seat } from "./data.js";

export const messagesPerRead = 50;

export interface MeasuredCall {
  url: "/api/mutation" | "/api/query";
  body: string;
}

export function sendCall({ threadId }: Pick<Seat, "threadId">, encryptedPayload = payload()): MeasuredCall {
  const args = { threadId, type: "info", encryptedPayload };
  return { url: "/api/mutation", body: JSON.stringify({ path: "messages:send", args }) };
}

export function readCall({ threadId }: Pick<Seat, "threadId">): MeasuredCall {
  const args = { threadId, limit: messagesPerRead };
  return { url: "/api/query", body: JSON.stringify({ path: "messages:getForThread", args }) };
}

/**
 * Makes the same calls to both servers and throws if an answer differs. Only a new message's id and time may differ;
 * what was stored before must be the same bytes.
 */
export async function checkAnswers(oursPort: number, floorPort: number, seats: Seat[]): Promise<void> {
  const [seat, stranger] = seats as [Seat, Seat];
  const both = async (what: string, apiKey: string, call: MeasuredCall, free: string[] = []) => {
    const [ours, floor] = await Promise.all([ask(oursPort, apiKey, call), ask(floorPort, apiKey, call)]);
    const comparable = (answer: Answer) => [answer.status, without(JSON.parse(answer.body) as Envelope, free)];
    if (isDeepStrictEqual(comparable(ours), comparable(floor)) && (free.length > 0 || ours.body === floor.body)) {
      return ours;
    }
    throw new Error(`${what}: ours answers ${brief(ours)}, the floor ${brief(floor)}`);
  };
  const expect = (what: string, holds: boolean, answer: Answer) => {
    if (!holds) throw new Error(`${what}: unexpected answer ${brief(answer)}`);
  };

  const stored = await both("A read of stored messages", seat.apiKey, readCall(seat), ["cursor"]);
  const { value } = JSON.parse(stored.body) as { value: { createdAt: number }[] };
  expect("A read of stored messages", stored.status === 200 && value.length === messagesPerRead, stored);
  expect(
    "Order of messages",
    isDeepStrictEqual(
      value,
      value.toSorted((a, b) => a.createdAt - b.createdAt),
    ),
    stored,
  );

  const free = ["messageId", "createdAt"];
  const sent = await both("A send", seat.apiKey, sendCall(seat, payload()), free);
  expect("A send", sent.status === 200 && sent.body.startsWith('{"status":"success"'), sent);
  const after = await both("A read after a send", seat.apiKey, readCall(seat), [...free, "encryptedPayload"]);
  const { messageId } = (JSON.parse(sent.body) as { value: { messageId: string } }).value;
  const last = (JSON.parse(after.body) as { value: { messageId: string }[] }).value.at(-1);
  expect("A read after a send", last?.messageId === messageId, after);

  const anothers = { threadId: stranger.threadId };
  for (const call of [readCall(anothers), sendCall(anothers)]) await both("Another's thread", seat.apiKey, call);
  for (const call of [readCall(seat), sendCall(seat)]) {
    const refused = await both("A wrong key", "c2c_wrong", call);
    expect("A wrong key", refused.status === 401, refused);
  }
  await both("A payload that is no base64", seat.apiKey, sendCall(seat, "?".repeat(400)));
  await both("A payload that is too short", seat.apiKey, sendCall(seat, "AAAA"));
}

interface Answer {
  status: number;
  body: string;
}
type Envelope = Record<string, unknown>;

async function ask(port: number, apiKey: string, { url, body }: MeasuredCall): Promise<Answer> {
  const response = await fetch(`http://127.0.0.1:${port}${url}`, {
    method: "POST",
    headers: { Authorization: `Bearer ${apiKey}`, "Content-Type": "application/json" },
    body,
  });
  return { status: response.status, body: await response.text() };
}

/** The same value without cursors, which the floor has none of. Fields named in `free` keep only their type. */
function without(value: unknown, free: string[]): unknown {
  if (Array.isArray(value)) return value.map((item) => without(item, free));
  if (typeof value !== "object" || value === null) return value;
  return Object.entries(value)
    .filter(([key]) => key !== "cursor")
    .map(([key, item]) => [key, free.includes(key) ? typeof item : without(item, free)]);
}

function brief({ status, body }: Answer): string {
  return `${status} ${body.slice(0, 300)}`;
}
