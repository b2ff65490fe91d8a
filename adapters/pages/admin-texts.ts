/** What the admin's pages say, in English. `AdminTexts` is the list of it that every language has to fill. */

interface Message {
  title: string;
  text: string;
}

/** What is asked before something is done, on the button that does it, and what stands on the next page. */
interface Deed {
  ask: Message;
  button: string;
  done: string;
}

export interface AdminTexts {
  title: string;
  signIn: {
    title: string;
    text: string;
    email: string;
    password: string;
    button: string;
    wrong: string;
    notAdmin: string;
    suspended: string;
    tooMany: string;
    ended: string;
    lost: string;
  };
  signOut: string;
  menu: string;
  tabs: { queue: string; agents: string; sessions: string; audit: string };
  foreign: Message;
  refused: Message;
  missing: Message;
  back: string;
  more: string;
  cancel: string;
  optional: string;
  none: string;
  empty: string;
  total(total: number): string;
  page(page: number, pages: number): string;
  previous: string;
  next: string;
  byStatus: string;
  /** Written by the agents' owners and by renters. */
  foreignWords: string;
  queue: { title: string; text: string; empty: string; note: string };
  /** Of what owners want to change of listed agents. */
  changes: {
    text: string;
    empty: string;
    waiting: string;
    now: string;
    wanted: string;
    fields: Record<
      | "name"
      | "description"
      | "longDescription"
      | "capabilities"
      | "requiredPermissions"
      | "endpoint"
      | "healthCheckUrl",
      string
    >;
  };
  agents: { title: string };
  sessions: { title: string };
  audit: {
    title: string;
    text: string;
    allHold: string;
    broken: string;
    holds: string;
    fails: string;
    /** By the English sentence (functions/model/money/audit.ts). */
    invariants: Record<string, string>;
  };
  agent: {
    name: string;
    slug: string;
    owner: string;
    online: string;
    description: string;
    longDescription: string;
    capabilities: string;
    tags: string;
    price: string;
    hosting: string;
    endpoint: string;
    healthCheck: string;
    permissions: string;
    approval: string;
    transparency: string;
    atOnce: string;
    slots: string;
    totalSessions: string;
    earlierNote: string;
    registered: string;
    submitted: string;
    suspendedOwner: string;
  };
  session: {
    task: string;
    provider: string;
    consumer: string;
    status: string;
    guardrail: string;
    missingPermissions: string;
    price: string;
    billing: string;
    messages: string;
    created: string;
    started: string;
    ended: string;
    endReason: string;
    id: string;
  };
  /** "0.05 CNY per token". */
  price(amount: string, currency: string, model: string): string;
  charged(amount: string, currency: string, fee: string, income: string): string;
  agentStatus: Record<string, string>;
  onlineStatus: Record<string, string>;
  hostingType: Record<string, string>;
  approvalMode: Record<string, string>;
  transparencyLevel: Record<string, string>;
  sessionStatus: Record<string, string>;
  billingStatus: Record<string, string>;
  endReason: Record<string, string>;
  verdict: Record<string, string>;
  reason: string;
  deeds: {
    approveAgent: Deed;
    rejectAgent: Deed;
    approveChanges: Deed;
    rejectChanges: Deed;
    suspendAgent: Deed;
    reinstateAgent: Deed;
    suspendUser: Deed;
    reinstateUser: Deed;
    terminateSession: Deed;
    refund: Deed;
  };
}

export type DeedName = keyof AdminTexts["deeds"];

const pricePer: Record<string, string> = {
  per_token: "per token",
  per_session: "per session",
  per_minute: "per minute",
  fixed: "fixed",
};

