/** A small mail server: it speaks enough SMTP to take a mail, and can be told to take none. */
import { createServer, type Server, type Socket } from "node:net";

export class SmtpServer {
  /** The mails that were taken: each with its recipient and its content as it came. */
  readonly taken: { recipient: string; content: string }[] = [];
  /** How many connections there were. */
  visits = 0;
  /** Whether it tells every client to try again later. */
  refuses = false;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  private constructor() {
    this.#server = createServer((socket) => this.#converse(socket));
  }

  static async start(): Promise<SmtpServer> {
    const smtp = new SmtpServer();
    await new Promise<void>((resolve) => smtp.#server.listen(0, "127.0.0.1", resolve));
    return smtp;
  }

  get url(): string {
    return `smtp://127.0.0.1:${(this.#server.address() as { port: number }).port}`;
  }

  async stop(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #converse(socket: Socket): void {
    this.visits += 1;
    this.#sockets.add(socket);
    socket.on("close", () => this.#sockets.delete(socket));
    const say = (line: string) => socket.write(`${line}\r\n`);
    let recipient = "";
    let content: string[] | undefined;
    let rest = "";

    const hear = (line: string) => {
      if (content) {
        if (line !== ".") return void content.push(line.replace(/^\./, ""));
        this.taken.push({ recipient, content: content.join("\n") });
        content = undefined;
        return say("250 taken");
      }
      const to = /^RCPT TO:<(.+)>/i.exec(line)?.[1];
      if (to !== undefined) {
        if (this.refuses) return say("451 try again later");
        recipient = to;
        return say("250 fine");
      }
      if (/^DATA/i.test(line)) {
        content = [];
        return say("354 go on");
      }
      if (/^QUIT/i.test(line)) return void socket.end("221 bye\r\n");
      return say("250 fine");
    };

    socket.setEncoding("utf8").on("data", (chunk: string) => {
      const lines = (rest + chunk).split("\r\n");
      rest = lines.pop() ?? "";
      for (const line of lines) hear(line);
    });
    socket.on("error", () => {});
    say("220 mail.example.com");
  }
}
