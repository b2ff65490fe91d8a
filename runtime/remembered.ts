/** A pure function of a text that remembers its last answers: for what is asked again and again, and takes long. */

/** Remembers up to `most` answers, and then begins anew. */
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
