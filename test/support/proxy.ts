/** A plain TCP proxy in front of several servers: each connection goes to the next server that accepts it. */
import { connect, createServer, type Server, type Socket } from "node:net";

/** The proxy. */
export class RoundRobin {
  readonly #open = new Set<Socket>();
  /** The client of each connection to a server. */
  readonly #replies = new Map<Socket, Socket>();
  #next = 0;
  #only: number | undefined;
  #isHolding = false;

  private constructor(
    readonly server: Server,
    readonly ports: readonly number[],
  ) {}

  static async start(ports: readonly number[]): Promise<RoundRobin> {
    const server = createServer();
    const proxy = new RoundRobin(server, ports);
    server.on("connection", (client) => proxy.#serve(client));
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return proxy;
  }

  get url(): string {
    const address = this.server.address();
    return `http://127.0.0.1:${typeof address === "object" && address ? address.port : 0}`;
  }

  /** Sends new connections to this server only; without an argument, to all of them in turn again. */
  only(server?: { url: string }): void {
    this.#only = server && Number(new URL(server.url).port);
  }

  /** Holds back the servers' replies from now on, until the connections are cut. */
  holdReplies(): void {
    this.#isHolding = true;
    for (const [server, client] of this.#replies) server.unpipe(client).pause();
  }

  #serve(client: Socket): void {
    this.#keep(client);
    const start = this.#next++;
    const ports = this.#only === undefined ? this.ports : [this.#only];
    const tryFrom = (attempt: number) => {
      if (attempt === ports.length || client.destroyed) return client.destroy();
      const port = ports[(start + attempt) % ports.length] as number;
      const server = connect(port, "127.0.0.1");
      const refused = () => tryFrom(attempt + 1);
      server.once("error", refused);
      server.once("connect", () => {
        server.off("error", refused);
        this.#keep(server);
        client.pipe(server);
        this.#replies.set(server, client);
        if (!this.#isHolding) server.pipe(client);
        client.on("close", () => server.destroy());
        server.on("close", () => {
          this.#replies.delete(server);
          client.destroy();
        });
      });
    };
    tryFrom(0);
  }

  #keep(socket: Socket): void {
    socket.setNoDelay(true);
    socket.on("error", () => socket.destroy());
    socket.on("close", () => this.#open.delete(socket));
    this.#open.add(socket);
  }

  /** Cuts every open connection. */
  cut(): void {
    this.#isHolding = false;
    for (const socket of this.#open) socket.destroy();
  }

  async stop(): Promise<void> {
    this.cut();
    await new Promise((resolve) => this.server.close(resolve));
  }
}
