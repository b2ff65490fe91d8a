/**
 * The guardrail: what a task asks an agent to do that no agent should do unwatched (clawrent.md section 7.1). Pure, in
 * English and Chinese. It looks for the request and not for the word:
 *
 * | part of a rule | what it says |
 * |---|---|
 * | `pattern` | who is to do what with what; gaps are bounded, so the work is linear in the length of the text |
 * | `ordered` | counts only where the verb is an order: at the start of a clause, or behind "please", "you must" … |
 * | `built` | does not count behind "write a page that …": then it is what the result is to do |
 *
 * Nothing counts behind "do not", "explain", "an article about" in the same clause. A person who wants to get past this
 * can; it is there for the plain cases, and a blocked task is looked at by a person.
 */
import { normalize } from "../../../schema/folding.js";
import { findDanger } from "./dangerous-commands.js";

export type GuardrailCategory = "destructive" | "credential" | "payment" | "data_exfil" | "bypass";

export interface GuardrailDecision {
  verdict: "block" | "advisory";
  categories: GuardrailCategory[];
  reason: string;
}

/** What each category does to the session, and how it is put to people. Worst first. */
const categories: Readonly<Record<GuardrailCategory, { verdict: GuardrailDecision["verdict"]; asks: string }>> = {
  destructive: { verdict: "block", asks: "to destroy data or read protected files" },
  credential: { verdict: "block", asks: "for a password, token or key" },
  payment: { verdict: "block", asks: "for a payment or a change of billing" },
  data_exfil: { verdict: "advisory", asks: "to pass on internal or private data" },
  bypass: { verdict: "advisory", asks: "to ignore rules or instructions" },
};

/** Judges a task before anybody works on it. Null for a clean one. */
export function judgeTask(taskDescription: string): GuardrailDecision | null {
  const found = new Set<GuardrailCategory>();
  for (const sentence of sentencesOf(taskDescription)) {
    for (const category of judgeSentence(sentence)) found.add(category);
  }
  if (found.size === 0) return null;
  const hits = (Object.keys(categories) as GuardrailCategory[]).filter((category) => found.has(category));
  return {
    verdict: hits.some((category) => categories[category].verdict === "block") ? "block" : "advisory",
    categories: hits,
    reason: `The task asks ${hits.map((category) => categories[category].asks).join("; ")}`,
  };
}

/** Latin letters in other alphabets' clothes. */
const lookalikes: Readonly<Record<string, string>> = Object.fromEntries(
  [
    ..."аaеeоoрpсcуyхxіiјjѕsԁdһhԛqԝwкkмmтtвbнh",
    ..."αaοoρpνvιiκkτtυuεe",
    // Traditional characters of the words that the rules know.
    ..."請请幫帮給给發发碼码鑰钥權权轉转賬账帳账匯汇款款單单買买費费錢钱雲云傳传內内戶户據据庫库資资檔档開开規规則则過过視视無无繞绕現现統统態态證证憑凭記记號号除除刪删盤盘區区項项訴诉讀读寫写員员機机關关釋释應应該该將将從从對对為为這这樣样們们務务護护額额儲储註注員员實实編编設设計计網网頁页測测試试輸输",
  ].reduce<[string, string][]>((pairs, letter, index, all) => {
    if (index % 2 === 0) pairs.push([letter, all[index + 1] ?? letter]);
    return pairs;
  }, []),
);
const lookalike = new RegExp(`[${Object.keys(lookalikes).join("")}]`, "gu");
const han = "\\p{Script=Han}";
const spacedHan = new RegExp(`(?<=${han})[ *_·.-]{1,3}(?=${han})`, "gu");

