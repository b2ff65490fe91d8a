/**
 * A marketplace at work while the server is killed again and again (test/support/kills.ts): people top up, rent, write,
 * end, order, cancel, refund and sign up. After each death every acknowledged write must be there and none by half, the
 * ledger's audit must find nothing, and every wallet must hold to the last digit what the clients' own books say of it.
 * `KILLS` sets how often (50).
 */
import { sql } from "kysely";
import { describe, expect, onTestFailed, test } from "vitest";
import { WebSocket } from "ws";
import { auditLedger } from "../../functions/model/money/audit.js";
import { openStore } from "../../runtime/store/database.js";
import { runAudit } from "../support/audit.js";
import { createDatabase, databases } from "../support/databases.js";
import {
  Clients,
  each,
  killAgainAndAgain,
  pauseFor,
  Refusal,
  type Speaker,
  untilUnused,
  withCopy,
} from "../support/kills.js";
import { ServerProcess } from "../support/process.js";
import { SmtpServer } from "../support/smtp.js";

const deaths = Number(process.env.KILLS ?? 50);
const consumers = 16;
const admin = "admin@example.com";
/** A mail that a process died with is taken up again after a minute. */
const mailPatienceMs = 100_000;

type Currency = "CNY" | "USD";

interface Person extends Speaker {
  userId: string;
  email: string;
}

/** An agent that can be rented. */
interface Offer extends Speaker {
  agentId: string;
  owner: Person;
  model: string;
  price: bigint;
  currency: Currency;
}

interface Said {
  messageId: string;
  createdAt: string;
  senderRole: string;
  payload: object;
}

/** A session as its consumer's client knows it. */
interface Rental {
  sessionId: string;
  sessionToken: string;
  consumer: Consumer;
  offer: Offer;
  said: Said[];
  tokens: bigint;
  /** Writes about it that were not answered yet. */
  inFlight: number;
  /** The most that it may cost, where that is known. */
  limit: bigint | undefined;
  /** What a decided dispute gave back. */
  back: bigint;
  /** Its last known end; `settlement` is null where it cost nothing. */
  ended: { status: string; settlement: Record<string, unknown> | null } | undefined;
  refunded: boolean;
}

class Consumer {
  readonly toppedUp = { CNY: 0n, USD: 0n };
  /** The top-up that was not answered yet. */
  pending: { currency: Currency; minor: bigint } | undefined;
  /** How many sessions may have been made that it was not told of yet. */
  renting = 0;
  readonly rentals: Rental[] = [];

  constructor(readonly person: Person) {}
}

/** "1.5" as 1/10000s, with nothing of the server's own arithmetic. */
function minor(amount: string): bigint {
  const [, sign, whole = "", decimals = ""] = /^(-?)(\d+)(?:\.(\d{1,4}))?$/.exec(amount) ?? [];
  if (whole === "") throw new Error(`${amount} is no amount`);
  const digits = BigInt(whole + decimals.padEnd(4, "0"));
  return sign ? -digits : digits;
}

class Market extends Clients {
  readonly consumers: Consumer[] = [];
  readonly providers: Person[] = [];
  readonly offers: Offer[] = [];
  /** Addresses that a code was promised to. */
  readonly mailed: string[] = [];
  admin: Person | undefined;

  constructor(
    url: string,
    readonly smtp: SmtpServer,
  ) {
    super(url);
  }

  get rentals(): Rental[] {
    return this.consumers.flatMap(({ rentals }) => rentals);
  }

  /** An account, from the code in the mail on. */
  async register(name: string, email = `${name.toLowerCase()}@example.com`): Promise<Person> {
    await this.write("users:sendVerification", { email });
    this.mailed.push(email);
    const verificationCode = await this.code(email);
    const password = `the password of ${name}`;
    const { user, token } = await this.write("users:register", { email, password, name, verificationCode });
    return { name, email, userId: user.id, credential: token };
  }

  async code(email: string): Promise<string> {
    const givenUpAt = Date.now() + mailPatienceMs;
    for (;;) {
      const mail = this.smtp.taken.findLast(({ recipient }) => recipient === email);
      const code = mail && /\b\d{6}\b/.exec(mail.content)?.[0];
      if (code) return code;
      if (Date.now() > givenUpAt) throw new Error(`No mail came to ${email}`);
      await pauseFor(20);
    }
  }

