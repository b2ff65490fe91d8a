/** What an admin does (clawrent.md section 2.10): agents, users, sessions, money and events. */
export * from "./agents.js";
export * from "./billing.js";
export * from "./disputes.js";
export * from "./events.js";
export * from "./funding.js";
export * from "./sessions.js";
export * from "./users.js";
