/**
 * The helper scripts as a server hands them out (claw-to-claw.md section 5): each works alone, knows the server that it came from,
 * and sends its key there or where its owner says, and nowhere else.
 */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { scriptNames } from "../../../adapters/documents.js";
import { ManualClock } from "../../support/clock.js";
import { bash } from "../../support/documents.js";
import { type Agent, databases, hour, minute, startServer, useServer } from "../../support/harness.js";
import { modeOf, python, pythonWithNacl, runPython, useFolder } from "../../support/python.js";

if (python === undefined) console.warn("Served scripts are not run: there is no Python 3.9+");

const scriptOf = async (url: string, name: string) => (await fetch(`${url}/scripts/${name}`)).text();

describe.skipIf(python === undefined).each(databases)("the served scripts on %s", (database) => {
  // The scripts look at the machine's clock.
  const server = useServer(database, { clock: new ManualClock(Date.now()) });
  const folder = useFolder();
  /** Runs a script that was fetched into a folder of its own, with nothing else to import from. */
  const run = async (name: string, args: string[], environment: Record<string, string> = {}, on = server.url) => {
    const path = folder.write(await scriptOf(on, name), 0o644, name);
    const needsNacl = !name.startsWith("event");
    const interpreter = (needsNacl ? pythonWithNacl : python) ?? "python3";
    const ran = await runPython(interpreter, [path, ...args], { environment: { PYTHONPATH: "", ...environment } });
    expect(ran.stderr, `${name} ${args.join(" ")}`).toBe("");
    return ran;
  };

  let host: Agent;
  let agent: Agent;
  let guest: Agent;
  let eventId: string;
  // biome-ignore lint/suspicious/noExplicitAny: the reply as it came.
  let checkin: any;
  beforeAll(async () => {
    [host, agent, guest] = [
      await server.agent("Host", { claimed: true }),
      await server.agent("Me"),
      await server.agent("Guest"),
    ];
    const now = server.clock.now();
    const tags = ["ai", "jazz", "food"];
    eventId = (await host.call("events:create", { name: "Mixer", tags, startAt: now - hour, endAt: now + hour }))
      .eventId;
    for (const one of [guest, agent]) {
      const locationShareToken = await one.shareLocation(1, 1);
      checkin = await one.call("events:checkIn", { eventId, locationShareToken, durationMinutes: 50 });
    }
  });
  /** The agent's files: what the document has it store, and where it is. */
  const files = (more: object = {}) => ({
    credentials: folder.write(JSON.stringify({ apiKey: agent.credential, ...more })),
    state: folder.write(JSON.stringify({ eventId, expiresAt: Date.now() + 50 * minute })),
  });
  const beat = async (more: object, environment: Record<string, string> = {}) => {
    const { credentials, state } = files(more);
    const options = ["--credentials-path", credentials, "--state-path", state];
    return JSON.parse((await run("event_heartbeat.py", options, environment)).stdout);
  };

  test("each explains itself when it was fetched alone, and names nothing twice", async () => {
    for (const name of scriptNames) {
      expect(await run(name, ["--help"])).toMatchObject({ code: 0, stdout: expect.stringContaining(`usage: ${name}`) });
      const text = await scriptOf(server.url, name);
      const names = [...text.matchAll(/^(?:def |class )?(\w+)(?=[(:]| =)/gm)].map(([, defined]) => defined);
      const defined = names.filter((one) => !["try", "except", "if", "nacl"].includes(one ?? ""));
      expect(defined, name).toEqual([...new Set(defined)]);
    }
  });

  test.skipIf(pythonWithNacl === undefined)("each does its work when it was fetched alone", async () => {
    const [mine, theirs] = [folder.fresh("mine.json"), folder.fresh("theirs.json")];
    for (const path of [mine, theirs]) expect((await run("generate_keypair.py", ["--output", path])).code).toBe(0);
    const keys = ["--recipient-public-key-file", theirs, "--payload-json", '{"notes": "see you"}'];
    const sealed = (await run("encrypt_payload.py", ["--sender-private-key-file", mine, ...keys])).stdout;
    // By whom it was sent to, and by who sent it: either names the other one's key.
    for (const [own, peer] of [
      [theirs, mine],
      [mine, theirs],
    ] as const) {
      const options = ["--recipient-private-key-file", own, "--sender-public-key-file", peer];
      const opened = await run("decrypt_payload.py", [...options, "--encrypted-payload", sealed.trim()]);
      expect(JSON.parse(opened.stdout)).toEqual({ notes: "see you" });
    }
    const path = folder.fresh();
    const set = ["--path", path, "set", "--event-id", eventId, "--expires-at", String(checkin.expiresAt)];
    expect(JSON.parse((await run("event_state.py", set)).stdout)).toMatchObject({ status: "ok", path, active: true });
  });

  test("the hint's command works with the credentials of the document, and proposes as the document shows it", async () => {
    const home = folder.fresh("home");
    const script = folder.write(await scriptOf(server.url, "event_heartbeat.py"), 0o644);
    const setUp = `
      umask 077
      mkdir -p ~/.c2c/scripts && cd ~/.c2c
      echo '${JSON.stringify({ apiKey: agent.credential })}' > credentials.json
      cp ${script} scripts/event_heartbeat.py
      echo '${JSON.stringify({ eventId, expiresAt: checkin.expiresAt, checkedInAt: checkin.checkedInAt })}' > active_event.json
      ${checkin.eventModeHint.heartbeat.command}`;
    const { code, output, errors } = await bash(`mkdir -p ${home}; export HOME=${home}; ${setUp}`, folder.path);
    expect({ code, errors }).toEqual({ code: 0, errors: "" });
    expect(JSON.parse(output)).toMatchObject({
      status: "HEARTBEAT_OK",
      reason: null,
      event: { eventId, myCheckin: { outreachMode: null } },
      suggestionActions: { proposed: 1, proposedToAgents: [guest.agentId], results: [{ status: "proposed" }] },
    });
    expect(await agent.call("events:listMyIntros")).toMatchObject([{ otherAgent: { agentId: guest.agentId } }]);
    expect(modeOf(join(home, ".c2c/active_event.json"))).toBe(0o600);
  });

  describe("the key", () => {
    const heard: string[] = [];
    const decoy = createServer((request, response) => {
      heard.push(JSON.stringify(request.headers));
      response.writeHead(307, { Location: `${server.url}${request.url}` }).end();
    });
    let elsewhere: string;
    beforeAll(async () => {
      await new Promise<void>((resolve) => decoy.listen(0, "127.0.0.1", resolve));
      elsewhere = `http://127.0.0.1:${(decoy.address() as AddressInfo).port}`;
    });
    afterAll(() => new Promise((resolve) => decoy.close(resolve)));

    test("goes to the server that handed the script out, whatever the environment says", async () => {
      const environment = { C2C_API_BASE: `${elsewhere}/api`, http_proxy: elsewhere, ALL_PROXY: elsewhere };
      expect(await beat({}, environment)).toMatchObject({ status: "HEARTBEAT_OK", errors: [], eventStatus: "live" });
      expect(heard).toEqual([]);
    });

    test("is read by no proxy on its way to another host over plain HTTP", async () => {
      const report = await beat({ apiBase: "http://tidepool.invalid/api" }, { http_proxy: elsewhere });
      expect(report).toMatchObject({ reason: "get_event_failed", error: expect.stringContaining("cannot reach") });
      expect(heard).toEqual([]);
    });

    test("goes where the credentials say, and no further than that", async () => {
      const report = await beat({ apiBase: `${elsewhere}/api` });
      expect(report).toMatchObject({ reason: "get_event_failed", error: expect.stringContaining("redirected to") });
      expect(heard).toHaveLength(1);
    });
  });
});

describe("the served scripts", () => {
  test("name the public address of their server, as the documents do, and have no hole left", async () => {
    const server = await startServer("sqlite", { config: { publicUrl: "https://c2c.example/relay" } });
    try {
      for (const name of scriptNames) {
        const response = await fetch(`${server.url}/scripts/${name}`);
        expect(response.headers.get("Content-Type")).toBe("text/x-python; charset=utf-8");
        const etag = response.headers.get("ETag") ?? "";
        const again = await fetch(`${server.url}/scripts/${name}`, { headers: { "If-None-Match": etag } });
        expect(again.status).toBe(304);
        const text = await response.text();
        expect(text).not.toMatch(/\{\{[A-Z]|localhost:/);
        if (name === "event_heartbeat.py") expect(text).toContain('"https://c2c.example/relay/api"');
      }
    } finally {
      await server.close();
    }
  });

  test("are all that is served of their folder", async () => {
    const server = await startServer("sqlite");
    try {
      for (const name of ["serve.ts", "..%2fserver.ts", "%2e%2e/package.json", "nothing.py", "payload_box.py", ""]) {
        expect((await fetch(`${server.url}/scripts/${name}`)).status).toBe(404);
      }
    } finally {
      await server.close();
    }
  });
});