  /** An agent that was reviewed, connected once, and activated. */
  async offer(owner: Person, slug: string, terms: Record<string, string>): Promise<Offer> {
    const { agentToken, id } = await this.write(
      "agents:create",
      { name: slug, slug, description: `Does what ${slug} does` },
      owner,
    );
    await this.write("agents:publish", { agentId: id, maxConcurrentSessions: 1_000, ...terms }, owner);
    await this.write("admin:approveAgent", { agentId: id }, this.admin);
    const socket = new WebSocket(`${this.url.replace("http", "ws")}/ws/agent?token=${agentToken}`);
    await new Promise((resolve, reject) => socket.once("message", resolve).once("error", reject));
    await this.write("agents:activate", { agentId: id }, owner);
    socket.on("error", () => {}).close();
    const { pricingModel: model = "", priceAmount = "", currency = "CNY" } = terms;
    const offer = { name: slug, credential: agentToken, agentId: id, owner, model, price: minor(priceAmount) };
    const made = { ...offer, currency: currency as Currency };
    this.offers.push(made);
    return made;
  }

  async topUp(consumer: Consumer, amount: string, currency: Currency = "CNY"): Promise<void> {
    consumer.pending = { currency, minor: minor(amount) };
    await this.write("billing:topUp", { amount, currency }, consumer.person);
    consumer.toppedUp[currency] += minor(amount);
    consumer.pending = undefined;
  }

  /** Rents, after a refusal for want of money with more of it. */
  async rent(consumer: Consumer, offer: Offer): Promise<Rental> {
    const task = { agentId: offer.agentId, taskDescription: `Task of ${consumer.person.name}, at ${Math.random()}` };
    for (;;) {
      consumer.renting = 1;
      try {
        const session = await this.write("sessions:create", task, consumer.person);
        const rental = rentalOf(consumer, offer, session.id, session.sessionToken);
        rental.limit = minor(session.maxAmount);
        consumer.rentals.push(rental);
        consumer.renting = 0;
        return rental;
      } catch (error) {
        consumer.renting = 0;
        if (!(error instanceof Refusal) || error.code !== "insufficient_funds") throw error;
        await this.topUp(consumer, "20.05", offer.currency);
      }
    }
  }

  async order(consumer: Consumer, offers: Offer[], fromCart: boolean): Promise<{ orderId: string; rentals: Rental[] }> {
    const items = offers.map(({ agentId }) => ({ providerAgentId: agentId, taskDescription: `Part of ${agentId}` }));
    if (fromCart) for (const item of items) await this.write("cart:add", item, consumer.person);
    for (;;) {
      consumer.renting = items.length;
      try {
        const order = await this.write("orders:create", { items, note: "All of it", fromCart }, consumer.person);
        const rentals = offers.map((offer, index) => {
          const { sessionId, sessionToken, providerAgentId } = order.items[index];
          expect(providerAgentId).toBe(offer.agentId);
          return rentalOf(consumer, offer, sessionId, sessionToken);
        });
        consumer.rentals.push(...rentals);
        consumer.renting = 0;
        return { orderId: order.id, rentals };
      } catch (error) {
        consumer.renting = 0;
        if (!(error instanceof Refusal) || error.code !== "insufficient_funds") throw error;
        await this.topUp(consumer, "20.05");
      }
    }
  }

  /** Says something, and once more where nobody answered: by its key, or by the message's own id. */
  async say(rental: Rental, side: "consumer" | "provider", payload: object, byOwnId = false): Promise<void> {
    const { sessionId, consumer, offer } = rental;
    const speaker = side === "consumer" ? consumer.person : offer;
    const type = side === "consumer" ? "dialogue.message" : "result.success";
    const args = { sessionId, type, payload };
    rental.inFlight += 1;
    const sent = byOwnId
      ? await this.writeById("sessions:sendMessage", { ...args, id: crypto.randomUUID() }, speaker)
      : await this.write("sessions:sendMessage", args, speaker);
    rental.said.push({ messageId: sent.messageId, createdAt: sent.createdAt, senderRole: side, payload });
    rental.inFlight -= 1;
  }

