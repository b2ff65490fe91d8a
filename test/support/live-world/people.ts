/** The people and agents of the live world, and their credentials. */
import { randomUUID } from "node:crypto";
import { signInCredentialId } from "../../../runtime/call/caller.js";
import type { AgentCaller, UserCaller } from "../../../runtime/context.js";
import { minute, password, randomKey } from "../harness.js";
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

interface Claim {
  claimToken: string;
  agent: Person;
}

export class People implements Part {
  /** Claim links, the newest last. */
  readonly #claims: Claim[] = [];
  /** Agents that users have taken over. */
  readonly #taken: { agent: Person; owner: Person }[] = [];
  /** The newest key that the owner made for an agent, by the agent's id. */
  readonly #keys = new Map<string, string>();
  readonly #passwords = new Map<string, string>();
  /** Users who signed in with a password, one sign-in each. */
  readonly #signedIn: Person[] = [];

  constructor(readonly ground: Ground) {}

  async open(): Promise<void> {
    const { ground } = this;
    const { agents, users } = ground;
    for (const name of ["Alice's agent", "Bob's agent", "Carol's agent"]) {
      const agent = await this.#register(name);
      agents.push(agent);
      await this.#claim();
      await ground.call(agent, "agents:setPublicKey", { publicKey: randomKey() });
      await this.#rotateKey(agent);
    }
    for (const name of ["Alice", "Bob"]) users.push(await this.#signUp(name));
    const { userId, apiKey, email } = await ground.server.admin();
    ground.admin = userWith(apiKey, { userId, email, isAdmin: true });
    for (const user of users) {
      await ground.call(ground.admin, "admin:suspendUser", { userId: user.id });
      await ground.call(ground.admin, "admin:reinstateUser", { userId: user.id });
    }
    await ground.allHeard();
    const [alice, bob] = users as [Person, Person];
    await ground.call(await this.#signIn(alice), "users:signOut");
    await this.#endASignIn(alice);
    await this.#changePassword(alice);
    // The server mails a code to an address at most once a minute.
    ground.server.clock.jump(minute);
    await this.#resetPassword(alice);
    await this.#rotateApiKey(alice);
    for (const user of users) this.#signedIn.push(await this.#signIn(user));

    const dave = await this.#register("Dave's agent");
    await this.#renewClaim(dave);
    await this.#takeOver(bob);
    await this.#revokeKey(dave, bob);
    for (let count = 0; count < 2; count += 1) await this.#rotateKey(dave, bob);
  }

  questions(): Question[] {
    const { users, listed } = this.ground;
    const owned = [...listed, ...this.#taken.slice(-1).map(({ agent }) => agent)];
    return [
      ...this.#claims.slice(-2).map(({ claimToken }) => ask(nobody, "agents:getClaim", { claimToken })),
      ...users.flatMap((who) => [
        ask(who, "users:me"),
        ...owned.map(({ id }) => ask(who, "agents:listCredentials", { agentId: id })),
      ]),
      ...this.#signedIn.map((who) => ask(who, "users:listSignIns")),
    ];
  }

  acts(): Act[] {
    const { ground } = this;
    const { dice, agents, users, admin, listed } = ground;
    const agent = dice.one(agents);
    const user = dice.one(users);
    const newcomer = dice.one(this.#claims.filter((claim) => !agents.includes(claim.agent)).slice(-2)).agent;
    const owned = dice.one([
      ...listed.map((one) => ({ agent: one, owner: ground.ownerOf(one) })),
      ...this.#taken.slice(-2),
    ]);
    return [
      ground.act(agent, "agents:setPublicKey", { publicKey: randomKey() }),
      ...times(2, "register", () => this.#register("Dave's agent")),
      ["claim", () => this.#claim()],
      ["renew a newcomer's claim", () => this.#renewClaim(newcomer)],
      ["renew a claim", () => this.#renewClaim(agent)],
      ...times(2, "take over", () => this.#takeOver(user)),
      ["rotate its key", () => this.#rotateKey(agent)],
      ...times(2, "rotate an agent's key", () => this.#rotateKey(owned.agent, owned.owner)),
      ["use a key", () => this.#useKey(owned.agent)],
      ["revoke its key", () => this.#revokeKey(newcomer)],
      ["revoke an agent's key", () => this.#revokeKey(owned.agent, owned.owner)],
      ["somebody signs up", () => this.#signUp("Erin")],
      ["sign in", async () => this.#signedIn.splice(users.indexOf(user), 1, await this.#signIn(user))],
      ["sign out", async () => ground.call(await this.#signIn(user), "users:signOut")],
      ["end a sign-in", () => this.#endASignIn(user)],
      ["end all other sign-ins", () => this.#endOtherSignIns(user)],
      ["change the password", () => this.#changePassword(user)],
      ["reset the password", () => this.#resetPassword(user)],
      ["rotate the API key", () => this.#rotateApiKey(user)],
      [
        "suspend a user",
        () => (dice.below(4) === 0 ? ground.call(admin, "admin:suspendUser", { userId: user.id }) : this.#pardon()),
      ],
      ...times(2, "reinstate", () => this.#pardon()),
    ];
  }

  async #register(name: string): Promise<Person> {
    const { agentId, apiKey, claimToken } = await this.ground.call(nobody, "agents:register", { name });
    const credentialId = idOf("agent", apiKey);
    const caller = { kind: "agent" as const, agentId, credentialId, owner: null, ownerId: null };
    const agent = { caller, credential: apiKey, id: agentId };
    this.#claims.push({ claimToken, agent });
    return agent;
  }

  get #newestClaim(): Claim {
    return this.#claims.at(-1) as Claim;
  }

  #claim(): Promise<unknown> {
    return this.ground.call(nobody, "agents:claim", { claimToken: this.#newestClaim.claimToken });
  }

  async #renewClaim(agent: Person): Promise<void> {
    const { claimToken } = await this.ground.call(agent, "agents:renewClaim");
    this.#claims.push({ claimToken, agent });
  }

  async #takeOver(user: Person): Promise<void> {
    const { claimToken, agent } = this.#newestClaim;
    const described = { slug: `taken-${randomUUID()}`, description: "Taken over by a user" };
    await this.ground.call(user, "agents:takeOver", { claimToken, ...described });
    agent.caller = { ...(agent.caller as AgentCaller), ownerId: user.id };
    this.#taken.push({ agent, owner: user });
  }

  /** Replaces an agent's key. An agent that holds its own key uses the new one. */
  async #rotateKey(agent: Person, by = agent): Promise<void> {
    const { apiKey } = await this.ground.call(by, "agents:rotateKey", by === agent ? {} : { agentId: agent.id });
    if (this.ground.listed.includes(agent)) this.#keys.set(agent.id, apiKey);
    else giveCredential(agent, apiKey);
  }

  /** Uses the newest key: the first use of a key ends the one before it. */
  #useKey(agent: Person): Promise<unknown> {
    const credential = this.#keys.get(agent.id) ?? agent.credential;
    return this.ground.call({ ...agent, credential }, "agents:getStatus");
  }

  async #revokeKey(agent: Person, by = agent): Promise<void> {
    await this.ground.call(by, "agents:revokeKey", by === agent ? {} : { agentId: agent.id });
    // Without a key the agent could do nothing any more.
    if (this.ground.agents.includes(agent)) await this.#rotateKey(agent, by);
  }

  async #signUp(name: string): Promise<Person> {
    const email = `${name.toLowerCase()}-${randomUUID()}@example.com`;
    const verificationCode = await this.#mailedCode(email, /\b\d{6}\b/);
    const signingUp = { email, password, name, verificationCode };
    const { user, apiKey } = await this.ground.call(nobody, "users:register", signingUp);
    return userWith(apiKey, { userId: user.id, email, isAdmin: user.isAdmin });
  }

  /** The code in the mail that this sends, whichever server sends it. */
  async #mailedCode(email: string, pattern: RegExp): Promise<string> {
    const { servers } = this.ground;
    const before = servers.map(({ mails }) => mails.length);
    await this.ground.call(nobody, "users:sendVerification", { email });
    for (const { server } of servers) await server.mailer.idle();
    const sent = servers.flatMap(({ mails }, index) => mails.slice(before[index]));
    return (
      sent
        .find(({ recipient }) => recipient === email)
        ?.body.match(pattern)
        ?.at(-1) ?? "none was sent"
    );
  }

  /** The same user with another sign-in. */
  async #signIn(user: Person): Promise<Person> {
    const password = this.#passwordOf(user);
    const { token } = await this.ground.call(nobody, "users:signIn", { email: emailOf(user), password });
    const signedIn = { ...user, credential: token };
    const { data } = await this.ground.call(signedIn, "users:listSignIns");
    const { id } = data.find(({ isCurrent }: { isCurrent: boolean }) => isCurrent);
    const caller = { ...(user.caller as UserCaller), credentialId: signInCredentialId(id) };
    return { ...signedIn, caller };
  }

  #passwordOf({ id }: Person): string {
    return this.#passwords.get(id) ?? password;
  }

  async #endASignIn(user: Person): Promise<void> {
    const signedIn = await this.#signIn(user);
    const { data } = await this.ground.call(signedIn, "users:listSignIns");
    await this.ground.call(signedIn, "users:endSignIn", { signInId: this.ground.dice.one<Value>(data).id });
  }

  async #endOtherSignIns(user: Person): Promise<void> {
    await this.ground.call(await this.#signIn(user), "users:endSignIn");
  }

  async #changePassword(user: Person): Promise<void> {
    const newPassword = randomUUID();
    const changed = { password: this.#passwordOf(user), newPassword };
    await this.ground.call(await this.#signIn(user), "users:changePassword", changed);
    this.#passwords.set(user.id, newPassword);
  }

  async #resetPassword(user: Person): Promise<void> {
    const email = emailOf(user);
    const resetCode = await this.#mailedCode(email, /reset code ([A-Z2-9]{10})/);
    const newPassword = randomUUID();
    await this.ground.call(nobody, "users:resetPassword", { email, resetCode, newPassword });
    this.#passwords.set(user.id, newPassword);
  }

  async #rotateApiKey(user: Person): Promise<void> {
    giveCredential(user, (await this.ground.call(user, "users:rotateApiKey")).apiKey);
  }

  async #pardon(): Promise<void> {
    const { users, listed, admin } = this.ground;
    for (const { id } of users) await this.ground.call(admin, "admin:reinstateUser", { userId: id });
    for (const { id } of listed) {
      await this.ground.call(admin, "admin:reinstateAgent", { agentId: id }).catch(() => {});
    }
  }
}

function emailOf({ caller }: Person): string {
  return (caller as UserCaller).email;
}

function userWith(apiKey: string, user: { userId: string; email: string; isAdmin: boolean }): Person {
  const caller = { kind: "user" as const, ...user, credentialId: idOf("key", apiKey), agentId: null };
  return { caller, credential: apiKey, id: user.userId };
}
