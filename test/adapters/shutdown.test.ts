/** Stopping does not wait for who asks nothing. */
import { once } from "node:events";
import { connect } from "node:net";
import { expect, test } from "vitest";
import { startServer } from "../support/harness.js";

test("a connection that nothing was asked on ends at once when the server stops", async () => {
  const server = await startServer("sqlite");
  const { port } = new URL(server.url);
  const silent = connect(Number(port), "127.0.0.1");
  await once(silent, "connect");
  // Another one is served after it, so the server knows of both.
  expect((await fetch(`${server.url}/livez`)).status).toBe(200);
  const closed = once(silent, "close");
  await Promise.all([server.close(), closed]);
}, 5_000);
