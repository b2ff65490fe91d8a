/**
 * The attacks on memory in their full size, on the real process: what they take of it, and what the others wait
 * meanwhile. `ATTACK_SECONDS` (20) sets how long each goes on, `ATTACK` which ones are made.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { loadavg } from "node:os";
import { fileURLToPath } from "node:url";
import { afterEach, describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import { createDatabase, databases, type EmptyDatabase } from "../support/databases.js";
import { ServerProcess } from "../support/process.js";
import { SmtpServer } from "../support/smtp.js";

const seconds = Number(process.env.ATTACK_SECONDS ?? 20);
const MB = 1_000_000;
const mostGrowthBytes = 256 * MB;
const mostWaitMs = 250;
const password = "correct horse battery";
const pauseFor = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

// biome-ignore lint/suspicious/noExplicitAny: what comes back is what the attacks go on with.
type Reply = any;

/** A server, an agent that is rented there in a session full of large messages, and whoever attacks. */
class Town {
  readonly #open: { destroy(): void }[] = [];
  readonly sockets: Socket[] = [];

  constructor(
    readonly server: ServerProcess,
    readonly smtp: SmtpServer,
  ) {}

  async call(
    kind: "query" | "mutation",
    path: string,
    args: object = {},
    credential = "",
    from = "203.0.113.1",
  ): Promise<Reply> {
    const response = await fetch(`${this.server.url}/api/${kind}`, {
      method: "POST",
      headers: {
        "Content-Type": "application/json",
        "X-Forwarded-For": from,
        ...(credential ? { Authorization: `Bearer ${credential}` } : {}),
      },
      body: JSON.stringify({ path, args }),
    });
    const { status, value, errorMessage } = (await response.json()) as Reply;
    if (status !== "success") throw new Error(`${path}: ${response.status} ${errorMessage}`);
    return value;
  }

  async signUp(): Promise<string> {
    const email = `${crypto.randomUUID()}@example.com`;
    await this.call("mutation", "users:sendVerification", { email });
    const mail = () => this.smtp.taken.find(({ recipient }) => recipient === email);
    while (!mail()) await pauseFor(10);
    const verificationCode = /\b\d{6}\b/.exec(mail()?.content ?? "")?.[0];
    return (await this.call("mutation", "users:register", { email, password, name: "Somebody", verificationCode }))
      .token;
  }

  async webSocket(path: string, from: string): Promise<WebSocket> {
    const ws = new WebSocket(this.server.url.replace("http", "ws") + path, { headers: { "X-Forwarded-For": from } });
    ws.on("error", () => {});
    await once(ws, "open");
    this.#open.push({ destroy: () => ws.terminate() });
    return ws;
  }

  /** A live client's socket that has said Connect, and as whom. */
  async sync(from: string, credential?: string): Promise<WebSocket> {
    const ws = await this.webSocket("/api/sync", from);
    const sessionId = crypto.randomUUID();
    ws.send(JSON.stringify({ type: "Connect", sessionId, connectionCount: 0, lastCloseReason: "InitialConnect" }));
    if (credential !== undefined) {
      ws.send(JSON.stringify({ type: "Authenticate", baseVersion: 0, tokenType: "User", value: credential }));
    }
    return ws;
  }

  /** A connection that sends so much and takes nothing, or what comes. */
  async connection(text: string | Buffer, reads: boolean): Promise<Socket> {
    const socket = connect(this.server.port, "127.0.0.1").on("error", () => {});
    this.#open.push(socket);
    this.sockets.push(socket);
    await Promise.race([
      once(socket, "connect").catch(() => {}),
      new Promise((resolve) => socket.once("close", resolve)),
    ]);
    if (reads) socket.resume();
    socket.write(text);
    return socket;
  }

  /** A consumer with a session whose messages have 15 MB. */
  async session(): Promise<{ sessionId: string; consumer: string }> {
    const [provider, consumer] = [await this.signUp(), await this.signUp()];
    const slug = `agent-${crypto.randomUUID().slice(0, 8)}`;
    const described = { name: "Rented", slug, description: "Reads contracts for others" };
    const { id: agentId, agentToken } = await this.call("mutation", "agents:create", described, provider);
    await this.call(
      "mutation",
      "agents:publish",
      { agentId, approvalMode: "auto", pricingModel: "fixed", priceAmount: "0" },
      provider,
    );
    await once(await this.webSocket(`/ws/agent?token=${agentToken}`, "203.0.113.1"), "message");
    await this.call("mutation", "agents:activate", { agentId }, provider);
    const task = { agentId, taskDescription: "Read this for me, please" };
    const { id: sessionId } = await this.call("mutation", "sessions:create", task, consumer);
    const payload = { text: "y".repeat(262_000) };
    for (let count = 0; count < 58; count += 1) {
      await this.call("mutation", "sessions:sendMessage", { sessionId, type: "dialogue.text", payload }, consumer);
    }
    return { sessionId, consumer };
  }