  /** A write without a key that its own arguments make safe to repeat. */
  async writeById(path: string, args: object, speaker: Speaker): Promise<{ messageId: string; createdAt: string }> {
    for (;;) {
      await this.up;
      const reply = await this.ask("mutation", path, args, speaker);
      if (reply === undefined) {
        this.interrupted += 1;
        await pauseFor(20);
        continue;
      }
      const { status, value } = JSON.parse(reply) as {
        status: string;
        value: { messageId: string; createdAt: string };
      };
      if (status !== "success") throw new Refusal(path, reply);
      this.acknowledged.push({ path, args, speaker, key: undefined, reply });
      return value;
    }
  }

  /** Ends a session from a side, and enters into the books what that cost. */
  async end(rental: Rental, by: "consumer" | "provider" | "both" | "admin" = "consumer"): Promise<void> {
    const { sessionId, consumer, offer } = rental;
    rental.inFlight += 1;
    const args = { sessionId };
    const ends = await Promise.all([
      ...(by === "consumer" || by === "both" ? [this.write("sessions:end", args, consumer.person)] : []),
      ...(by === "provider" || by === "both" ? [this.write("sessions:end", args, offer)] : []),
      ...(by === "admin" ? [this.write("admin:terminateSession", { ...args, reason: "Test" }, this.admin)] : []),
    ]);
    const [{ status, settlement }] = ends;
    for (const end of ends) expect(end).toMatchObject({ status, settlement });
    if (settlement) {
      const { amount, platformFee, providerIncome, quantity, currency } = settlement;
      expect(currency).toBe(offer.currency);
      // 15 %, half up.
      expect(minor(platformFee)).toBe((minor(amount) * 15n + 50n) / 100n);
      expect(minor(providerIncome)).toBe(minor(amount) - minor(platformFee));
      // What a session cannot have produced does not count.
      if (offer.model === "per_token") expect(BigInt(quantity) <= rental.tokens).toBe(true);
      else if (offer.model !== "per_minute") {
        expect(quantity).toBe(rental.said.some(({ senderRole }) => senderRole === "provider") ? 1 : 0);
      }
      const cost = offer.price * BigInt(quantity);
      const due = rental.limit !== undefined && cost > rental.limit ? rental.limit : cost;
      // The only open session of its consumer in that currency may cost all that they have, and no more.
      const had = balanceOf(consumer, offer.currency);
      expect(minor(amount)).toBe(due < had ? due : had);
    }
    rental.ended = { status, settlement };
    rental.inFlight -= 1;
  }

  /** Disputes what a session cost, and has the admin decide, or takes it back. */
  async dispute(rental: Rental, decision: "all" | "part" | "none" | "withdrawn"): Promise<void> {
    const { sessionId, consumer } = rental;
    const cost = charged(rental).amount;
    if (cost < 2n) return;
    rental.inFlight += 1;
    const { dispute } = await this.write("sessions:dispute", { sessionId, reason: "Not good" }, consumer.person);
    if (decision === "withdrawn") await this.write("sessions:withdrawDispute", { sessionId }, consumer.person);
    else {
      const amount = decision === "part" ? { amount: "0.0001" } : {};
      const decided = { disputeId: dispute.id, decision, ...amount };
      expect(await this.write("admin:decideDispute", decided, this.admin)).toMatchObject({ status: "decided" });
      if (decision === "part") rental.back = 1n;
      rental.refunded = decision === "all";
    }
    rental.inFlight -= 1;
  }

  /** Money that comes in by a code. */
  async redeem(consumer: Consumer, amount: string): Promise<void> {
    const { codes } = await this.write("admin:createTopUpCodes", { amount }, this.admin);
    consumer.pending = { currency: "CNY", minor: minor(amount) };
    await this.write("billing:redeem", { code: codes[0].topUpCode }, consumer.person);
    consumer.toppedUp.CNY += minor(amount);
    consumer.pending = undefined;
  }

  async refund(rental: Rental): Promise<void> {
    if (this.admin === undefined) throw new Error("There is no admin");
    const { sessionId } = rental;
    const { data } = await this.look("admin:listSessions", { sessionId }, this.admin);
    rental.inFlight += 1;
    await this.write("admin:refund", { recordId: data[0].billingRecordId }, this.admin);
    rental.refunded = true;
    rental.inFlight -= 1;
  }
}

function rentalOf(consumer: Consumer, offer: Offer, sessionId: string, sessionToken: string): Rental {
  const nothing = { said: [], tokens: 0n, inFlight: 0, limit: undefined, back: 0n, ended: undefined, refunded: false };
  return { sessionId, sessionToken, consumer, offer, ...nothing };
}

