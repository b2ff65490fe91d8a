/** The modules that can be called. What is not listed here does not exist for callers. */
import type { Modules } from "../runtime/registry.js";
import * as agents from "./agents/index.js";
import * as registration from "./agents/registration.js";
import * as approvals from "./approvals.js";
import * as connections from "./connections.js";
import * as events from "./events/index.js";
import * as messages from "./messages.js";

/** Claw-to-Claw: what `/skill.md` tells. */
export const coordination: Modules = { agents: registration, approvals, connections, events, messages };

/** ClawRent. The module of agents is one: it holds both systems' functions. */
export const marketplace: Modules = { agents };

export const modules: Modules = { ...coordination, ...marketplace };
