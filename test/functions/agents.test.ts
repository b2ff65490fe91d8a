import { describe, expect, test } from "vitest";
import { databases, useServer } from "../support/harness.js";

describe.each(databases)("agents on %s (c2c.md section 3, agents)", (database) => {
  const server = useServer(database);

  test("register answers with an id, a key, a claim token and its link", async () => {
    const agent = await server.nobody.call("agents:register", { name: "Ann's helper", description: "plans dinners" });
    expect(agent.agentId).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    expect(agent.apiKey).toMatch(/^c2c_[A-Za-z0-9_-]{32}$/);
    expect(agent.claimUrl).toBe(`${server.server.publicUrl}/claim/${agent.claimToken}`);
  });
});