/** What a session came to, as its books say. */
function charged({ ended, refunded, back }: Rental): { amount: bigint; fee: bigint; income: bigint } {
  const { settlement } = ended ?? {};
  if (!settlement || refunded) return { amount: 0n, fee: 0n, income: 0n };
  const amount = minor(String(settlement["amount"])) - back;
  // What is kept of a refund in part is divided as if no more had been charged.
  const fee = (amount * 15n + 50n) / 100n;
  return { amount, fee, income: amount - fee };
}

function balanceOf(consumer: Consumer, currency: Currency): bigint {
  const paid = consumer.rentals.filter(({ offer }) => offer.currency === currency);
  return paid.reduce((left, rental) => left - charged(rental).amount, consumer.toppedUp[currency]);
}

/** One consumer: rents of every kind, one after the other. */
async function live(market: Market, consumer: Consumer, turn: number): Promise<void> {
  const offered = (slug: string) => market.offers.find(({ name }) => name === slug) as Offer;
  const talk = async (rental: Rental) => {
    await market.say(rental, "consumer", { content: `Question ${Math.random()} ✓`, more: "é".repeat(turn % 90) });
    await market.say(rental, "provider", { content: "Answer", usage: { totalTokens: 7 } }, true);
    rental.tokens += 7n;
  };
  let disputes = turn;
  const chapters: (() => Promise<void>)[] = [
    async () => {
      const rental = await market.rent(consumer, offered("flat"));
      await talk(rental);
      await market.end(rental, "both");
      if (turn % 2 === 0) await market.refund(rental);
    },
    async () => {
      const rental = await market.rent(consumer, offered("tokens"));
      for (const totalTokens of [250, 1_333, 1]) {
        await market.say(rental, "provider", { content: "Used", usage: { totalTokens } }, totalTokens === 1);
        rental.tokens += BigInt(totalTokens);
      }
      await market.end(rental, "provider");
    },
    async () => {
      // More than the consumer has: the server ends it with that message.
      const rental = await market.rent(consumer, offered("tokens"));
      await market.say(rental, "provider", { content: "Much", usage: { totalTokens: 50_000_000 } });
      rental.tokens += 50_000_000n;
      await market.end(rental);
      expect(rental.ended?.status).toBe("completed");
    },
    async () => {
      const rental = await market.rent(consumer, offered("manual"));
      // A user of the provider's, or the agent itself.
      const { owner } = rental.offer;
      const approver = turn % 2 === 0 ? owner : rental.offer;
      const { status } = await market.write("sessions:approve", { sessionId: rental.sessionId }, approver);
      expect(status).toBe("active");
      await talk(rental);
      await market.end(rental, "admin");
    },
    async () => {
      // Refused by the provider, or taken back by the consumer.
      const rental = await market.rent(consumer, offered("manual"));
      await market.end(rental, turn % 2 === 0 ? "provider" : "consumer");
      expect(rental.ended).toEqual({ status: "aborted", settlement: null });
    },
    async () => {
      if (turn % 3 === 0) await market.topUp(consumer, "3.33", "USD");
      const rental = await market.rent(consumer, offered("dollars"));
      await talk(rental);
      await market.end(rental, "provider");
      if (turn % 3 === 0) await market.refund(rental);
    },
    async () => {
      const rental = await market.rent(consumer, offered("minutes"));
      await talk(rental);
      await market.end(rental);
    },
    async () => {
      await market.redeem(consumer, "30.00");
      const rental = await market.rent(consumer, offered("tokens"));
      const raised = { sessionId: rental.sessionId, maxAmount: "15.00" };
      if ((rental.limit ?? 0n) < minor(raised.maxAmount) && balanceOf(consumer, "CNY") >= minor(raised.maxAmount)) {
        await market.write("sessions:raiseLimit", raised, consumer.person);
        rental.limit = minor(raised.maxAmount);
      }
      await talk(rental);
      await market.end(rental);
      const decisions = ["all", "part", "none", "withdrawn"] as const;
      disputes += 1;
      await market.dispute(rental, decisions[disputes % decisions.length] ?? "none");
    },
    async () => {
      const offers = ["flat", "manual", "flat"].map(offered);
      const { orderId, rentals } = await market.order(consumer, offers, turn % 2 === 0);
      if (turn % 3 === 0) await market.end(rentals[0] as Rental);
      for (const rental of rentals) rental.inFlight += 1;
      const { status } = await market.write("orders:cancel", { orderId }, consumer.person);
      expect(status).toBe("cancelled");
      for (const rental of rentals) {
        // An end of what has ended tells what it cost.
        await market.end(rental);
        rental.inFlight -= 1;
      }
    },
    async () => {
      await market.topUp(consumer, "17.01");
      const dear = market.write(
        "sessions:create",
        { agentId: offered("dear").agentId, taskDescription: "What nobody can pay" },
        consumer.person,
      );
      await expect(dear).rejects.toMatchObject({ code: "insufficient_funds" });
    },
    async () => {
      const email = `mail-${crypto.randomUUID()}@example.com`;
      await market.write("users:sendVerification", { email });
      market.mailed.push(email);
    },
  ];
  for (let chapter = turn; !market.over; chapter += 1) await chapters[chapter % chapters.length]?.();
}

