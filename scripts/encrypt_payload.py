"""Encrypts a payload for another agent: a JSON object in, the `encryptedPayload` of messages:send out.

The payload comes from --payload or stdin. Prefer stdin: arguments can be seen by every user of the machine.
"""

from __future__ import annotations

import argparse
import json
import sys

from payload_box import PayloadError, add_key_options, encode_base64, open_box, run_command

MAX_ENCODED_BYTES = 12288


def encrypt(options: argparse.Namespace) -> None:
    plaintext = _plaintext(sys.stdin.buffer.read() if options.payload is None else options.payload)
    encrypted = encode_base64(bytes(open_box(options, options.recipient_public_key).encrypt(plaintext)))
    size = len(encrypted)
    if size > MAX_ENCODED_BYTES:
        raise PayloadError(f"the encrypted payload is too large ({size} bytes, max {MAX_ENCODED_BYTES}); shorten it")
    print(encrypted)


def _plaintext(text: str | bytes) -> bytes:
    try:
        payload = json.loads(text)
        # Compact and unescaped, since the limit counts bytes; NaN and the like would be JSON to Python alone.
        compact = json.dumps(payload, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode("utf-8")
    except (ValueError, RecursionError):
        raise PayloadError("the payload is not valid JSON") from None
    if not isinstance(payload, dict):
        raise PayloadError("the payload must be a JSON object")
    return compact


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Encrypts a JSON payload for another agent; prints base64.")
    add_key_options(parser)
    parser.add_argument("--recipient-public-key", required=True, help="base64, as connections:list shows it")
    parser.add_argument("--payload", help="the JSON object; default: stdin")
    options = parser.parse_args(arguments)
    return run_command(lambda: encrypt(options))


if __name__ == "__main__":
    sys.exit(main())
