/**
 * The guardrail: what a task asks an agent to do that no agent should do unwatched (clawrent.md section 7.1). Pure, in
 * English and Chinese. Its rules are data, one list for each category (rules/); excuses.ts decides whether a hit is
 * excused because the task only talks about it. A person who wants to get past this can; it is there for the plain
 * cases, and a person looks at a blocked task.
 */
import { findDanger } from "./dangerous-commands.js";
import { clauseOf, isAbout, isExcused, isNegated } from "./excuses.js";
import { sentencesOf } from "./plain-text.js";
import type { Rule } from "./rule.js";
import { bypassRules } from "./rules/bypass.js";
import { credentialRules } from "./rules/credential.js";
import { dataExfilRules } from "./rules/data-exfil.js";
import { destructiveRules } from "./rules/destructive.js";
import { paymentRules } from "./rules/payment.js";

type GuardrailCategory = "destructive" | "credential" | "payment" | "data_exfil" | "bypass";

interface GuardrailDecision {
  verdict: "block" | "advisory";
  categories: GuardrailCategory[];
  reason: string;
}

/** What each category does to the session, how it is described to people, and the rules that find it. Worst first. */
export const guardrailCategories: Readonly<
  Record<GuardrailCategory, { verdict: GuardrailDecision["verdict"]; asks: string; rules: readonly Rule[] }>
> = {
  destructive: { verdict: "block", asks: "to destroy data or read protected files", rules: destructiveRules },
  credential: { verdict: "block", asks: "for a password, token or key", rules: credentialRules },
  payment: { verdict: "block", asks: "for a payment or a change of billing", rules: paymentRules },
  data_exfil: { verdict: "advisory", asks: "to pass on internal or private data", rules: dataExfilRules },
  bypass: { verdict: "advisory", asks: "to ignore rules or instructions", rules: bypassRules },
};

/** Judges a task before anybody works on it. Null for a clean one. */
export function judgeTask(taskDescription: string): GuardrailDecision | null {
  const found = new Set<GuardrailCategory>();
  for (const sentence of sentencesOf(taskDescription)) {
    for (const category of judgeSentence(sentence)) found.add(category);
  }
  if (found.size === 0) return null;
  const hits = (Object.keys(guardrailCategories) as GuardrailCategory[]).filter((category) => found.has(category));
  return {
    verdict: hits.some((category) => guardrailCategories[category].verdict === "block") ? "block" : "advisory",
    categories: hits,
    reason: `The task asks ${hits.map((category) => guardrailCategories[category].asks).join("; ")}`,
  };
}

function judgeSentence(sentence: string): GuardrailCategory[] {
  return (Object.keys(guardrailCategories) as GuardrailCategory[]).filter(
    (category) =>
      guardrailCategories[category].rules.some((rule) => isAskedFor(rule, sentence)) ||
      (category === "destructive" && orderedDanger(sentence)),
  );
}

/** Whether the sentence asks for what the rule looks for, and does not only talk about it. */
function isAskedFor(rule: Rule, sentence: string): boolean {
  for (const { 0: hit, index } of sentence.matchAll(rule.pattern)) {
    if (!isExcused(rule, sentence.slice(0, index), hit, sentence.slice(index + hit.length))) return true;
  }
  return false;
}

/** Whether this rule alone finds anything in a task. */
export function findsIn(rule: Rule, taskDescription: string): boolean {
  return [...sentencesOf(taskDescription)].some((sentence) => isAskedFor(rule, sentence));
}

/** How far before or after a hit its verb or excuse may stand. */
const reach = 120;
/** A secret file is only named, unless something is done with it. */
const reading =
  /\b(?:read|cat|show|print|open|send|upload|copy|dump|view|output|get|fetch|leak|exfiltrate|less|more|head|tail|grep|scp|base64|tar|zip|curl|cp|paste|post|share|display|access|steal|extract|return|retrieve|include|give|mail|email)\b|读|查看|打开|输出|发送|发给|打印|上传|获取|复制|拷贝|显示|窃取|提取|导出|把|将/;
/** "`rm -rf /` is …", "… 是什么意思": the sentence talks about the command. */
const explained =
  /^[^,]{0,80}?(?:["')]|\b(?:command|statement)s?\b|\/\S{0,20}|\btable\b) ?(?:is|are|was|means?|does|do|works?|explained|statement|can be|would)\b(?! what)|^.{0,60}?(?:是什么|是做什么|的(?:含义|意思|作用|原理|危害|风险|区别|后果|历史|语法|用法)|什么意思|为什么|有(?:什么|多)|会(?:怎样|怎么样|发生|造成))/;
/** It has happened already. */
const told = /\b(?:ran|executed|typed|issued|accidentally|mistakenly|by mistake)\b|误删|误执行|误操作|不小心/;
/** The command is explained first, and then to be run. */
const doneAfterAll =
  /\b(?:then|and|now|please) (?:please )?(?:run|execute|perform) (?:it|this|that|them|the command)\b|(?:然后|再|并|接着|之后)(?:请)?(?:执行|运行)(?:它|一下|一遍|该命令|这个命令|这条命令)/;

/** Whether the sentence asks to run a dangerous command, or to read a secret file. */
function orderedDanger(sentence: string): boolean {
  const danger = findDanger(sentence);
  if (danger === null) return false;
  const { kind, before, from } = danger;
  const near = before.slice(-reach);
  const isAsked =
    (kind === "wipe" || reading.test(near)) &&
    !isAbout(clauseOf(before, false)) &&
    !told.test(near) &&
    !isNegated(before) &&
    !explained.test(from.slice(0, reach));
  return isAsked || doneAfterAll.test(sentence);
}
