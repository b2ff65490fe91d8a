/**
 * Finds the examples in documents (those that the server serves and those of the repository), fills in what earlier
 * replies said, and runs them in a real shell.
 */
import { execFile } from "node:child_process";
import { dirname } from "node:path";
import { python, pythonWithNacl } from "./python.js";

export interface Example {
  /** Document and line, for the name of a failure. */
  place: string;
  script: string;
  /** The functions that it calls. */
  paths: string[];
  /** The helper script that it runs. */
  tool: string | undefined;
}

/** Every block of a document that is marked as `language`. */
export function examplesIn(name: string, document: string, language: "bash" | "sh" = "bash"): Example[] {
  const blocks = new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\`$`, "gms");
  return [...document.matchAll(blocks)].map((match) => ({
    place: `${name}, line ${document.slice(0, match.index).split("\n").length + 1}`,
    script: match[1] ?? "",
    paths: [...(match[1] ?? "").matchAll(/"path": "([^"]+)"/g)].map(([, path]) => path ?? ""),
    tool: /python3 scripts\/(\w+)\.py/.exec(match[1] ?? "")?.[1],
  }));
}

const placeholder = /\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b/g;
/** The example with all placeholders replaced. Throws if one is not known yet. */
export function fillIn({ script, place }: Example, known: Record<string, string>): string {
  return script.replace(placeholder, (name) => {
    const value = known[name];
    if (value === undefined) throw new Error(`${place}: nothing is known for ${name}`);
    return value;
  });
}

/** Runs a script with its own home folder, and without any proxy settings. */
export function bash(script: string, home: string): Promise<{ code: number; output: string; errors: string }> {
  const interpreter = pythonWithNacl ?? python;
  const env = {
    // Makes `python3` mean the Python that can do most.
    PATH: [...(interpreter ? [dirname(interpreter)] : []), process.env["PATH"]].join(":"),
    HOME: home,
    PYTHONDONTWRITEBYTECODE: "1",
  };
  return new Promise((resolve) => {
    const options = ["--norc", "-euo", "pipefail", "-c", script];
    execFile("bash", options, { cwd: home, env }, (error, output, errors) => {
      resolve({ code: error ? Number(error.code ?? 1) : 0, output, errors });
    });
  });
}

export function countCurls(examples: Example[]): number {
  return examples.reduce((count, { script }) => count + (script.match(/^\s*curl /gm)?.length ?? 0), 0);
}