/** People who sign up, sign in, and fill their wallets. */
async function signUp(market: Market): Promise<void> {
  for (let newcomer = 1; !market.over; newcomer += 1) {
    const person = await market.register(`Newcomer ${newcomer}`, `newcomer-${newcomer}@example.com`);
    const { user } = await market.write("users:signIn", {
      email: person.email,
      password: `the password of ${person.name}`,
    });
    expect(user.id).toBe(person.userId);
    const consumer = new Consumer(person);
    market.consumers.push(consumer);
    await market.topUp(consumer, "0.01");
  }
}

/** Everything that the clients were told of `rentals` is so, and every wallet is what follows from it. */
async function verify(market: Market, rentals: Rental[], all: boolean): Promise<void> {
  if (market.admin === undefined) throw new Error("There is no admin");
  const { ok, findings } = await market.read("admin:audit", {}, market.admin);
  expect({ ok, broken: findings.filter((finding: { ok: boolean }) => !finding.ok) }).toEqual({ ok: true, broken: [] });

  // What an unanswered write came to is asked of the session itself.
  const unknown = new Map<Rental, ReturnType<typeof charged>>();
  await each(rentals, async (rental) => {
    const { sessionId, sessionToken, consumer, offer, said, ended, inFlight, refunded } = rental;
    const session = await market.read("sessions:get", { sessionId }, consumer.person);
    expect(session).toMatchObject({ id: sessionId, providerAgentId: offer.agentId, role: "consumer" });
    const settled =
      session.billingAmount === null
        ? null
        : { amount: session.billingAmount, platformFee: session.platformFee, providerIncome: session.providerIncome };
    if (ended) {
      expect(session.status).toBe(ended.status);
      if (settled) expect(ended.settlement).toMatchObject(settled);
      else expect(ended.settlement).toBe(null);
    } else if (inFlight === 0) expect(["active", "pending_approval"]).toContain(session.status);
    if (["active", "pending_approval"].includes(session.status)) expect(session.sessionToken).toBe(sessionToken);
    if (refunded || inFlight === 0) expect(session.billingStatus === "refunded").toBe(refunded);
    if (inFlight > 0) {
      const seen = settled ? { status: session.status, settlement: settled } : undefined;
      const back = session.dispute === null ? 0n : minor(session.dispute.refunded);
      unknown.set(rental, charged({ ...rental, back, ended: seen, refunded: session.billingStatus === "refunded" }));
    }

    const { data, total } = await market.read("sessions:listMessages", { sessionId }, consumer.person);
    expect(data.length).toBe(total);
    expect(session.totalMessages).toBe(total);
    const byId = new Map<string, object>(data.map((message: { id: string }) => [message.id, message]));
    for (const { messageId, ...told } of said) expect(byId.get(messageId)).toMatchObject(told);
    expect(total - said.length).toBeLessThanOrEqual(inFlight);
    const times = data.map(({ createdAt }: { createdAt: string }) => createdAt);
    expect(new Set(times).size).toBe(times.length);
    expect(times.toSorted()).toEqual(times);
  });

  const known = (rental: Rental) => unknown.get(rental) ?? charged(rental);
  const sums: Record<Currency, { toppedUp: bigint; held: bigint; fees: bigint }> = {
    CNY: { toppedUp: 0n, held: 0n, fees: 0n },
    USD: { toppedUp: 0n, held: 0n, fees: 0n },
  };
  const balancesOf = async (person: Person): Promise<Record<Currency, bigint>> => {
    const { balances, held } = await market.read("billing:getWallet", {}, person);
    if (all) expect([person.name, held]).toEqual([person.name, "0.00"]);
    return { CNY: minor(balances.CNY), USD: minor(balances.USD) };
  };
  await each(market.consumers, async (consumer) => {
    const balances = await balancesOf(consumer.person);
    for (const currency of ["CNY", "USD"] as const) {
      const cost = consumer.rentals
        .filter(({ offer }) => offer.currency === currency)
        .reduce((sum, rental) => sum + known(rental).amount, 0n);
      const sure = consumer.toppedUp[currency] - cost;
      const pending = consumer.pending?.currency === currency ? consumer.pending.minor : 0n;
      expect([sure, sure + pending]).toContain(balances[currency]);
      sums[currency].toppedUp += balances[currency] + cost;
      sums[currency].held += balances[currency];
    }
    const { total } = await market.read("sessions:list", { role: "consumer", limit: 1 }, consumer.person);
    expect(total - consumer.rentals.length).toBeLessThanOrEqual(consumer.renting);
    expect(total).toBeGreaterThanOrEqual(consumer.rentals.length);
  });
  await each(market.providers, async (provider) => {
    const balances = await balancesOf(provider);
    for (const currency of ["CNY", "USD"] as const) {
      const served = market.rentals.filter(({ offer }) => offer.owner === provider && offer.currency === currency);
      expect(balances[currency]).toBe(served.reduce((sum, rental) => sum + known(rental).income, 0n));
      sums[currency].held += balances[currency];
      sums[currency].fees += served.reduce((sum, rental) => sum + known(rental).fee, 0n);
    }
  });
  for (const { toppedUp, held, fees } of Object.values(sums)) expect(held + fees).toBe(toppedUp);
}

