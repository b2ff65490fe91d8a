/** Requests to upgrade a connection: what is accepted as a WebSocket, and what becomes of those that are not. */
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import { type ServerOptions, WebSocketServer } from "ws";
import { sizes } from "../../runtime/limits.js";

/** How long a closed socket's client may take to say goodbye. */
const goodbyeMs = 5_000;

/** Accepts WebSockets with frames of up to so many bytes; 0: of any size. */
export function upgradesWithFramesOf(maxPayload: number): WebSocketServer {
  return new WebSocketServer({
    noServer: true,
    clientTracking: false,
    perMessageDeflate: false,
    maxPayload,
    // Each piece takes more than its bytes.
    maxFragments: sizes.frameFragments,
    maxBufferedChunks: sizes.frameChunks,
    closeTimeout: goodbyeMs,
  } as ServerOptions);
}

/** A proxy may name the whole address, and the base address of some clients ends in a slash. */
export function pathAndQuery(url = "/"): [path: string, query: string] {
  const [path = "", query = ""] = url
    .replace(/^https?:\/\/[^/?]*/i, "")
    .replace(/^\/*/, "/")
    .split("?", 2);
  return [path, query];
}

/**
 * Some clients offer HTTP/2 with their first request. Node would give such a request to nobody once there is a listener
 * for upgrades; so the offer is cut out, and the connection begins again with what is left.
 */
export function serveWithoutUpgrade(http: Server, request: IncomingMessage, connection: Duplex, head: Buffer): void {
  // Node's own name for the reply that the connection is busy with: a request before this one is not answered yet.
  const { _httpMessage: busyWith } = connection as { _httpMessage?: ServerResponse | null };
  if (busyWith) {
    busyWith.once("close", () => serveWithoutUpgrade(http, request, connection, head));
    return;
  }
  const { method, url, httpVersion, rawHeaders } = request;
  const lines = [`${method} ${url} HTTP/${httpVersion}`];
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const [name = "", value = ""] = [rawHeaders[index], rawHeaders[index + 1]];
    if (!/^(connection|upgrade|http2-settings)$/i.test(name)) lines.push(`${name}: ${value}`);
  }
  connection.unshift(Buffer.concat([Buffer.from(`${lines.join("\r\n")}\r\n\r\n`, "latin1"), head]));
  http.emit("connection", connection);
}

/** Answers an upgrade at an address that has no WebSocket. */
export function refuseUpgrade(connection: Duplex): void {
  const body = JSON.stringify({ error: "Not Found", message: "There is no WebSocket at this address" });
  connection.on("error", () => {});
  // Nobody reads from it any more, so it would never see the other side's end and stay open for ever.
  connection.once("finish", () => connection.destroy());
  connection.end(
    [
      "HTTP/1.1 404 Not Found",
      "Content-Type: application/json",
      `Content-Length: ${Buffer.byteLength(body)}`,
      "Connection: close",
      "",
      body,
    ].join("\r\n"),
  );
}
