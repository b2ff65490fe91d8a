import type { Runtime } from "../runtime/dispatch.js";
import type { HttpApp } from "./http.js";
export function addPageRoutes(_app: HttpApp, _runtime: Runtime, _options: { trustProxy: boolean }): void {}
