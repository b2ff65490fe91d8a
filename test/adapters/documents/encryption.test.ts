/**
 * The key and encryption scripts (claw-to-claw.md section 5), and that PyNaCl and tweetnacl open each other's boxes: an agent
 * in Python and one in JavaScript must be able to talk.
 */
import { randomBytes } from "node:crypto";
import { dirname, join } from "node:path";
import fc from "fast-check";
import nacl from "tweetnacl";
import { describe, expect, test } from "vitest";
import { databases, useServer } from "../../support/harness.js";
import {
  exists,
  pythonWithNacl as found,
  modeOf,
  type Ran,
  readJson,
  runPython,
  runScript,
  useFolder,
} from "../../support/python.js";

if (found === undefined) {
  console.warn(
    "encryption tests skipped: neither python3 nor /usr/bin/python3 has PyNaCl (apt install python3-nacl, or pip install pynacl)",
  );
}
const python = found ?? "python3";

const base64 = (bytes: Uint8Array) => Buffer.from(bytes).toString("base64");
const bytes = (text: unknown) => new Uint8Array(Buffer.from(String(text), "base64"));

/** What messages carry: nonce and box. */
function seal(payload: unknown, theirPublicKey: string, myPrivateKey: string): string {
  const nonce = randomBytes(nacl.box.nonceLength);
  const box = nacl.box(Buffer.from(JSON.stringify(payload)), nonce, bytes(theirPublicKey), bytes(myPrivateKey));
  return Buffer.concat([nonce, box]).toString("base64");
}

function open(encrypted: string, theirPublicKey: string, myPrivateKey: string): unknown {
  const whole = bytes(encrypted);
  const nonce = whole.subarray(0, nacl.box.nonceLength);
  const plain = nacl.box.open(whole.subarray(nacl.box.nonceLength), nonce, bytes(theirPublicKey), bytes(myPrivateKey));
  if (plain === null) throw new Error("cannot open");
  return JSON.parse(Buffer.from(plain).toString("utf8"));
}

/** Key pairs and payloads for both directions; text of every script, numbers, nesting. */
function exchanges(count: number) {
  const payloads = fc.sample(
    fc.dictionary(fc.string({ unit: "binary", maxLength: 20 }), fc.jsonValue({ stringUnit: "binary" }), { maxKeys: 8 }),
    count,
  );
  return payloads.map((payload) => {
    const [ours, theirs] = [nacl.box.keyPair(), nacl.box.keyPair()];
    return {
      // As JSON reads it back: -0 is 0 there.
      payload: JSON.parse(JSON.stringify(payload)) as unknown,
      ours: { publicKey: base64(ours.publicKey), privateKey: base64(ours.secretKey) },
      theirs: { publicKey: base64(theirs.publicKey), privateKey: base64(theirs.secretKey) },
    };
  });
}

/** Both programs read a list of exchanges from stdin; `keyFile` holds the private key, as open_box wants it. */
const sealInPython = `
import argparse, json, sys
from payload_box import encode_base64, open_box
sealed = []
for item in json.load(sys.stdin):
    options = argparse.Namespace(
        private_key=None, private_key_file=item["keyFile"], peer_public_key=item["peerPublicKey"]
    )
    box = open_box(options)
    sealed.append(encode_base64(bytes(box.encrypt(json.dumps(item["payload"]).encode("utf-8")))))
print(json.dumps(sealed))
`;
const openInPython = `
import argparse, json, sys
from payload_box import decode_base64, open_box
opened = []
for item in json.load(sys.stdin):
    options = argparse.Namespace(
        private_key=None, private_key_file=item["keyFile"], peer_public_key=item["peerPublicKey"]
    )
    box = open_box(options)
    opened.append(json.loads(box.decrypt(decode_base64(item["encrypted"], "encrypted payload"))))
print(json.dumps(opened))
`;

const inBatch = async (program: string, items: unknown[]): Promise<unknown[]> => {
  const { code, stdout, stderr } = await runPython(python, ["-c", program], { input: JSON.stringify(items) });
  expect(stderr).toBe("");
  expect(code).toBe(0);
  return JSON.parse(stdout) as unknown[];
};

const failed = (ran: Ran, why: string) => {
  expect(ran).toMatchObject({ code: 1, stdout: "" });
  expect(ran.stderr).toMatch(/^error: [^\n]*\n$/);
  expect(ran.stderr).toContain(why);
};

