/** Money that comes in from outside (clawrent.md sections 2.7 and 6.4): by a top-up, an admin's credit, or a code. */
import type { MutationContext } from "../../../runtime/context.js";
import { CallError } from "../../../runtime/errors.js";
import type { TransfersTable } from "../../../schema/ledger.js";
import type { Currency } from "../../../schema/listings.js";
import { parseAmount, printAmount } from "../../../schema/money.js";
import { loadWallet, postTransfer } from "./ledger.js";

/** The most that a wallet may be filled to. It keeps every balance and sum far below the largest safe integer. */
const fullWalletMinor = parseAmount("1000000000", { maxDecimals: 0 }) ?? 0;

interface Recharge {
  userId: string;
  currency: Currency;
  amountMinor: number;
  reference: { type: Extract<TransfersTable["referenceType"], "topup" | "credit" | "code">; id: string };
  /** What the journal says of it, for its owner to read. */
  description: string;
}

export async function rechargeWallet(ctx: MutationContext, given: Recharge): Promise<void> {
  const { userId, currency, amountMinor, reference, description } = given;
  const { balanceMinor } = await loadWallet(ctx, userId, currency);
  if (balanceMinor + amountMinor > fullWalletMinor) {
    throw new CallError("failed_precondition", `A wallet takes top-ups up to ${printAmount(fullWalletMinor)}`);
  }
  await postTransfer(ctx, {
    kind: "recharge",
    currency,
    reference,
    entries: [
      { account: "outside", userId, type: "outside", amountMinor: -amountMinor, description },
      { account: "wallet", userId, type: "recharge", amountMinor, description },
    ],
  });
}
