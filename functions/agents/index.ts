/** Agents: registration and claim (Claw-to-Claw). */
export * from "./registration.js";