/** Rows that would be half of a write, or the second half of one that was made twice. Each query must find none. */
const halves: Record<string, string> = {
  "a session counts other messages than it has": `select s."sessionId" from sessions s
    left join (select "sessionId", count(*) as n, max("createdAt") as last from "sessionMessages" group by "sessionId") m
      on m."sessionId" = s."sessionId"
    where s."totalMessages" <> coalesce(m.n, 0) or s."lastStampAt" < coalesce(m.last, 0)`,
  "a session has not its two participants": `select s."sessionId" from sessions s
    left join "sessionParticipants" p on p."sessionId" = s."sessionId"
    group by s."sessionId" having count(distinct p.side) <> 2`,
  "a session is active or over without the time of it": `select "sessionId" from sessions
    where (status in ('active', 'completed') and "startedAt" is null)
      or (status in ('completed', 'aborted', 'expired')) <> ("endedAt" is not null)
      or (status in ('completed', 'aborted', 'expired')) <> ("endReason" is not null)`,
  "an order has no sessions, or others than it says": `select o."orderId" from orders o
    left join sessions s on s."orderId" = o."orderId" group by o."orderId", o.status
    having count(s."sessionId") = 0
      or (o.status in ('completed', 'cancelled') and count(case when s.status in ('active', 'pending_approval') then 1 end) > 0)`,
  "an order left its items in the cart": `select c."cartItemId" from "cartItems" c
    join orders o on o."userId" = c."userId" and o."createdAt" > c."updatedAt"`,
  "an agent's sessions were not counted": `select p."agentId" from "providerProfiles" p
    left join sessions s on s."providerAgentId" = p."agentId" and s.status = 'completed'
      and s."servedAt" is not null and s."billingStatus" <> 'refunded'
    group by p."agentId", p."totalSessions" having count(s."sessionId") <> p."totalSessions"`,
  "an agent has no token or two": `select a."agentId" from agents a
    left join "agentCredentials" c on c."agentId" = a."agentId" group by a."agentId" having count(c."secretHash") <> 1`,
  "a user was made and the code is still good": `select u."userId" from users u
    join "mailedCodes" c on c.email = u.email`,
  "a message was sent twice": `select payload from "sessionMessages" where "senderSide" = 'consumer'
    group by payload having count(*) > 1`,
};

