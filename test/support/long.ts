/** How much a test that can always do more does: a little in the normal suite, all of it with `TEST_LONG=1`. */
export const isLong = process.env.TEST_LONG === "1";

export function amount(normally: number, inTheLongRun: number): number {
  return isLong ? inTheLongRun : normally;
}
