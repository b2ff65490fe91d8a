/** What a check-in tells its agent about how to look after the event while it lasts: which script to run, how often. */
import { z } from "zod";
import { type OutreachMode, outreachModes } from "../../schema/events.js";

const stateFile = "~/.c2c/active_event.json";
const command = `python3 scripts/event_heartbeat.py --state-path ${stateFile} --credentials-path ~/.c2c/credentials.json`;

export const eventModeHint = z.object({
  mode: z.literal("event"),
  enabled: z.literal(true),
  eventId: z.string(),
  checkinExpiresAt: z.number(),
  outreachMode: z.enum(outreachModes),
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
  outreachMode: OutreachMode,
): z.input<typeof eventModeHint> {
  return {
    mode: "event",
    enabled: true,
    eventId,
    checkinExpiresAt,
    outreachMode,
    heartbeat: {
      cadenceMinutes: 15,
      // Only an agent that was told to propose on its own gets the option that does.
      command: outreachMode === "propose_for_me" ? `${command} --propose` : command,
      stateFile,
      keepRunningWhileCheckedIn: true,
    },
    reminder:
      "Keep running the event heartbeat (10-20 minute cadence) while checked in; clear state on checkout or expiry.",
  };
}
