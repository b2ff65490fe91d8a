/**
 * How well two check-ins fit, as a score from 0 to 100 with its reasons. Pure: the same data at the same instant gives
 * the same answer. Shared tags weigh most, then shared words, then how recently the other one came. Of the other agent
 * only what its check-in shows to everybody counts, its intent tags and its intro note, because whatever moves a score
 * can be found out from it, word by word.
 *
 * | what is shared | points |
 * |---|---|
 * | intent tags: one, two, three or more | 30, 45, 60 |
 * | words of my goal or note and their note | 6 each, up to 30 |
 * | checked in just now | 10, and one less for every 6 minutes |
 */
import { remembered } from "../../../runtime/remembered.js";
import { fold } from "../../../schema/folding.js";

/** What a check-in shows to the others who are there. */
interface ShownBrief {
  intentTags: readonly string[];
  introNote: string | null;
}

/** What a check-in keeps for its own agent as well. */
export interface Brief extends ShownBrief {
  eventGoal: string | null;
}

interface Match {
  score: number;
  sharedTags: string[];
  reasons: string[];
}

const tagPoints = [0, 30, 45, 60] as const;
const pointsPerWord = 6;
const mostWordPoints = 30;
const mostRecencyPoints = 10;
const msPerRecencyPoint = 6 * 60_000;
/** How many shared words a reason names. */
const namedWords = 5;

/** Scores `theirs` for the agent of `mine`, at `now` (Unix ms). */
export function matchBriefs(mine: Brief, theirs: ShownBrief & { checkedInAt: number }, now: number): Match {
  const myTags = new Set(mine.intentTags);
  const sharedTags = theirs.intentTags.filter((tag) => myTags.has(tag));
  const myWords = meaningfulWords(`${mine.eventGoal ?? ""}\n${mine.introNote ?? ""}`);
  const sharedWords = [...meaningfulWords(theirs.introNote ?? "")].filter((word) => myWords.has(word));
  const ageMs = Math.max(0, now - theirs.checkedInAt);

  const score =
    (tagPoints[sharedTags.length] ?? tagPoints[3]) +
    Math.min(sharedWords.length * pointsPerWord, mostWordPoints) +
    Math.max(mostRecencyPoints - Math.floor(ageMs / msPerRecencyPoint), 0);
  return { score, sharedTags, reasons: reasons(sharedTags, sharedWords, ageMs) };
}

const listOf = new Intl.ListFormat("en", { type: "conjunction" });

function reasons(sharedTags: string[], sharedWords: string[], ageMs: number): string[] {
  const given: string[] = [];
  if (sharedTags.length > 0) given.push(`You are both here for ${listOf.format(sharedTags)}`);
  if (sharedWords.length > 0) given.push(`You both mention ${listOf.format(sharedWords.slice(0, namedWords))}`);
  const minutes = Math.floor(ageMs / 60_000);
  if (minutes < 60) given.push(minutes < 5 ? "Checked in just now" : `Checked in ${minutes} minutes ago`);
  return given.length > 0 ? given : ["Is at this event and open to intros"];
}

/** The words that carry meaning. Remembered, because a brief is compared at every heartbeat and hardly ever changes. */
export const meaningfulWords = remembered(
  2_000,
  (text): ReadonlySet<string> => new Set(splitWords(text).filter(carriesMeaning)),
);

const wordRun = /[\p{L}\p{M}\p{N}]+/gu;
/**
 * Scripts that put no space between words. Only they need the segmenter, which costs twenty times the pattern above.
 */
const unspacedScript =
  /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}\p{Script=Lao}\p{Script=Khmer}\p{Script=Myanmar}]/u;
// A fixed locale: the answer must not depend on the machine.
const segmenter = new Intl.Segmenter("en", { granularity: "word" });

function splitWords(text: string): string[] {
  return [...fold(text).matchAll(wordRun)].flatMap(([run]) =>
    unspacedScript.test(run) ? Array.from(segmenter.segment(run), ({ segment }) => segment) : run,
  );
}

function carriesMeaning(word: string): boolean {
  // One Chinese character may be a word (茶); one Latin letter is what an apostrophe left over.
  return (word.length > 1 || unspacedScript.test(word)) && !stopWords.has(word);
}

const stopWords = new Set(
  `a about above after again all also am an and any are aren as at be because been before being between both but by
  can could couldn did didn do does doesn doing don down during each few for from further get go had hadn has hasn have
  haven having he her here hers him his how if in into is isn it its just let like ll looking love me meet more most my
  no nor not of off on once one only open or other our ours out over own people please re same she should shouldn so
  some someone such than that the their theirs them then there these they this those through to too under until up us
  ve very want was wasn we were weren what when where which while who whom why will with won would wouldn you your yours
  的 了 和 是 在 我 你 他 她 它 们 我们 你们 他们 也 都 就 而 及 与 或 着 被 把 对 从 到 为 有 没 没有 不 很 想 想要
  要 会 能 可以 这 那 这个 那个 一个 一些 个 吗 呢 吧 啊 等 请 让 给 跟 一起 希望 喜欢 找 找人 人 我想
  の に は を た が で て と し れ さ ある いる も する から な こと として い や など です ます`
    .split(/\s+/)
    .filter((word) => word !== ""),
);
