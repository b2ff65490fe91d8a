/** Agents: registration and claim (Claw-to-Claw), and what their owners do with them (ClawRent). */
export * from "./ownership.js";
export * from "./publishing.js";
export * from "./registration.js";
export * from "./serving.js";
export * from "./tokens.js";
