/**
 * `GET /api/subscribe`: a query as Server-Sent Events, for whoever has only curl. Who may open a stream, and how many.
 */
import { RESPONSE_ALREADY_SENT } from "@hono/node-server/utils/response";
import { callerKey } from "../../runtime/byte-budget.js";
import type { Admission } from "../../runtime/call/admission.js";
import { secretIn } from "../../runtime/call/caller.js";
import { missingFunction, type Registry } from "../../runtime/call/registry.js";
import { addressKey } from "../../runtime/counted-as.js";
import { CallError } from "../../runtime/errors.js";
import { sizes, subscriptionBytes } from "../../runtime/limits.js";
import type { RateLimits } from "../../runtime/rate-limits.js";
import { corsHeaders, type HttpApp, type HttpContext, sendReply } from "../http.js";
import { credentialsOf } from "../new-call.js";
import { OpenByAddress } from "../open-by-address.js";
import { type Reply, rejectionReply, renderRejection } from "../wire.js";
import { EventStream, type EventStreamParts, type StreamRequest, serverStops, streamHeaders } from "./event-stream.js";

export interface SubscribeParts extends EventStreamParts {
  registry: Registry;
  limits: RateLimits;
  admission: Admission;
}

/** The open streams. */
export interface Streams {
  /** Ends them, so that their clients come back to whoever serves next. */
  stop(): void;
}

export function addSubscribeRoute(app: HttpApp, parts: SubscribeParts): Streams {
  const { registry, admission, limits, held } = parts;
  const streams = new Set<EventStream>();
  const openByAddress = new OpenByAddress();
  /** Streams that are open or about to be. */
  let places = 0;
  let isStopping = false;

  const open = async (c: HttpContext): Promise<Response> => {
    const request = readRequest(c, registry);
    if ("status" in request) return sendReply(c, request);
    const address = c.env.exchange.address;
    const counted = addressKey(address);
    const credential = credentialsOf(c.env.incoming.headers);
    if (isStopping) return sendReply(c, renderRejection(serverStops()));
    if (
      places >= sizes.sockets ||
      (limits.on && openByAddress.isFull(counted, sizes.socketsPerAddress, sizes.sockets))
    ) {
      return sendReply(
        c,
        renderRejection(new CallError("rate_limited", "Too many open streams", { retryAfterMs: 3_000 })),
      );
    }
    const ended = openByAddress.add(counted);
    places += 1;
    c.env.exchange.whenOver(() => {
      ended();
      places -= 1;
    });
    try {
      if (limits.on) await limits.take("socketOpenings", counted);
      const caller = await admission.authenticateHeaders(credential, address);
      // The caller may have hung up meanwhile. Nobody would tell us of that again.
      if (c.env.outgoing.closed) return RESPONSE_ALREADY_SENT;
      if (c.env.incoming.method === "HEAD") {
        return new Response(null, { headers: { ...streamHeaders, ...corsHeaders(c) } });
      }
      const authenticate = () => admission.authenticateHeaders(credential, address);
      const args = held.subscriptions.hold({ address: counted, caller: callerKey(caller) });
      if (!args.take(Buffer.byteLength(request.args) + subscriptionBytes)) {
        args.end();
        return sendReply(c, renderRejection(args.budget.tooMuch()));
      }
      c.env.exchange.whenOver(() => args.end());
      const asker = { address, secret: secretIn(credential), authenticate };
      const stream = new EventStream(parts, c.env.outgoing, c.env.exchange, request, asker);
      streams.add(stream);
      c.env.exchange.whenOver(() => {
        stream.end();
        streams.delete(stream);
      });
      const refused = await stream.start(caller, corsHeaders(c));
      return refused ? sendReply(c, refused) : RESPONSE_ALREADY_SENT;
    } catch (error) {
      if (error instanceof CallError) return sendReply(c, renderRejection(error));
      throw error;
    }
  };

  app.get("/api/subscribe", open);
  app.post("/api/subscribe", (c) =>
    sendReply(c, { ...rejectionReply(405, "MethodNotAllowed", "invalid_args", "Use GET"), allow: "GET" }),
  );
  return {
    stop: () => {
      isStopping = true;
      for (const stream of streams) stream.end();
    },
  };
}

function readRequest(c: HttpContext, registry: Registry): StreamRequest | Reply {
  const query = new URL(c.req.url).searchParams;
  const path = query.get("path");
  if (!path)
    return rejectionReply(400, "BadJsonBody", "invalid_args", "Say which query: ?path=agents:getStatus&args={}");
  const definition = registry.find(path);
  if (!definition) return renderRejection(missingFunction(path));
  if (definition.kind !== "query") {
    return rejectionReply(400, "BadRequest", "invalid_args", "Only a query can be subscribed to");
  }
  try {
    const args = query.get("args") || "{}";
    JSON.parse(args);
    return { path, args };
  } catch {
    return rejectionReply(400, "BadJsonBody", "invalid_args", "args must be URL-encoded JSON");
  }
}
