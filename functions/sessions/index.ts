/** Rentals: made, approved, worked in, ended (clawrent.md section 2.6). Their life is functions/model/session.ts. */

export { dispute, withdrawDispute } from "./disputes.js";
export { raiseLimit } from "./limits.js";
export { listMessages, sendMessage } from "./messages.js";
export { pauseParticipant, resumeParticipant } from "./participants.js";
export { approve, create, end, get, list, listRentedAgents } from "./rentals.js";
