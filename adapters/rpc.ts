/**
 * The functions over HTTP: `/api/query`, `/api/mutation`, `/api/run/…` and what Convex's HTTP client adds to them
 * (claw-to-claw.md section 1, convex-wire.md sections 1 to 3). It decodes a call, hands it to the runtime and encodes
 * the outcome.
 */

import type { Outcome } from "../runtime/call/call.js";
import type { Kind } from "../runtime/call/define.js";
import type { Dispatcher } from "../runtime/call/dispatch.js";
import type { KeptReplies } from "../runtime/call/kept-replies.js";
import { missingFunction } from "../runtime/call/registry.js";
import type { Clock } from "../runtime/clock.js";
import { CallError } from "../runtime/errors.js";
import { nextRequestId } from "../runtime/ids.js";
import { sizes } from "../runtime/limits.js";
import type { Seen } from "../runtime/live/watches.js";
import { answerPreflight, type HttpApp, type HttpContext, readBody, sendReply } from "./http.js";
import { askerOf, credentialsOf, newCall } from "./new-call.js";
import { ReplyParts } from "./reply-parts.js";
import {
  type Format,
  parseFormat,
  type Reply,
  readArgs,
  rejectionReply,
  renderOutcome,
  renderRejection,
} from "./wire.js";

/** How the reply of a query that has a value begins. */
const successStart = '{"status":"success"';

/** A decoded request for one function, or the gateway's refusal. */
type Request = { path: string; args: unknown; format: Format };

export interface RpcParts {
  dispatcher: Dispatcher;
  clock: Clock;
  /** Undefined where other processes may write to the same database. */
  replies: KeptReplies | undefined;
}

export function addRpcRoutes(app: HttpApp, { dispatcher, clock, replies }: RpcParts): void {
  const run = async (c: HttpContext, kind: Kind | undefined, request: Request | Reply, seen?: Seen): Promise<Reply> => {
    if ("status" in request) return request;
    const { path, args, format } = request;
    const call = newCall({ path, kind, args }, askerOf(c), c.env.exchange.encoding(format));
    const outcome: Outcome = args instanceof CallError ? refusedArgs(args) : await dispatcher.dispatch(call, seen);
    return renderOutcome(outcome, format, call.requestId);
  };

  const post = (path: string, kind: Kind) =>
    app.post(path, async (c) => sendReply(c, await run(c, kind, await readRequest(c))));

  /**
   * A query that was asked in the same words before gets the same bytes, as long as nothing has touched what it read.
   */
  const recall = async (c: HttpContext, replies: KeptReplies): Promise<Response> => {
    const body = await readJsonBody(c);
    if (typeof body !== "string") return sendReply(c, body);
    const { authorization, apiKey } = credentialsOf(c.env.incoming.headers);
    const key = `${authorization ?? ""}\n${apiKey ?? ""}\n${body}`;
    const kept = replies.find(key);
    if (kept) {
      const requestId = nextRequestId();
      const refused = await replies.recall(kept, { address: c.env.exchange.address, requestId });
      return sendReply(c, refused ? renderOutcome(refused, "json", requestId) : { status: 200, body: kept.body });
    }
    const request = parseRequest(body);
    const { seen, keep } = replies.begin(key);
    try {
      const reply = await run(c, "query", request, seen);
      if ("path" in request && reply.body.startsWith(successStart)) {
        keep(reply.body, { path: request.path, authorization });
      }
      return sendReply(c, reply);
    } finally {
      seen.end();
    }
  };

  app.options("/api/*", answerPreflight);
  if (replies) app.post("/api/query", (c) => recall(c, replies));
  else post("/api/query", "query");
  post("/api/mutation", "mutation");
  app.get("/api/query", async (c) => sendReply(c, await run(c, "query", readQueryString(c))));

  // No function is an action, and the answer to one says so.
  app.post("/api/action", async (c) => {
    const request = await readRequest(c);
    if ("status" in request) return sendReply(c, request);
    return sendReply(c, renderOutcome({ status: "refused", error: missingFunction(request.path) }, request.format, ""));
  });

  app.post("/api/run/*", async (c) => {
    const path = runPath(c.req.path);
    if (typeof path !== "string") return sendReply(c, path);
    return sendReply(c, await run(c, undefined, await readRequest(c, path)));
  });

  // A consistent query asks for a time and then for the state at it: here that is the latest state.
  app.post("/api/query_ts", (c) =>
    sendReply(c, { status: 200, body: JSON.stringify({ ts: encodeTimestamp(clock.now()) }) }),
  );
  post("/api/query_at_ts", "query");
  app.post("/api/query_batch", (c) => runBatch(c, run));

  app.post("/api/function", (c) =>
    sendReply(
      c,
      rejectionReply(403, "BadDeployKey", "forbidden", "This address is for deployment keys, and there are none here"),
    ),
  );
  app.post("/api/debug_event", (c) => sendReply(c, { status: 200, body: "{}" }));

  app.all("/api/*", (c) => {
    const known = /^\/api\/(query|mutation|action|query_ts|query_at_ts|query_batch|function|debug_event|run\/.+)$/;
    return known.test(c.req.path)
      ? sendReply(c, rejectionReply(405, "MethodNotAllowed", "invalid_args", "Use POST"))
      : c.notFound();
  });
}

