/**
 * Which sites may call, for servers inside a network: a page that somebody there opens could otherwise reach the server
 * through their browser (CORS_ORIGINS). CORS alone would not do, since it stops neither sockets nor simple requests.
 */
import { CallError } from "../runtime/errors.js";

export class Origins {
  readonly #listed: readonly string[] | undefined;
  readonly #publicUrl: () => string;

  /** `listed`: undefined for any. */
  constructor(listed: readonly string[] | undefined, publicUrl: () => string) {
    this.#listed = listed;
    this.#publicUrl = publicUrl;
  }

  /** Programs name no origin, and the server's own pages are never shut out. */
  allow(origin: string | undefined): boolean {
    if (this.#listed === undefined || origin === undefined) return true;
    return this.#listed.includes(origin) || origin === new URL(this.#publicUrl()).origin;
  }
}

export function wrongOrigin(): CallError {
  return new CallError("forbidden", "Pages of this origin may not call this server (CORS_ORIGINS)");
}
