/** The live world's money apart from rentals: what comes into wallets, and what is paid back out of settlements. */
import { task } from "../rental.js";
import { type Act, ask, type Ground, type Part, type Person, type Question, times, type Value } from "./ground.js";

export class Money implements Part {
  /** Codes that were made, the newest last. */
  readonly #codes: { id: string; topUpCode: string }[] = [];
  /** Sessions that somebody disputed, the newest last. */
  readonly #disputed: string[] = [];

  constructor(readonly ground: Ground) {}

  async open(): Promise<void> {
    const { ground } = this;
    const [, bob] = ground.users as [Person, Person];
    await ground.call(ground.admin, "admin:credit", { userId: bob.id, amount: "1.00", reason: "Welcome" });
    await this.#makeCodes(3);
    await this.#redeem(bob);
    await ground.call(ground.admin, "admin:revokeTopUpCode", { codeId: this.#codes[0]?.id });
    await this.#refund(bob);
    for (const end of [() => this.#withdraw(), () => this.#decide("part"), async () => {}]) {
      await this.#dispute(bob, await this.#rentAndEnd(bob));
      await end();
    }
  }

  questions(): Question[] {
    const { users, admin } = this.ground;
    return [
      ...users.flatMap((who) => [
        ask(who, "billing:getWallet"),
        ask(who, "billing:listTransactions"),
        ask(who, "billing:listTransactions", { limit: 2, page: 2 }),
        ask(who, "billing:listRecords"),
        ...this.#disputed.slice(-1).map((sessionId) => ask(who, "sessions:get", { sessionId })),
      ]),
      ask(admin, "admin:listDisputes"),
      ask(admin, "admin:listDisputes", { status: "open" }),
      ask(admin, "admin:listTopUpCodes"),
      ask(admin, "admin:audit"),
    ];
  }

  acts(): Act[] {
    const { ground } = this;
    const { dice, admin, users } = ground;
    const user = dice.one(users);
    const { id: codeId } = dice.one(this.#codes);
    return [
      ["top up", () => ground.rest(user, "POST", "/api/billing/wallet/topup", { amount: "1.00" })],
      ground.act(admin, "admin:credit", { userId: user.id, amount: "1.00", reason: `Step ${ground.step}` }),
      ["make codes", () => this.#makeCodes(2)],
      ["redeem", () => this.#redeem(user)],
      ground.act(admin, "admin:revokeTopUpCode", { codeId }),
      ["refund", () => this.#refund(user)],
      ...times(2, "rent and end", () => this.#rentAndEnd(user)),
      ...times(2, "dispute", async () => this.#dispute(user, await this.#disputable(user))),
      ["withdraw a dispute", () => this.#withdraw()],
      ["decide a dispute", () => this.#decide(dice.one(["all", "part", "none"]))],
    ];
  }

  async #makeCodes(count: number): Promise<void> {
    const made = { amount: "5.00", count, validDays: 7 };
    this.#codes.push(...(await this.ground.call(this.ground.admin, "admin:createTopUpCodes", made)).codes);
  }

  async #redeem(user: Person): Promise<void> {
    const { topUpCode: code } = this.ground.dice.one(this.#codes.slice(-2));
    await this.ground.call(user, "billing:redeem", { code });
  }

  /** What the user's sessions cost or earned, the newest first. */
  async #recordsOf(user: Person): Promise<Value[]> {
    return (await this.ground.call(user, "billing:listRecords")).data;
  }

  async #refund(user: Person): Promise<void> {
    const { dice, admin } = this.ground;
    const record = dice.one(await this.#recordsOf(user));
    await this.ground.call(admin, "admin:refund", { recordId: record?.id ?? "x" });
  }

  /** Rents by the minute and ends: that costs the first minute. */
  async #rentAndEnd(user: Person): Promise<string> {
    const { listed } = this.ground;
    const agent = listed.find((one) => this.ground.ownerOf(one) !== user) as Person;
    const rented = { agentId: agent.id, taskDescription: task };
    const { id: sessionId } = await this.ground.call(user, "sessions:create", rented);
    await this.ground.call(user, "sessions:end", { sessionId });
    return sessionId;
  }

  /** One of the last settled sessions that the user rented and nobody has disputed. */
  async #disputable(user: Person): Promise<string> {
    const rented = (await this.#recordsOf(user)).filter(({ consumerUserId }) => consumerUserId === user.id);
    const left = rented.filter(({ sessionId }) => !this.#disputed.includes(sessionId));
    return this.ground.dice.one(left.slice(0, 2))?.sessionId ?? "x";
  }

  async #dispute(user: Person, sessionId: string): Promise<void> {
    await this.ground.call(user, "sessions:dispute", { sessionId, reason: "It is not what was agreed" });
    this.#disputed.push(sessionId);
  }

  /** The newest open dispute of this world's people. */
  async #openDispute(): Promise<Value> {
    const { users, admin } = this.ground;
    const { data } = await this.ground.call(admin, "admin:listDisputes", { status: "open" });
    return data.findLast(({ consumerUserId }: Value) => users.some(({ id }) => id === consumerUserId));
  }

  async #withdraw(): Promise<void> {
    const open = await this.#openDispute();
    const consumer = this.ground.users.find(({ id }) => id === open?.consumerUserId);
    if (consumer) await this.ground.call(consumer, "sessions:withdrawDispute", { sessionId: open.sessionId });
  }

  async #decide(decision: string): Promise<void> {
    const { admin } = this.ground;
    const decided = { decision, amount: decision === "part" ? "0.05" : null, note: "Heard both" };
    await this.ground.call(admin, "admin:decideDispute", {
      disputeId: (await this.#openDispute())?.id ?? "x",
      ...decided,
    });
  }
}
