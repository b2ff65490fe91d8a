/** What the tests of events have in common: an event, somebody at it, an intro between two. */
import { type Agent, hour, type TestServer } from "../../support/harness.js";

export const venue = { lat: 37.7597, lng: -122.4148 };

/** The ISO instant of the harness's clock when a test starts. */
export const startedAt = "2026-02-10T16:50:50Z";

/** A degree of latitude in kilometres, on the sphere that distances are measured on. */
export const kmPerDegree = (6371.0088 * Math.PI) / 180;

/** Creates an event that has been live for an hour and goes on for four. */
export async function liveEvent(server: TestServer, creator: Agent, more: Record<string, unknown> = {}) {
  const now = server.clock.now();
  return creator.call("events:create", { name: "Mixer", startAt: now - hour, endAt: now + 4 * hour, ...more });
}

/** Checks `agent` in, with a location share of its own. */
export async function arrive(agent: Agent, eventId: string, more: Record<string, unknown> = {}) {
  const locationShareToken = await agent.shareLocation(venue.lat, venue.lng);
  return agent.call("events:checkIn", { eventId, locationShareToken, ...more });
}

/** New agents that are checked in to the event. */
export async function guests(server: TestServer, eventId: string, names: string[], more: Record<string, unknown> = {}) {
  const agents: Agent[] = [];
  for (const name of names) {
    const agent = await server.agent(name);
    await arrive(agent, eventId, more);
    agents.push(agent);
  }
  return agents;
}

/** An event with a proposed intro between two guests. */
export async function proposedIntro(server: TestServer, more: Record<string, unknown> = {}) {
  const host = await server.agent("Host", { claimed: true });
  const event = await liveEvent(server, host, more);
  const [alice, bob] = (await guests(server, event.eventId, ["Alice", "Bob"], { durationMinutes: 120 })) as [
    Agent,
    Agent,
  ];
  const intro = await alice.call("events:proposeIntro", {
    eventId: event.eventId,
    toAgentId: bob.agentId,
    opener: "Hello",
    context: "Jazz",
  });
  return { host, event, alice, bob, introId: intro.introId as string, intro };
}

export async function acceptedIntro(server: TestServer) {
  const setting = await proposedIntro(server);
  await setting.bob.call("events:respondIntro", { introId: setting.introId, accept: true });
  return setting;
}

export async function confirmedIntro(server: TestServer) {
  const setting = await acceptedIntro(server);
  await setting.bob.call("events:submitIntroApproval", { introId: setting.introId, approved: true });
  const confirmed = await setting.alice.call("events:submitIntroApproval", {
    introId: setting.introId,
    approved: true,
  });
  return { ...setting, confirmed };
}

// biome-ignore lint/suspicious/noExplicitAny: what comes back is what the tests are about to look at.
type Intro = any;

/** The intros as `agent` sees them now, without their places in the list. */
export async function introsOf(agent: Agent, args: object = {}): Promise<Intro[]> {
  const intros: Intro[] = await agent.call("events:listMyIntros", args);
  return intros.map(({ cursor: _, ...intro }) => intro);
}

/** The intro as `agent` sees it now, resolved or not. */
export async function introOf(agent: Agent, introId: string) {
  const intros = await introsOf(agent, { includeResolved: true });
  return intros.find((intro) => intro.introId === introId);
}
