/** Whether the process lives, whether it can serve, and what a person or a ClawRent client is told about it. */
import type { HttpApp, HttpContext } from "./http.js";
import { sendReply } from "./http.js";
import { labelOf } from "./wire.js";

export interface Health {
  /** Rejects where the database does not answer. */
  checkDatabase(): Promise<void>;
  /** False once the server is on its way out. */
  accepting(): boolean;
  now(): number;
}

export function addHealthRoutes(app: HttpApp, health: Health): void {
  app.get("/livez", (c) => sendReply(c, { status: 200, body: '{"status":"alive"}' }));

  app.get("/readyz", async (c) => {
    const ready = health.accepting() && (await databaseUp(health));
    return sendReply(c, { status: ready ? 200 : 503, body: JSON.stringify({ status: ready ? "ready" : "not ready" }) });
  });

  // The shape is ClawRent's (clawrent.md section 2.9).
  app.get("/api/health", async (c: HttpContext) => {
    const up = await databaseUp(health);
    const timestamp = new Date(health.now()).toISOString();
    const services = { database: up ? "up" : "down" };
    return sendReply(
      c,
      up
        ? { status: 200, body: JSON.stringify({ status: "healthy", timestamp, services }) }
        : {
            status: 503,
            body: JSON.stringify({
              status: "unhealthy",
              timestamp,
              services,
              error: labelOf(503),
              message: "The database does not answer",
            }),
          },
    );
  });
}

async function databaseUp(health: Health): Promise<boolean> {
  try {
    await health.checkDatabase();
    return true;
  } catch {
    return false;
  }
}
