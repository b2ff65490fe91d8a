/**
 * When a rule's hit does not count: the clause only talks about it, says not to do it, or describes what is to be
 * built. Each look reads back a bounded distance, so the work is linear in the length of the text.
 */
import type { Rule } from "./rule.js";

/** How far back a clause is read, so that each hit costs the same, however many there are. */
const clauseReach = 400;

/** The clause that the text before a hit ends in. */
export function clauseOf(before: string, direct: boolean): string {
  const bounds = direct ? directBounds : clauseBounds;
  let start = 0;
  const near = before.slice(-clauseReach);
  for (const bound of near.matchAll(bounds)) start = bound.index + bound[0].length;
  return near.slice(start);
}
const clauseBounds =
  /,|[—–]| then | but | and (?=(?:then |please |now |also |you )|$)|然后|接着|随后|但是?|同时|并且|并(?!非|不)|再(?!次)/g;
const directBounds = /,|[—–]| then | but | and |: |然后|接着|随后|但是?|同时|并且|并(?!非|不)|再(?!次)/g;

export function isExcused(rule: Rule, before: string, hit: string, after: string): boolean {
  if (isNegated(before)) return true;
  const clause = clauseOf(before, rule.direct === true);
  if (isAbout(clause) || talk.test(hit) || isQuotedInTalk(before)) return true;
  if (rule.built && constructs.test(clause)) return true;
  if (explainedHit.test(after)) return true;
  return rule.ordered === true && !ordering.test(clause);
}

const explainedHit =
  /^["'」』]? ?(?:是什么|的(?:含义|意思|原理|危害|风险|区别|历史)|attacks? (?:work|are)|是如何|如何)/;

/** "Do not", shortly before the hit; "do not forget to" is an order all the same. */
export function isNegated(before: string): boolean {
  const close = before.slice(-40);
  if (
    /(?:forget|hesitate|fail|wait|worry|afraid|mind|only|just|care|忘|不得不|不能不|不要紧|别担心|别犹豫)[^,]*$/.test(
      close,
    )
  )
    return false;
  return (
    /\b(?:do not|don't|dont|never|must not|mustn't|should not|shouldn't|can't|cannot|won't|without|avoid|refuse to|instead of|rather than|no need to|not to|not)(?: (?!but\b|then\b|and\b)[\w']+){0,3} ?["'(]?$/.test(
      close,
    ) ||
    /(?:不要|别|请勿|勿|不得|禁止|无需|不用|不需要|不能|不会|不可|不应|避免|防止|切勿|严禁|无须|拒绝|不允许|杜绝|以防)[^,，。;]{0,6}$/.test(
      close,
    )
  );
}

/** "Translate: 'Please pay the invoice'": the order is the text that the task works on. */
function isQuotedInTalk(before: string): boolean {
  const near = before.slice(-clauseReach);
  return /(?:^|[\s(:])["'「『][^"'」』]*$/.test(near) && about.test(near);
}

/** The clause talks about what follows, and does not ask for it. */
export function isAbout(clause: string): boolean {
  return about.test(clause);
}
const about = new RegExp(
  [
    "\\b(?:explain|describ|discuss|defin|teach|learn|understand|translat|summari[sz]|paraphras|classif|detect|prevent|block|warn|protect|defend|mitigat|guard|compar|illustrat|debunk|simulat|stud(?:y|ies))(?:e|es|s|ed|ing|ion|ions|er|ers|y|ies|ied|ying)?\\b",
    "\\b(?:article|blog|post|essay|paper|tutorial|guide|book|story|novel|poem|talk|lecture|quiz|faq|report|documentation|docs|overview|research|survey|slides|presentation|newsletter|review|history)s?(?: (?:\\w+ )?(?:on|about|of|for|why|how|that|explaining)\\b|:)",
    "\\bdocument(?:ing)?(?: the \\w+)? (?:how|what|why|when|the|our|api)\\b",
    "\\b(?:about|regarding|concerning|meaning of|difference|differences|against|risks? of|dangers? of|called|titled|entitled|example of|examples of|phrases? like|words? like|commands? like|strings? like|attacks? like|attempts? to)\\b",
    "\\bwhat (?:is|are|was|does|do|did|happens?|would|will|if|an?|the)\\b|\\bwhy\\b|\\bhow (?:to|do|does|did|is|are|can|could|should|would|we|you|i|it|they|people|users|customers|attackers|hackers|the|an?|\\w+s)\\b|\\bhow$",
    "解释|介绍|说明|讲解|讲讲|描述|什么是|是什么|为什么|为何|如何|怎么|怎样|关于|有关|教程|文章|论文|博客|翻译|总结|比较|对比|区别|检测|预防|拦截|阻止|识别|防范|了解|科普|讨论|研究|调研|警告|原理|含义|撰写|综述|历史",
  ].join("|"),
);
/** Inside the hit: "tell me how …", "give me an example of …". */
const talk =
  /\b(?:how|why|whether|about|explain|example|examples|article|tutorial|guide|explanation|overview|difference|random|dummy|fake|mock|placeholder|sample|generator|new strong|strong|history of|blog|essay|whitepaper|paper on|post (?:on|about))\b|如何|怎么|怎样|为什么|关于|什么是|介绍|讲解|解释|随机|示例|例子|教程|文章|区别|生成/;

/** "Write a function that …": the hit is what the result is to do. */
const constructs = new RegExp(
  "\\b(?:build|create|write|implement|design|develop|add|make(?! sure)|code|program|prototype|generate|draft|draw|test|fix|debug|refactor|mock|style|improve|optimi[sz]e|integrate|script)(?:s|ing)?\\b.{0,160}\\b(?:that|which|to|where|for|with|who|so|lets?|letting|allow\\w*|when|if|using|of|asks?|prompts?|asking|prompting|users?|customers?|and)\\b" +
    "|(?:实现|开发|编写|设计|搭建|写一?[个段份套篇]|做一?[个套]|构建|创建|制作|测试|集成|接入|对接|修复|优化|重构|调试|封装|模拟|画一?[个张])",
);

/** An order, by what stands right before its verb. */
const ordering = new RegExp(
  "(?:^|[:;\"'(>*•\\]-]|\\d[.)]|\\b(?:please|pls|plz|kindly|then|and|or|now|also|just|first|second|next|finally|lastly|must|should|shall|immediately|directly|secretly|silently|quietly|automatically|simply|go|but|do|let's|lets|help|ok|okay|so|hi|hello|hey|task|urgent|urgently|asap|instead|again|now on|agent|assistant))\\s*$" +
    "|(?<!\\b(?:users?|customers?|they|people|clients?|shoppers|buyers|visitors|we|it|he|she|which|that|who|where|i) )\\b(?:you|can|could|will|would|may)\\s*$" +
    "|\\byou(?: can| could| should| must| need to| have to| are to| will| may| might| shall)?\\s*$" +
    "|\\b(?:want|need|ask|asking|like|tell|order|instruct|expect|require|help|going|is|job is|task is|goal is|supposed|(?:make|be) sure|remember|use (?:your|my|the|our) [\\w ]{1,30}|log ?in|sign in|connect) (?:(?:you|me|us|the agent|somebody|someone|an agent|a helper) )?(?:to|and)\\s*$",
);
