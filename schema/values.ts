/**
 * The zod pieces that arguments and replies are built from. Lengths count Unicode code points, so one emoji is one
 * character; sizes in bytes are checked where the specification states bytes (functions/messages.ts).
 */
import { z } from "zod";
import { fold } from "./folding.js";

/** The number of Unicode code points in a well-formed string. */
function countCharacters(value: string): number {
  let count = value.length;
  for (let index = 0; index < value.length; index += 1) {
    const unit = value.charCodeAt(index);
    // A high surrogate and the low one after it are one character.
    if (unit >= 0xd800 && unit < 0xdc00) count -= 1;
  }
  return count;
}

/** Text of `min` to `max` characters, stored unchanged; with a `min` it must hold more than white space. */
export function text(max: number, min = 0) {
  return z.string().superRefine((value, issues) => {
    // The number of units bounds the number of characters, so most values need not be counted.
    if (value.length > max && countCharacters(value) > max) {
      issues.addIssue({ code: "custom", message: `Too long (max ${max} characters)` });
    }
    if (min > 0 && (value.length < min || value.trim() === "")) {
      issues.addIssue({ code: "custom", message: `Too short (min ${min} characters)` });
    }
  });
}

/** An opaque id. A malformed one is not refused here: it reads as missing, like any id that is not the caller's. */
export const id = z.string().min(1).max(200);

/** A claim, invite or share token as it arrives. */
export const token = z.string().min(1).max(200);

/** Unix milliseconds. */
export const timestamp = z.number().int().min(0).max(8_640_000_000_000_000);

export const latitude = z.number().min(-90).max(90);
export const longitude = z.number().min(-180).max(180);

/** The most tags that an agent may send in one list, of which at most `keptTags` are kept. */
const sentTags = 200;
const keptTags = 10;
const tagCharacters = 50;

/** Tags as they are kept: folded, trimmed, cut to 50 characters, without empty ones and repeats, the first 10. */
export function normalizeTags(tags: readonly string[]): string[] {
  const kept = new Set<string>();
  for (const tag of tags) {
    const normal = [...fold(tag).trim()].slice(0, tagCharacters).join("").trim();
    if (normal !== "") kept.add(normal);
    if (kept.size === keptTags) break;
  }
  return [...kept];
}

/** A list of tags, normalized (claw-to-claw.md section 3, events). */
export const tags = z.array(z.string()).max(sentTags).transform(normalizeTags);

/** How another agent appears to a peer that may write to it. */
export const peer = z.object({ agentId: z.string(), name: z.string(), publicKey: z.string().nullable() });

/** Reads a `string[]` column: tags are stored as JSON text on both databases. */
export function parseTags(stored: string): string[] {
  return JSON.parse(stored) as string[];
}

/** A number, or a number as a query string has it. */
const numeric = z.union(
  [
    z.number(),
    z
      .string()
      .regex(/^[+-]?\d{1,15}$/)
      .transform(Number),
  ],
  "must be a whole number",
);

function clamped(min: number, max: number, absent: number) {
  return numeric
    .refine(Number.isInteger, "must be a whole number")
    .transform((value) => Math.min(Math.max(value, min), max))
    .default(absent);
}

/** The page of a list, from 1 (clawrent.md section 2.1: out of range is clamped). */
export const page = clamped(1, 1_000_000, 1);

/** How many a page holds, 1 to 100, 20 where none is given (clawrent.md section 2.1). */
export const limit = clamped(1, 100, 20);

/** The same with another range. */
export function limitOf(max: number, absent: number) {
  return clamped(1, max, absent);
}

/** Where a list continues (functions/model/cursors.ts). */
export const cursor = z.string().max(4_096).nullish();

/** A list as the marketplace gives it: one page, how many there are in all, and the cursor of the next page. */
export function pageOf<Item extends z.ZodType>(item: Item) {
  return z.object({
    data: z.array(item),
    total: z.number(),
    page: z.number(),
    limit: z.number(),
    nextCursor: z.string().nullable(),
  });
}

/** An instant as the marketplace writes it: ISO 8601, UTC, exactly three decimals (clawrent.md section 0, rule 7). */
export function isoTime(at: number): string {
  return new Date(at).toISOString();
}

/** The same, or null for what has not happened. */
export function isoTimeOrNull(at: number | null): string | null {
  return at === null ? null : isoTime(at);
}

/** Any JSON object, unchanged: its keys are its sender's own. */
export const jsonObject = z.custom<Record<string, unknown>>(
  (value) => typeof value === "object" && value !== null && !Array.isArray(value),
  "must be an object",
);

/** An e-mail address, compared trimmed and lower-cased (clawrent.md section 2.3). */
export const email = z
  .string()
  .max(254, "Too long (max 254 characters)")
  .transform((address) => address.trim().toLowerCase())
  .pipe(z.email("must be an e-mail address"));
