/**
 * `query()` and `mutation()` declare a function: who may call, what comes in, what goes out, what happens. A
 * declaration that lacks one of these four does not compile. `systemQuery()` and `systemMutation()` declare functions
 * that only the server runs.
 */
import { z } from "zod";
import type { Auth, CallerOf, MutationContext, Origin, Preparation, QueryContext, SystemCaller } from "../context.js";
import type { Counted } from "../counted-as.js";
import type { CallError } from "../errors.js";
import type { Rate } from "../limits.js";

export type Kind = "query" | "mutation";

/** A `refreshMs` for answers that people read in minutes. */
export const everyMinute = 60_000;

/**
 * A value that is already JSON, as the database wrote or stored it. It goes to the caller unchanged, so a long list
 * never becomes objects here. It may contain only strings, booleans, null, finite numbers, arrays and objects, because
 * these read the same in both wire encodings. The test suite parses each such value with the function's `returns`.
 */
export class JsonText<T> {
  declare readonly type: T;
  constructor(
    /** Without whitespace between its parts if it contains names that callers chose. */
    readonly text: string,
    /** Who chose the field names in it. Names that callers chose may be ones that some clients cannot read. */
    readonly names: "ours" | "callers'" = "ours",
  ) {}
}

/**
 * A refusal that keeps the handler's writes. A handler that throws a `CallError` loses its writes; one that returns a
 * `Refusal` commits them and still says no. A wrong code has to count, for example.
 */
export class Refusal {
  constructor(readonly error: CallError) {}
}

interface Declaration<A extends Auth, Shape extends z.ZodRawShape, Returns extends z.ZodType> {
  /** One sentence for the reference. */
  summary: string;
  auth: A;
  /** Each argument's schema. Unknown arguments are refused. */
  args: Shape;
  /** Arguments that may be any JSON, with keys and texts that are refused elsewhere. They are stored as JSON text. */
  jsonArgs?: readonly (keyof Shape & string)[];
  /** A whitelist: fields that are not declared here are not sent. */
  returns: Returns;
  /** A rate for this function's calls per address, besides the rates of all calls. */
  rate?: Rate;
  /** Further rates, counted by something in the arguments or by the caller. */
  limit?(args: Args<Shape>, caller: CallerOf<A>, from: Origin): Counted[];
}

type Args<Shape extends z.ZodRawShape> = z.output<z.ZodObject<Shape>>;
type Result<Returns extends z.ZodType> = Promise<z.input<Returns> | JsonText<z.input<Returns>>>;

interface QueryDeclaration<A extends Auth, Shape extends z.ZodRawShape, Returns extends z.ZodType>
  extends Declaration<A, Shape, Returns> {
  /**
   * The query goes through whole tables. It runs on its own connection, one such call at a time, while other calls go
   * on. Its reads are not watched, so subscribers get it again only by `refreshMs`.
   */
  aside?: true;
  /** How often subscribers get the answer again if nothing says when it changes (see `ctx.changesAt`). */
  refreshMs?: number;
  handler(ctx: QueryContext<CallerOf<A>>, args: Args<Shape>): Result<Returns>;
}
interface MutationDeclaration<A extends Auth, Shape extends z.ZodRawShape, Returns extends z.ZodType, Prepared>
  extends Declaration<A, Shape, Returns> {
  /** Runs before the transaction, for slow work. The handler gets its result as the third argument. */
  prepare?(world: Preparation, args: Args<Shape>, caller: CallerOf<A>): Promise<Prepared>;
  /** Calls that share a key wait for one another in this process, instead of conflicting in the database. */
  oneAtATime?(args: Args<Shape>, caller: CallerOf<A>): string | readonly string[];
  handler(
    ctx: MutationContext<CallerOf<A>>,
    args: Args<Shape>,
    prepared: Prepared,
  ): Promise<z.input<Returns> | JsonText<z.input<Returns>> | Refusal>;
}

/** What a transaction runs: a function for callers, or one of the server's own. */
export interface Runnable {
  kind: Kind;
  /** The schema of the value. Undefined for the server's own functions, which only the compiler checks. */
  returns?: z.ZodType;
  aside?: true;
  // The compiler checked these types where the function was declared; here they fit functions of every shape.
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
 * A function that only the server runs (functions/system), through `Dispatcher.runSystem`. It is in no registry, so no
 * surface can reach it. The server makes its arguments, so only their types are declared.
 */
export interface SystemFunction<Args extends object, Returns> extends Runnable {
  /** For the log: the module and what the function does, such as `agentSockets.open`. */
  name: string;
  handler(ctx: MutationContext<SystemCaller>, args: Args): Promise<Returns>;
}

/** Declares a function of the server that reads one snapshot. */
export function systemQuery<Args extends object, Returns>(
  name: string,
  handler: (ctx: QueryContext<SystemCaller>, args: Args) => Promise<Returns>,
): SystemFunction<Args, Returns> {
  return { kind: "query", name, handler };
}

/** Declares a function of the server that is one serializable transaction. */
export function systemMutation<Args extends object, Returns>(
  name: string,
  handler: (ctx: MutationContext<SystemCaller>, args: Args) => Promise<Returns>,
  options: {
    /** As `oneAtATime` of a mutation. */
    oneAtATime?(args: Args): string;
  } = {},
): SystemFunction<Args, Returns> {
  return { ...options, kind: "mutation", name, handler };
}
