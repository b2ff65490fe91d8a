/** Speaks HTTP by hand, for connections that stop in the middle of a request or do not read the reply. */
import { connect, type Socket } from "node:net";
import type { TestServer } from "./harness.js";

export interface RawConnection {
  socket: Socket;
  /** Everything that has come so far. */
  text(): string;
  /** Resolves once the server has ended the connection. */
  closed: Promise<void>;
}

export async function rawConnection(server: TestServer): Promise<RawConnection> {
  const socket = connect(Number(new URL(server.url).port), "127.0.0.1");
  const came: Buffer[] = [];
  socket.on("data", (chunk) => came.push(chunk));
  socket.on("error", () => {});
  const closed = new Promise<void>((resolve) => socket.once("close", () => resolve()));
  await new Promise((resolve) => socket.once("connect", resolve));
  return { socket, text: () => Buffer.concat(came).toString("utf8"), closed };
}

/** The head of a JSON POST that declares a body of `declared` bytes. */
export function head(path: string, declared: number | "chunked"): string {
  const length = declared === "chunked" ? "Transfer-Encoding: chunked" : `Content-Length: ${declared}`;
  return `POST ${path} HTTP/1.1\r\nHost: tidepool\r\nContent-Type: application/json\r\n${length}\r\n\r\n`;
}

/** Sends a whole call and reads nothing of the reply. */
export async function unreadCall(server: TestServer, path: string, body: object): Promise<RawConnection> {
  const connection = await rawConnection(server);
  connection.socket.pause();
  const text = JSON.stringify(body);
  connection.socket.write(head(path, Buffer.byteLength(text)) + text);
  return connection;
}
