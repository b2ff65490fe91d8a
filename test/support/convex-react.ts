/**
 * `ConvexReactClient` as npm has it, without React. The client renders nothing, but its module also contains the hooks,
 * which import names from React when they are loaded.
 */
import { register } from "node:module";
import type { ConvexReactClient } from "convex/react";
import { onTestFinished } from "vitest";
import { WebSocket } from "ws";
import type { TestServer } from "./harness.js";

const react = `
  export const createContext = () => ({});
  export const createElement = () => null;
  export const Fragment = null;
  const hook = () => { throw new Error("There is no React here"); };
  export const useCallback = hook, useContext = hook, useEffect = hook, useMemo = hook, useRef = hook, useState = hook;
  export default { createContext, createElement, Fragment };
`;
const resolver = `
  export async function resolve(specifier, context, next) {
    if (specifier !== "react") return next(specifier, context);
    return { url: ${JSON.stringify(`data:text/javascript,${encodeURIComponent(react)}`)}, shortCircuit: true };
  }
`;
register(`data:text/javascript,${encodeURIComponent(resolver)}`);

/** A client of the server. It is closed after the test. */
export async function reactClient(server: Pick<TestServer, "url">): Promise<ConvexReactClient> {
  const { ConvexReactClient } = await import("convex/react");
  const client = new ConvexReactClient(server.url, {
    skipConvexDeploymentUrlCheck: true,
    logger: false,
    webSocketConstructor: WebSocket as unknown as typeof globalThis.WebSocket,
    unsavedChangesWarning: false,
  });
  onTestFinished(() => client.close());
  return client;
}