describe.skipIf(found === undefined)("PyNaCl and tweetnacl", () => {
  const folder = useFolder();
  const count = 100;

  test(`${count} payloads sealed by PyNaCl open with tweetnacl`, async () => {
    const all = exchanges(count);
    const sealed = await inBatch(
      sealInPython,
      all.map(({ payload, ours, theirs }) => ({
        payload,
        keyFile: folder.write(ours.privateKey),
        peerPublicKey: theirs.publicKey,
      })),
    );
    expect(sealed).toHaveLength(count);
    for (const [index, { payload, ours, theirs }] of all.entries()) {
      expect(open(String(sealed[index]), ours.publicKey, theirs.privateKey)).toEqual(payload);
    }
  });

  test(`${count} payloads sealed by tweetnacl open with PyNaCl`, async () => {
    const all = exchanges(count);
    const opened = await inBatch(
      openInPython,
      all.map(({ payload, ours, theirs }) => ({
        encrypted: seal(payload, theirs.publicKey, ours.privateKey),
        keyFile: folder.write(JSON.stringify(theirs)),
        peerPublicKey: ours.publicKey,
      })),
    );
    expect(opened).toEqual(all.map(({ payload }) => payload));
  });
});

describe.skipIf(found === undefined)("generate_keypair.py", () => {
  const folder = useFolder();
  const generate = (...args: string[]) => runScript(python, "generate_keypair.py", args);

  test("makes a pair, keeps the private half in a file of its own, prints the public half only", async () => {
    const keysDir = folder.fresh("keys");
    const { code, stdout } = await generate("--agent-id", "agent-1", "--keys-dir", keysDir);
    expect(code).toBe(0);
    const printed = JSON.parse(stdout);
    const path = join(keysDir, "agent-1.json");
    const pair = readJson(path);
    expect(printed).toEqual({
      algorithm: "x25519",
      createdAt: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/),
      publicKey: expect.stringMatching(/^[A-Za-z0-9+/]{43}=$/),
      path,
    });
    expect(pair).toEqual({
      agentId: "agent-1",
      algorithm: "x25519",
      createdAt: printed.createdAt,
      publicKey: printed.publicKey,
      privateKey: expect.stringMatching(/^[A-Za-z0-9+/]{43}=$/),
    });
    expect(base64(nacl.box.keyPair.fromSecretKey(bytes(pair.privateKey)).publicKey)).toBe(printed.publicKey);
    expect(stdout).not.toContain(String(pair.privateKey));
    expect(modeOf(join(keysDir, "agent-1.json"))).toBe(0o600);
    expect(modeOf(keysDir)).toBe(0o700);
  });

  test("writes to --output; prints the private half only where no file has it", async () => {
    const path = folder.fresh("pair.json");
    const written = JSON.parse((await generate("--output", path)).stdout);
    expect(readJson(path)).toEqual({
      algorithm: "x25519",
      createdAt: written.createdAt,
      publicKey: written.publicKey,
      privateKey: expect.any(String),
    });
    expect(modeOf(path)).toBe(0o600);
    failed(await generate("--output", path), "--force");

    const unwritten = folder.fresh("keys");
    for (const args of [[], ["--stdout-only"], ["--stdout-only", "--agent-id", "a", "--keys-dir", unwritten]]) {
      const pair = JSON.parse((await generate(...args)).stdout);
      expect(Object.keys(pair).sort()).toEqual(["algorithm", "createdAt", "privateKey", "publicKey"]);
      expect(base64(nacl.box.keyPair.fromSecretKey(bytes(pair.privateKey)).publicKey)).toBe(pair.publicKey);
    }
    expect(exists(unwritten)).toBe(false);
  });

  test("keeps a pair that is there, unless told to replace it", async () => {
    const keysDir = folder.fresh("keys");
    const args = ["--agent-id", "agent-1", "--keys-dir", keysDir];
    await generate(...args);
    const first = readJson(join(keysDir, "agent-1.json"));
    failed(await generate(...args), "--force");
    expect(readJson(join(keysDir, "agent-1.json"))).toEqual(first);
    expect((await generate(...args, "--force")).code).toBe(0);
    expect(readJson(join(keysDir, "agent-1.json"))).not.toEqual(first);
    expect(modeOf(join(keysDir, "agent-1.json"))).toBe(0o600);
  });

  test.each(["../agent", "a/b", "", ".", "a\nb", "ä"])("an id does not lead out of the folder: %j", async (id) => {
    const keysDir = folder.fresh("keys");
    failed(await generate(`--agent-id=${id}`, "--keys-dir", keysDir), "an agent id consists of");
    expect(exists(dirname(keysDir))).toBe(false);
  });

  test("the folder is ~/.c2c/keys where nothing else is said", async () => {
    const home = dirname(folder.write(""));
    const environment = { HOME: home };
    expect((await runScript(python, "generate_keypair.py", ["--agent-id", "a"], { environment })).code).toBe(0);
    expect(exists(`${home}/.c2c/keys/a.json`)).toBe(true);
  });
});

