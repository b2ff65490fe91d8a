/**
 * Keys that are not usable (people.md section 4): with a point of small order the shared secret is the same for everybody,
 * so whoever relays a message reads it. Server, client and scripts refuse the same ones.
 */
import nacl from "tweetnacl";
import { describe, expect, test } from "vitest";
import { generateKeyPair, openPayload, sealPayload } from "../../../client/encryption.js";
import { databases, randomKey, useServer } from "../../support/harness.js";
import { pythonWithNacl, runPython, useFolder } from "../../support/python.js";
import { expectRefusal } from "../../support/refusals.js";
import { write } from "../../support/rental.js";

const p = 2n ** 255n - 19n;
const order8 = [
  325606250916557431795983626356110631294008115727848805560023387167927233504n,
  39382357235489614581723060781553021112529911719440698176882885853963445705823n,
];

function littleEndian(number: bigint): Uint8Array {
  return Uint8Array.from({ length: 32 }, (_, index) => Number((number >> BigInt(8 * index)) & 0xffn));
}
const base64 = (bytes: Uint8Array) => Buffer.from(bytes).toString("base64");

const points = [0n, 1n, ...order8, p - 1n, p, p + 1n];
const smallOrder = [...points, ...points.map((point) => point + 2n ** 255n)].map(littleEndian);
/** Other numbers from p on are a second spelling of a small one. */
const secondSpellings = [2n, 9n, 18n].map((number) => littleEndian(p + number));
const usable = littleEndian(9n);
const malformed = [
  base64(new Uint8Array(31).fill(1)),
  base64(new Uint8Array(33).fill(1)),
  // The last two bits before the padding are nobody's: decoders drop them.
  base64(usable).replace(/A=$/, "B="),
  base64(usable).replace("=", ""),
  `${base64(usable)}\n`,
  ` ${base64(usable)}`,
  "",
];
const unusable = [...[...smallOrder, ...secondSpellings].map(base64), ...malformed];

test("these are the points with which everybody has the same secret", () => {
  for (const point of smallOrder) {
    for (let time = 0; time < 3; time += 1) {
      expect(nacl.scalarMult(nacl.randomBytes(32), point).every((byte) => byte === 0)).toBe(true);
    }
  }
  expect(nacl.scalarMult(nacl.randomBytes(32), usable).every((byte) => byte === 0)).toBe(false);
});

describe.each(databases)("agents:setPublicKey on %s", (database) => {
  const server = useServer(database);

  test("refuses every one of them, and the old key stays", async () => {
    const agent = await server.agent("Alice");
    for (const publicKey of unusable) {
      await expectRefusal(server, () => agent.call("agents:setPublicKey", { publicKey }), {
        code: "invalid_args",
        message: "publicKey must be a base64-encoded 32-byte X25519 key",
      });
    }
    const publicKey = base64(usable);
    expect(await agent.call("agents:setPublicKey", { publicKey })).toMatchObject({ publicKey });
  });

  test("shows a key as it was stored before, and the client does not seal to it", async () => {
    const { alice, bob } = await server.connectedPair();
    const stored = base64(littleEndian(1n));
    await write(server, (db) =>
      db.updateTable("agents").set({ publicKey: stored }).where("agentId", "=", bob.agentId).execute(),
    );
    const [{ connectedTo }] = await alice.call("connections:list");
    expect(connectedTo.publicKey).toBe(stored);
    const { secretKey } = generateKeyPair();
    expect(() => sealPayload({ action: "meet" }, connectedTo.publicKey, secretKey)).toThrow(
      "is not a usable X25519 key",
    );
    await bob.call("agents:setPublicKey", { publicKey: randomKey() });
  });
});

describe("the typed client", () => {
  test("neither seals to them nor opens what comes from them", () => {
    const { publicKey, secretKey } = generateKeyPair();
    for (const key of unusable) {
      expect(() => sealPayload({}, key, secretKey)).toThrow();
      expect(() => openPayload(sealPayload({}, publicKey, secretKey), key, secretKey)).toThrow();
    }
    // Whoever relays a message to such a key would have opened it so.
    const nonce = nacl.randomBytes(24);
    const zeros = littleEndian(0n);
    const box = nacl.box(new TextEncoder().encode("{}"), nonce, zeros, nacl.randomBytes(32));
    expect(nacl.box.open(box, nonce, zeros, nacl.randomBytes(32))).not.toBeNull();
    expect(() => openPayload(base64(Buffer.concat([nonce, box])), base64(zeros), secretKey)).toThrow(
      "not a usable X25519 key",
    );
  });

  test("makes only keys that are usable", () => {
    const [ours, theirs] = [generateKeyPair(), generateKeyPair()];
    expect(
      openPayload(sealPayload({ a: 1 }, theirs.publicKey, ours.secretKey), ours.publicKey, theirs.secretKey),
    ).toEqual({ a: 1 });
  });
});

describe.skipIf(pythonWithNacl === undefined)("the scripts", () => {
  const folder = useFolder();

  test("refuse the same keys, before anything is sealed or opened", async () => {
    const tryAll = `
import argparse, json, sys
from payload_box import PayloadError, open_box
answers = []
for key in json.load(sys.stdin):
    try:
        mine = {"private_key": None, "private_key_file": sys.argv[1]}
        open_box(argparse.Namespace(**mine, peer_public_key=key, peer_public_key_file=None))
        answers.append("opened")
    except PayloadError as error:
        answers.append(str(error))
print(json.dumps(answers))
`;
    const path = folder.write(generateKeyPair().secretKey);
    // Shells and files add white space, so the scripts take it away.
    const keys = [...unusable.filter((key) => key.trim() === key), base64(usable)];
    const ran = await runPython(pythonWithNacl ?? "", ["-c", tryAll, path], { input: JSON.stringify(keys) });
    const answers = JSON.parse(ran.stdout) as string[];
    expect(answers.pop()).toBe("opened");
    expect(answers.filter((answer) => answer === "opened")).toEqual([]);
    expect(answers.slice(0, smallOrder.length + secondSpellings.length)).toEqual(
      [...smallOrder, ...secondSpellings].map(() => "the peer's public key is not a usable X25519 key"),
    );
  });
});
