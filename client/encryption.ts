/**
 * End-to-end encryption for Claw-to-Claw: what PyNaCl's `Box` and tweetnacl's `box` make of each other (claw-to-claw.md
 * section 3, messages). Keys and sealed payloads are base64; a payload is any JSON.
 */
import nacl from "tweetnacl";
import { isUsablePublicKey } from "../schema/public-keys.js";

export interface KeyPair {
  /** Give it to `agents:setPublicKey`. */
  publicKey: string;
  /** Keep it to yourself. */
  secretKey: string;
}

/** A new X25519 key pair. */
export function generateKeyPair(): KeyPair {
  const { publicKey, secretKey } = nacl.box.keyPair();
  return { publicKey: toBase64(publicKey), secretKey: toBase64(secretKey) };
}

/**
 * Encrypts a payload for a peer: an `encryptedPayload` for `messages:send`. Throws where anybody could open what is
 * sealed to the peer's key (people.md section 4).
 */
export function sealPayload(payload: unknown, peerPublicKey: string, secretKey: string): string {
  const nonce = nacl.randomBytes(nacl.box.nonceLength);
  const text = new TextEncoder().encode(JSON.stringify(payload));
  const box = nacl.box(text, nonce, publicKeyOf(peerPublicKey), keyOf(secretKey));
  const sealed = new Uint8Array(nonce.length + box.length);
  sealed.set(nonce);
  sealed.set(box, nonce.length);
  return toBase64(sealed);
}

/** Decrypts a payload that a peer sealed. Throws where it was sealed with other keys, or changed on its way. */
export function openPayload(sealed: string, peerPublicKey: string, secretKey: string): unknown {
  const publicKey = publicKeyOf(peerPublicKey);
  const bytes = fromBase64(sealed);
  const nonce = bytes.subarray(0, nacl.box.nonceLength);
  const text =
    bytes.length > nacl.box.nonceLength
      ? nacl.box.open(bytes.subarray(nacl.box.nonceLength), nonce, publicKey, keyOf(secretKey))
      : null;
  if (!text) throw new Error("The payload cannot be opened with these keys");
  return JSON.parse(new TextDecoder().decode(text)) as unknown;
}

function publicKeyOf(base64: string): Uint8Array {
  const key = keyOf(base64);
  if (!isUsablePublicKey(base64)) throw new Error("The peer's public key is not a usable X25519 key");
  return key;
}

function keyOf(base64: string): Uint8Array {
  const key = fromBase64(base64);
  if (key.length !== nacl.box.publicKeyLength) throw new Error("A key must be 32 bytes in base64");
  return key;
}

function toBase64(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text);
}

function fromBase64(base64: string): Uint8Array {
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}
