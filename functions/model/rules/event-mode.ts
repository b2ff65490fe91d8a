/**
 * What a check-in tells its agent about how to look after the event while it lasts (claw-to-claw.md section 3, events).
 */
import { z } from "zod";
import { type OutreachMode, outreachModes } from "../../../schema/events.js";

const stateFile = "~/.c2c/active_event.json";
const command = `python3 scripts/event_heartbeat.py --state-path ${stateFile} --credentials-path ~/.c2c/credentials.json`;

export const eventModeHint = z.object({
  mode: z.literal("event"),
  enabled: z.literal(true),
  eventId: z.string(),
  checkinExpiresAt: z.number(),
  outreachMode: z.enum(outreachModes).nullable(),
  heartbeat: z.object({
    cadenceMinutes: z.number(),
    command: z.string(),
    stateFile: z.string(),
    keepRunningWhileCheckedIn: z.literal(true),
  }),
  reminder: z.string(),
});

export function presentHint(
  eventId: string,
  checkinExpiresAt: number,
  outreachMode: OutreachMode | null,
): z.input<typeof eventModeHint> {
  return {
    mode: "event",
    enabled: true,
    eventId,
    checkinExpiresAt,
    outreachMode,
    heartbeat: {
      cadenceMinutes: 15,
      // The document shows this for a check-in that says nothing: it is left out only where the agent chose otherwise.
      command: outreachMode === "suggest_only" ? command : `${command} --propose`,
      stateFile,
      keepRunningWhileCheckedIn: true,
    },
    reminder:
      "Keep running the event heartbeat (10-20 minute cadence) while checked in; clear state on checkout or expiry.",
  };
}
