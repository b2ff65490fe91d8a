/**
 * The floor of a fan-out: bare `ws`. It commits what is posted, as durably as our server does, and sends it to all its
 * sockets.
 */
import { createServer } from "node:http";
import SqliteDatabase from "better-sqlite3";
import { WebSocketServer } from "ws";

const file = new SqliteDatabase(process.argv[2] ?? "");
file.pragma("journal_mode = WAL");
file.pragma("synchronous = FULL");
file.exec("create table messages (body text)");
const insert = file.prepare<[string]>("insert into messages values (?)");

const http = createServer((request, response) => {
  const chunks: Buffer[] = [];
  request.on("data", (chunk: Buffer) => chunks.push(chunk));
  request.on("end", () => {
    const body = Buffer.concat(chunks).toString("utf8");
    if (request.method === "POST") {
      insert.run(body);
      for (const socket of sockets.clients) socket.send(body);
    }
    response.setHeader("Content-Type", "application/json");
    response.end("{}");
  });
});
const sockets = new WebSocketServer({ server: http, perMessageDeflate: false });
http.listen(Number(process.env["PORT"]), "127.0.0.1");
process.on("SIGTERM", () => process.exit());