describe.skipIf(found === undefined)("encrypt_payload.py and decrypt_payload.py", () => {
  const folder = useFolder();
  const ours = nacl.box.keyPair();
  const theirs = nacl.box.keyPair();
  const [ourPublic, ourPrivate] = [base64(ours.publicKey), base64(ours.secretKey)];
  const [theirPublic, theirPrivate] = [base64(theirs.publicKey), base64(theirs.secretKey)];
  const payload = { action: "dinner", notes: "Sauerteig 潮 🌊 \u001b[31m", nested: { list: [1, 2.5, null, true] } };

  const encrypt = (args: string[], input?: string) => runScript(python, "encrypt_payload.py", args, { input });
  const decrypt = (args: string[], input?: string) => runScript(python, "decrypt_payload.py", args, { input });
  const withOurs = (more: string[] = []) => ["--private-key-file", folder.write(ourPrivate), ...more];
  const toThem = (more: string[] = []) => withOurs(["--recipient-public-key", theirPublic, ...more]);
  const fromThem = (more: string[] = []) => withOurs(["--sender-public-key", theirPublic, ...more]);

  test.each(["stdin", "--payload", "--payload-json", "--payload-file"])(
    "encrypts what comes by %s, for tweetnacl to open",
    async (by) => {
      const text = JSON.stringify(payload);
      const given = by === "--payload-file" ? folder.write(text, 0o644) : text;
      const { code, stdout, stderr } = await (by === "stdin"
        ? encrypt(toThem(), text)
        : encrypt(toThem([`${by}=${given}`])));
      expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
      expect(stdout).toMatch(/^[A-Za-z0-9+/]+={0,2}\n$/);
      expect(open(stdout, ourPublic, theirPrivate)).toEqual(payload);
    },
  );

  test("the same payload never looks the same twice", async () => {
    const [one, other] = [await encrypt(toThem(), "{}"), await encrypt(toThem(), "{}")];
    expect(one.stdout).not.toBe(other.stdout);
  });

  test.each(["stdin", "--encrypted-payload", "--encrypted-file"])(
    "decrypts by %s what tweetnacl sealed, in plain ASCII",
    async (by) => {
      const sealed = seal(payload, ourPublic, theirPrivate);
      const given = by === "--encrypted-file" ? folder.write(`${sealed}\n`, 0o644) : sealed;
      const { code, stdout } = await (by === "stdin"
        ? decrypt(fromThem(), `${sealed}\n`)
        : decrypt(fromThem([`${by}=${given}`])));
      expect(code).toBe(0);
      expect(JSON.parse(stdout)).toEqual(payload);
      // A stranger's text must not steer the terminal.
      expect(stdout).toMatch(/^[\x20-\x7e\n]*\n$/);
    },
  );

  test("takes both keys as text or in a file, by the names of the public scripts", async () => {
    const pairFile = (publicKey: string, privateKey: string) =>
      folder.write(JSON.stringify({ algorithm: "x25519", publicKey, privateKey }));
    const [own, their] = [pairFile(ourPublic, ourPrivate), folder.write(`${theirPublic}\n`, 0o644)];
    for (const sender of [`--sender-private-key=${ourPrivate}`, `--sender-private-key-file=${own}`]) {
      for (const recipient of [`--recipient-public-key=${theirPublic}`, `--recipient-public-key-file=${their}`]) {
        const { stdout } = await encrypt([sender, recipient, "--payload-json", JSON.stringify(payload)]);
        expect(open(stdout, ourPublic, theirPrivate)).toEqual(payload);
      }
    }
    const sealed = seal(payload, ourPublic, theirPrivate);
    for (const recipient of [`--recipient-private-key=${ourPrivate}`, `--recipient-private-key-file=${own}`]) {
      for (const sender of [
        `--sender-public-key-file=${pairFile(theirPublic, "")}`,
        `--sender-public-key=${theirPublic}`,
      ]) {
        const { stdout } = await decrypt([recipient, sender, "--encrypted-payload", sealed]);
        expect(JSON.parse(stdout)).toEqual(payload);
      }
    }
    const nowhere = folder.fresh();
    failed(await encrypt(withOurs(["--recipient-public-key-file", nowhere]), "{}"), `${nowhere} does not exist`);
    failed(await encrypt(toThem(["--payload-file", nowhere])), `${nowhere} does not exist`);
    failed(await decrypt(fromThem(["--encrypted-file", nowhere])), `${nowhere} does not exist`);
  });

  test("the sender reads its own message too", async () => {
    const { stdout } = await encrypt(toThem(), JSON.stringify(payload));
    expect(JSON.parse((await decrypt(fromThem(), stdout)).stdout)).toEqual(payload);
  });

  test("what was altered, or meant for somebody else, is not opened", async () => {
    const sealed = seal(payload, ourPublic, theirPrivate);
    const altered = Buffer.from(sealed, "base64");
    altered.writeUInt8(altered.readUInt8(altered.length - 1) ^ 1, altered.length - 1);
    failed(await decrypt(fromThem(), altered.toString("base64")), "cannot decrypt");
    failed(
      await decrypt(fromThem(), seal(payload, base64(nacl.box.keyPair().publicKey), theirPrivate)),
      "cannot decrypt",
    );
    failed(await decrypt(withOurs(["--sender-public-key", ourPublic]), sealed), "cannot decrypt");
    failed(await decrypt(fromThem(), "not base64!"), "not valid base64");
    failed(await decrypt(fromThem(), base64(randomBytes(39))), "too short");
    failed(await decrypt(fromThem(), base64(randomBytes(40))), "cannot decrypt");
    failed(await decrypt(fromThem(), ""), "too short");
  });

  test("what was opened but is no JSON is shown as text, and --raw shows any text, without what steers a terminal", async () => {
    const sealText = (text: string) => {
      const nonce = randomBytes(nacl.box.nonceLength);
      const box = nacl.box(Buffer.from(text), nonce, ours.publicKey, theirs.secretKey);
      return Buffer.concat([nonce, box]).toString("base64");
    };
    const text = "hello 潮\n\u001b[31mred\u202e";
    const shown = "hello 潮\n\\x1b[31mred\\u202e\n";
    expect((await decrypt(fromThem(), sealText(text))).stdout).toBe(shown);
    expect((await decrypt(fromThem(["--raw"]), sealText(text))).stdout).toBe(shown);
    expect((await decrypt(fromThem(["--raw"]), sealText('{"a":  1}'))).stdout).toBe('{"a":  1}\n');
  });

  test.each([
    ["no JSON", "hello", "not valid JSON"],
    ["a list", "[1]", "must be a JSON object"],
    ["NaN", '{"a": NaN}', "not valid JSON"],
    ["nothing", "", "not valid JSON"],
  ])("a payload must be a JSON object: %s", async (_what, text, why) => {
    failed(await encrypt(toThem(), text), why);
  });

  test("a payload that the server would refuse as too large is refused here", async () => {
    // 9216 bytes are 12288 characters of base64; 40 of them are nonce and tag.
    const around = Buffer.byteLength('{"a":""}');
    const most = { a: "a".repeat(9216 - 40 - around) };
    expect((await encrypt(toThem(), JSON.stringify(most))).stdout.trim()).toHaveLength(12288);
    failed(await encrypt(toThem(), JSON.stringify({ a: `${most.a}a` })), "too large (12292 bytes, max 12288)");
  });

  test("a private key that others can read is refused, and no private key is ever repeated", async () => {
    const readable = folder.write(ourPrivate, 0o644);
    const open = await encrypt(["--private-key-file", readable, "--recipient-public-key", theirPublic], "{}");
    failed(open, "chmod 600");
    const half = folder.write(ourPrivate.slice(0, 20));
    const broken = await encrypt(["--private-key-file", half, "--recipient-public-key", theirPublic], "{}");
    failed(broken, "private key");
    const noJson = folder.write(`{"privateKey": "${ourPrivate}"`);
    const malformed = await encrypt(["--private-key-file", noJson, "--recipient-public-key", theirPublic], "{}");
    failed(malformed, "not valid JSON");
    for (const { stderr } of [open, broken, malformed]) expect(stderr).not.toContain(ourPrivate.slice(0, 20));
  });

  test.each([
    ["31 bytes", base64(randomBytes(31)), "must be 32 bytes, not 31"],
    ["no base64", "hello!", "not valid base64"],
    ["all zeros, which is no point to share a secret with", base64(new Uint8Array(32)), "not a usable X25519 key"],
  ])("a peer's key must be one: %s", async (_what, key, why) => {
    failed(await encrypt(withOurs(["--recipient-public-key", key]), "{}"), why);
  });

  test("a key file that is not there is named", async () => {
    const keysDir = folder.fresh("keys");
    const args = ["--agent-id", "agent-1", "--keys-dir", keysDir, "--recipient-public-key", theirPublic];
    failed(await encrypt(args, "{}"), "generate_keypair.py");
  });

  test("without PyNaCl it says what to install", async () => {
    // An empty package of that name hides the real one.
    const hiding = dirname(folder.write("raise ImportError", 0o600, "nacl.py"));
    for (const script of ["generate_keypair.py", "encrypt_payload.py", "decrypt_payload.py"]) {
      const args = {
        "generate_keypair.py": ["--agent-id", "a", "--keys-dir", folder.fresh("keys")],
        "encrypt_payload.py": toThem(),
        "decrypt_payload.py": fromThem(),
      }[script] as string[];
      failed(await runScript(python, script, args, { environment: { PYTHONPATH: hiding } }), "PyNaCl is missing");
    }
  });
});

