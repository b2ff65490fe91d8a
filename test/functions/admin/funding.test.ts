import { describe, expect, test } from "vitest";
import { auditLedger } from "../../../functions/model/money/audit.js";
import { hashSecret } from "../../../runtime/ids.js";
import { databases, day, useServer } from "../../support/harness.js";
import { expectInvalid, expectRefusal } from "../../support/refusals.js";
import { lastingAdmin } from "../../support/rental.js";

const forbidden = { code: "forbidden", message: "Not authorized for this action" };

describe.each(databases)("money without top-ups on %s (clawrent.md section 2.7)", (database) => {
  const server = useServer(database, { config: { topUps: false } });
  const admin = () => lastingAdmin(server);
  const makeCodes = async (args: object = {}) =>
    (await (await admin()).call("admin:createTopUpCodes", { amount: "7.50", ...args })).codes;

  test("an admin credits a wallet, and the reason is in the journal for its owner to read", async () => {
    const alice = await server.user("Alice");
    const args = { userId: alice.userId, amount: "12.3456", reason: "Won the ½ marathon" };
    const credited = await (await admin()).call("admin:credit", args);
    expect(credited).toMatchObject({ userId: alice.userId, amount: "12.3456", currency: "CNY", balance: "12.3456" });
    await (await admin()).call("admin:credit", { ...args, currency: "USD", amount: "1" });
    expect(await alice.call("billing:getWallet")).toMatchObject({ balances: { CNY: "12.3456", USD: "1.00" } });
    const { data } = await alice.call("billing:listTransactions");
    expect(data).toContainEqual(
      expect.objectContaining({
        type: "recharge",
        amount: "12.3456",
        referenceType: "credit",
        referenceId: credited.creditId,
        description: "Credit: Won the ½ marathon",
      }),
    );
  });

  test("a credit needs an admin, a user, a reason and an amount that the wallet takes", async () => {
    const alice = await server.user("Alice");
    const by = await admin();
    const args = { userId: alice.userId, amount: "1", reason: "A gift" };
    await expectRefusal(server, () => alice.call("admin:credit", args), forbidden);
    await expectRefusal(server, () => by.call("admin:credit", { ...args, userId: "nobody" }), {
      code: "not_found",
      message: "User not found",
    });
    await expectInvalid(server, () => by.call("admin:credit", { ...args, reason: " " }), "reason");
    for (const amount of ["0", "-5", "1000000000.0001"]) {
      await expectInvalid(server, () => by.call("admin:credit", { ...args, amount }), "amount");
    }
    await by.call("admin:credit", { ...args, amount: "1000000000" });
    await expectRefusal(server, () => by.call("admin:credit", args), {
      code: "failed_precondition",
      message: "A wallet takes top-ups up to 1000000000.00",
    });
  });

  test("a code is shown once, stored as a hash, and redeemed once; under a key again it is the same", async () => {
    const [{ topUpCode: code, ...shown }] = await makeCodes({ currency: "USD", note: "The fair" });
    expect(code).toMatch(/^top_[\w-]{32}$/);
    expect(shown).toMatchObject({ amount: "7.50", currency: "USD", note: "The fair", status: "open" });
    const stored = await server.read((db) => db.selectFrom("topUpCodes").selectAll().execute());
    expect(JSON.stringify(stored)).not.toContain(code);
    expect(stored.map(({ codeHash }) => codeHash)).toContain(hashSecret(code));

    const [alice, bob] = [await server.user("Alice"), await server.user("Bob")];
    const key = { "Idempotency-Key": "redeem-1" };
    const redeemed = await alice.call("billing:redeem", { code }, key);
    expect(redeemed).toMatchObject({ balances: { CNY: "0.00", USD: "7.50" } });
    expect(await alice.call("billing:redeem", { code }, key)).toEqual(redeemed);
    const again = { code: "conflict", message: "The code was redeemed already", data: { status: "redeemed" } };
    for (const one of [alice, bob]) {
      await expectRefusal(server, () => one.call("billing:redeem", { code }), again);
    }
    const { data } = await (await admin()).call("admin:listTopUpCodes", { limit: 100 });
    expect(data.find(({ id }: { id: string }) => id === shown.id)).toEqual({
      ...shown,
      status: "redeemed",
      redeemedAt: expect.any(String),
      redeemedBy: alice.userId,
    });
    const revoke = async () => (await admin()).call("admin:revokeTopUpCode", { codeId: shown.id });
    await expect(revoke()).rejects.toMatchObject({ code: "conflict", message: "The code was redeemed already" });
  });

  test("a code that expired, was revoked or never was brings nothing", async () => {
    const alice = await server.user("Alice");
    const redeem = (code: string) => () => alice.call("billing:redeem", { code });
    const [first, second] = await makeCodes({ count: 2, validDays: 1 });
    const by = await admin();
    const revoked = await by.call("admin:revokeTopUpCode", { codeId: first.id });
    expect(revoked).toMatchObject({ status: "revoked" });
    expect(await by.call("admin:revokeTopUpCode", { codeId: first.id })).toEqual(revoked);
    await expectRefusal(server, redeem(first.topUpCode), {
      code: "conflict",
      message: "The code was revoked already",
    });
    server.clock.jump(day);
    await expectRefusal(server, redeem(second.topUpCode), { code: "expired", message: "The code has expired" });
    const unknown = { code: "not_found", message: "There is no such code" };
    await expectRefusal(server, redeem("top_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"), unknown);
    await expectRefusal(server, redeem(`${second.topUpCode} `), unknown);
    await expectInvalid(server, redeem(""), "code");
    await expectRefusal(server, () => by.call("admin:revokeTopUpCode", { codeId: "nothing" }), {
      code: "not_found",
      message: "Code not found",
    });
  });

  test("codes are for admins to make, to list and to revoke, and their number and amount are bounded", async () => {
    const alice = await server.user("Alice");
    for (const [path, args] of [
      ["admin:createTopUpCodes", { amount: "1" }],
      ["admin:listTopUpCodes", {}],
      ["admin:revokeTopUpCode", { codeId: "nothing" }],
    ] as const) {
      await expectRefusal(server, () => alice.call(path, args), forbidden);
    }
    expect(await makeCodes({ count: 100 })).toHaveLength(100);
    await expectInvalid(server, () => makeCodes({ count: 101 }), "count");
    await expectInvalid(server, () => makeCodes({ count: 0 }), "count");
    await expectInvalid(server, () => makeCodes({ validDays: 0 }), "validDays");
    await expectInvalid(server, () => makeCodes({ amount: "10000.01" }), "amount");
  });

  test("leaves a sound ledger", async () => {
    const findings = await server.read((db) => auditLedger({ db }));
    expect(findings.filter(({ ok }) => !ok)).toEqual([]);
  });
});
