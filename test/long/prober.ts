/**
 * One of the others: a process of its own that reads and writes by turns from an address of its own, as long as it is let,
 * and prints what each call took. In the attacker's process its own calls would wait for the attack to be sent.
 */
import { Agent, request } from "node:http";

const [, , url = "", apiKey = ""] = process.argv;
const everyMs = 60;
/** An answer that takes longer counts as this. */
const mostMs = 20_000;
const agent = new Agent({ keepAlive: true });
const took: number[] = [];
const refused: string[] = [];
let isOver = false;
process.stdin.once("data", () => {
  isOver = true;
});

function call(kind: string, path: string): Promise<string> {
  const body = JSON.stringify({ path, args: {} });
  const headers = {
    "Content-Type": "application/json",
    "Content-Length": body.length,
    Authorization: `Bearer ${apiKey}`,
    "X-Forwarded-For": "198.51.100.9",
  };
  return new Promise((resolve, reject) => {
    const sent = request(`${url}/api/${kind}`, { method: "POST", agent, headers, timeout: mostMs }, (response) => {
      let text = "";
      response.on("data", (data) => {
        text += String(data);
      });
      response.on("end", () => resolve(text));
    });
    sent.on("timeout", () => sent.destroy(new Error("no answer")));
    sent.on("error", reject);
    sent.end(body);
  });
}

for (let turn = 0; !isOver; turn += 1) {
  const askedAt = performance.now();
  const said = await (turn % 2 === 0
    ? call("query", "connections:list")
    : call("mutation", "events:expireStale")
  ).catch(String);
  took.push(performance.now() - askedAt);
  if (!said.startsWith('{"status":"success"')) refused.push(said.slice(0, 200));
  await new Promise((resolve) => setTimeout(resolve, everyMs));
}
console.log(JSON.stringify({ took, refused }));
process.exit(0);
