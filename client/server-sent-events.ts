/** Reads a stream of Server-Sent Events. Browsers' own reader cannot send a credential. */

export interface ServerSentEvent {
  event: string;
  data: string;
}

/** Each event as it comes; comments, which keep the connection alive, are passed over. */
export async function* readEvents(body: ReadableStream<Uint8Array>): AsyncGenerator<ServerSentEvent> {
  const decoder = new TextDecoder();
  const reader = body.getReader();
  let unread = "";
  let event = "message";
  let data: string[] = [];
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      unread += decoder.decode(value, { stream: true });
      const lines = unread.split(/\r\n|\n|\r(?!$)/);
      unread = lines.pop() ?? "";
      for (const line of lines) {
        if (line === "") {
          if (data.length > 0) yield { event, data: data.join("\n") };
          event = "message";
          data = [];
          continue;
        }
        const [, field = "", text = ""] = /^([^:]*):? ?(.*)$/.exec(line) ?? [];
        if (field === "event") event = text;
        else if (field === "data") data.push(text);
      }
    }
  } finally {
    await reader.cancel().catch(() => {});
  }
}