  leave(): void {
    for (const each of this.#open) each.destroy();
  }
}

const head = (path: string, length: number, from: string, more = "") =>
  `POST ${path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nX-Forwarded-For: ${from}\r\n${more}Content-Length: ${length}\r\n\r\n`;

/** Asks for one more query with these arguments, as text. */
function adds(ws: WebSocket, version: number, udfPath: string, args: string): Promise<void> {
  const added = `{"type":"Add","queryId":${version},"udfPath":"${udfPath}","args":[${args}]}`;
  const frame = `{"type":"ModifyQuerySet","baseVersion":${version},"newVersion":${version + 1},"modifications":[${added}]}`;
  return new Promise((resolve) => ws.send(frame, () => resolve()));
}

interface Attack {
  /** Beside the attack itself, which resolves once all was sent or nothing more is taken. */
  run(town: Town, of: { sessionId: string; consumer: string }, isOver: () => boolean): Promise<void>;
}

const attacker = "192.0.2.66";

const attacks: Record<string, Attack> = {
  "three anonymous sockets, 300 queries each with a megabyte of arguments": {
    run: async (town, _session, isOver) => {
      const text = "x".repeat(1_000_000);
      const one = async () => {
        const ws = await town.sync(attacker);
        for (let version = 0; version < 300 && !isOver() && ws.readyState === WebSocket.OPEN; version += 1) {
          await adds(ws, version, "marketplace:listCategories", `{"i":${version},"x":"${text}"}`);
        }
      };
      await Promise.all([one(), one(), one()]);
    },
  },
  "one socket with 175 queries of {},{},…": {
    run: async (town, _session, isOver) => {
      const ws = await town.sync(attacker);
      const text = "{},".repeat(340_000).slice(0, -1);
      for (let version = 0; version < 175 && !isOver() && ws.readyState === WebSocket.OPEN; version += 1) {
        await adds(ws, version, "marketplace:listCategories", `{"i":${version},"x":[${text}]}`);
      }
    },
  },
  "150 large subscriptions of one user who reads nothing": {
    run: async (town, { sessionId, consumer }) => {
      const ws = await town.sync(attacker, consumer);
      const modifications = Array.from({ length: 150 }, (_, queryId) => {
        const args = [{ sessionId, limit: 1_000 - queryId }];
        return { type: "Add", queryId, udfPath: "sessions:listMessages", args };
      });
      ws.send(JSON.stringify({ type: "ModifyQuerySet", baseVersion: 0, newVersion: 1, modifications }));
      ws.pause();
    },
  },
  "1,500 bodies of a megabyte that are left half-sent": {
    run: async (town, _session, isOver) => {
      const body = Buffer.alloc(1_040_000, 0x20);
      for (let count = 0; count < 1_500 && !isOver(); count += 20) {
        const some = Array.from({ length: 20 }, (_, index) =>
          town.connection(
            Buffer.concat([Buffer.from(head("/api/query", 1_048_576, `192.0.2.${(count + index) % 250}`)), body]),
            true,
          ),
        );
        await Promise.all(some);
      }
    },
  },
  "100,000 small bodies that are left half-sent": {
    run: async (town, _session, isOver) => {
      for (let count = 0; count < 100_000 && !isOver(); count += 100) {
        const some = Array.from({ length: 100 }, (_, index) =>
          town.connection(`${head("/api/query", 10_000, `192.0.${(count / 100) % 250}.${index}`)}{`, true),
        );
        await Promise.all(some);
        // A machine has no more ports for one address than these.
        for (const socket of town.sockets.splice(0, Math.max(0, town.sockets.length - 10_000))) socket.destroy();
      }
    },
  },
  "80 large replies that nobody reads": {
    run: async (town, { sessionId, consumer }) => {
      const body = JSON.stringify({ path: "sessions:listMessages", args: { sessionId } });
      const bearer = `Authorization: Bearer ${consumer}\r\n`;
      const some = Array.from({ length: 80 }, () =>
        town.connection(head("/api/query", body.length, attacker, bearer) + body, false),
      );
      for (const socket of await Promise.all(some)) socket.pause();
    },
  },
  "one client with as many kept results as there may be": {
    run: async (town, { sessionId, consumer }, isOver) => {
      const payload = { text: "y".repeat(200_000) };
      const body = JSON.stringify({
        path: "sessions:sendMessage",
        args: { sessionId, type: "dialogue.text", payload },
      });
      const one = async () => {
        while (!isOver()) {
          await fetch(`${town.server.url}/api/mutation`, {
            method: "POST",
            headers: {
              "Content-Type": "application/json",
              "X-Forwarded-For": attacker,
              Authorization: `Bearer ${consumer}`,
              "Idempotency-Key": crypto.randomUUID(),
            },
            body,
          }).then((response) => response.text());
        }
      };
      await Promise.all([one(), one(), one(), one()]);
    },
  },
};

interface Others {
  /** Milliseconds of calls on a connection that is there, and of those that open one. */
  took: number[];
  tookNew: number[];
  refused: string[];
}

/** Asks as somebody else until it is told to stop. */
class Prober {
  readonly #child;
  #said = "";

