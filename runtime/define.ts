/**
 * `query()` and `mutation()`: how a function is declared. The declaration says who may call, what comes in, what goes
 * out and what happens; without one of the four it does not compile.
 */
import { z } from "zod";
import type { Auth, CallerOf, MutationContext, QueryContext } from "./context.js";
import type { Rate } from "./limits.js";

export type Kind = "query" | "mutation";

/**
 * A value that the database has already written as JSON. It goes to the caller as it is, so a long list never becomes
 * objects here. Only strings, booleans, null, finite numbers, arrays and objects may be in it, so that it reads the same
 * in both encodings; the test suite parses each one against the function's `returns`.
 */
export class JsonText<T> {
  declare readonly type: T;
  constructor(readonly text: string) {}
}

interface Declaration<A extends Auth, Shape extends z.ZodRawShape, Returns extends z.ZodType> {
  /** One sentence for the reference. */
  summary: string;
  auth: A;
  /** Each argument's schema; unknown arguments are refused. */
  args: Shape;
  /** A whitelist: a field that is not declared here does not leave. */
  returns: Returns;
  /** A rate that counts this function's calls per address, beside the one that counts all calls. */
  rate?: Rate;
}

type Args<Shape extends z.ZodRawShape> = z.output<z.ZodObject<Shape>>;
type Result<Returns extends z.ZodType> = Promise<z.input<Returns> | JsonText<z.input<Returns>>>;

interface QueryDeclaration<A extends Auth, Shape extends z.ZodRawShape, Returns extends z.ZodType>
  extends Declaration<A, Shape, Returns> {
  handler(ctx: QueryContext<CallerOf<A>>, args: Args<Shape>): Result<Returns>;
}
interface MutationDeclaration<A extends Auth, Shape extends z.ZodRawShape, Returns extends z.ZodType>
  extends Declaration<A, Shape, Returns> {
  handler(ctx: MutationContext<CallerOf<A>>, args: Args<Shape>): Result<Returns>;
}

/** A declared function, as the registry holds it. */
export interface FunctionDefinition {
  kind: Kind;
  summary: string;
  auth: Auth;
  args: z.ZodType<object>;
  returns: z.ZodType;
  rate?: Rate;
  // The declaration's types were checked where it was written; the registry holds functions of every shape.
  handler(ctx: MutationContext<never>, args: never): Promise<unknown>;
}

/** Declares a function that reads one snapshot. */
export function query<A extends Auth, Shape extends z.ZodRawShape, Returns extends z.ZodType>(
  declaration: QueryDeclaration<A, Shape, Returns>,
) {
  return { ...declaration, kind: "query" as const, args: z.strictObject(declaration.args) };
}

/** Declares a function that is one serializable transaction. */
export function mutation<A extends Auth, Shape extends z.ZodRawShape, Returns extends z.ZodType>(
  declaration: MutationDeclaration<A, Shape, Returns>,
) {
  return { ...declaration, kind: "mutation" as const, args: z.strictObject(declaration.args) };
}
