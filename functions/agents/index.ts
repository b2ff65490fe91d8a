/** Agents: registration and claim (Claw-to-Claw), and what their owners do with them (ClawRent). */
export * from "./credentials.js";
export * from "./ownership.js";
export * from "./publishing.js";
export * from "./registration.js";
export * from "./serving.js";
