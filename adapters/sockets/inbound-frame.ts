/** The frames that a client sends, as far as every channel agrees on them, and who takes them. */

export interface InboundFrame {
  type: string;
  payload: Record<string, unknown>;
  /** The whole object, with what only some channels know. */
  fields: Record<string, unknown>;
}

/** What a channel makes of frames. */
export interface FrameHandler {
  frame(frame: InboundFrame): Promise<void>;
  /** Something that is no frame. */
  bad(message: string): Promise<void>;
}

/** What a channel makes of frames that it parses itself. */
export interface RawFrameHandler extends Pick<FrameHandler, "bad"> {
  raw(data: Buffer): Promise<void>;
  /** A frame is too large to be read: the socket is about to close. */
  tooLarge(): void;
}

/** The frame; undefined where the text is none. */
export function parseFrame(data: Buffer): InboundFrame | undefined {
  let parsed: unknown;
  try {
    parsed = JSON.parse(data.toString("utf8"));
  } catch {
    return undefined;
  }
  if (!isObject(parsed)) return undefined;
  const { type, payload = {} } = parsed;
  if (typeof type !== "string" || !(isObject(payload) || payload === null)) return undefined;
  return { type, payload: payload ?? {}, fields: parsed };
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
