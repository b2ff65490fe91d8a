/** The modules that can be called. What is not listed here does not exist for callers. */
import type { Modules } from "../runtime/call/registry.js";
import * as admin from "./admin/index.js";
import * as agents from "./agents/index.js";
import * as registration from "./agents/registration.js";
import * as approvals from "./approvals.js";
import * as billing from "./billing.js";
import * as cart from "./cart.js";
import * as connections from "./connections.js";
import * as docs from "./docs.js";
import * as events from "./events/index.js";
import * as favorites from "./favorites.js";
import * as follows from "./follows.js";
import * as listings from "./marketplace.js";
import * as messages from "./messages.js";
import * as orders from "./orders.js";
import * as sessions from "./sessions/index.js";
import * as users from "./users/index.js";

/** Claw-to-Claw: the modules that `/skill.md` describes. */
export const coordination = { agents: registration, approvals, connections, events, messages } satisfies Modules;

/** ClawRent. There is one module `agents`, with the functions of both systems. */
const marketplace = {
  users,
  agents,
  marketplace: listings,
  follows,
  favorites,
  cart,
  sessions,
  orders,
  billing,
  admin,
  docs,
} satisfies Modules;

export const modules = { ...coordination, ...marketplace } satisfies Modules;

/** What can be called, with its types, for the typed client (client/index.ts). */
export type Api = typeof modules;
