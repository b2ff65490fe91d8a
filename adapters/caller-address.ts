/** Where a request comes from: the peer of its connection, or behind a proxy that is trusted, whom the proxy saw. */
import type { IncomingMessage } from "node:http";
import { isIPv4, isIPv6, SocketAddress } from "node:net";

/** The caller's address; behind a proxy that is trusted, the one that the proxy saw. */
export function addressOf({ headers, socket }: IncomingMessage, trustProxy: boolean): string {
  const peer = socket.remoteAddress ?? "unknown";
  if (!trustProxy) return peer;
  const forwarded = headers["x-forwarded-for"];
  // Whatever stands before the last entry was written by the caller.
  const last = (Array.isArray(forwarded) ? forwarded.join(",") : forwarded)?.split(",").at(-1);
  return (last === undefined ? undefined : parseForwarded(last)) ?? peer;
}

/**
 * The address in an entry of `X-Forwarded-For`, always written the same way. Proxies append it bare, with the port of
 * the connection (`192.0.2.1:40001`, `[2001:db8::1]:40001`) or in quotes. With the port left in, each connection would
 * be another caller to every limit. Undefined where there is no address: what it says then is nobody's.
 */
export function parseForwarded(entry: string): string | undefined {
  const text = entry.trim().replace(/^"(.*)"$/, "$1");
  const bracketed = /^\[([^\]]*)\](?::\d{1,5})?$/.exec(text)?.[1];
  const bare = bracketed ?? text.replace(/^([\d.]+):\d{1,5}$/, "$1");
  // The zone names an interface of the proxy's.
  const address = bare.replace(/%.*$/, "");
  if (bracketed === undefined && isIPv4(address)) return address;
  if (!isIPv6(address)) return undefined;
  return new SocketAddress({ address, family: "ipv6" }).address.replace(/^::ffff:(?=[\d.]+$)/, "");
}
