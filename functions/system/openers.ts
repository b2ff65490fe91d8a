/** Whether the credentials that opened marketplace sockets still stand. */
import { systemQuery } from "../../runtime/call/define.js";
import { type Lapse, lapseOf, type Opener } from "../model/standing.js";

/** For each credential why it opens its socket no more; null where it still does. */
export const findLapses = systemQuery(
  "openers.findLapses",
  async (ctx, { openers }: { openers: readonly Opener[] }) => {
    const found: (Lapse | null)[] = [];
    for (const opener of openers) found.push((await lapseOf(ctx, opener)) ?? null);
    return found;
  },
);
