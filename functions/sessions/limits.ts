/** Changing what an open session may cost. */
import { mutation } from "../../runtime/call/define.js";
import { CallError } from "../../runtime/errors.js";
import { maxAmount, printAmount } from "../../schema/money.js";
import { id } from "../../schema/values.js";
import { findHold, walletTurn } from "../model/money/ledger.js";
import { currentWallet } from "../model/money/pending-income.js";
import { isOpenSession } from "../model/rules/session-states.js";
import { raiseSessionLimit, requirePartyNow } from "../model/session/session.js";
import { sessionView, viewSession } from "../model/session/session-view.js";
import { isMetered } from "../model/session/spending-limit.js";

/**
 * Lets a metered session cost more (clawrent.md section 6.2). Only its consumer can, only upward, and only as far as
 * their money goes, what the session holds already included. Raising it to its present value gives the same answer
 * again.
 */
export const raiseLimit = mutation({
  summary: "Lets a session that you rent cost more",
  auth: "user",
  args: { sessionId: id, maxAmount },
  returns: sessionView,
  oneAtATime: ({ sessionId }, { userId }) => [sessionId, walletTurn(userId)],
  handler: async (ctx, args) => {
    const { session, side } = await requirePartyNow(ctx, args.sessionId);
    if (side !== "consumer") throw new CallError("forbidden", "Not authorized for this action");
    if (!isOpenSession(session.status)) {
      throw new CallError("failed_precondition", "Session has ended already", { status: session.status });
    }
    const { maxAmountMinor, currency } = session;
    if (!isMetered(session) || maxAmountMinor === null) {
      throw new CallError(
        "failed_precondition",
        "The price of this session does not grow, so it has no limit to raise",
      );
    }
    if (args.maxAmount === maxAmountMinor) return viewSession(ctx, session);
    if (args.maxAmount < maxAmountMinor) {
      const present = printAmount(maxAmountMinor);
      throw new CallError("conflict", `The limit can only be raised, and it is ${present} ${currency} now`, {
        maxAmount: present,
      });
    }
    const [hold, wallet] = await Promise.all([
      findHold(ctx, session.sessionId),
      currentWallet(ctx, ctx.caller.userId, currency),
    ]);
    const thereMinor = (hold?.amountMinor ?? 0) + wallet.availableMinor;
    if (args.maxAmount > thereMinor) {
      const [needed, available] = [printAmount(args.maxAmount), printAmount(thereMinor)];
      throw new CallError(
        "insufficient_funds",
        `Insufficient balance. A limit of ${needed} ${currency} needs that much, and ${available} ${currency} is there for this session. Top up your wallet.`,
        { needed, available, currency },
      );
    }
    await raiseSessionLimit(ctx, session, args.maxAmount);
    return viewSession(ctx, session);
  },
});
