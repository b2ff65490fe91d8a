/**
 * Who may use the admin's pages: the cookie that holds the JWT of a sign-in, and the check that a form was sent from
 * these pages. Whether its user is an admin is decided by the functions, at every call.
 */
import { parse, serialize } from "hono/utils/cookie";
import type { HttpContext } from "../http.js";

const cookieName = "tidepool_admin";
/** As long as the JWT in it is valid. */
const cookieSeconds = 7 * 24 * 60 * 60;

/** The JWT that the browser keeps for these pages. */
export function signedInJwt(c: HttpContext): string | undefined {
  const jwt = parse(c.env.incoming.headers.cookie ?? "", cookieName)[cookieName];
  return jwt !== undefined && /^[\w.-]+$/.test(jwt) ? jwt : undefined;
}

/**
 * The `Set-Cookie` header that keeps a JWT, or forgets it. No script sees it, and no other site's link or form brings
 * it.
 */
export function cookieHeader(publicUrl: string, jwt: string | undefined): string {
  const { protocol, pathname } = new URL(publicUrl);
  return serialize(cookieName, jwt ?? "", {
    // Below the path of a proxy, where the public address has one.
    path: `${pathname.replace(/\/$/, "")}/admin`,
    maxAge: jwt === undefined ? 0 : cookieSeconds,
    httpOnly: true,
    sameSite: "Strict",
    secure: protocol === "https:",
  });
}

/**
 * Whether a form was sent from this server's own pages. The cookie's `SameSite` keeps other sites out already, but
 * takes every subdomain for the same site.
 */
export function isOwnForm(c: HttpContext, publicUrl: string): boolean {
  const { "sec-fetch-site": site, origin, host } = c.env.incoming.headers;
  if (site !== undefined) return site === "same-origin";
  // Over plain HTTP from another machine browsers leave `Sec-Fetch-Site` out. `Origin` is in every form they send.
  if (origin === undefined || !URL.canParse(origin)) return false;
  return origin === new URL(publicUrl).origin || new URL(origin).host === host;
}
