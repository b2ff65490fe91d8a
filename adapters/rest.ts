/**
 * The marketplace over REST (clawrent.md sections 2 and 3). It finds the row of a request in rest-routes.ts, picks the
 * function's arguments from path, query and body, hands the call to the runtime, and gives the outcome a status.
 */
import { TrieRouter } from "hono/router/trie-router";
import type { z } from "zod";
import type { Call, Outcome } from "../runtime/call/call.js";
import type { FunctionDefinition } from "../runtime/call/define.js";
import type { Dispatcher } from "../runtime/call/dispatch.js";
import { KeyReused } from "../runtime/call/idempotency.js";
import type { Registry } from "../runtime/call/registry.js";
import { CallError, errorCodes } from "../runtime/errors.js";
import { answerPreflight, type HttpApp, type HttpContext, readBody, sendReply } from "./http.js";
import { askerOf, newCall } from "./new-call.js";
import { parametersOf, type Route, restRoutes } from "./rest-routes.js";
import { encodeValue, labelOf, type Reply } from "./wire.js";

/** A route with what its function declares. */
interface Endpoint extends Route {
  /** The arguments that come from the query or the body. */
  picked: string[];
  /** A bad credential counts as none (clawrent.md section 2.1). */
  isPublic: boolean;
}
/** The endpoints of one path, by method. */
type Resource = Map<string, Endpoint>;

/** How long to wait where a 503 does not say it itself. */
const retryAfterMs = 1_000;

export function addRestRoutes(app: HttpApp, dispatcher: Dispatcher, registry: Registry): void {
  // A router beside the app's: with parameters next to fixed segments, the app would lose its fast router, also for the
  // RPC paths.
  const router = new TrieRouter<Resource>();
  const resources = new Map<string, Resource>();
  for (const route of restRoutes) {
    const definition = registry.find(route.call);
    if (!definition) throw new Error(`${route.method} ${route.path} names ${route.call}, which does not exist`);
    let resource = resources.get(route.path);
    if (!resource) {
      resource = new Map();
      resources.set(route.path, resource);
      router.add("ALL", route.path, resource);
    }
    resource.set(route.method, endpointOf(route, definition));
  }

  const answer = async (c: HttpContext): Promise<Reply> => {
    const [[found] = []] = router.match("ALL", c.req.path);
    if (!found) return problem(404, "There is nothing at this address");
    const [resource, parameters] = found;
    const { method } = c.req;
    const endpoint = resource.get(method === "HEAD" ? "GET" : method);
    if (!endpoint) {
      const allow = [...resource.keys(), ...(resource.has("GET") ? ["HEAD"] : []), "OPTIONS"].join(", ");
      return { ...problem(405, `Use ${[...resource.keys()].join(" or ")}`), allow };
    }
    const given = endpoint.method === "GET" ? readQuery(c) : await readJson(c);
    if ("refused" in given) return given.refused;

    const args = pick(endpoint, given.fields);
    for (const [name, value] of Object.entries(parameters)) args[name] = decode(value);
    const call = newCall({ path: endpoint.call, kind: undefined, args }, askerOf(c), {
      credentialOptional: endpoint.isPublic,
      ...c.env.exchange.encoding("json"),
    });
    return renderOutcome(await dispatcher.dispatch(call), endpoint, call);
  };

  // Below these, REST refuses in its own words also what no route takes.
  const surfaces = new Set(["health", ...restRoutes.map(({ path }) => path.split("/")[2])]);
  for (const surface of surfaces) {
    app.all(`/api/${surface}/*`, async (c) =>
      c.req.method === "OPTIONS" ? answerPreflight(c) : sendReply(c, await answer(c)),
    );
  }
}

function endpointOf(route: Route, definition: FunctionDefinition): Endpoint {
  const parameters = parametersOf(route);
  // Every declaration is an object of schemas (runtime/call/define.ts).
  const { shape } = definition.args as z.ZodObject;
  return {
    ...route,
    picked: Object.keys(shape).filter((name) => !parameters.includes(name)),
    isPublic: definition.auth === "none",
  };
}

/** What a request gives beside its path, or the answer where that cannot be read. */
type Given = { fields: Record<string, unknown> } | { refused: Reply };

/** An empty value counts as absent, as `null` does in a body. */
function readQuery(c: HttpContext): Given {
  const [, query = ""] = /\?(.*)/s.exec(c.env.incoming.url ?? "") ?? [];
  return { fields: Object.fromEntries([...new URLSearchParams(query)].filter(([, value]) => value !== "")) };
}

/** No body at all is an empty object (clawrent.md section 0, rule 3). */
async function readJson(c: HttpContext): Promise<Given> {
  const body = await readBody(c);
  if (body instanceof CallError) return { refused: refusal(body) };
  if (body.trim() === "") return { fields: {} };
  if (!/^application\/(json|[\w.+-]*\+json)\s*(;|$)/i.test(c.env.incoming.headers["content-type"] ?? "")) {
    return { refused: problem(415, "Send the body as Content-Type: application/json") };
  }
  let parsed: unknown;
  try {
    parsed = JSON.parse(body);
  } catch {
    return { refused: problem(400, "The body is not valid JSON") };
  }
  if (typeof parsed !== "object" || parsed === null || Array.isArray(parsed)) {
    return { refused: problem(400, "The body must be a JSON object") };
  }
  return { fields: parsed as Record<string, unknown> };
}

/** Unknown keys are ignored, and an optional field that is `null` counts as absent (clawrent.md section 2.1). */
function pick(endpoint: Endpoint, fields: Record<string, unknown>): Record<string, unknown> {
  const args: Record<string, unknown> = {};
  for (const name of endpoint.picked) {
    if (Object.hasOwn(fields, name) && fields[name] !== null) args[name] = fields[name];
  }
  return args;
}

/** Text that cannot be decoded stays as it is. It names nothing. */
function decode(parameter: string): string {
  try {
    return decodeURIComponent(parameter);
  } catch {
    return parameter;
  }
}

function renderOutcome(outcome: Outcome, { status }: Endpoint, call: Call): Reply {
  switch (outcome.status) {
    case "success":
      return { status, body: encodeValue(outcome.value, "json") };
    case "refused":
      return refusal(outcome.error);
    case "rejected": {
      if (outcome.error.code !== "unauthenticated") return refusal(outcome.error);
      const cameWithNone = call.authorization === undefined && call.apiKey === undefined;
      return problem(401, cameWithNone ? "Authentication required" : "Token expired or invalid");
    }
    case "fault":
      return problem(500, `Something went wrong here. The log knows it as request ${call.requestId}.`);
  }
}

/** A refusal. What it says to programs is at the top level. */
function refusal(error: CallError): Reply {
  const { issues, ...data } = error.data;
  // One key for two calls is a mistake of the caller, not a conflict between two things.
  const status = error instanceof KeyReused ? 422 : errorCodes[error.code].status;
  if (issues === undefined) return problem(status, error.message, data);
  const label = error.code === "invalid_args" ? "Validation Error" : undefined;
  return problem(status, error.message, { details: issues, ...data }, label);
}

/** `{error, message}`, and what else there is to say (clawrent.md section 3). */
function problem(status: number, message: string, data: Record<string, unknown> = {}, label = labelOf(status)): Reply {
  const waitMs = typeof data.retryAfterMs === "number" ? data.retryAfterMs : status === 503 ? retryAfterMs : undefined;
  return {
    status,
    body: encodeValue({ error: label, message, ...data }, "json"),
    ...(waitMs === undefined ? {} : { retryAfterMs: waitMs }),
  };
}
