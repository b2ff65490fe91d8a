"""Makes an agent's X25519 key pair for end-to-end encryption.

With --agent-id the pair goes to ~/.c2c/keys/{agent_id}.json, with --output to that file (mode 0600). Printed is one JSON
object: `algorithm`, `createdAt`, `publicKey` and, where a file has it, its `path`; the private key only where no file is
written (--stdout-only, or neither of the others). An existing pair is kept unless --force is given, for whatever was
encrypted to it can be read with no other.
"""

from __future__ import annotations

import argparse
import json
import sys
from datetime import datetime, timezone
from pathlib import Path

from payload_box import DEFAULT_KEYS_DIRECTORY, PayloadError, encode_base64, key_path, nacl, require_usable, run_command
from private_files import create_json, expand_path, replace_json


def generate(options: argparse.Namespace) -> None:
    path = _output_path(options)
    private_key = nacl.public.PrivateKey.generate()
    require_usable(bytes(private_key.public_key), "new public key")
    public = {
        "algorithm": "x25519",
        "createdAt": datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "publicKey": encode_base64(bytes(private_key.public_key)),
    }
    pair = {**public, "privateKey": encode_base64(bytes(private_key))}
    if path is None:
        print(json.dumps(pair, indent=2))
        return
    try:
        owner = {} if options.agent_id is None else {"agentId": options.agent_id}
        (replace_json if options.force else create_json)(path, {**owner, **pair})
    except FileExistsError:
        raise PayloadError(f"{path} exists; --force replaces it, and what was encrypted to it is lost") from None
    print(json.dumps({**public, "path": str(path)}, indent=2))


def _output_path(options: argparse.Namespace) -> Path | None:
    if options.stdout_only:
        return None
    if options.output is not None:
        return expand_path(options.output)
    return None if options.agent_id is None else key_path(options.keys_dir, options.agent_id)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Makes an agent's key pair and prints the public key as JSON.")
    parser.add_argument("--agent-id", help="write the pair to this agent's file in the keys directory")
    parser.add_argument("--keys-dir", default=DEFAULT_KEYS_DIRECTORY, help="default: %(default)s")
    parser.add_argument("--output", help="write the pair to this file instead")
    parser.add_argument("--stdout-only", action="store_true", help="write no file; print the private key too")
    parser.add_argument("--force", action="store_true", help="replace an existing pair")
    options = parser.parse_args(arguments)
    return run_command(lambda: generate(options))


if __name__ == "__main__":
    sys.exit(main())
