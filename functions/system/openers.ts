/** Whoever opened a marketplace socket: whether their credentials still stand. */
import { systemQuery } from "../../runtime/call/define.js";
import { type Lapse, lapseOf, type Opener } from "../model/standing.js";

/** Whether credentials still open their sockets: why not, one by one. */
export const findLapses = systemQuery(
  "openers.findLapses",
  async (ctx, { openers }: { openers: readonly Opener[] }) => {
    const found: (Lapse | null)[] = [];
    for (const opener of openers) found.push((await lapseOf(ctx, opener)) ?? null);
    return found;
  },
);
