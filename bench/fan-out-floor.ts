/** The floor of a fan-out: bare `ws` that sends what is posted to all of its sockets. */
import { createServer } from "node:http";
import { WebSocketServer } from "ws";

const http = createServer((request, response) => {
  const chunks: Buffer[] = [];
  request.on("data", (chunk: Buffer) => chunks.push(chunk));
  request.on("end", () => {
    const body = Buffer.concat(chunks).toString("utf8");
    if (request.method === "POST") for (const socket of sockets.clients) socket.send(body);
    response.setHeader("Content-Type", "application/json");
    response.end("{}");
  });
});
const sockets = new WebSocketServer({ server: http, perMessageDeflate: false });
http.listen(Number(process.env["PORT"]), "127.0.0.1");
process.on("SIGTERM", () => process.exit());
