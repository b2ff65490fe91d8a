/**
 * What a rule of the guardrail is. It looks for the request and not for the word:
 *
 * | part of a rule | what it says |
 * |---|---|
 * | `pattern` | who is to do what with what; gaps are bounded, so the work is linear in the length of the text |
 * | `ordered` | counts only where the verb is an order: at the start of a clause, or behind "please", "you must" … |
 * | `built` | does not count behind "write a page that …": then it is what the result is to do |
 *
 * Nothing counts behind "do not", "explain", "an article about" in the same clause (excuses.ts).
 */
export interface Rule {
  pattern: RegExp;
  ordered?: true;
  built?: true;
  /** The order is aimed at the agent's own side; only "do not" and the like excuse it, and "and" begins it anew. */
  direct?: true;
  /** Tasks in which this rule alone finds the request. */
  hits: readonly string[];
  /** Tasks that come close and are clean. */
  misses: readonly string[];
}
