import { describe, expect, test } from "vitest";
import { Caller, databases, day, hour, type User, useServer } from "../../support/harness.js";
import { expectInvalid, expectRefusal } from "../../support/refusals.js";
import { lastingAdmin, openSession, type Rental, serve } from "../../support/rental.js";

describe.each(databases)("disputes on %s (clawrent.md section 6.4)", (database) => {
  const server = useServer(database);
  const reason = "The second half is missing";
  const dispute = ({ consumer, sessionId }: Rental) => consumer.call("sessions:dispute", { sessionId, reason });
  const withdraw = ({ consumer, sessionId }: Rental) => consumer.call("sessions:withdrawDispute", { sessionId });
  const decide = async (disputeId: string, args: object) =>
    (await lastingAdmin(server)).call("admin:decideDispute", { disputeId, ...args });
  const wallet = (of: User) => of.call("billing:getWallet");
  const missing = { code: "not_found", message: "Dispute not found" };

  /** A session of 5.00 that ended. */
  async function paid(priceAmount = "5.00"): Promise<Rental> {
    const rental = await openSession(server, { priceAmount });
    await serve(rental.provider, rental.sessionId);
    await rental.consumer.call("sessions:end", { sessionId: rental.sessionId });
    return rental;
  }

  test("both sides and the admin see it, and the session says that it is disputed", async () => {
    const rental = await paid();
    const opened = await dispute(rental);
    expect(opened).toMatchObject({
      billingStatus: "disputed",
      dispute: {
        sessionId: rental.sessionId,
        consumerUserId: rental.consumer.userId,
        providerUserId: rental.provider.userId,
        reason,
        status: "open",
        decision: null,
        note: null,
        amount: "5.0000",
        refunded: "0.0000",
        currency: "CNY",
        decideBy: new Date(server.clock.now() + 14 * day).toISOString(),
        endedAt: null,
      },
    });
    const seen = await rental.provider.call("sessions:get", { sessionId: rental.sessionId });
    expect(seen.dispute).toEqual(opened.dispute);
    const { data } = await (await lastingAdmin(server)).call("admin:listDisputes", { status: "open", limit: 100 });
    expect(data).toContainEqual(opened.dispute);
  });

  test.each([
    [{ decision: "all" }, "5.0000", "100.00", "0.00", "refunded"],
    [{ decision: "part", amount: "2.00" }, "2.0000", "97.00", "2.55", "settled"],
    [{ decision: "none" }, "0.0000", "95.00", "4.25", "settled"],
  ])(
    "decided %j gives back %s, and the rest is the provider's at once",
    async (args, refunded, has, income, status) => {
      const rental = await paid();
      const { dispute: opened } = await dispute(rental);
      server.clock.jump(hour);
      expect(await decide(opened.id, { ...args, note: "Looked at it" })).toMatchObject({
        status: "decided",
        decision: args.decision,
        note: "Looked at it",
        refunded,
        endedAt: new Date(server.clock.now()).toISOString(),
      });
      expect(await wallet(rental.consumer)).toMatchObject({ balance: has });
      expect(await wallet(rental.provider)).toMatchObject({ balance: income, available: income, pending: "0.00" });
      const { sessionId } = rental;
      expect(await rental.consumer.call("sessions:get", { sessionId })).toMatchObject({ billingStatus: status });
      await expect(decide(opened.id, { decision: "all" })).rejects.toMatchObject({
        code: "conflict",
        message: "The dispute is over: it is decided",
      });
    },
  );

  test.each(["0.0001", "0.0002", "0.0003", "0.0004", "0.0007", "1.2345"])(
    "a part of %s of 1.2346 divides to the last digit between fee and income",
    async (amount) => {
      const rental = await paid("1.2346");
      const { dispute: opened } = await dispute(rental);
      await decide(opened.id, { decision: "part", amount });
      const minor = (text: string) => Math.round(Number(text) * 10_000);
      const kept = 12_346 - minor(amount);
      const fee = Math.floor((kept * 15 + 50) / 100);
      expect(minor((await wallet(rental.provider)).balance)).toBe(kept - fee);
      expect(minor((await wallet(rental.consumer)).balance)).toBe(1_000_000 - kept);
      // What is left of it, an admin can give back all the same.
      const { data } = await rental.consumer.call("billing:listRecords");
      const refunded = await (await lastingAdmin(server)).call("admin:refund", { recordId: data[0].id });
      expect(refunded).toMatchObject({ status: "refunded", refunded: "1.2346" });
      expect(await wallet(rental.provider)).toMatchObject({ balance: "0.00" });
      expect(await wallet(rental.consumer)).toMatchObject({ balance: "100.00" });
    },
  );

  test("withdrawn, it is as if there had been none, but there is no second one", async () => {
    const rental = await paid();
    await dispute(rental);
    expect(await withdraw(rental)).toMatchObject({ billingStatus: "settled", dispute: { status: "withdrawn" } });
    expect(await wallet(rental.provider)).toMatchObject({ pending: "4.25" });
    await server.advance(day);
    expect(await wallet(rental.provider)).toMatchObject({ pending: "0.00", available: "4.25" });
    await expectRefusal(server, () => withdraw(rental), {
      code: "conflict",
      message: "The dispute is over: it is withdrawn",
    });
    await expectRefusal(server, () => dispute(rental), {
      code: "conflict",
      message: "This session was disputed already. There is one dispute for each session.",
    });
  });

  test("withdrawn after the window, the income is the provider's at that moment", async () => {
    const rental = await paid();
    await dispute(rental);
    await server.advance(2 * day);
    expect(await wallet(rental.provider)).toMatchObject({ pending: "4.25", available: "0.00" });
    await withdraw(rental);
    expect(await wallet(rental.provider)).toMatchObject({ pending: "0.00", available: "4.25" });
  });

  test("is refused once the income was released, though the clock was set back to within the window", async () => {
    const rental = await paid();
    await server.advance(day);
    server.clock.jump(-hour);
    await expectRefusal(server, () => dispute(rental), {
      code: "expired",
      message: expect.stringContaining("The time to dispute this session is over"),
    });
    expect(await wallet(rental.provider)).toMatchObject({ pending: "0.00", available: "4.25" });
    server.clock.jump(hour);
  });

  test("is refused after the window, of what cost nothing, of what is open, and of what was refunded", async () => {
    const late = await paid();
    const until = new Date(server.clock.now() + day).toISOString();
    server.clock.jump(day);
    await server.settle();
    await expectRefusal(server, () => dispute(late), {
      code: "expired",
      message: `The time to dispute this session is over since ${until}`,
      data: { disputeUntil: until },
    });
    const nothing = await openSession(server);
    const { sessionId } = nothing;
    await expectRefusal(server, () => dispute(nothing), {
      code: "failed_precondition",
      message: "Session is not settled yet",
    });
    await nothing.consumer.call("sessions:end", { sessionId });
    await expectRefusal(server, () => dispute(nothing), {
      code: "failed_precondition",
      message: "This session cost nothing, so there is nothing to dispute",
    });
    const refunded = await paid();
    const { data } = await refunded.consumer.call("billing:listRecords");
    await (await lastingAdmin(server)).call("admin:refund", { recordId: data[0].id });
    await expectRefusal(server, () => dispute(refunded), {
      code: "conflict",
      message: "Billing record is already refunded",
    });
  });

  test("is the consumer's alone, and its decision an admin's", async () => {
    const rental = await paid();
    const { provider, consumer, sessionId } = rental;
    const forbidden = { code: "forbidden", message: "Not authorized for this action" };
    await expectRefusal(server, () => provider.call("sessions:dispute", { sessionId, reason }), forbidden);
    await expectRefusal(server, () => withdraw(rental), missing);
    const carol = await server.user("Carol");
    for (const path of ["sessions:dispute", "sessions:withdrawDispute"]) {
      const args = path === "sessions:dispute" ? { sessionId, reason } : { sessionId };
      const gone = { code: "not_found", message: "Session not found" };
      await expectRefusal(server, () => carol.call(path, args), gone);
    }
    for (const wrong of ["", "  ", "x".repeat(2_001)]) {
      await expectInvalid(server, () => consumer.call("sessions:dispute", { sessionId, reason: wrong }), "reason");
    }
    const { dispute: opened } = await dispute(rental);
    await expectRefusal(server, () => provider.call("sessions:withdrawDispute", { sessionId }), forbidden);
    for (const one of [consumer, provider]) {
      const args = { disputeId: opened.id, decision: "none" };
      await expectRefusal(server, () => one.call("admin:decideDispute", args), forbidden);
      await expectRefusal(server, () => one.call("admin:listDisputes"), forbidden);
    }
  });

  test("a decision needs an amount for a part alone, below what the session cost", async () => {
    const { dispute: opened } = await dispute(await paid());
    for (const wrong of [
      { decision: "part" },
      { decision: "part", amount: "5.00" },
      { decision: "all", amount: "1.00" },
      { decision: "none", amount: "1.00" },
      { decision: "part", amount: "0" },
    ]) {
      await expectInvalid(server, () => decide(opened.id, wrong), "amount");
    }
    await expectInvalid(server, () => decide(opened.id, { decision: "half" }), "decision");
    await expectRefusal(server, () => decide("nothing", { decision: "none" }), missing);
  });

  test("what nobody decided in time cannot be decided any more, before the timer ran", async () => {
    const rental = await paid();
    const { dispute: opened } = await dispute(rental);
    server.clock.jump(14 * day);
    const over = { code: "conflict", message: "The dispute is over: it is lapsed", data: { status: "lapsed" } };
    await expect(decide(opened.id, { decision: "all" })).rejects.toMatchObject(over);
    const consumer = new Caller(server, rental.consumer.apiKey);
    const again = consumer.call("sessions:withdrawDispute", { sessionId: rental.sessionId });
    await expect(again).rejects.toMatchObject(over);
    const provider = new Caller(server, rental.provider.apiKey);
    expect(await provider.call("billing:getWallet")).toMatchObject({ available: "4.25" });
    const { data } = await (await lastingAdmin(server)).call("admin:listDisputes", { status: "lapsed", limit: 100 });
    expect(data.map(({ id }: { id: string }) => id)).toContain(opened.id);
  });
});

describe.each(databases)("a server without a dispute window on %s", (database) => {
  const server = useServer(database, { config: { disputeHours: 0 } });

  test("leaves income available at once, and takes no disputes", async () => {
    const { consumer, provider, sessionId } = await openSession(server);
    await serve(provider, sessionId);
    await consumer.call("sessions:end", { sessionId });
    expect(await provider.call("billing:getWallet")).toMatchObject({ available: "4.25", pending: "0.00" });
    const dispute = consumer.call("sessions:dispute", { sessionId, reason: "Too late" });
    await expect(dispute).rejects.toMatchObject({ code: "expired" });
  });
});
