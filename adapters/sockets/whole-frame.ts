/** Text frames as they go over the wire, head included, so that one can be written once and sent to many. */

declare const whole: unique symbol;
/** A text frame with its head. */
export type WholeFrame = Buffer & { [whole]: true };

/** Puts a text frame together and adds the head (RFC 6455 section 5.2). */
export function wholeFrame(...parts: readonly Buffer[]): WholeFrame {
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  const head = Buffer.alloc(length < 126 ? 2 : length < 0x1_0000 ? 4 : 10);
  head[0] = 0x81;
  if (head.length === 2) head[1] = length;
  else if (head.length === 4) {
    head[1] = 126;
    head.writeUInt16BE(length, 2);
  } else {
    head[1] = 127;
    head.writeBigUInt64BE(BigInt(length), 2);
  }
  return Buffer.concat([head, ...parts]) as unknown as WholeFrame;
}
