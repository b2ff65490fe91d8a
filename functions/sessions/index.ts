/**
 * Rentals (clawrent.md section 2.6): making, approving, working in and ending them. Their life is
 * model/session/session.ts.
 */

export { dispute, withdrawDispute } from "./disputes.js";
export { listMessages } from "./history.js";
export { raiseLimit } from "./limits.js";
export { pauseParticipant, resumeParticipant } from "./participants.js";
export { approve, create, end, get, list, listRentedAgents } from "./rentals.js";
export { sendMessage } from "./sending.js";
