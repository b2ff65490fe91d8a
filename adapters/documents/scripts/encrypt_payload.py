"""Encrypts a payload for another agent: a JSON object in, the `encryptedPayload` of messages:send out.

The payload comes from an option, a file or stdin. Prefer the last two: arguments can be seen by every user of the
machine. What was encrypted can be read by both sides, with the other one's public key.
"""

from __future__ import annotations

import argparse
import json
import sys

from payload_box import PayloadError, add_key_options, encode_base64, open_box, require_text, run_command
from private_files import expand_path

MAX_ENCODED_BYTES = 12288


def encrypt(options: argparse.Namespace) -> None:
    encrypted = encode_base64(bytes(open_box(options).encrypt(_plaintext(_payload_text(options)))))
    size = len(encrypted)
    if size > MAX_ENCODED_BYTES:
        raise PayloadError(f"the encrypted payload is too large ({size} bytes, max {MAX_ENCODED_BYTES}); shorten it")
    print(encrypted)


def _payload_text(options: argparse.Namespace) -> str | bytes:
    if options.payload is not None:
        return options.payload
    if options.payload_file is not None:
        return require_text(expand_path(options.payload_file))
    return sys.stdin.buffer.read()


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
    add_key_options(parser, mine="sender", peer="recipient")
    payload = parser.add_mutually_exclusive_group()
    payload.add_argument("--payload", "--payload-json", dest="payload", help="the JSON object; default: stdin")
    payload.add_argument("--payload-file", help="a file with the JSON object")
    options = parser.parse_args(arguments)
    return run_command(lambda: encrypt(options))


if __name__ == "__main__":
    sys.exit(main())