export const adminEnglish: AdminTexts = {
  title: "Administration",
  signIn: {
    title: "Sign in as an admin",
    text: "For those who run this server. Everybody else has no need of this page.",
    email: "E-mail",
    password: "Password",
    button: "Sign in",
    wrong: "The e-mail or the password is wrong.",
    notAdmin: "This account is not an admin's. You are not signed in here.",
    suspended: "This account is suspended.",
    tooMany: "Too many tries. Please wait a minute, then try again.",
    ended: "Your sign-in has ended. Nothing was done. Please sign in again.",
    lost: "This account is not an admin's any more, or it is suspended. Nothing was done.",
  },
  signOut: "Sign out",
  menu: "Administration",
  tabs: { queue: "Review", agents: "Agents", sessions: "Sessions", audit: "Ledger" },
  foreign: {
    title: "This form was not sent from this page",
    text: "Nothing was done. Open the page again and press the button there.",
  },
  refused: { title: "That was not done", text: "The server says:" },
  missing: { title: "There is nothing here", text: "It does not exist, or the link is not whole." },
  back: "Back",
  more: "More about it",
  cancel: "Cancel",
  optional: "optional",
  none: "None",
  empty: "There is nothing to show.",
  total: (total) => (total === 1 ? "1 in all" : `${total} in all`),
  page: (page, pages) => `Page ${page} of ${pages}`,
  previous: "Previous",
  next: "Next",
  byStatus: "By status",
  foreignWords: "What stands in the frames was written by agents and their users.",
  queue: {
    title: "Agents that wait for review",
    text: "An approved agent is listed on the marketplace and can be rented. The one that has waited longest comes first.",
    empty: "No agent waits for review.",
    note: "Note to the owner",
  },
  changes: {
    text: "Their owners want to change what was reviewed. Until you decide, everybody sees what stands under Now. The one that has waited longest comes first.",
    empty: "No changes wait for review.",
    waiting: "Changes of this agent wait for review.",
    now: "Now",
    wanted: "After approval",
    fields: {
      name: "Name",
      description: "Description",
      longDescription: "Long description",
      capabilities: "Capabilities",
      requiredPermissions: "Permissions it asks for",
      endpoint: "Endpoint",
      healthCheckUrl: "Health check",
    },
  },
  agents: { title: "Agents" },
  sessions: { title: "Sessions" },
  audit: {
    title: "The ledger",
    text: "What must hold of all the money on this server, checked just now.",
    allHold: "Everything holds.",
    broken: "Something does not hold. Stop the server from taking payments and look into it.",
    holds: "Holds",
    fails: "Does not hold",
    invariants: {},
  },
  agent: {
    name: "Name",
    slug: "Slug",
    owner: "Owner",
    online: "Presence",
    description: "Description",
    longDescription: "Long description",
    capabilities: "Capabilities",
    tags: "Tags:",
    price: "Price",
    hosting: "Hosting",
    endpoint: "Endpoint",
    healthCheck: "Health check",
    permissions: "Permissions it asks for",
    approval: "Starts sessions",
    transparency: "Transparency",
    atOnce: "Sessions at once",
    slots: "Consumers in one session",
    totalSessions: "Sessions so far",
    earlierNote: "Earlier note",
    registered: "Registered",
    submitted: "Submitted",
    suspendedOwner: "suspended",
  },
  session: {
    task: "Task",
    provider: "Agent",
    consumer: "Rented by",
    status: "Status",
    guardrail: "Guardrail",
    missingPermissions: "Permissions not granted",
    price: "Price",
    billing: "Billing",
    messages: "Messages",
    created: "Created",
    started: "Started",
    ended: "Ended",
    endReason: "Why it ended",
    id: "Session id",
  },
  price: (amount, currency, model) => `${amount} ${currency} ${pricePer[model] ?? model}`,
  charged: (amount, currency, fee, income) => `${amount} ${currency} (fee ${fee}, income ${income})`,
  agentStatus: {
    pending_review: "New agents",
    changed: "Changes",
    active: "Active",
    rejected: "Rejected",
    suspended: "Suspended",
  },
  onlineStatus: { online: "Online", offline: "Offline", busy: "Busy" },
  hostingType: { self_hosted: "By its owner", platform_hosted: "By the platform" },
  approvalMode: { auto: "At once", manual: "When its owner approves" },
  transparencyLevel: { opaque: "Opaque", moderate: "Moderate", transparent: "Transparent" },
  sessionStatus: {
    pending_approval: "Waiting for approval",
    active: "Active",
    completed: "Completed",
    aborted: "Aborted",
    expired: "Expired",
  },
  billingStatus: { pending: "Open", settled: "Settled", refunded: "Refunded", disputed: "Disputed" },
  endReason: {
    completed: "One side ended it",
    terminated: "An admin terminated it",
    cancelled: "It was cancelled",
    refused: "The agent's owner refused it",
    insufficient_balance: "The money ran out",
    limit_reached: "It came to its limit",
    expired: "Nobody approved it in time",
  },
  verdict: { block: "Blocked until reviewed by hand", advisory: "Advice only", allow: "Clean" },
  reason: "Reason",
  deeds: {
    approveAgent: {
      ask: { title: "Approve this agent?", text: "It is then listed on the marketplace and can be rented." },
      button: "Approve",
      done: "The agent is approved.",
    },
    rejectAgent: {
      ask: { title: "Reject this agent?", text: "It is not listed. Its owner can change it and publish it again." },
      button: "Reject",
      done: "The agent is rejected.",
    },
    approveChanges: {
      ask: { title: "Approve these changes?", text: "Everybody sees them from then on. The agent stays listed." },
      button: "Approve the changes",
      done: "The changes are approved.",
    },
    rejectChanges: {
      ask: {
        title: "Reject these changes?",
        text: "They are dropped, and the agent stays listed as it is. Its owner sees your note and can ask again.",
      },
      button: "Reject the changes",
      done: "The changes are rejected.",
    },
    suspendAgent: {
      ask: {
        title: "Suspend this agent?",
        text: "It goes offline, is no longer listed, and cannot be rented until it is reinstated.",
      },
      button: "Suspend the agent",
      done: "The agent is suspended.",
    },
    reinstateAgent: {
      ask: { title: "Reinstate this agent?", text: "It is listed again and can be rented." },
      button: "Reinstate",
      done: "The agent is active again.",
    },
    suspendUser: {
      ask: {
        title: "Suspend this owner?",
        text: "The account can do nothing more, and neither can any of its agents, until it is reinstated.",
      },
      button: "Suspend the owner",
      done: "The owner's account is suspended.",
    },
    reinstateUser: {
      ask: { title: "Reinstate this owner?", text: "The account and its agents can act again." },
      button: "Reinstate the owner",
      done: "The owner's account is active again.",
    },
    terminateSession: {
      ask: {
        title: "Terminate this session?",
        text: "It ends for both sides at once, and what is due for it is charged. This cannot be undone.",
      },
      button: "Terminate the session",
      done: "The session is terminated.",
    },
    refund: {
      ask: {
        title: "Refund this session?",
        text: "The renter gets back all that was charged, and the provider's income is taken back. This cannot be undone.",
      },
      button: "Refund",
      done: "The session is refunded.",
    },
  },
};
