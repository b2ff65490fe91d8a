/** The live world's marketplace: listing, renting and talking to agents, orders, carts, favorites and follows. */
import { randomUUID } from "node:crypto";
import type { UserCaller } from "../../../runtime/context.js";
import { task } from "../rental.js";
import { openAgent, openSession, type TestSocket } from "../sockets.js";
import {
  type Act,
  ask,
  type Ground,
  giveCredential,
  idOf,
  nobody,
  type Part,
  type Person,
  type Question,
  times,
  type Value,
} from "./ground.js";

export class Marketplace implements Part {
  readonly #slugs: string[] = [];
  readonly #sessions: Value[] = [];
  readonly #orders: string[] = [];
  readonly #sockets: TestSocket[] = [];

  constructor(readonly ground: Ground) {}

  async open(): Promise<void> {
    const { ground } = this;
    const { users, listed, admin } = ground;
    for (const user of users) await ground.call(user, "billing:topUp", { amount: "1000" });
    for (const [index, approvalMode] of (["auto", "manual"] as const).entries()) {
      await this.#list(users[index] as Person, approvalMode);
    }
    const [alice, bob] = users as [Person, Person];
    const [reader, manual] = listed as [Person, Person];
    const [ofReader, ofManual] = [{ agentId: reader.id }, { agentId: manual.id }];
    await ground.call(admin, "admin:suspendAgent", ofReader);
    await ground.call(admin, "admin:reinstateAgent", ofReader);
    await this.#connectAgent(reader);
    await ground.call(alice, "agents:update", { ...ofReader, description: "Reader of all texts" });
    await ground.call(reader, "agents:setServeRules", { rules: [{ match: {}, action: "serve" }] });

    const { id: sessionId } = await this.#rent(bob, reader, { consumerAgentId: manual.id });
    const { id: waiting } = await this.#rent(alice, manual);
    await ground.call(bob, "sessions:approve", { sessionId: waiting });
    await this.#rent(alice, manual);
    await ground.call(bob, "sessions:end", { sessionId: (await this.#rent(bob, reader)).id });
    await ground.call(admin, "admin:terminateSession", { sessionId: (await this.#rent(bob, reader)).id });
    await ground.call(bob, "sessions:sendMessage", { sessionId, type: "dialogue.message", payload: { step: 0 } });
    await this.#sayOverSocket(bob);
    const paused = { sessionId, participantId: reader.id };
    await ground.call(bob, "sessions:pauseParticipant", paused);
    await ground.call(bob, "sessions:resumeParticipant", paused);
    await this.#raiseLimit(bob, sessionId);

    for (let count = 0; count < 2; count += 1) await this.#order(bob, reader);
    await ground.call(bob, "orders:cancel", { orderId: this.#orders.shift() });
    const wanted = { providerAgentId: manual.id, taskDescription: "Write it" };
    await ground.call(alice, "cart:clear");
    await ground.call(alice, "cart:add", wanted);
    await this.#changeCart(alice, "cart:remove");
    await ground.call(alice, "cart:add", wanted);
    await this.#changeCart(alice, "cart:update", { taskDescription: "Write it well" });
    for (const verb of ["add", "remove", "add"]) {
      await ground.call(alice, `favorites:${verb}`, ofManual);
      for (const user of users) await ground.call(user, `follows:${verb}`, { userId: ground.other(user).id });
    }
  }

  questions(): Question[] {
    const { users, admin, listed } = this.ground;
    const shown = [...this.#sessions.slice(0, 1), ...this.#sessions.slice(-2)];
    return [
      ...listed.flatMap((who) => [
        ask(who, "agents:getMine"),
        ask(who, "agents:getServeRules"),
        ask(who, "agents:listMySessions"),
        ask(who, "agents:getStatus"),
        ask(who, "sessions:list", { role: "provider", status: "active,pending_approval" }),
      ]),
      ...users.flatMap((who) => [
        ask(who, "agents:listMine"),
        ask(who, "sessions:list"),
        ask(who, "sessions:list", { status: "active" }),
        ask(who, "sessions:listRentedAgents"),
        ask(who, "orders:list"),
        ask(who, "cart:list"),
        ask(who, "favorites:list"),
        ask(who, "follows:listFollowers"),
        ask(who, "follows:listFollowing"),
        ...shown.flatMap(({ id }) => [
          ask(who, "sessions:get", { sessionId: id }),
          ask(who, "sessions:listMessages", { sessionId: id }),
        ]),
        ...this.#orders.slice(-2).map((orderId) => ask(who, "orders:get", { orderId })),
        ...listed.flatMap(({ id }) => [
          ask(who, "agents:get", { agentId: id }),
          ask(who, "favorites:check", { agentId: id }),
        ]),
      ]),
      ask(nobody, "marketplace:browse"),
      ask(nobody, "marketplace:browse", { search: "long texts", sort: "popular" }),
      ask(nobody, "marketplace:browse", { category: "text", ownerId: users[0]?.id }),
      ask(nobody, "marketplace:listCategories"),
      ...this.#slugs.map((slug) => ask(nobody, "marketplace:getBySlug", { slug })),
      ask(admin, "admin:listAgents"),
      ask(admin, "admin:listSessions"),
    ];
  }

  acts(): Act[] {
    const { ground } = this;
    const { dice, users, admin, listed, step } = ground;
    const user = dice.one(users);
    // The first session lasts long.
    const session = dice.one([...this.#sessions.slice(0, 1), ...this.#sessions.slice(-3)]);
    const sessionId = session.id as string;
    const provider = users.find(({ id }) => id === session.providerUserId) as Person;
    const consumer = ground.other(provider);
    const rented = dice.one(listed);
    const agentId = rented.id;
    const owner = ground.ownerOf(rented);
    const orderId = dice.one(this.#orders);
    const said = { type: "dialogue.message", payload: { step } };
    const paused = { sessionId, participantId: session.providerAgentId };
    return [
      ...times(3, "rent", () => this.#rent(ground.other(owner), rented)),
      ["say over REST", () => ground.rest(consumer, "POST", `/api/sessions/${sessionId}/messages`, said)],
      ground.act(provider, "sessions:sendMessage", { sessionId, ...said }),
      ["say over a socket", () => this.#sayOverSocket(consumer)],
      ground.act(provider, "sessions:approve", { sessionId }),
      ["end over REST", () => ground.rest(user, "POST", `/api/sessions/${sessionId}/end`)],
      ground.act(consumer, "sessions:pauseParticipant", paused),
      ground.act(consumer, "sessions:resumeParticipant", paused),
      ...times(2, "raise a limit", () => this.#raiseLimit(consumer, sessionId)),
      ground.act(admin, "admin:terminateSession", { sessionId }),
      ["order", () => this.#order(ground.other(owner), rented)],
      ground.act(user, "orders:cancel", { orderId }),
      ground.act(ground.other(owner), "cart:add", { providerAgentId: agentId, taskDescription: `Step ${step}` }),
      ["change the cart", () => this.#changeCart(user, "cart:update", { taskDescription: `At ${step}` })],
      ["take from the cart", () => this.#changeCart(user, "cart:remove")],
      ground.act(user, "cart:clear"),
      ground.act(user, "favorites:add", { agentId }),
      ground.act(user, "favorites:remove", { agentId }),
      ground.act(user, "follows:add", { userId: ground.other(user).id }),
      ground.act(user, "follows:remove", { userId: ground.other(user).id }),
      ground.act(owner, "agents:update", { agentId, description: `Step ${step} of long texts` }),
      ["mode", () => ground.call(owner, "agents:update", { agentId, approvalMode: dice.one(["auto", "manual"]) })],
      [
        "status",
        () => ground.call(owner, "agents:setOnlineStatus", { agentId, onlineStatus: dice.one(["busy", "online"]) }),
      ],
      ground.act(rented, "agents:setServeRules", { rules: [{ match: {}, action: dice.one(["serve", "skip"]) }] }),
      [
        "token",
        async () => {
          if (dice.below(2) === 0) await ground.call(owner, "agents:revokeToken", { agentId });
          giveCredential(rented, (await ground.call(owner, "agents:replaceToken", { agentId })).token);
        },
      ],
      // An agent is refused if its owner is suspended.
      ["connect", () => this.#connectAgent(rented).catch(() => {})],
      ["lose a socket", async () => dice.one(this.#sockets)?.close()],
      ["review", () => this.#review(user)],
      ground.act(admin, "admin:suspendAgent", { agentId }),
      ground.act(admin, "admin:reinstateAgent", { agentId }),
    ];
  }

  async #list(owner: Person, approvalMode: string): Promise<void> {
    const { ground } = this;
    const slug = `live-${randomUUID()}`;
    const capabilities = [{ category: "text", name: "Texts", description: "All kinds", tags: [] }];
    const described = { name: "Reader", slug, description: "Reader of long texts", capabilities };
    const { id: agentId } = await ground.call(owner, "agents:create", described);
    this.#slugs.push(slug);
    const terms = { pricingModel: "per_minute", priceAmount: "0.10", approvalMode, maxConcurrentSessions: 20 };
    await ground.call(owner, "agents:applyAsProvider", { agentId });
    await ground.call(ground.admin, "admin:rejectAgent", { agentId });
    await ground.call(owner, "agents:publish", { agentId, ...terms });
    await ground.call(ground.admin, "admin:approveAgent", { agentId });
    await ground.call(owner, "agents:revokeToken", { agentId });
    const { token } = await ground.call(owner, "agents:replaceToken", { agentId });
    const { userId, email } = owner.caller as UserCaller;
    const credentialId = idOf("agent", token);
    const caller = { kind: "agent" as const, agentId, credentialId, owner: { userId, email }, ownerId: userId };
    const agent = { caller, credential: token, id: agentId };
    ground.listed.push(agent);
    await this.#connectAgent(agent);
    await ground.call(owner, "agents:activate", { agentId });
    await ground.call(owner, "agents:setOnlineStatus", { agentId, onlineStatus: "online" });
  }

  /** Opens the agent's control channel, which closes the one before. */
  async #connectAgent(agent: Person): Promise<void> {
    // A server that has not heard of a replaced token yet could take the new one for the older one.
    await this.ground.allHeard();
    this.#sockets.push(await openAgent(this.ground.somewhere, agent.credential ?? ""));
    this.ground.note("/ws/agent");
  }

  /** Somebody lists another agent, or tries to. */
  async #review(owner: Person): Promise<void> {
    const { ground } = this;
    const described = { name: "Writer", slug: `live-${randomUUID()}`, description: "Writer of long texts" };
    const { id: agentId } = await ground.call(owner, "agents:create", described);
    await ground.call(owner, ground.dice.one(["agents:publish", "agents:applyAsProvider"]), { agentId });
    await ground.call(ground.admin, ground.dice.one(["admin:rejectAgent", "admin:approveAgent"]), { agentId });
  }

  async #rent(user: Person, agent: Person, more: object = {}): Promise<Value> {
    const rented = { agentId: agent.id, taskDescription: task, ...more };
    const session = await this.ground.call(user, "sessions:create", rented);
    this.#sessions.push(session);
    return session;
  }

  async #order(user: Person, agent: Person): Promise<void> {
    const items = [{ providerAgentId: agent.id, taskDescription: "Part" }];
    this.#orders.push((await this.ground.call(user, "orders:create", { items })).id);
  }

  async #changeCart(user: Person, path: string, more: object = {}): Promise<void> {
    const { data } = await this.ground.call(user, "cart:list");
    await this.ground.call(user, path, { cartItemId: this.ground.dice.one<Value>(data)?.id ?? "x", ...more });
  }

  async #raiseLimit(consumer: Person, sessionId: string): Promise<void> {
    const { maxAmount } = await this.ground.call(consumer, "sessions:get", { sessionId });
    await this.ground.call(consumer, "sessions:raiseLimit", {
      sessionId,
      maxAmount: (Number(maxAmount) + 1).toFixed(2),
    });
  }

  /** The consumer enters a running session, if there is one, says something, and leaves. */
  async #sayOverSocket(consumer: Person): Promise<void> {
    const { ground } = this;
    const { data } = await ground.call(consumer, "sessions:list", { role: "consumer", status: "active" });
    if (data.length === 0) return;
    // A session token belongs to the credential that reads it, and exists only while the session is open.
    const { id: sessionId } = ground.dice.one<Value>(data);
    const { sessionToken: token } = await ground.call(consumer, "sessions:get", { sessionId });
    const socket = await openSession(ground.somewhere, { sessionId, token });
    socket.send({ type: "dialogue.message", id: randomUUID(), payload: { step: ground.step } });
    await socket.settled();
    await socket.close();
    ground.note("/ws/session");
  }
}
