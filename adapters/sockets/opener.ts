import type { CredentialId } from "../../runtime/context.js";
import type { Closing } from "./close-codes.js";

/** Who opened the socket, so that it closes when they lose the right to. */
export interface Opener {
  credentialId: CredentialId;
  /** The agent whose credential it is; null for a user's, and for what was opened with a session token. */
  agentId: string | null;
  /** The user that it was opened for: the one whose credential it is, the agent's owner, or the one on that side. */
  userId: string | null;
  /** How it closes once its credential has ended, and where its user is suspended. */
  revoked: Closing;
  suspended: Closing;
}
