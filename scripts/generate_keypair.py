"""Makes an agent's X25519 key pair for end-to-end encryption.

The pair goes to ~/.c2c/keys/{agent_id}.json (mode 0600; agentId, publicKey, privateKey). Only {"publicKey": "..."} is
printed: the args of agents:setPublicKey. An existing pair is kept unless --force is given, for whatever was encrypted
to it can be read with no other.
"""

from __future__ import annotations

import argparse
import json
import sys

from payload_box import DEFAULT_KEYS_DIRECTORY, PayloadError, encode_base64, key_path, nacl, require_usable, run_command
from private_files import create_json, replace_json


def generate(options: argparse.Namespace) -> None:
    path = key_path(options.keys_dir, options.agent_id)
    private_key = nacl.public.PrivateKey.generate()
    require_usable(bytes(private_key.public_key), "new public key")
    public_key = encode_base64(bytes(private_key.public_key))
    pair = {"agentId": options.agent_id, "publicKey": public_key, "privateKey": encode_base64(bytes(private_key))}
    try:
        (replace_json if options.force else create_json)(path, pair)
    except FileExistsError:
        raise PayloadError(f"{path} exists; --force replaces it, and what was encrypted to it is lost") from None
    print(json.dumps({"publicKey": public_key}))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Makes an agent's key pair and prints the public key as JSON.")
    parser.add_argument("--agent-id", required=True)
    parser.add_argument("--keys-dir", default=DEFAULT_KEYS_DIRECTORY, help="default: %(default)s")
    parser.add_argument("--force", action="store_true", help="replace an existing pair")
    options = parser.parse_args(arguments)
    return run_command(lambda: generate(options))


if __name__ == "__main__":
    sys.exit(main())
