/** Which of the languages that the pages speak a browser asks for. */
import { parseAccept } from "hono/utils/accept";
import { english, type Texts } from "./texts.js";
import { chinese } from "./texts-zh.js";

/** By primary subtag: a reader of any Chinese is better served by one than by English. */
const languages: Record<string, Texts> = { en: english, zh: chinese };

/** The texts for an `Accept-Language` header: the acceptable language with the highest q, English if there is none. */
export function chooseTexts(acceptLanguage: string | undefined): Texts {
  const ranges = parseAccept(acceptLanguage ?? "").map(({ type, q }) => ({ subtag: primarySubtag(type), q }));
  let best = { texts: english, q: 0 };
  for (const { subtag, q } of ranges) {
    // A wildcard accepts any language that is not named. English is the default.
    const texts = subtag === "*" ? english : languages[subtag];
    // At equal weight the one that was named first stays.
    if (texts && q > best.q) best = { texts, q };
  }
  return best.texts;
}

function primarySubtag(range: string): string {
  return range.split("-", 1)[0]?.toLowerCase() ?? "";
}
