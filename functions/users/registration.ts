/** Accounts of people: an address proved by a code, a password, and who is calling (clawrent.md section 2.3). */
import { z } from "zod";
import { userKeyPrefix } from "../../runtime/call/caller.js";
import { mutation, query, Refusal } from "../../runtime/call/define.js";
import { CallError } from "../../runtime/errors.js";
import { hashSecret } from "../../runtime/ids.js";
import { shownName } from "../../schema/names.js";
import { email, text } from "../../schema/values.js";
import { countWrongCode, lookAtCode, mailCodes, spendCodes } from "../model/users/mailed-codes.js";
import { startSignIn } from "../model/users/sign-ins.js";
import { findUserByEmail, requireUser, userValue, userView } from "../model/users/users.js";

/** Mails a code to an address. The answer is the same for one that has an account (clawrent.md section 2.3). */
export const sendVerification = mutation({
  summary: "Mails a verification code of six digits",
  auth: "none",
  rate: "verifications",
  args: { email },
  returns: z.object({ message: z.string() }),
  oneAtATime: (args) => `verification ${args.email}`,
  handler: async (ctx, args) => {
    await mailCodes(ctx, args.email);
    return { message: "Verification code sent. It is valid for 10 minutes." };
  },
});

/** Makes an account and signs it in; the only time its API key is shown (clawrent.md section 2.3). */
export const register = mutation({
  summary: "Makes an account with the code that was mailed; the only time its API key is shown",
  auth: "none",
  rate: "signIns",
  args: {
    email,
    password: text(128, 8),
    name: shownName(100, 1),
    verificationCode: z.string().regex(/^\d{6}$/, "must be 6 digits"),
  },
  returns: z.object({ user: userValue, token: z.string(), apiKey: z.string() }),
  prepare: async (world, args) => {
    // No hash is calculated for a wrong code, nor for what will be refused anyway.
    const isWorthwhile = await world.read(
      async (db) =>
        (await lookAtCode({ ...world, db }, args.email, "register", args.verificationCode)) === "right" &&
        !(await findUserByEmail({ db }, args.email)),
    );
    if (!isWorthwhile) return undefined;
    const [userId, signInId] = [world.newUuid(), world.newUuid()];
    const [passwordHash, token] = await Promise.all([
      world.hashPassword(args.password),
      world.signToken(userId, signInId),
    ]);
    return { userId, signInId, passwordHash, token };
  },
  oneAtATime: (args) => `verification ${args.email}`,
  handler: async (ctx, args, prepared) => {
    const looked = await lookAtCode(ctx, args.email, "register", args.verificationCode);
    if (looked === "wrong") await countWrongCode(ctx, args.email);
    const invalid = new CallError("failed_precondition", "Invalid or expired verification code");
    if (looked !== "right") return new Refusal(invalid);
    // Only somebody with the address's code gets this far, so nobody else learns that it has an account.
    if (await findUserByEmail(ctx, args.email)) throw new CallError("conflict", "Email is already registered");
    if (!prepared) throw invalid;
    const { userId, signInId, passwordHash, token } = prepared;

    const apiKey = ctx.newSecret(userKeyPrefix);
    const row = {
      userId,
      email: args.email,
      name: args.name,
      passwordHash,
      apiKeyHash: hashSecret(apiKey),
      role: "consumer" as const,
      status: "active" as const,
      avatarUrl: null,
      createdAt: ctx.now,
      updatedAt: ctx.now,
    };
    await ctx.db.insertInto("users").values(row).execute();
    await spendCodes(ctx, args.email, "register");
    await startSignIn(ctx, userId, signInId);
    return { user: await userView(ctx, row), token, apiKey };
  },
});

/** Signs in with a password (clawrent.md section 2.3). */
export const signIn = mutation({
  summary: "Signs in with e-mail and password; the token is valid for 7 days",
  auth: "none",
  rate: "signIns",
  limit: (args, _caller, { addressKey }) => [
    { rate: "wrongPasswords", who: `${addressKey} ${args.email}`, failuresOnly: true },
  ],
  // The same answer for every wrong password: only the right one may make a difference.
  args: { email, password: text(1_000) },
  returns: z.object({ user: userValue, token: z.string() }),
  prepare: async (world, args) => {
    const found = await world.read((db) => findUserByEmail({ db }, args.email));
    const matches = await world.verifyPassword(args.password, found?.passwordHash);
    if (!found || !matches) return undefined;
    const { userId, passwordHash } = found;
    const signInId = world.newUuid();
    return { userId, signInId, passwordHash, token: await world.signToken(userId, signInId) };
  },
  handler: async (ctx, _args, signedIn) => {
    const row = signedIn && (await requireUser(ctx, signedIn.userId));
    // It may have been changed while the old one was being verified.
    if (!row || row.passwordHash !== signedIn.passwordHash) {
      throw new CallError("unauthenticated", "Invalid email or password");
    }
    if (row.status !== "active") throw new CallError("forbidden", "Account is suspended");
    await startSignIn(ctx, row.userId, signedIn.signInId);
    return { user: await userView(ctx, row), token: signedIn.token };
  },
});

/** Who calls: the user, and the agent that acts for them (clawrent.md section 2.3). */
export const me = query({
  summary: "The calling user; under an agent token also that agent",
  auth: "user",
  args: {},
  returns: userValue.extend({
    agent: z.object({ id: z.string(), name: z.string(), slug: z.string().nullable() }).optional(),
  }),
  handler: async (ctx) => {
    const { userId, agentId } = ctx.caller;
    const self = await userView(ctx, await requireUser(ctx, userId));
    if (agentId === null) return self;
    const agent = await ctx.db
      .selectFrom("agents")
      .select(["agentId as id", "name", "slug"])
      .where("agentId", "=", agentId)
      .executeTakeFirstOrThrow();
    return { ...self, agent };
  },
});
