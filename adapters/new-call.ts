/**
 * The one place where a call is made, whichever surface it comes by: what is asked of which function, who asks, and a
 * request id of its own. What the headers of a request say of its caller is read here as well.
 */
import type { IncomingHttpHeaders } from "node:http";
import type { Call } from "../runtime/call/call.js";
import { nextRequestId } from "../runtime/ids.js";
import type { HttpContext } from "./http.js";

/** What is asked of a function. `kind` is undefined where the surface takes both. */
type Asked = Pick<Call, "path" | "kind" | "args">;

/** Who asks: by the headers of a request, or a caller that the surface knows since a socket was opened. */
export type Asker = Pick<Call, "address"> &
  Partial<Pick<Call, "authorization" | "apiKey" | "caller" | "secret" | "idempotencyKey" | "userAgent">>;

/** How the call is to be treated, where that is not as usual. */
type Manner = Partial<Pick<Call, "credentialOptional" | "resent" | "isRerun" | "refusal" | "finish">>;

export function newCall(asked: Asked, asker: Asker, manner?: Manner): Call {
  return {
    authorization: undefined,
    idempotencyKey: undefined,
    ...asked,
    ...asker,
    ...manner,
    requestId: nextRequestId(),
  };
}

/** Who sent a request. */
export function askerOf(c: HttpContext): Asker {
  const { headers } = c.env.incoming;
  return {
    ...credentialsOf(headers),
    ...originOf(c),
    idempotencyKey: firstOf(headers["idempotency-key"]),
  };
}

/** The same of a request whose headers hold no credential that counts. */
export function originOf(c: HttpContext): Pick<Call, "address" | "userAgent"> {
  return { address: c.env.exchange.address, userAgent: c.env.incoming.headers["user-agent"] };
}

/** The credentials of a request, as its headers hold them. */
export function credentialsOf(headers: IncomingHttpHeaders): Pick<Call, "authorization" | "apiKey"> {
  return { authorization: headers.authorization, apiKey: firstOf(headers["x-api-key"]) };
}

function firstOf(header: string | string[] | undefined): string | undefined {
  return Array.isArray(header) ? header[0] : header;
}
