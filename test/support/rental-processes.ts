/** Two server processes on one new database, in which an agent is already rented. */
import { ManualClock } from "./clock.js";
import { startServer } from "./harness.js";
import { disconnect } from "./market.js";
import { ServerProcess } from "./process.js";
import { createShared } from "./processes.js";
import { openSession as rentAgent } from "./rental.js";

const secret = "a secret that only the tests know, and all of them";

export async function startRentalProcesses() {
  const database = await createShared();
  // A server that stops before the two start makes what they need.
  const before = await startServer("postgres", { databaseUrl: database.url, clock: new ManualClock(Date.now()) });
  const rented = await rentAgent(before);
  await disconnect(before, rented.agentId);
  const { sessionId, session, provider } = rented;
  const { sessionToken } = await provider.call("sessions:get", { sessionId });
  await before.server.close();

  const options = { databaseUrl: database.url, environment: { JWT_SECRET: secret } };
  const [one, other] = await Promise.all([ServerProcess.start(options), ServerProcess.start(options)]);
  return {
    database,
    rented,
    one,
    other,
    asProvider: { sessionId, token: sessionToken as string, role: "provider" },
    asConsumer: { sessionId, token: session.sessionToken as string, role: "consumer" },
  };
}
