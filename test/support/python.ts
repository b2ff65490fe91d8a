/** Runs the Python scripts as an agent does, against a server in this process. */
import { execFile, execFileSync } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll } from "vitest";

const scriptsFolder = fileURLToPath(new URL("../../adapters/documents/scripts", import.meta.url));

const candidates = ["python3", "/usr/bin/python3"];

/**
 * The path of the first Python that can run `program`; its own path, because a version manager's shim would slow every
 * start down.
 */
function findPython(program: string): string | undefined {
  for (const candidate of candidates) {
    try {
      const asked = execFileSync(candidate, ["-c", `${program}\nimport sys\nprint(sys.executable)`], {
        stdio: ["ignore", "pipe", "ignore"],
        encoding: "utf8",
      });
      return asked.trim() || candidate;
    } catch {
      // It is missing, or cannot run the program.
    }
  }
  return undefined;
}

/** Undefined if there is no Python. */
export const python = findPython("import sys; assert sys.version_info >= (3, 9)");

/** A Python with PyNaCl; undefined if there is none. */
export const pythonWithNacl = findPython("import nacl.public");

export interface Ran {
  code: number;
  stdout: string;
  stderr: string;
}

interface RunOptions {
  input?: string;
  environment?: Record<string, string>;
}

/** Runs Python with these arguments. Does not block, because the server that it calls runs in this process. */
export function runPython(interpreter: string, args: string[], options: RunOptions = {}): Promise<Ran> {
  return new Promise((resolve) => {
    const environment = {
      PATH: process.env.PATH,
      PYTHONDONTWRITEBYTECODE: "1",
      PYTHONPATH: scriptsFolder,
      ...options.environment,
    };
    const child = execFile(
      interpreter,
      args,
      { env: environment, timeout: 50_000, maxBuffer: 64 * 1024 * 1024 },
      (error, stdout, stderr) => {
        resolve({ code: error ? Number(error.code ?? -1) : 0, stdout, stderr });
      },
    );
    child.stdin?.end(options.input ?? "");
  });
}

export function runScript(interpreter: string, script: string, args: string[], options?: RunOptions): Promise<Ran> {
  return runPython(interpreter, [join(scriptsFolder, script), ...args], options);
}

/** A folder for the files of the surrounding `describe`. */
export class Folder {
  readonly path = mkdtempSync(join(tmpdir(), "tidepool-scripts-"));
  #count = 0;

  /** A path at which nothing exists yet. */
  fresh(name = "file"): string {
    this.#count += 1;
    return join(this.path, String(this.#count), name);
  }

  write(text: string, mode = 0o600, name?: string): string {
    const path = this.fresh(name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text);
    chmodSync(path, mode);
    return path;
  }
}

export function useFolder(): Folder {
  const folder = new Folder();
  afterAll(() => rmSync(folder.path, { recursive: true, force: true }));
  return folder;
}

export function exists(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false }) !== undefined;
}

/** The permission bits of a file, such as 0o600. */
export function modeOf(path: string): number {
  return statSync(path).mode & 0o777;
}

export function readJson(path: string): Record<string, unknown> {
  return JSON.parse(readFileSync(path, "utf8")) as Record<string, unknown>;
}
