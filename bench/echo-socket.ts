/** The floor of a delivery: bare `ws` that sends back what it receives. */
import { createServer } from "node:http";
import { WebSocketServer } from "ws";

const http = createServer((_request, response) => response.end("up"));
const sockets = new WebSocketServer({ server: http, perMessageDeflate: false });
sockets.on("connection", (socket) => socket.on("message", (data) => socket.send(data.toString())));
http.listen(Number(process.env["PORT"]), "127.0.0.1");
process.on("SIGTERM", () => process.exit());
