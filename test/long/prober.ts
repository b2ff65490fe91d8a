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
/** The same of calls that each open a connection, one a second. */
const tookNew: number[] = [];
const refused: string[] = [];
let isOver = false;
process.stdin.once("data", () => {
  isOver = true;
});

function call(kind: string, path: string, through: Agent | false = agent): Promise<string> {
  const body = JSON.stringify({ path, args: {} });
  const headers = {
    "Content-Type": "application/json",
    "Content-Length": body.length,
    Authorization: `Bearer ${apiKey}`,
    "X-Forwarded-For": "198.51.100.9",
  };
  return new Promise((resolve, reject) => {
    const sent = request(
      `${url}/api/${kind}`,
      { method: "POST", agent: through, headers, timeout: mostMs },
      (response) => {
        let text = "";
        response.on("data", (data) => {
          text += String(data);
        });
        response.on("end", () => resolve(text));
      },
    );
    sent.on("timeout", () => sent.destroy(new Error("no answer")));
    sent.on("error", reject);
    sent.end(body);
  });
}

/** What a call took; what it said where that is no success. */
async function timed(list: number[], said: Promise<string>): Promise<void> {
  const askedAt = performance.now();
  const text = await said.catch(String);
  list.push(performance.now() - askedAt);
  if (!text.startsWith('{"status":"success"')) refused.push(text.slice(0, 200));
}
const pauseFor = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

await call("query", "connections:list");
console.log("ready");
const newcomers = (async () => {
  while (!isOver) {
    await timed(tookNew, call("query", "connections:list", false));
    await pauseFor(1_000);
  }
})();
for (let turn = 0; !isOver; turn += 1) {
  await timed(took, turn % 2 === 0 ? call("query", "connections:list") : call("mutation", "events:expireStale"));
  await pauseFor(everyMs);
}
await newcomers;
console.log(JSON.stringify({ took, tookNew, refused }));
process.exit(0);