/** One spelling for what reads alike. Lines stay. */
function plainText(text: string): string {
  return (
    normalize(text, "NFKD")
      .replace(/\p{Default_Ignorable_Code_Point}|\p{Cf}/gu, "")
      .replace(/\p{Mn}/gu, "")
      .toLowerCase()
      .replace(lookalike, (letter) => lookalikes[letter] ?? letter)
      .replace(/[‘’`´]/g, "'")
      .replace(/[“”«»]/g, '"')
      .replace(/[^\S\n]+/g, " ")
      .replace(/ ?\n[ \n]*/g, "\n")
      // p a s s w o r d, p.a.s.s.w.o.r.d
      .replace(/(?<![a-z0-9])[a-z](?:([ ._*-])[a-z])(?:\1[a-z]){2,}(?![a-z0-9])/g, (spaced) =>
        spaced.replace(/[ ._*-]/g, ""),
      )
      .replace(spacedHan, "")
  );
}

/**
 * The sentences, read in two ways: with every line for itself, so that an order on its own line stands alone, and with
 * lines run together, so that a break inside an order does not hide it.
 */
function sentencesOf(text: string): Set<string> {
  const plain = plainText(text);
  // A line that ends in a colon introduces the next one.
  const lines = plain.replace(/:\n/g, ": ");
  const ends = /(?<=[.!?。;])(?<!\b(?:e\.g|i\.e|etc|vs)\.)[\s"')]+|[!?。]+|;(?=\s|\p{Script=Han}|$)|\n+/u;
  const pieces = [...lines.split(ends), ...plain.replaceAll("\n", " ").split(ends)];
  return new Set(pieces.map((piece) => piece.trim()).filter((piece) => piece !== ""));
}

interface Rule {
  category: GuardrailCategory;
  pattern: RegExp;
  ordered?: boolean;
  built?: boolean;
  /** The order is aimed at the agent's own side; only "do not" and the like excuse it, and "and" begins it anew. */
  direct?: boolean;
}

function judgeSentence(sentence: string): Set<GuardrailCategory> {
  const found = new Set<GuardrailCategory>();
  for (const rule of rules) {
    if (found.has(rule.category)) continue;
    for (const match of sentence.matchAll(rule.pattern)) {
      if (!isExcused(rule, sentence.slice(0, match.index), match[0], sentence.slice(match.index + match[0].length))) {
        found.add(rule.category);
        break;
      }
    }
  }
  if (!found.has("destructive")) {
    const danger = findDanger(sentence);
    const asked =
      danger !== null &&
      (danger.kind === "wipe" || reading.test(danger.before.slice(-reach))) &&
      !isAbout(clauseOf(danger.before, false)) &&
      !told.test(danger.before.slice(-reach)) &&
      !isNegated(danger.before) &&
      !explained.test(danger.from.slice(0, reach));
    if (asked || (danger !== null && doneAfterAll.test(sentence))) found.add("destructive");
  }
  return found;
}

/** How far before or after a hit its verb or excuse may stand. */
const reach = 120;
/** A secret file is only named, unless something is done with it. */
const reading =
  /\b(?:read|cat|show|print|open|send|upload|copy|dump|view|output|get|fetch|leak|exfiltrate|less|more|head|tail|grep|scp|base64|tar|zip|curl|cp|paste|post|share|display|access|steal|extract|return|retrieve|include|give|mail|email)\b|读|查看|打开|输出|发送|发给|打印|上传|获取|复制|拷贝|显示|窃取|提取|导出|把|将/;
/** "`rm -rf /` is …", "… 是什么意思": a talk about it. */
const explained =
  /^[^,]{0,80}?(?:["')]|\b(?:command|statement)s?\b|\/\S{0,20}|\btable\b) ?(?:is|are|was|means?|does|do|works?|explained|statement|can be|would)\b(?! what)|^.{0,60}?(?:是什么|是做什么|的(?:含义|意思|作用|原理|危害|风险|区别|后果|历史|语法|用法)|什么意思|为什么|有(?:什么|多)|会(?:怎样|怎么样|发生|造成))/;
/** It has happened already. */
const told = /\b(?:ran|executed|typed|issued|accidentally|mistakenly|by mistake)\b|误删|误执行|误操作|不小心/;
/** It was explained, and now it is to be done. */
const doneAfterAll =
  /\b(?:then|and|now|please) (?:please )?(?:run|execute|perform) (?:it|this|that|them|the command)\b|(?:然后|再|并|接着|之后)(?:请)?(?:执行|运行)(?:它|一下|一遍|该命令|这个命令|这条命令)/;

/** A clause is read back this far: each hit costs the same, however many there are. */
const clauseReach = 400;

/** The clause that the text before a hit ends in. */
function clauseOf(before: string, direct: boolean): string {
  const bounds = direct ? directBounds : clauseBounds;
  let start = 0;
  const near = before.slice(-clauseReach);
  for (const bound of near.matchAll(bounds)) start = bound.index + bound[0].length;
  return near.slice(start);
}
const clauseBounds =
  /,|[—–]| then | but | and (?=(?:then |please |now |also |you )|$)|然后|接着|随后|但是?|同时|并且|并(?!非|不)|再(?!次)/g;
const directBounds = /,|[—–]| then | but | and |: |然后|接着|随后|但是?|同时|并且|并(?!非|不)|再(?!次)/g;

function isExcused(rule: Rule, before: string, hit: string, after: string): boolean {
  if (isNegated(before)) return true;
  const clause = clauseOf(before, rule.direct === true);
  if (isAbout(clause) || talk.test(hit) || isQuotedInTalk(before)) return true;
  if (rule.built && constructs.test(clause)) return true;
  if (explainedHit.test(after)) return true;
  return rule.ordered === true && !ordering.test(clause);
}

const explainedHit =
  /^["'」』]? ?(?:是什么|的(?:含义|意思|原理|危害|风险|区别|历史)|attacks? (?:work|are)|是如何|如何)/;

/** "Do not", close before the hit; "do not forget to" is an order all the same. */
function isNegated(before: string): boolean {
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

/** "Translate: 'Please pay the invoice'": the order is the matter that the task works on. */
function isQuotedInTalk(before: string): boolean {
  const near = before.slice(-clauseReach);
  return /(?:^|[\s(:])["'「『][^"'」』]*$/.test(near) && about.test(near);
}

/** The clause talks about what follows, and does not ask for it. */
function isAbout(clause: string): boolean {
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

const object = "[^;]{0,40}?";
const give =
  "(?:send|give|tell|share|show|provide|hand|reveal|disclose|paste|e-?mail|mail|dm|forward|pass|get|fetch|bring|text|message|supply|lend|return)";
const secret =
  "(?:pass[ -]?words?|passwds?|pass ?phrases?|pass ?codes?|(?:api|access|secret|private|ssh|encryption|signing|master|aws|openai|root) ?[-_]?keys?|apikeys?|(?:(?:access|auth|agent|session|bearer|api|refresh|login|jwt|bot|github|oauth|secret|security)[ -_]?)?tokens?|credentials?|secrets|log-?in (?:details|data|info(?:rmation)?)|seed phrases?|mnemonics?|recovery (?:phrases?|codes?)|(?:2fa|mfa|otp|verification|one-time|security|sms) codes?|session cookies?|pin(?: codes?| numbers?)|cvv2?)";
/** A word for a secret that only names the kind of a thing. */
const kindOnly =
  "(?![a-z0-9])(?![ -_]?(?:field|form|input|box|reset|polic|manage|generat|strength|hash|validat|checker|rule|handling|rotat|authenti|authoriz|flow|page|screen|placeholder|format|bucket|limit|usage|count|econom|based|iz|per |document|docs|best|storage|encrypt|security|requirement|protect|structure|system|standard|hint|entropy|library|leak|breach|budget|window|length|sale|price|icon|header|parameter|variable name|example|concept|class|schema|model|algorithm|column|cracking|auth|ui|component|endpoint|middleware|lifecycle|expir|recovery (?:page|flow|feature)|vault|app\\b|tips|advice|of (?:good|success|great|happ|the trade|a |nature|apprec|gratit|affect|esteem)|to (?:success|happ|a )|behind|work))";
const credentialWord = `${secret}${kindOnly}`;
const ofSomebody =
  "(?:your|the (?:agent|host|server|owner|user|admin|customer|client|system|database|bot|account|machine|operator|company)(?:istrator)?(?:'s|s'|s)?|(?:agent|owner|user|admin|customer|client|victim|employee|people|everyone|someone|somebody|company)(?:'s|s'|s)?|another user's|their|his|her|root|production|stored|saved|all (?:the |of the )?(?:\\w+ )?)";

const chineseSecret =
  "(?:密码|口令|密钥|秘钥|私钥|令牌|token|api ?key|access ?key|secret ?key|凭证|凭据|助记词|验证码|登录信息|账号信息|cookie|passwords?)";
const chineseKindOnly =
  "(?!框|字段|输入|强度|重置|找回|学|管理|生成|策略|加密|校验|验证|哈希|规则|表单|页面|功能|模块|机制|轮换|认证|系统|文档|用法|最佳|的(?:区别|原理|用法|作用|概念|格式|定义|存储|安全|重要|管理|历史|设计|长度|数量|强度|例子|示例)|计数|数量|消耗|用量|限制|限流|保护|安全|桶|长度|经济|算法|组件|识别|登录|登陆|鉴权|工具|器|泄露|存储|怎么|如何)";
const chineseCredential = `${chineseSecret}${chineseKindOnly}`;

const money = "(?:[$¥€£]|usd|cny|rmb|eur|dollars?|yuan|euros?|btc|eth|usdt|bitcoins?|money|funds|cash|coins?)";
const paymentNoun =
  "(?:系统|接口|功能|页面|模块|流程|平台|网关|方式|转化|率|意愿|墙|行为|习惯|情况|提醒|计划|用户|服务|代码|文档|测试|按钮|场景|方案|设计|业务|sdk|api|渠道|相关|问题|记录|报表|数据|行业|趋势|市场|逻辑|表单|组件|体验|安全|类|宝|的)";
const pay = `(?:支付|付款|转账|汇款|打款|充值|提现|缴费|买单|付钱|付费|转钱)(?!${paymentNoun})`;

const rules: readonly Rule[] = [
  // destructive, in plain words
  {
    category: "destructive",
    pattern:
      /\b(?:delete|wipe|erase|destroy|remove|purge|nuke|drop|shred) (?:out |off )?(?:(?:all|every|everything|the (?:entire|whole|complete)|entire|each) ?(?:of )?(?:(?:the|your|our|my|its|their) )?(?:(?:\w+) ){0,2}?(?:files?|data|databases?|disks?|drives?|hard drives?|servers?|systems?|backups?|tables?|records|filesystem|volumes?|folders?|directories|accounts)|(?:the|your|our|my) (?:(?:entire|whole|production|prod|live|main|customer|users?|hard) ){0,2}(?:databases?|tables?|hard (?:disk|drive)|disks?|drive|backups|server|filesystem|file system))\b(?! (?:row|entr|field|column|duplicat|cache|view|of contents|cell))/g,
    ordered: true,
    built: true,
  },
  {
    category: "destructive",
    pattern:
      /\b(?:delete|wipe|erase|destroy|remove|purge|nuke) (?:everything|all) (?:in|on|from|under|inside|off) (?:(?:the|this|your|my|that|our) )?(?:\w+ )?(?:computer|machine|server|system|disk|drive|laptop|phone|host|database|root|home|c:|\/(?= |$))|\b(?:wipe|erase|destroy|nuke) (?:the|this|your|my|that|our) (?:\w+ )?(?:machine|computer|server|laptop|phone|device|system|host)\b/g,
    ordered: true,
    built: true,
  },
  {
    category: "destructive",
    pattern:
      /\b(?:re)?format (?:(?:the|your|my|our|this|that|its) )?(?:\w+ )?(?:hard (?:disk|drive)|disk|drive|ssd|partition|[a-z]: ?drive|[a-z]:(?![a-z/]))/g,
    ordered: true,
    built: true,
  },
  {
    category: "destructive",
    pattern:
      /(?:删除|清空|清除|抹掉|抹除|擦除|销毁|删掉|干掉|破坏|删光|毁掉)(?:掉|了)?[^,，。;]{0,6}(?:所有|全部|整个|全量|一切|生产|线上|你的|系统|服务器|根目录)[^,，。;]{0,8}(?:文件|数据|数据库|磁盘|硬盘|表|备份|目录|记录|系统|分区|服务器)(?!的?(?:功能|接口|按钮|页面|逻辑|方法|函数|中的?重复|里的?重复))|(?:清空|删除|删掉|销毁|抹掉)(?:掉|了)?(?:这个|该|整个)?(?:数据库|硬盘|磁盘|数据表|根目录|服务器)(?!的?(?:功能|接口|按钮|页面|逻辑|方法|函数|[^,。]{0,6}(?:重复|缓存|日志)))|(?:删库|格式化(?:整个|全部|你的|这个|服务器的?)?(?:硬盘|磁盘|c盘|d盘|系统盘|分区|服务器))/g,
    built: true,
  },
  {
    category: "destructive",
    pattern:
      /(?:把|将)[^,，。;]{0,8}(?:所有|全部|整个|生产|线上|数据库|硬盘|磁盘|服务器)[^,，。;]{0,10}(?:删除|清空|删掉|删光|格式化|抹掉|销毁|清除)(?!的?(?:功能|接口|按钮|页面|逻辑))/g,
    built: true,
  },
  {
    category: "destructive",
    pattern:
      /\b(?:read|cat|show|print|open|send|upload|copy|dump|view|output|get|fetch|leak|steal|extract|retrieve)\b[^;]{0,30}?\b(?:your|the|my|server's|host's|root|owner's|user's) (?:\w+ ){0,2}?(?:ssh|private|gpg|pgp|tls|ssl|signing) (?:private )?keys?\b(?![ -]?(?:field|format|length|algorithm|infrastructure|encryption|crypto|pair|concept|rotation|management))/g,
    ordered: true,
    built: true,
  },
  {
    category: "destructive",
    pattern:
      /(?:读取|查看|打印|输出|复制|窃取|盗取|获取|拿到|导出)[^,，。;]{0,10}(?:ssh|私钥文件|私钥|影子文件|密码文件)/g,
    built: true,
  },

  // credential
  {
    category: "credential",
    pattern: new RegExp(
      `\\b${give}(?:ing)? (?:it )?(?:over )?(?:to |with )?(?:me|us)\\b${object}\\b${credentialWord}`,
      "g",
    ),
    direct: true,
  },
  {
    category: "credential",
    pattern: new RegExp(
      `\\b${give} [^;]{0,25}?\\b(?:password|token|credentials?|(?:api|private|secret|access) key)s?${kindOnly} (?:to|with) (?:me|us)\\b`,
      "g",
    ),
    direct: true,
  },
  {
    category: "credential",
    pattern: new RegExp(
      `\\b(?:${give}|enter|type|post|submit|upload|print|output|dump|leak|expose|read|echo|display|say|reply with|respond with|answer with|confirm|surrender|export|extract|attach|log|list|hand over|turn over|email)\\b[^;]{0,30}?\\b${ofSomebody} ?(?:[\\w'-]+ ){0,3}?${credentialWord}`,
      "g",
    ),
    ordered: true,
    built: true,
    direct: true,
  },
  {
    category: "credential",
    pattern: new RegExp(
      `\\b(?:i|we)(?:'ll| will| do)? (?:need|want|require|would like|must have|demand|am asking for|ask for)\\b[^;]{0,20}?\\byour (?:[\\w'-]+ ){0,3}?${credentialWord}`,
      "g",
    ),
    direct: true,
  },
  {
    category: "credential",
    pattern: new RegExp(
      `\\b(?:${give}|print|output|dump|leak|read|echo|display|export|extract|copy|log|list) (?:all |any |every |the |out )*${credentialWord} (?:from|in|of|on|stored in|used by) (?:your|the (?:server|host|machine|environment|env|agent|system|config))`,
      "g",
    ),
    ordered: true,
    built: true,
  },
  {
    category: "credential",
    pattern: new RegExp(
      `(?:\\bwhat(?:'s| is| are)|^(?:need|want|require)) your (?:[\\w'-]+ ){0,3}?${credentialWord}`,
      "g",
    ),
    direct: true,
  },
  {
    category: "credential",
    pattern: new RegExp(
      `\\b(?:steal|harvest|phish|crack|brute-?force|grab|exfiltrate|capture|sniff|intercept|dump|extract|hack|collect|obtain|find|search for|look for|get|recover|scrape|guess)\\b[^;]{0,30}?\\b(?:${ofSomebody}|(?:any|all|some|every|hardcoded|leaked|hidden|other|plaintext|live|valid|working|cloud|aws|admin|login|bank|env(?:ironment)?)) ?(?:[\\w'-]+ ){0,3}?${credentialWord}`,
      "g",
    ),
    ordered: true,
    built: true,
  },
  {
    category: "credential",
    pattern: new RegExp(`\\b(?:steal|harvest|phish|exfiltrate|leak)\\b[^;]{0,20}?\\b${credentialWord}`, "g"),
    ordered: true,
    built: true,
  },
  {
    category: "credential",
    pattern: new RegExp(
      `\\b(?:ask|prompt|trick|convince|persuade|request|demand|phish|pressure|fool|deceive)\\b[^;]{0,40}? (?:for|into|to)\\b[^;]{0,25}?\\b(?:their|his|her|the|your|an?|users?'?s?|customers?'?s?) (?:[\\w'-]+ ){0,2}?${credentialWord}`,
      "g",
    ),
    ordered: true,
    built: true,
  },
  {
    category: "credential",
    pattern: new RegExp(
      `\\b(?:provide|supply|send|give|enter|submit|share|hand over|reveal|disclose)(?: (?:over|in))? (?:an?|the|any|all|some|one|valid|working) (?:[\\w'-]+ ){0,2}?(?:pass ?words?|pass ?phrases?|(?:api|access|secret|private|ssh)[ -_]?keys?|(?:access|auth|api|agent|session|bearer|login) tokens?|agent token|credentials|seed phrase)${kindOnly}`,
      "g",
    ),
    ordered: true,
    built: true,
  },
  {
    category: "credential",
    pattern: new RegExp(
      `(?:告诉我|给我|发我|发给我|提供|提交|交出|透露|泄露|说出|输出|打印|显示|贴出|展示|输入|填写|索取|索要|索求|发送|需要|想要|要|读取|复制|分享|上传|导出|获取)[^,，。;]{0,8}(?:你|您)们?的?[^,，。;]{0,10}${chineseCredential}`,
      "g",
    ),
    built: true,
  },
  {
    category: "credential",
    pattern: new RegExp(
      `(?:把|将)?(?:你|您|用户|管理员|服务器|数据库|系统|平台|客户|账号|账户|后台|所有|全部|root)[^,，。;]{0,10}${chineseCredential}[^,，。;]{0,8}(?:给我|告诉我|发我|发给|发到|发送|提供|贴出|贴到|贴在|交给|交出|说出|写出|打印|输出|上传|导出|分享|告知|泄露|公开|拿来)`,
      "g",
    ),
    built: true,
  },
  {
    category: "credential",
    pattern: new RegExp(
      `(?:把|将)[^,，。;]{0,8}${chineseCredential}[^,，。;]{0,6}(?:给我|告诉我|发我|发给我|发到|发送给|交给我|交出来|贴出来|打印出来|泄露)`,
      "g",
    ),
  },
  {
    category: "credential",
    pattern: new RegExp(
      `(?:窃取|盗取|套取|偷取|偷|破解|骗取|钓取|钓鱼|提取|抓取|收集|搜集|导出|泄露|获取|读取|查看|找出|找到|爬取|猜出|诱导|打印|输出)[^,，。;]{0,12}(?:用户|管理员|服务器|数据库|系统|客户|他人|别人|对方|环境变量|root|账号|账户|所有|全部|本机|主机|后台|员工|邮箱|银行卡|云)[^,，。;]{0,6}${chineseCredential}`,
      "g",
    ),
    built: true,
  },
  {
    category: "credential",
    pattern: new RegExp(
      `(?:你|您)们?的[^,，。;]{0,6}${chineseSecret}(?:是什么|是多少|是啥|呢)|^请?(?:提供|交出|发送)[^,，。;]{0,8}${chineseCredential}`,
      "g",
    ),
    built: true,
  },
  {
    category: "credential",
    pattern: new RegExp(
      `(?:告诉我|发给我|发我|交给我|给我|请(?:提供|输入|发送|交出))[^,，。;]{0,12}${chineseCredential}`,
      "g",
    ),
    built: true,
  },

  // payment
  {
    category: "payment",
    pattern:
      /\b(?:pre-?)?pay(?! (?:close |more |special |extra |careful )?(?:attention|heed|respects?|homage|off in|dividends))(?: (?:me|us|him|her|them|for|the|my|your|our|this|that|these|an?|all|any|it|to|by|with|via|out|off|now|in|\d[\d.,]*|[$¥€£]|\w{1,20}'s)(?![a-z])|(?: \w{1,30})? ?[$¥€£]? ?\d)/g,
    ordered: true,
    built: true,
  },
  {
    category: "payment",
    pattern: new RegExp(
      `\\b(?:transfer|send|wire|remit|withdraw|deposit|donate|move|refund|charge|spend|cash out)\\b(?: (?:me|us|him|her|them|out|over|to \\w+|the|all|my|your|our|an?|about|exactly|some|of|\\w+'s)){0,5} ?(?:${money} ?\\d[\\d.,]*|\\d[\\d.,]*k? ?${money}|(?:amount|balance|sum|payment|deposit|fee|tip|${money})(?! (?:sheet|page|module|data|laundering|history|transfer))\\b)`,
      "g",
    ),
    ordered: true,
    built: true,
  },
  {
    category: "payment",
    pattern:
      /\b(?:top ?-?up|recharge|refill|reload)(?: (?:my|your|the|our|this|his|her|their|an?) (?:[\w'-]+ ){0,2}?(?:wallet|account|balance|card|credits?|phone|sim|subscription)| (?:(?:with|by) )?[$¥€£]? ?\d)(?! (?:page|module|system|feature|api|code))/g,
    ordered: true,
    built: true,
  },
  {
    category: "payment",
    pattern:
      /\b(?:make|complete|process|authori[sz]e|approve|submit|execute|send|initiate|settle|confirm) (?:an?|the|this|that|my|your|our|all) (?:(?!of |for )\w+ ){0,2}?(?:payments?|withdrawals?|top-?ups?|money transfers?|bank transfers?|wire transfers?)\b(?! (?:page|form|module|component|section|flow|screen|feature|system|integration|api|service|data|plan|calendar|schedule|overview|table|file|list|history|statistics|gateway|test))/g,
    ordered: true,
    built: true,
  },
  {
    category: "payment",
    pattern:
      /\bwithdraw (?:from |all |any |everything |the |my |your |our |his |her |their )+(?:[\w'-]+ ){0,2}?(?:wallet|account|balance|funds|money|earnings|income)\b/g,
    ordered: true,
    built: true,
  },
  {
    category: "payment",
    pattern:
      /\b(?:change|update|modify|replace|edit|alter|switch|set|add|remove|cancel) (?:(?:my|your|the|our|their|his|her|a new|a) (?:[\w'-]+ ){0,2}?)?(?:billing|payment|payout|bank) (?:address|info(?:rmation)?|method|details?|account|settings|plan|card|data|amount|cycle|records?)\b(?! (?:page|form|module|component|code|screen|section|ui|field|class|tests?|handler|table|schema|selector|picker|dropdown|list|options?|icon|button|step|type|feature|enum|model|api|validation|logic|in (?:the )?(?:code|repo|docs|form)|to the (?:checkout|form|page|app|site|schema)))/g,
    ordered: true,
    built: true,
  },
  {
    category: "payment",
    pattern:
      /\b(?:buy|purchase|order|subscribe to) (?:[\w$]+ ){0,6}?(?:gift cards?|vouchers?|bitcoins?|btc|eth|usdt|crypto(?:currency)?|prepaid cards?|(?:\w+ )?with (?:my|your|our|the) (?:[\w'-]+ ){0,2}?(?:card|wallet|account|balance|money))\b/g,
    ordered: true,
    built: true,
  },
  {
    category: "payment",
    pattern: new RegExp(
      `(?:帮我|替我|给我|代我|为我|请你?|立即|立刻|马上|直接|现在|你(?:要|来|去|必须|需要|应该)?|麻烦|务必|帮忙|自动|先|去|用(?!户)[^,，。;]{1,10})(?:[^,，。;做写建开设实]{0,10}?)${pay}`,
      "g",
    ),
    built: true,
  },
  {
    category: "payment",
    pattern:
      /^(?:支付|付款|转账|汇款|打款|充值|提现|缴费|付钱|转)(?:给|到|至|向|一笔|这|该|我|\d|[¥$]|[^,，。;]{0,6}(?:元|块钱|账单|订单|费用|会员|话费|余额|钱包|\d))/g,
  },
  {
    category: "payment",
    pattern: new RegExp(`(?<!用户|顾客|客户|买家)(?:购买|订购|下单|买)[^,，。;]{0,10}(?:并|然后|再)?${pay}`, "g"),
    built: true,
  },
  {
    category: "payment",
    pattern:
      /充(?:话费|会员|[^,，。;]{0,4}\d+ ?(?:元|块))|(?:支付|付款|转账|汇款|打款|充值|提现|转)[^,，。;]{0,4}[¥$]? ?\d[\d.,]* ?(?:元|块|美元|人民币|万|usd|cny|rmb|u\b)/g,
    built: true,
  },
  {
    category: "payment",
    pattern:
      /(?:把|将)[^,，。;]{0,8}(?:钱|余额|资金|款项?|\d[\d.,]* ?(?:元|块|美元|万))[^,，。;]{0,8}(?:转|汇|打|提|付|充|支付)(?:给|到|至|入|走|出|现|账|进)?/g,
    built: true,
  },
  {
    category: "payment",
    pattern:
      /(?:修改|更改|变更|更换|更新|改成|替换|绑定|解绑)[^,，。;]{0,6}(?:账单|支付方式|付款方式|结算|计费|收款|付款|银行卡)(?:地址|信息|账户|账号|方式|设置|卡|人)?(?!页面|模块|代码|接口|功能|的?(?:页面|模块|代码|接口|功能|逻辑)|逻辑|组件)/g,
    built: true,
  },

  // data_exfil
  {
    category: "data_exfil",
    pattern:
      /\b(?:upload|publish|leak|exfiltrate|post|make public|release)\b[^;]{0,30}?\b(?:internal|private|confidential|customers?'?s?|clients?'?s?|users?'?s?|proprietary|company|company's|employees?'?s?|sensitive|personal|secret|patients?'?s?|corporate)[ -](?:[\w'-]+ ){0,2}?(?:data|database|records?|documents?|files?|info(?:rmation)?|e-?mails?|lists?|source|code|repo(?:sitory)?|details|reports?|contacts|photos|messages|logs?|dump|spreadsheets?)\b(?! (?:form|page|component|feature|button|dashboard|model|schema|protection|policy|privacy))/g,
    ordered: true,
    built: true,
  },
  {
    category: "data_exfil",
    pattern:
      /\b(?:send|share|export|copy|forward|e-?mail|transmit|dump|sync|push|move|transfer|paste|submit|hand|sell|give)\b[^;]{0,30}?\b(?:internal|private|confidential|customers?'?s?|clients?'?s?|users?'?s?|proprietary|company|company's|employees?'?s?|sensitive|personal|secret|patients?'?s?|corporate)[ -](?:[\w'-]+ ){0,2}?(?:data|database|records?|documents?|files?|info(?:rmation)?|lists?|source|code|repo(?:sitory)?|details|reports?|contacts|photos|messages|logs?|e-?mails?|addresses|phone numbers)\b[^;]{0,20}?\b(?:to|on|onto|with|via|at) (?:an? |the |my |our |this |some )?(?:[\w'-]+ ){0,2}?(?:public|external|outside|third|pastebin|github|gist|s3|personal|https?:|ftp|webhook|telegram|discord|slack|whatsapp|gmail|e-?mail|internet|website|web|dropbox|google drive|competitors?|server|bucket|forum|reddit|twitter|social|[\w.-]+@|anyone|everyone|me\b|us\b)/g,
    ordered: true,
    built: true,
  },
  {
    category: "data_exfil",
    pattern: /(?:泄露|透露|出卖|外传|倒卖)[^,，。;]{0,8}(?:机密|秘密|隐私|内幕)/g,
    built: true,
  },
  {
    category: "data_exfil",
    pattern:
      /(?:上传|发布|公开|泄露|外传|外发|传到|发到|发送|分享|透露|倒卖|出售|兜售)[^,，。;]{0,12}(?:内部|私密|隐私|机密|客户|用户|公司|保密|敏感|私有|员工|个人|企业)[^,，。;]{0,6}(?:数据|资料|文件|信息|文档|名单|数据库|代码|源码|邮件|记录|通讯录|报告|照片)(?!的?(?:功能|页面|组件|表单|接口|模块|按钮|政策|保护|流程))/g,
    built: true,
  },
  {
    category: "data_exfil",
    pattern:
      /(?:内部|私密|隐私|机密|客户|用户|公司|保密|敏感|私有|员工|个人|企业)[^,，。;]{0,6}(?:数据|资料|文件|信息|文档|名单|数据库|代码|源码|邮件|记录|通讯录|报告|照片)[^,，。;]{0,10}(?:上传|发布|公开|泄露|发到|发送到|发送给|发给|传到|传给|外发|外传|分享到|分享给|卖给|导出到)(?!的?(?:功能|页面|组件|表单|接口|模块|按钮))/g,
    built: true,
  },

  // bypass
  {
    category: "bypass",
    pattern:
      /\b(?:ignore|disregard|forget|override|bypass|skip|violate|break|circumvent|evade|discard|neglect|overrule|get around|work around|turn off|disable|drop)(?: (?:all|any|every|of|the|your|my|our|these|those|previous|previously|given|prior|above|earlier|preceding|existing|current|initial|original|system|safety|security|content|platform|internal|moderation|ethical|ethics|other|and|or|default|developer|openai|anthropic)){1,7} (?:instructions?|rules?|prompts?|guidelines?|restrictions?|polic(?:y|ies)|safeguards?|filters?|guard ?rails?|directives?|constraints?|limitations?|limits|programming|training|orders|checks|protocols?|messages?)\b(?! of (?!your|the (?:platform|system|agent|marketplace|site|server)|this (?:platform|system|site)))/g,
    ordered: true,
    built: true,
  },
  {
    category: "bypass",
    pattern: /\b(?:ignore|disregard|bypass) (?:instructions|guard ?rails?|safeguards?)\b/g,
    ordered: true,
    built: true,
  },
  {
    category: "bypass",
    pattern:
      /(?<=^|请|你|要|,|必须|直接|可以)(?:忽略|无视|绕过|违反|突破)(?:规则|指令|限制|指示|约束|审核|护栏)(?!的)/g,
  },
  {
    category: "bypass",
    pattern:
      /\b(?:ignore|disregard|forget) (?:everything|anything|all|what)(?: (?:that|you|i|we|they))? ?(?:above|before|said|were told|have been told|was said|(?:you )?(?:know|learned) (?:so far|before)|previously)/g,
    ordered: true,
  },
  {
    category: "bypass",
    pattern:
      /\b(?:you are|you're|act as|pretend to be|become|behave as|roleplay as|play) (?:now )?(?:called )?["']?dan\b(?! (?:brown|from|smith))|\bdo anything now\b|\b(?:enter|enable|activate|switch to|go into|turn on) (?:the )?(?:jailbreak|developer|god|unrestricted|dan|sudo)[ -]?mode|\bjailbreak (?:yourself|the (?:model|agent|ai)|this (?:model|agent|ai))|\b(?:you (?:have|are under|are bound by)|pretend (?:that )?(?:you have|there are)|act as if (?:you have|there (?:are|were)))(?: now)? (?:no|no longer any) (?:restrictions?|rules?|limits|limitations?|filters?|guidelines?|guard ?rails?)|\byou are (?:no longer|not) (?:bound|restricted|limited) by\b|\bno longer bound by (?:any|your|the)|\bwith(?:out| no) (?:any )?(?:safety|ethical|content|moral) (?:restrictions?|filters?|limits|guidelines?|checks|rules)|\b(?:reveal|print|show|repeat|output|leak|tell me) (?:me )?(?:your|the) (?:full |entire |hidden |initial |original |secret )?system prompt\b/g,
  },
  {
    category: "bypass",
    pattern:
      /(?:忽略|无视|忘记|忘掉|绕过|绕开|跳过|违反|突破|不要遵守|不遵守|不必遵守|无需遵守|不用遵守|抛开|抛弃|不用管|别管|不管|解除|关闭|破解|规避|推翻|覆盖)[^,，。;]{0,4}?(?:之前|以上|上面|上述|先前|前面|此前|所有|全部|一切|你的?|系统|安全|平台|这些|任何|现有|原有|内置|内容|既定|道德)[^,，。;]{0,8}?(?:指令|规则|提示词?|指示|限制|约束|设定|要求|命令|准则|策略|审核|护栏|规定|规范|检查|过滤)/g,
  },
  {
    category: "bypass",
    pattern:
      /(?:不需要|不用|不必|无需|不要|别)(?:再)?(?:遵守|遵循|理会)[^,，。;]{0,8}(?:规则|指令|限制|约束|规定|准则)|你(?:现在|从现在起|已经)?(?:是|就是|变成|扮演) ?["'「]?dan(?![a-z])|(?:进入|开启|启用|切换到?|打开)(?:越狱|开发者|上帝|无限制|不受限)模式|(?:假装|假设|扮演)?你(?:现在)?(?:没有|不受)(?:任何)?(?:的)?(?:限制|规则|约束|道德约束|审查)|不再受(?:任何|到)?[^,，。;]{0,6}(?:限制|约束|规则)|(?:输出|告诉我|打印|泄露|显示|透露)[^,，。;]{0,4}(?:你的)?(?:系统提示词?|系统指令|初始指令)/g,
  },
];