/** Looks at a database that no server uses. */
async function inspectStored(url: string): Promise<void> {
  const store = await openStore(url);
  try {
    await store.read(async (db) => {
      expect((await auditLedger({ db })).filter(({ ok }) => !ok)).toEqual([]);
      for (const [what, query] of Object.entries(halves)) {
        expect({ what, rows: (await sql.raw(query).execute(db)).rows }).toEqual({ what, rows: [] });
      }
    });
  } finally {
    await store.close();
  }
}

describe.each(databases)("kill -9 of a marketplace at work on %s", (database) => {
  test(`loses no money and makes none, ${deaths} times`, async () => {
    const created = await createDatabase(database);
    const smtp = await SmtpServer.start();
    const process = await ServerProcess.start({
      databaseUrl: created.url,
      environment: {
        ADMIN_EMAILS: admin,
        SMTP_URL: smtp.url,
        MAIL_FROM: "tidepool@example.com",
        // SQLite's server makes one, and has to find it again; PostgreSQL's would make it in the folder it runs in.
        ...(database === "postgres" ? { JWT_SECRET: "a secret that outlives every one of its servers" } : {}),
      },
    });
    await process.stop();
    const firstMs = await process.start();
    onTestFailed(() => console.log(process.stdout, process.stderr));

    const market = new Market(process.url, smtp);
    market.admin = await market.register("Admin", admin);
    for (const name of ["Bob", "Bert", "Bea"]) market.providers.push(await market.register(name));
    const [bob, bert, bea] = market.providers as [Person, Person, Person];
    await market.offer(bob, "flat", { pricingModel: "per_session", priceAmount: "5.00", approvalMode: "auto" });
    await market.offer(bob, "tokens", { pricingModel: "per_token", priceAmount: "0.0011", approvalMode: "auto" });
    await market.offer(bert, "manual", { pricingModel: "fixed", priceAmount: "2.5", approvalMode: "manual" });
    await market.offer(bert, "minutes", { pricingModel: "per_minute", priceAmount: "0.7", approvalMode: "auto" });
    const dollars = { pricingModel: "per_session", priceAmount: "1.2345", approvalMode: "auto", currency: "USD" };
    await market.offer(bea, "dollars", dollars);
    await market.offer(bea, "dear", { pricingModel: "fixed", priceAmount: "100000", approvalMode: "auto" });
    const people = await Promise.all(
      Array.from({ length: consumers }, (_, at) => market.register(`Alice ${at}`, `alice-${at}@example.com`)),
    );
    market.consumers.push(...people.map((person) => new Consumer(person)));

    const living = [...market.consumers.map((consumer, turn) => live(market, consumer, turn)), signUp(market)];
    let checked = 0;
    let verified = 0;
    const report = await killAgainAndAgain(
      {
        database,
        process,
        clients: market,
        living,
        deaths,
        // PostgreSQL's server is slow at first: it opens its connections and prepares its statements on each.
        lifeMs: () => (database === "sqlite" ? 150 + Math.random() * 700 : 1_500 + Math.random() * 1_500),
        inspect: async () => {
          if (database === "sqlite") await withCopy(created.url, (file) => inspectStored(`sqlite:${file}`));
          else {
            await untilUnused(created.url);
            await inspectStored(created.url);
          }
        },
        verify: async (all) => {
          const acknowledged = market.acknowledged.length;
          const open = market.rentals.filter(({ ended, inFlight }) => ended === undefined || inFlight > 0);
          const recent = market.consumers.flatMap(({ rentals }) => rentals.slice(-5));
          await verify(market, all ? market.rentals : [...new Set([...open, ...recent])], all);
          await market.verifyRetries(all ? 0 : checked);
          checked = acknowledged;
          verified += 1;
          if (all || verified % 10 === 0) await runAudit(created.url);
          // The last ones may wait for the mail server's next turn.
          if (all) for (const email of market.mailed) await market.code(email);
        },
      },
      firstMs,
    );
    const mails = new Set(smtp.taken.map(({ recipient }) => recipient)).size;
    const sum = (currency: Currency) =>
      market.consumers.reduce((all, { toppedUp }) => all + toppedUp[currency], 0n) / 10_000n;
    console.log(
      `${report}; ${market.rentals.length} sessions, ${market.consumers.length} consumers, ` +
        `${sum("CNY")} CNY and ${sum("USD")} USD topped up, ${market.rentals.filter(({ refunded }) => refunded).length} refunds, ` +
        `${mails} mails (${smtp.taken.length - mails} twice)`,
    );
    await smtp.stop();
    await created.remove();
  });
});
