import { expect, test } from "vitest";
import { generatedPages, readPage, withReference } from "../scripts/reference.js";

test.each(Object.keys(generatedPages) as (keyof typeof generatedPages)[])(
  "the generated tables of docs/%s are the code's",
  (page) => {
    expect(readPage(page), "run npm run reference").toBe(withReference(page));
  },
);
