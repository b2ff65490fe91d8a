#!/usr/bin/env node
/** Runs the server as a process: environment, signals and exit code. */
import { ConfigError, readConfig } from "../runtime/config.js";
import { createServer } from "../server.js";

try {
  const server = await createServer(readConfig(process.env));
  const stop = () => {
    void server.close().then(
      () => process.exit(0),
      (error: unknown) => fail(error),
    );
  };
  process.on("SIGTERM", stop);
  process.on("SIGINT", stop);
} catch (error) {
  fail(error);
}

function fail(error: unknown): never {
  const address = error as NodeJS.ErrnoException & { port?: number };
  if (error instanceof ConfigError) console.error(error.message);
  else if (address.code === "EADDRINUSE") console.error(`PORT: ${address.port} is in use; choose another`);
  else console.error(error);
  process.exit(1);
}
