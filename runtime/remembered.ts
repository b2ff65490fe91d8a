/** Wraps a slow, pure function of a text so that it remembers its recent answers. */

/** Remembers up to `most` answers, and then forgets all of them. */
export function remembered<Answer>(most: number, compute: (text: string) => Answer): (text: string) => Answer {
  const answers = new Map<string, Answer>();
  return (text) => {
    const known = answers.get(text);
    if (known !== undefined) return known;
    const answer = compute(text);
    if (answers.size >= most) answers.clear();
    answers.set(text, answer);
    return answer;
  };
}
