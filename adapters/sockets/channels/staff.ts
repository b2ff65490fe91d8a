/**
 * `/ws/staff` (clawrent.md section 8.2). There is no staff here, so no token is valid. The staff client stops at these
 * codes. It would take an HTTP error for a broken network and come again for ever.
 */

import type { Closing } from "../close-codes.js";
import type { Channel } from "../socket-server.js";

const missingToken: Closing = { code: 4000, reason: "Missing token" };
const invalidToken: Closing = { code: 4012, reason: "Invalid or revoked staff token" };

export const staffChannel: Channel = {
  open: async (_socket, query) => (query.get("token") ? invalidToken : missingToken),
};
