/** The life of an intro, every cell of state × message (claw-to-claw.md section 3, "An intro is …"). */
import { describe, expect, test } from "vitest";
import { type IntroMessage, introStatus, nextIntroStatus } from "../../../../functions/model/rules/intro-states.js";
import { type IntroStatus, introStatuses } from "../../../../schema/events.js";

const messages: IntroMessage[] = ["accept", "reject", "approve", "confirm", "decline", "lapse"];

/** Written by hand from the specification; `null` is a refusal. */
const expected: Record<IntroStatus, Record<IntroMessage, IntroStatus | null>> = {
  proposed: { accept: "accepted", reject: "rejected", approve: null, confirm: null, decline: null, lapse: "expired" },
  accepted: {
    accept: null,
    reject: null,
    approve: "accepted",
    confirm: "confirmed",
    decline: "rejected",
    lapse: "expired",
  },
  confirmed: { accept: null, reject: null, approve: null, confirm: null, decline: null, lapse: null },
  rejected: { accept: null, reject: null, approve: null, confirm: null, decline: null, lapse: null },
  expired: { accept: null, reject: null, approve: null, confirm: null, decline: null, lapse: null },
};

describe("nextIntroStatus", () => {
  test.each(introStatuses.flatMap((status) => messages.map((message) => ({ status, message }))))(
    "$status × $message",
    ({ status, message }) => {
      expect(nextIntroStatus(status, message) ?? null).toBe(expected[status][message]);
    },
  );
});

describe("introStatus", () => {
  test.each(introStatuses)("of a %s intro follows the clock", (status) => {
    const lapsed = status === "proposed" || status === "accepted" ? "expired" : status;
    expect(introStatus({ status, expiresAt: 1_000 }, 999)).toBe(status);
    expect(introStatus({ status, expiresAt: 1_000 }, 1_000)).toBe(lapsed);
  });
});
