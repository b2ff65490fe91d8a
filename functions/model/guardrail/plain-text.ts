/** A task in one spelling, sentence by sentence: what the guardrail's rules are matched against. */
import { normalize } from "../../../schema/folding.js";

/** Letters of other alphabets that look like Latin ones. */
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

/** One spelling for what looks alike. Line breaks stay. */
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
 * The sentences, read in two ways: line by line, so that an order on its own line stands alone; and with the lines
 * joined, so that a break inside an order does not hide it.
 */
export function sentencesOf(text: string): Set<string> {
  const plain = plainText(text);
  // A line that ends in a colon introduces the next one.
  const lines = plain.replace(/:\n/g, ": ");
  const ends = /(?<=[.!?。;])(?<!\b(?:e\.g|i\.e|etc|vs)\.)[\s"')]+|[!?。]+|;(?=\s|\p{Script=Han}|$)|\n+/u;
  const pieces = [...lines.split(ends), ...plain.replaceAll("\n", " ").split(ends)];
  return new Set(pieces.map((piece) => piece.trim()).filter((piece) => piece !== ""));
}
