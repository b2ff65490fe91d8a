/**
 * Encrypts what only the holder of a secret may read. The key is derived from that secret, and the database holds only
 * a hash of the secret. Whoever has the database file, its log or a backup, but not the secret, can read nothing.
 */
import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from "node:crypto";

const nonceBytes = 12;
const tagBytes = 16;

/** Derives a key for one use of a secret. `salt` may be public. */
export function sealKey(secret: string, salt: string, use: string): Buffer {
  return Buffer.from(hkdfSync("sha256", secret, salt, use, 32));
}

/** Encrypts with AES-256-GCM. Returns nonce, tag and ciphertext together in base64. */
export function seal(key: Buffer, content: Uint8Array): string {
  const nonce = randomBytes(nonceBytes);
  const cipher = createCipheriv("aes-256-gcm", key, nonce);
  const body = Buffer.concat([cipher.update(content), cipher.final()]);
  return Buffer.concat([nonce, cipher.getAuthTag(), body]).toString("base64");
}

/** Decrypts. Throws if the key is wrong or the text was changed. */
export function unseal(key: Buffer, sealed: string): Buffer {
  const bytes = Buffer.from(sealed, "base64");
  const body = bytes.subarray(nonceBytes + tagBytes);
  const decipher = createDecipheriv("aes-256-gcm", key, bytes.subarray(0, nonceBytes));
  decipher.setAuthTag(bytes.subarray(nonceBytes, nonceBytes + tagBytes));
  return Buffer.concat([decipher.update(body), decipher.final()]);
}
