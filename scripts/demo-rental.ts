/**
 * The demo's second half: an agent that made plans with its own key is taken over by its owner, published, rented and
 * paid.
 */
import { WebSocket } from "ws";
import type { Mail } from "../adapters/mailer.js";

const price = "5.00";
const minute = 60_000;

export interface RentalScene {
  /** The server's base address. */
  url: string;
  /** Every mail that the server has sent. */
  mails: Mail[];
  adminEmail: string;
  /** The agent that will be rented out, as it registered itself. */
  agent: { agentId: string; claimToken: string };
  say(line: string): void;
}

type Json = Record<string, unknown>;

/** A person with an account. */
class Person {
  #token = "";

  constructor(
    readonly scene: RentalScene,
    readonly name: string,
    readonly email: string,
  ) {}

  async call<T = Json>(method: string, path: string, body?: object): Promise<T> {
    const response = await fetch(`${this.scene.url}${path}`, {
      method,
      headers: {
        ...(body ? { "Content-Type": "application/json" } : {}),
        ...(this.#token === "" ? {} : { Authorization: `Bearer ${this.#token}` }),
      },
      ...(body ? { body: JSON.stringify(body) } : {}),
    });
    const reply = (await response.json()) as Json;
    if (!response.ok) throw new Error(`${method} ${path}: ${String(reply["message"])}`);
    return reply as T;
  }

  async openAccount(): Promise<void> {
    await this.call("POST", "/api/auth/send-verification", { email: this.email });
    const verificationCode = await this.#mailedCode();
    const account = { email: this.email, password: "only for the demo", name: this.name, verificationCode };
    this.#token = (await this.call<{ token: string }>("POST", "/api/auth/register", account)).token;
  }

  async #mailedCode(): Promise<string> {
    const until = Date.now() + minute;
    while (Date.now() < until) {
      const mail = this.scene.mails.find(({ recipient }) => recipient === this.email);
      const [code] = mail?.body.match(/\b\d{6}\b/) ?? [];
      if (code) return code;
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    throw new Error(`No code was mailed to ${this.email}`);
  }

  async balance(): Promise<string> {
    return (await this.call<{ balance: string }>("GET", "/api/billing/wallet")).balance;
  }
}

/** The sockets of an agent that serves a session and answers each question with the same sentence. */
class ServingAgent {
  readonly #sockets: WebSocket[] = [];

  constructor(readonly wsUrl: string) {}

  /** Opens `/ws/agent` and resolves once the server counts the agent as connected. */
  async connect(token: string): Promise<void> {
    await this.#open(`/ws/agent?token=${token}`, (frame, connected) => {
      if (frame["type"] === "agent.connected") connected();
    });
  }

  /** Opens a session's socket and answers the questions there. */
  async serve(sessionId: string, sessionToken: string): Promise<void> {
    const query = new URLSearchParams({ sessionId, token: sessionToken, role: "provider" });
    const socket = await this.#open(`/ws/session?${query}`, () => {}, true);
    socket.on("message", (data) => {
      const frame = JSON.parse(data.toString()) as { type: string };
      if (frame.type !== "dialogue.question") return;
      socket.send(JSON.stringify({ type: "result.success", payload: { content: "Party A pays, party B delivers." } }));
    });
  }

  close(): void {
    for (const socket of this.#sockets) socket.close();
  }

  #open(path: string, hear: (frame: Json, done: () => void) => void, atOnce = false): Promise<WebSocket> {
    return new Promise((resolve, reject) => {
      const socket = new WebSocket(`${this.wsUrl}${path}`);
      this.#sockets.push(socket);
      socket.on("error", reject);
      socket.on("close", (code) => reject(new Error(`${path.split("?")[0]} was closed with ${code}`)));
      if (atOnce) socket.on("open", () => resolve(socket));
      socket.on("message", (data) => hear(JSON.parse(data.toString()) as Json, () => resolve(socket)));
    });
  }
}

export async function rentAndPay(scene: RentalScene): Promise<void> {
  const { say, agent } = scene;
  const admin = new Person(scene, "Admin", scene.adminEmail);
  const [alice, bob] = [new Person(scene, "Alice", "alice@example.com"), new Person(scene, "Bob", "bob@example.com")];
  for (const person of [admin, alice, bob]) await person.openAccount();
  say("Alice, Bob and an admin open accounts with the codes that were mailed to them.");

  const about = { slug: "contract-reader", description: "Reads contracts and says what they mean" };
  await bob.call("POST", "/api/agents/take-over", { claimToken: agent.claimToken, ...about });
  const terms = { pricingModel: "per_session", priceAmount: price, approvalMode: "auto" };
  await bob.call("POST", `/api/agents/${agent.agentId}/publish`, terms);
  say(`Bob takes his agent over with its claim token and publishes it for ${price} CNY a session.`);
  await admin.call("POST", `/api/admin/agents/${agent.agentId}/approve`);
  const { token } = await bob.call<{ token: string }>("POST", `/api/agents/${agent.agentId}/token`);
  const serving = new ServingAgent(scene.url.replace("http", "ws"));
  try {
    await serving.connect(token);
    await bob.call("POST", `/api/agents/${agent.agentId}/activate`);
    say("The admin approves it; it connects with its token and is activated.");

    const found = await alice.call<{ data: { id: string }[] }>("GET", "/api/marketplace/browse?search=contract");
    if (found.data[0]?.id !== agent.agentId) throw new Error("The agent is not found on the marketplace");
    await alice.call("POST", "/api/billing/wallet/topup", { amount: "20.00" });
    const rent = { agentId: agent.agentId, taskDescription: "Say in one line what this contract is about" };
    const { id } = await alice.call<{ id: string }>("POST", "/api/sessions", rent);
    say("Alice searches for it, tops up 20.00 CNY and rents it.");

    const { sessionToken } = await bob.call<{ sessionToken: string }>("GET", `/api/sessions/${id}`);
    await serving.serve(id, sessionToken);
    const question = { type: "dialogue.question", payload: { content: "What does it say?" } };
    const { delivered } = await alice.call<{ delivered: boolean }>("POST", `/api/sessions/${id}/messages`, question);
    if (!delivered) throw new Error("The question was not delivered");
    say(`The agent answers over its socket: "${await answerTo(alice, id)}"`);

    const { settlement } = await alice.call<{ settlement: Json }>("POST", `/api/sessions/${id}/end`);
    const { amount, platformFee, providerIncome } = settlement;
    say(`Alice ends the session: ${amount} paid, ${platformFee} fee, ${providerIncome} for Bob.`);
    say(`Alice's wallet has ${await alice.balance()} CNY, Bob's ${await bob.balance()} CNY.`);
    const { ok } = await admin.call<{ ok: boolean }>("GET", "/api/admin/audit");
    if (!ok) throw new Error("The audit of the ledger found a fault");
    say("The audit of the ledger finds every invariant kept.");
  } finally {
    serving.close();
  }
}

/** The agent's answer, as a consumer gets it who polls. */
async function answerTo(person: Person, sessionId: string): Promise<string> {
  const until = Date.now() + minute;
  while (Date.now() < until) {
    const { data } = await person.call<{ data: { type: string; payload: { content: string } }[] }>(
      "GET",
      `/api/sessions/${sessionId}/messages`,
    );
    const answer = data.find(({ type }) => type === "result.success");
    if (answer) return answer.payload.content;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error("The agent did not answer");
}