function refusedArgs(error: CallError): Outcome {
  return { status: "refused", error };
}

/** The body of a call that says it is JSON, as text. */
async function readJsonBody(c: HttpContext): Promise<string | Reply> {
  const contentType = c.env.incoming.headers["content-type"] ?? "";
  if (!/^application\/(json|[\w.+-]*\+json)\s*(;|$)/i.test(contentType)) {
    c.env.incoming.resume();
    return rejectionReply(
      415,
      "BadJsonBody",
      "unsupported_media_type",
      "Send the body as Content-Type: application/json",
    );
  }
  const body = await readBody(c);
  if (typeof body === "string") return body;
  return renderRejection(body, body.code === "invalid_args" ? "BadJsonBody" : undefined);
}

async function readRequest(c: HttpContext, path?: string): Promise<Request | Reply> {
  const body = await readJsonBody(c);
  return typeof body === "string" ? parseRequest(body, path) : body;
}

function parseRequest(body: string, path?: string): Request | Reply {
  const parsed = parseJson(body);
  if (typeof parsed !== "object" || parsed === null || Array.isArray(parsed)) {
    return rejectionReply(
      400,
      "BadJsonBody",
      "invalid_args",
      'The body must be a JSON object: {"path": …, "args": {…}}',
    );
  }
  return toRequest({ ...parsed, ...(path === undefined ? {} : { path }) }, body);
}

function readQueryString(c: HttpContext): Request | Reply {
  const query = new URL(c.req.url).searchParams;
  const text = query.get("args") ?? "{}";
  const args = parseJson(text);
  if (args === undefined) return rejectionReply(400, "BadJsonBody", "invalid_args", "args must be URL-encoded JSON");
  return toRequest({ path: query.get("path") ?? undefined, args, format: query.get("format") ?? undefined }, text);
}

/** The parsed JSON; undefined where there is none, which JSON itself cannot say. */
function parseJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}

/** `text` is what the fields were parsed from. */
function toRequest(fields: { path?: unknown; args?: unknown; format?: unknown }, text: string): Request | Reply {
  if (typeof fields.path !== "string" || fields.path === "") {
    return rejectionReply(400, "BadJsonBody", "invalid_args", 'The body needs a "path" such as "agents:register"');
  }
  const format = parseFormat(fields.format);
  if (format === undefined) {
    return rejectionReply(400, "BadFormat", "invalid_args", 'format must be "json" or "convex_encoded_json"');
  }
  return { path: fields.path, args: readArgs(fields.args, text), format };
}

/** `/api/run/a/b/fn` is `a/b:fn`. */
function runPath(url: string): string | Reply {
  const missing = rejectionReply(400, "MissingIdentifier", "invalid_args", "Use /api/run/{module}/{function}");
  try {
    const segments = url.slice("/api/run/".length).split("/").map(decodeURIComponent);
    const name = segments.pop();
    return segments.length === 0 || !name || segments.includes("") ? missing : `${segments.join("/")}:${name}`;
  } catch {
    return missing;
  }
}

/** Runs one query after the other. Once the answers fill a part, it is sent before the next query runs. */
async function runBatch(
  c: HttpContext,
  run: (c: HttpContext, kind: Kind, request: Request | Reply) => Promise<Reply>,
): Promise<Response> {
  const body = await readJsonBody(c);
  if (typeof body !== "string") return sendReply(c, body);
  const parsed = parseJson(body) as { queries?: unknown } | undefined;
  const queries = parsed?.queries;
  if (!Array.isArray(queries) || queries.length > sizes.batchedQueries) {
    return sendReply(
      c,
      rejectionReply(
        400,
        "BadJsonBody",
        "invalid_args",
        `The body must be {"queries": […]} with at most ${sizes.batchedQueries} of them`,
      ),
    );
  }
  const parts = new ReplyParts(c);
  parts.add('{"results":[');
  for (const [index, query] of queries.entries()) {
    const reply = await run(c, "query", toRequest(typeof query === "object" && query !== null ? query : {}, body));
    // Where one call is refused because of the credential, all are.
    if (reply.status !== 200 && !parts.isSending) return sendReply(c, reply);
    parts.add(index === 0 ? reply.body : `,${reply.body}`);
    if (parts.isFull && !(await parts.send())) break;
  }
  parts.add("]}");
  return parts.end();
}

/** Nanoseconds as 8 little-endian bytes in base64 (convex-wire.md section 5). */
function encodeTimestamp(now: number): string {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(now) * 1_000_000n);
  return bytes.toString("base64");
}
