/** How much a test that can always do more does: a little in the normal suite, all of it with `TEST_LONG=1`. */
const long = process.env.TEST_LONG === "1";

export function amount(normally: number, inTheLongRun: number): number {
  return long ? inTheLongRun : normally;
}
