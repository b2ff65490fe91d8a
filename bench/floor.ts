/**
 * What both floor servers share: bare `node:http`, JSON in and out, and the checks of arguments. It answers the two
 * measured calls as our server does, without router, schema, log or context.
 */
import { createServer } from "node:http";
import { v7 as uuidV7 } from "uuid";

export interface Message {
  messageId: string;
  threadId: string;
  fromAgentId: string;
  type: string;
  encryptedPayload?: string;
  payload?: unknown;
  referencesMessageId?: string;
  createdAt: number;
}

/** A row as the database returns it. */
export interface MessageRow {
  messageId: string;
  threadId: string;
  fromAgentId: string;
  type: string;
  encryptedPayload: string | null;
  payload: string | null;
  referencesMessageId: string | null;
  createdAt: number;
}

export interface ThreadRow {
  threadId: string;
  connectionId: string | null;
  agentAId: string;
  agentBId: string;
  status: string;
  messageCount: number;
  lastMessageAt: number | null;
}

export interface SendArgs {
  threadId: string;
  type: string;
  encryptedPayload: string;
}

/** The calls, as implemented for one database. Both may throw a `Refusal`. */
export interface FloorCalls {
  send(bearer: string, args: SendArgs): unknown;
  getForThread(bearer: string, threadId: string, limit: number): unknown;
}

export class Refusal extends Error {
  constructor(
    readonly code: string,
    message: string,
    readonly status = 200,
  ) {
    super(message);
  }
}

export const invalidKey = () => new Refusal("unauthenticated", "Invalid API key", 401);
export const threadNotFound = () => new Refusal("not_found", "Thread not found");
export const notActive = () => new Refusal("conflict", "Connection is not active");
export const threadClosed = (status: string) =>
  new Refusal("conflict", `Cannot send messages to thread with status: ${status}`);

export const openStatuses = new Set(["negotiating", "awaiting_approval", "confirmed"]);

/** Sorts by time like our ids: a random key would make the floor's inserts slower. */
export function newMessageId(now: number): string {
  return `msg_${uuidV7({ msecs: now }).replaceAll("-", "")}`;
}

export function toMessage(row: MessageRow): Message {
  return {
    messageId: row.messageId,
    threadId: row.threadId,
    fromAgentId: row.fromAgentId,
    type: row.type,
    encryptedPayload: row.encryptedPayload ?? undefined,
    payload: row.payload === null ? undefined : JSON.parse(row.payload),
    referencesMessageId: row.referencesMessageId ?? undefined,
    createdAt: row.createdAt,
  };
}

/** Listens on `PORT`. `GET /` answers 200. */
export function serveFloor(calls: FloorCalls): void {
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", async () => {
      let status = 200;
      let body: string;
      try {
        const text = Buffer.concat(chunks).toString("utf8");
        const value = request.method === "GET" ? null : await call(calls, request.headers.authorization, text);
        body = JSON.stringify({ status: "success", value });
      } catch (error) {
        if (error instanceof Refusal) {
          status = error.status;
          const envelope = { status: "error", errorMessage: error.message, errorData: { code: error.code } };
          const rejected =
            status === 401 ? { code: "Unauthenticated", error: "Unauthorized", message: error.message } : {};
          body = JSON.stringify({ ...envelope, ...rejected });
        } else {
          console.error(error);
          status = 500;
          body = JSON.stringify({ status: "error", errorMessage: "Server Error" });
        }
      }
      response.writeHead(status, { "Content-Type": "application/json", "Content-Length": Buffer.byteLength(body) });
      response.end(body);
    });
  });
  server.keepAliveTimeout = 65_000;
  server.listen(Number(process.env["PORT"]), "127.0.0.1");
}

function call(calls: FloorCalls, authorization: string | undefined, text: string): unknown {
  if (!authorization?.startsWith("Bearer ")) throw invalidKey();
  const bearer = authorization.slice("Bearer ".length);
  const { path, args } = JSON.parse(text) as { path: string; args: Record<string, unknown> };
  const { threadId, type, encryptedPayload, limit = 100 } = args;
  if (typeof threadId !== "string") throw new Refusal("invalid_args", "threadId must be a string");
  if (path === "messages:getForThread") {
    if (!Number.isInteger(limit)) throw new Refusal("invalid_args", "limit must be an integer");
    return calls.getForThread(bearer, threadId, limit as number);
  }
  if (path !== "messages:send") throw new Refusal("not_found", `Could not find public function for '${path}'`);
  if (type !== "info") throw new Refusal("invalid_args", "type must be info");
  if (typeof encryptedPayload !== "string") throw new Refusal("invalid_args", "encryptedPayload must be a string");
  return calls.send(bearer, { threadId, type, encryptedPayload });
}

/** Called once the caller is known, as in our server. */
export function requireBox(encryptedPayload: string): void {
  if (Buffer.byteLength(encryptedPayload) > 12_288) {
    throw new Refusal("too_large", "encryptedPayload is too large (max 12288 bytes)");
  }
  const whole = encryptedPayload.length % 4 === 0 && /^[A-Za-z0-9+/]+={0,2}$/.test(encryptedPayload);
  if (!whole || Buffer.byteLength(encryptedPayload, "base64") < 40) {
    throw new Refusal("invalid_args", "encryptedPayload must be base64 of nonce and box, at least 40 bytes");
  }
}