  private constructor(url: string, apiKey: string) {
    const script = fileURLToPath(new URL("prober.ts", import.meta.url));
    this.#child = spawn(process.execPath, ["--import", "tsx", script, url, apiKey], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    this.#child.stdout.on("data", (data) => {
      this.#said += String(data);
    });
  }

  /** Resolves once it was answered for the first time. */
  static async start(url: string, apiKey: string): Promise<Prober> {
    const prober = new Prober(url, apiKey);
    await once(prober.#child.stdout, "data");
    return prober;
  }

  async stop(): Promise<Others> {
    this.#child.stdin.write("stop\n");
    await once(this.#child, "close");
    return JSON.parse(this.#said.slice(this.#said.indexOf("{")));
  }
}

const chosen = Object.entries(attacks).filter(([name]) => name.includes(process.env.ATTACK ?? ""));

describe.each(databases)("attacks on memory on %s", (database) => {
  let created: EmptyDatabase | undefined;
  let town: Town | undefined;
  let smtp: SmtpServer | undefined;
  afterEach(async () => {
    town?.leave();
    await town?.server.kill("SIGKILL");
    await smtp?.stop();
    await created?.remove();
  });

  test.each(chosen)("%s", async (name, attack) => {
    created = await createDatabase(database);
    smtp = await SmtpServer.start();
    const environment = {
      RATE_LIMITS: "on",
      TRUST_PROXY: "true",
      AUTO_APPROVE_PROVIDERS: "true",
      SMTP_URL: smtp.url,
      MAIL_FROM: "tidepool@example.com",
      JWT_SECRET: "a secret that only this one server ever knows",
    };
    const server = await ServerProcess.start({ databaseUrl: created.url, environment });
    town = new Town(server, smtp);
    const session = await town.session();
    const { apiKey } = await town.call("mutation", "agents:register", { name: "Somebody else" });
    // What the database keeps of its file, and what one large answer takes for a moment, is there before.
    for (const from of ["198.51.100.1", "198.51.100.2", "198.51.100.3"]) {
      let cursor: string | null | undefined;
      while (cursor !== null) {
        const args = { sessionId: session.sessionId, cursor };
        cursor = (await town.call("query", "sessions:listMessages", args, session.consumer, from)).nextCursor;
      }
    }
    const warmUp = await Prober.start(server.url, apiKey);
    await pauseFor(5_000);
    const before = await warmUp.stop();
    const warm = server.residentBytes();

    const prober = await Prober.start(server.url, apiKey);
    let most = warm;
    const watch = setInterval(() => {
      most = Math.max(most, server.residentBytes());
    }, 50);
    const endsAt = performance.now() + seconds * 1_000;
    const isOver = () => performance.now() > endsAt;
    await attack.run(town, session, isOver);
    while (!isOver()) await pauseFor(100);
    const others = await prober.stop();
    clearInterval(watch);
    // A server that the attack ended holds nothing, and is no success.
    expect(await server.isReady()).toBe(true);

    const figures = (took: number[]) => {
      const sorted = took.toSorted((one, other) => one - other);
      const at = (share: number) =>
        Math.round(sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0);
      return { p50: at(0.5), p99: at(0.99), most: at(1), calls: sorted.length };
    };
    const during = figures(others.took);
    // Node takes one new connection in each turn of the event loop: in a flood of them it waits behind those.
    console.log(
      `${database}, ${name}: ${Math.round(warm / MB)} MB + ${Math.round((most - warm) / MB)} MB; others ` +
        `${JSON.stringify(during)}, before ${JSON.stringify(figures(before.took))}, ` +
        `on new connections ${JSON.stringify(figures(others.tookNew))}; load ${loadavg()[0]?.toFixed(1)}`,
    );
    expect(others.refused).toEqual([]);
    expect(most - warm).toBeLessThan(mostGrowthBytes);
    expect(during.p99).toBeLessThanOrEqual(mostWaitMs);
  });
});
