/** The migrations in order. Numbered, forward only, and frozen once released. */
import type { Kysely } from "kysely";
import * as coordination from "./0001-coordination.js";
import * as marketplace from "./0002-marketplace.js";
import * as processes from "./0003-processes.js";
import * as keptBytes from "./0004-kept-bytes.js";
import * as events from "./0006-events.js";
import * as lists from "./0007-lists.js";
import * as credentials from "./0008-credentials.js";
import * as signIns from "./0009-sign-ins.js";
import * as money from "./0010-money.js";
import * as reviewedListings from "./0011-reviewed-listings.js";
import * as orderStates from "./0012-order-states.js";
import * as listingOwners from "./0013-listing-owners.js";
import * as eventStarts from "./0014-event-starts.js";
import * as outreachMode from "./0015-outreach-mode.js";
import * as foldedWords from "./0016-folded-words.js";
import * as busyAgents from "./0017-busy-agents.js";
import type { MigrationTarget } from "./target.js";

export interface Migration {
  name: string;
  up(db: Kysely<never>, target: MigrationTarget): Promise<void>;
}

export const migrations: readonly Migration[] = [
  { name: "0001-coordination", up: coordination.up },
  { name: "0002-marketplace", up: marketplace.up },
  { name: "0003-processes", up: processes.up },
  { name: "0004-kept-bytes", up: keptBytes.up },
  { name: "0006-events", up: events.up },
  { name: "0007-lists", up: lists.up },
  { name: "0008-credentials", up: credentials.up },
  { name: "0009-sign-ins", up: signIns.up },
  { name: "0010-money", up: money.up },
  { name: "0011-reviewed-listings", up: reviewedListings.up },
  { name: "0012-order-states", up: orderStates.up },
  { name: "0013-listing-owners", up: listingOwners.up },
  { name: "0014-event-starts", up: eventStarts.up },
  { name: "0015-outreach-mode", up: outreachMode.up },
  { name: "0016-folded-words", up: foldedWords.up },
  { name: "0017-busy-agents", up: busyAgents.up },
];
