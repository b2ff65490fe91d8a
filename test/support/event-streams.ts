/** Reads `GET /api/subscribe` as a browser's EventSource does, and lets a test wait for what comes. */
import { onTestFinished } from "vitest";
import type { Caller, TestServer } from "./harness.js";
import { until } from "./live-clients.js";

export interface Event {
  event: string;
  id: string | undefined;
  // biome-ignore lint/suspicious/noExplicitAny: what comes back is what the tests are about to look at.
  data: any;
}

export class Reader {
  text = "";
  ended = false;

  add(chunk: string): void {
    this.text += chunk;
  }

  get events(): Event[] {
    return this.text.split("\n\n").flatMap((block) => {
      const fields = new Map(
        block.split("\n").map((line) => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(": ") + 2)]),
      );
      const data = fields.get("data");
      if (data === undefined) return [];
      return [{ event: fields.get("event") ?? "message", id: fields.get("id"), data: JSON.parse(data) }];
    });
  }

  async shows(isIt: (event: Event) => boolean): Promise<Event> {
    await until(
      () => this.events.some(isIt),
      () => `an event; there is ${this.text.slice(-500)}`,
    );
    return this.events.find(isIt) as Event;
  }
}

export function address(server: Pick<TestServer, "url">, path: string, args?: object): string {
  const query = new URLSearchParams({ path, ...(args ? { args: JSON.stringify(args) } : {}) });
  return `${server.url}/api/subscribe?${query}`;
}

/** Opens a stream. It is closed after the test. */
export async function open(
  server: Pick<TestServer, "url">,
  who: Pick<Caller, "credential">,
  path: string,
  args?: object,
  headers: Record<string, string> = {},
): Promise<{ response: Response; reader: Reader; leave(): void }> {
  const given = new AbortController();
  onTestFinished(() => given.abort());
  const response = await fetch(address(server, path, args), {
    headers: { ...(who.credential ? { Authorization: `Bearer ${who.credential}` } : {}), ...headers },
    signal: given.signal,
  });
  const reader = new Reader();
  void (async () => {
    const decoder = new TextDecoder();
    for await (const chunk of response.body ?? []) reader.add(decoder.decode(chunk, { stream: true }));
    reader.ended = true;
  })().catch(() => {});
  return { response, reader, leave: () => given.abort() };
}