describe.skipIf(found === undefined).each(databases)("two agents in Python over a relay on %s", (database) => {
  const server = useServer(database);
  const folder = useFolder();

  test("from key pair to decrypted message, by the scripts alone; the relay cannot read it", async () => {
    const keysDir = folder.fresh("keys");
    const [alice, bob] = await Promise.all([
      server.agent("Alice", { publicKey: false }),
      server.agent("Bob", { publicKey: false }),
    ]);
    for (const agent of [alice, bob]) {
      const { stdout } = await runScript(python, "generate_keypair.py", [
        "--agent-id",
        agent.agentId,
        "--keys-dir",
        keysDir,
      ]);
      await agent.call("agents:setPublicKey", { publicKey: JSON.parse(stdout).publicKey });
    }
    const { inviteToken } = await alice.call("connections:invite");
    const { connectedTo, connectionId } = await bob.call("connections:accept", { inviteToken });
    const { threadId } = await bob.call("messages:startThread", { connectionId });

    const payload = { action: "dinner", proposedLocation: "Chez Panisse", notes: "Great sourdough! 潮🌊" };
    const sealed = await runScript(
      python,
      "encrypt_payload.py",
      ["--agent-id", bob.agentId, "--keys-dir", keysDir, "--recipient-public-key", connectedTo.publicKey],
      { input: JSON.stringify(payload) },
    );
    await bob.call("messages:send", { threadId, type: "proposal", encryptedPayload: sealed.stdout.trim() });

    const [message] = await alice.call("messages:getForThread", { threadId });
    const [{ otherAgent }] = await alice.call("messages:getThreadsForAgent");
    const opened = await runScript(
      python,
      "decrypt_payload.py",
      ["--agent-id", alice.agentId, "--keys-dir", keysDir, "--sender-public-key", otherAgent.publicKey],
      { input: message.encryptedPayload },
    );
    expect(JSON.parse(opened.stdout)).toEqual(payload);
    const stored = await server.read((db) => db.selectFrom("messages").selectAll().execute());
    expect(JSON.stringify(stored)).not.toContain("Panisse");
  });

  test("boxes pass the relay unchanged, of every size up to the limit", async () => {
    const { alice, bob, threadId } = await server.negotiatingPair();
    const keys = nacl.box.keyPair();
    const [publicKey, privateKey] = [base64(keys.publicKey), base64(keys.secretKey)];
    const sealed: string[] = [];
    for (const length of [0, 1, 2, 100, 1000, 9168]) {
      const encryptedPayload = seal("x".repeat(length), publicKey, privateKey);
      sealed.push(encryptedPayload);
      await alice.call("messages:send", { threadId, type: "info", encryptedPayload });
    }
    const messages: { encryptedPayload: string }[] = await bob.call("messages:getForThread", { threadId });
    expect(messages.map(({ encryptedPayload }) => encryptedPayload)).toEqual(sealed);
  });
});
