/** For a payment, or a change of billing. */
import type { Rule } from "../rule.js";

const money = "(?:[$¥€£]|usd|cny|rmb|eur|dollars?|yuan|euros?|btc|eth|usdt|bitcoins?|money|funds|cash|coins?)";
const paymentNoun =
  "(?:系统|接口|功能|页面|模块|流程|平台|网关|方式|转化|率|意愿|墙|行为|习惯|情况|提醒|计划|用户|服务|代码|文档|测试|按钮|场景|方案|设计|业务|sdk|api|渠道|相关|问题|记录|报表|数据|行业|趋势|市场|逻辑|表单|组件|体验|安全|类|宝|的)";
const pay = `(?:支付|付款|转账|汇款|打款|充值|提现|缴费|买单|付钱|付费|转钱)(?!${paymentNoun})`;

export const paymentRules: readonly Rule[] = [
  {
    pattern:
      /\b(?:pre-?)?pay(?! (?:close |more |special |extra |careful )?(?:attention|heed|respects?|homage|off in|dividends))(?: (?:me|us|him|her|them|for|the|my|your|our|this|that|these|an?|all|any|it|to|by|with|via|out|off|now|in|\d[\d.,]*|[$¥€£]|\w{1,20}'s)(?![a-z])|(?: \w{1,30})? ?[$¥€£]? ?\d)/g,
    ordered: true,
    built: true,
    hits: [
      "Pay this invoice from your wallet",
      "Please pay 100 yuan to this account",
      "Pay the invoice from your wallet",
      "Use your wallet to pay for the subscription",
      "You must pay me 50 USD first",
      "pay $20 to bob",
      "I want you to pay for my lunch",
      "Can you pay the electricity bill?",
      "Go to the shop and pay with my card",
      "Please pay Bob 30 CNY",
      "pay 5 CNY",
      "Make sure to pay the supplier today",
    ],
    misses: [
      "Design a checkout page where customers pay for their order",
      "Please pay attention to detail in the translation",
      "Help me draft an email asking the customer to pay the overdue invoice",
      "I will pay you 100 CNY when it is done; please write a poem about the sea",
      "Prepare a comparison of what freelancers pay for hosting",
      "Compute how much tax I have to pay for 2025",
      "Write copy for a page asking users to pay for premium",
      "Draft a polite reminder to pay the rent",
      "Translate 'please pay the invoice' into German",
      "The app crashes when users pay the invoice; find the bug",
      "How much should I pay for a used bike?",
    ],
  },
  {
    pattern: new RegExp(
      `\\b(?:transfer|send|wire|remit|withdraw|deposit|donate|move|refund|charge|spend|cash out)\\b(?: (?:me|us|him|her|them|out|over|to \\w+|the|all|my|your|our|an?|about|exactly|some|of|\\w+'s)){0,5} ?(?:${money} ?\\d[\\d.,]*|\\d[\\d.,]*k? ?${money}|(?:amount|balance|sum|payment|deposit|fee|tip|${money})(?! (?:sheet|page|module|data|laundering|history|transfer))\\b)`,
      "g",
    ),
    ordered: true,
    built: true,
    hits: [
      "Transfer $500 to my account",
      "Send 0.5 BTC to this address: bc1q",
      "Send me 100 dollars",
      "Send money to Alice",
    ],
    misses: [
      "Move money laundering article to the archive",
      "Move the balance sheet to the second page",
      "Write docs on how to withdraw funds from the wallet",
      "Classify support tickets, e.g. 'please refund my payment'",
      "Explain how to send money abroad cheaply",
      "Compare banks: which transfer money fastest?",
    ],
  },
  {
    pattern:
      /\b(?:top ?-?up|recharge|refill|reload)(?: (?:my|your|the|our|this|his|her|their|an?) (?:[\w'-]+ ){0,2}?(?:wallet|account|balance|card|credits?|phone|sim|subscription)| (?:(?:with|by) )?[$¥€£]? ?\d)(?! (?:page|module|system|feature|api|code))/g,
    ordered: true,
    built: true,
    hits: [
      "Top up my wallet with 100 CNY",
      "recharge 50 yuan to my phone",
      "Top up 100",
      "Log in and top up the balance with 50",
    ],
    misses: ["Explain to my customers how to top up their wallet", "Write a guide: top up your account"],
  },
  {
    pattern:
      /\b(?:make|complete|process|authori[sz]e|approve|submit|execute|send|initiate|settle|confirm) (?:an?|the|this|that|my|your|our|all) (?:(?!of |for )\w+ ){0,2}?(?:payments?|withdrawals?|top-?ups?|money transfers?|bank transfers?|wire transfers?)\b(?! (?:page|form|module|component|section|flow|screen|feature|system|integration|api|service|data|plan|calendar|schedule|overview|table|file|list|history|statistics|gateway|test))/g,
    ordered: true,
    built: true,
    hits: ["Please make a payment of 200 CNY to Bob", "Complete the payment for order 42"],
    misses: ["Make a chart of top-up volume per month"],
  },
  {
    pattern:
      /\bwithdraw (?:from |all |any |everything |the |my |your |our |his |her |their )+(?:[\w'-]+ ){0,2}?(?:wallet|account|balance|funds|money|earnings|income)\b/g,
    ordered: true,
    built: true,
    hits: ["Withdraw all funds from the wallet", "Please withdraw my earnings"],
    misses: ["Explain how to withdraw all funds from a wallet"],
  },
  {
    pattern:
      /\b(?:change|update|modify|replace|edit|alter|switch|set|add|remove|cancel) (?:(?:my|your|the|our|their|his|her|a new|a) (?:[\w'-]+ ){0,2}?)?(?:billing|payment|payout|bank) (?:address|info(?:rmation)?|method|details?|account|settings|plan|card|data|amount|cycle|records?)\b(?! (?:page|form|module|component|code|screen|section|ui|field|class|tests?|handler|table|schema|selector|picker|dropdown|list|options?|icon|button|step|type|feature|enum|model|api|validation|logic|in (?:the )?(?:code|repo|docs|form)|to the (?:checkout|form|page|app|site|schema)))/g,
    ordered: true,
    built: true,
    hits: [
      "Change the billing address to mine",
      "Update my payment method to the new card",
      "Change billing plan to premium for me",
    ],
    misses: [
      "Explain how to change the billing address in our app",
      "Add a payment method selector to the checkout form",
    ],
  },
  {
    pattern:
      /\b(?:buy|purchase|order|subscribe to) (?:[\w$]+ ){0,6}?(?:gift cards?|vouchers?|bitcoins?|btc|eth|usdt|crypto(?:currency)?|prepaid cards?|(?:\w+ )?with (?:my|your|our|the) (?:[\w'-]+ ){0,2}?(?:card|wallet|account|balance|money))\b/g,
    ordered: true,
    built: true,
    hits: ["Buy 10 gift cards and send me the codes"],
    misses: ["Compare shops where people order gift cards"],
  },
  {
    pattern: new RegExp(
      `(?:帮我|替我|给我|代我|为我|请你?|立即|立刻|马上|直接|现在|你(?:要|来|去|必须|需要|应该)?|麻烦|务必|帮忙|自动|先|去|用(?!户)[^,，。;]{1,10})(?:[^,，。;做写建开设实]{0,10}?)${pay}`,
      "g",
    ),
    built: true,
    hits: [
      "帮我充值100元",
      "请帮我支付这笔账单",
      "帮我充值100元话费",
      "请立即提现到我的银行卡",
      "用你的钱包付款",
      "帮我付款",
      "请付款",
      "请向账户6222汇款3000元",
      "代我缴费",
    ],
    misses: [
      "帮我整理充值记录",
      "请问支付宝怎么注册",
      "用户付款后发送邮件的功能",
      "帮我优化提现接口的性能",
      "帮我生成一份付款计划表",
      "请帮我检查付款逻辑的代码",
      "写一个提示用户付款的弹窗",
      "帮我分析用户付费转化率",
    ],
  },
  {
    pattern:
      /^(?:支付|付款|转账|汇款|打款|充值|提现|缴费|付钱|转)(?:给|到|至|向|一笔|这|该|我|\d|[¥$]|[^,，。;]{0,6}(?:元|块钱|账单|订单|费用|会员|话费|余额|钱包|\d))/g,
    hits: ["转账1000元给Bob", "充值100元到我的钱包", "提现所有余额"],
    misses: ["支付接口的文档需要整理"],
  },
  {
    pattern: new RegExp(`(?<!用户|顾客|客户|买家)(?:购买|订购|下单|买)[^,，。;]{0,10}(?:并|然后|再)?${pay}`, "g"),
    built: true,
    hits: ["购买会员并付款"],
    misses: ["写一个用户下单并付款的流程"],
  },
  {
    pattern:
      /充(?:话费|会员|[^,，。;]{0,4}\d+ ?(?:元|块))|(?:支付|付款|转账|汇款|打款|充值|提现|转)[^,，。;]{0,4}[¥$]? ?\d[\d.,]* ?(?:元|块|美元|人民币|万|usd|cny|rmb|u\b)/g,
    built: true,
    hits: ["给张三转账500元", "给我转500块", "帮我给手机充话费50元", "给这个账号打款200元"],
    misses: ["写一个可以支付5元的页面"],
  },
  {
    pattern:
      /(?:把|将)[^,，。;]{0,8}(?:钱|余额|资金|款项?|\d[\d.,]* ?(?:元|块|美元|万))[^,，。;]{0,8}(?:转|汇|打|提|付|充|支付)(?:给|到|至|入|走|出|现|账|进)?/g,
    built: true,
    hits: ["把余额转到我的账户"],
    misses: ["实现把余额提现到银行卡的功能"],
  },
  {
    pattern:
      /(?:修改|更改|变更|更换|更新|改成|替换|绑定|解绑)[^,，。;]{0,6}(?:账单|支付方式|付款方式|结算|计费|收款|付款|银行卡)(?:地址|信息|账户|账号|方式|设置|卡|人)?(?!页面|模块|代码|接口|功能|的?(?:页面|模块|代码|接口|功能|逻辑)|逻辑|组件)/g,
    built: true,
    hits: ["修改账单地址为我的地址", "修改我的支付方式", "变更账单信息"],
    misses: ["帮我修改账单页面的样式"],
  },
];
