/** Opens pages and sends their forms, over HTTP. */
import type { TestServer } from "./harness.js";

export interface Page {
  status: number;
  headers: Headers;
  html: string;
  /** The page's one heading. */
  title: string;
}

export async function open(server: TestServer, path: string, init: RequestInit = {}): Promise<Page> {
  const response = await fetch(server.url + path, init);
  const html = await response.text();
  return {
    status: response.status,
    headers: response.headers,
    html,
    title: /<h1[^>]*>(.*?)<\/h1>/.exec(html)?.[1] ?? "",
  };
}

/** Sends a form as a browser without JavaScript does. */
export function post(
  server: TestServer,
  path: string,
  fields: Record<string, string> = {},
  headers = {},
): Promise<Page> {
  return open(server, path, { method: "POST", body: new URLSearchParams(fields), headers });
}

export const inChinese = { headers: { "Accept-Language": "zh-CN,zh;q=0.9,en;q=0.8" } };
