/**
 * `query()` and `mutation()`: how a function is declared. The declaration says who may call, what comes in, what goes
 * out and what happens; without one of the four it does not compile. `systemQuery()` and `systemMutation()` declare what
 * only the server runs.
 */
import { z } from "zod";
import type { Auth, CallerOf, MutationContext, Origin, Preparation, QueryContext, SystemCaller } from "../context.js";
import type { Counted } from "../counted-as.js";
import type { CallError } from "../errors.js";
import type { Rate } from "../limits.js";

export type Kind = "query" | "mutation";

/** Often enough for what is shown in minutes. */
export const everyMinute = 60_000;

/**
 * A value that is JSON already, as the database wrote or keeps it. It goes to the caller as it is, so a long list never
 * becomes objects here. Only strings, booleans, null, finite numbers, arrays and objects may be in it, so that it reads the
 * same in both encodings; the test suite parses each one against the function's `returns`.
 */
export class JsonText<T> {
  declare readonly type: T;
  constructor(
    /** Without space between its parts, where there are callers' names in it. */
    readonly text: string,
    /** Whose field names are in it: those that callers chose may be such that not every client can read them. */
    readonly names: "ours" | "callers'" = "ours",
  ) {}
}

/**
 * A refusal that keeps what the handler wrote. A handler that throws a `CallError` undoes its writes; one that returns
 * this commits them and then says no: a wrong code has to count.
 */
export class Refusal {
  constructor(readonly error: CallError) {}
}

interface Declaration<A extends Auth, Shape extends z.ZodRawShape, Returns extends z.ZodType> {
  /** One sentence for the reference. */
  summary: string;
  auth: A;
  /** Each argument's schema; unknown arguments are refused. */
  args: Shape;
  /** Arguments that may be any JSON, with keys and texts that nothing else may have. They are kept as JSON text. */
  jsonArgs?: readonly (keyof Shape & string)[];
  /** A whitelist: a field that is not declared here does not leave. */
  returns: Returns;
  /** A rate that counts this function's calls per address, beside the one that counts all calls. */
  rate?: Rate;
  /** Further rates, counted by what the arguments or the caller name. */
  limit?(args: Args<Shape>, caller: CallerOf<A>, from: Origin): Counted[];
}

type Args<Shape extends z.ZodRawShape> = z.output<z.ZodObject<Shape>>;
type Result<Returns extends z.ZodType> = Promise<z.input<Returns> | JsonText<z.input<Returns>>>;

interface QueryDeclaration<A extends Auth, Shape extends z.ZodRawShape, Returns extends z.ZodType>
  extends Declaration<A, Shape, Returns> {
  /**
   * It goes through whole tables: on a connection of its own, one call after the other, while others are served. Nothing
   * watches what it reads, so who is subscribed gets it anew by `refreshMs` alone.
   */
  aside?: true;
  /** How often who is subscribed gets the answer anew where nothing says when it changes. See also `ctx.changesAt`. */
  refreshMs?: number;
  handler(ctx: QueryContext<CallerOf<A>>, args: Args<Shape>): Result<Returns>;
}
interface MutationDeclaration<A extends Auth, Shape extends z.ZodRawShape, Returns extends z.ZodType, Prepared>
  extends Declaration<A, Shape, Returns> {
  /** Runs before the transaction, for what takes long. What it returns is the handler's third argument. */
  prepare?(world: Preparation, args: Args<Shape>, caller: CallerOf<A>): Promise<Prepared>;
  /** Calls with a key in common wait for one another in this process, instead of losing to one another in the database. */
  oneAtATime?(args: Args<Shape>, caller: CallerOf<A>): string | readonly string[];
  handler(
    ctx: MutationContext<CallerOf<A>>,
    args: Args<Shape>,
    prepared: Prepared,
  ): Promise<z.input<Returns> | JsonText<z.input<Returns>> | Refusal>;
}

/** What one transaction runs: a function that callers reach, or one of the server's own. */
export interface Runnable {
  kind: Kind;
  /** What the value is checked against; the server's own functions are checked by their types alone. */
  returns?: z.ZodType;
  aside?: true;
  // The declaration's types were checked where it was written; here are functions of every shape.
  prepare?(world: Preparation, args: never, caller: never): Promise<unknown>;
  oneAtATime?(args: never, caller: never): string | readonly string[];
  handler(ctx: MutationContext<never>, args: never, prepared: never): Promise<unknown>;
}

/** A declared function, as the registry holds it. */
export interface FunctionDefinition extends Runnable {
  summary: string;
  auth: Auth;
  args: z.ZodType<object>;
  returns: z.ZodType;
  rate?: Rate;
  jsonArgs?: readonly string[];
  refreshMs?: number;
  limit?(args: never, caller: never, from: Origin): Counted[];
}

/** Declares a function that reads one snapshot. */
export function query<A extends Auth, Shape extends z.ZodRawShape, Returns extends z.ZodType>(
  declaration: QueryDeclaration<A, Shape, Returns>,
) {
  return { ...declaration, kind: "query" as const, args: z.strictObject(declaration.args) };
}

/** Declares a function that is one serializable transaction. */
export function mutation<A extends Auth, Shape extends z.ZodRawShape, Returns extends z.ZodType, Prepared = undefined>(
  declaration: MutationDeclaration<A, Shape, Returns, Prepared>,
) {
  return { ...declaration, kind: "mutation" as const, args: z.strictObject(declaration.args) };
}

/**
 * A function that only the server runs (functions/system), by `Dispatcher.runSystem`. No registry holds it, so no path leads
 * to it on any surface. Its arguments come from the server itself, so their types are all that is declared of them.
 */
export interface SystemFunction<Args extends object, Returns> extends Runnable {
  /** For the log: its module and what it does, such as `agentSockets.open`. */
  name: string;
  handler(ctx: MutationContext<SystemCaller>, args: Args): Promise<Returns>;
}

/** Declares a function of the server's own that reads one snapshot. */
export function systemQuery<Args extends object, Returns>(
  name: string,
  handler: (ctx: QueryContext<SystemCaller>, args: Args) => Promise<Returns>,
): SystemFunction<Args, Returns> {
  return { kind: "query", name, handler };
}

/** Declares a function of the server's own that is one serializable transaction. */
export function systemMutation<Args extends object, Returns>(
  name: string,
  handler: (ctx: MutationContext<SystemCaller>, args: Args) => Promise<Returns>,
  options: {
    /** Calls with the same key wait for one another in this process, instead of losing to one another in the database. */
    oneAtATime?(args: Args): string;
  } = {},
): SystemFunction<Args, Returns> {
  return { ...options, kind: "mutation", name, handler };
}
