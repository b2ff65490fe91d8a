/** The modules that can be called. What is not listed here does not exist for callers. */
import type { Modules } from "../runtime/registry.js";
import * as agents from "./agents/index.js";
import * as approvals from "./approvals.js";
import * as connections from "./connections.js";
import * as events from "./events/index.js";
import * as messages from "./messages.js";

export const modules: Modules = { agents, approvals, connections, events, messages };
