/** Accounts of people (clawrent.md section 2.3, people.md section 6). */
export * from "./passwords.js";
export * from "./registration.js";
export * from "./sign-ins.js";
