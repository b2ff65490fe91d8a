"""What encrypting and decrypting share: an agent's keys, and the box between two of them.

The box is PyNaCl's (X25519, XSalsa20-Poly1305), the same as tweetnacl's in JavaScript; on the wire it is base64 of
nonce and ciphertext together.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import json
import re
import sys
from pathlib import Path
from typing import Callable

from private_files import UnusableFile, expand_path, read_text

try:
    import nacl.exceptions
    import nacl.public
except ImportError:
    nacl = None  # type: ignore[assignment]

DEFAULT_KEYS_DIRECTORY = "~/.c2c/keys"
KEY_BYTES = 32

# With a point of small order the shared secret is the same for everybody who looks: these below p = 2^255 - 19, and all
# from p on, which spell a smaller number a second time.
FIELD_PRIME = 2**255 - 19
SMALL_ORDER = (
    0,
    1,
    325606250916557431795983626356110631294008115727848805560023387167927233504,
    39382357235489614581723060781553021112529911719440698176882885853963445705823,
    FIELD_PRIME - 1,
)


class PayloadError(Exception):
    """Something that the caller can put right; the message says what, in one line."""


def decode_base64(text: str | bytes, what: str) -> bytes:
    try:
        return base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        raise PayloadError(f"the {what} is not valid base64") from None


def encode_base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def key_path(keys_directory: str, agent_id: str) -> Path:
    """Where an agent's key pair lies."""
    # The id becomes a file name: it must not lead out of the directory.
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,128}", agent_id):
        raise PayloadError("an agent id consists of letters, digits, _ and -")
    return expand_path(keys_directory) / f"{agent_id}.json"


def add_key_options(parser: argparse.ArgumentParser, *, mine: str, peer: str) -> None:
    """The options that say where the own private key and the peer's public key are; `mine` and `peer` name their roles."""
    own = parser.add_mutually_exclusive_group(required=True)
    own.add_argument("--agent-id", help="use this agent's key file in the keys directory")
    own.add_argument(
        "--private-key-file",
        f"--{mine}-private-key-file",
        dest="private_key_file",
        help="a key file, or a file with nothing but the base64 private key",
    )
    own.add_argument(
        f"--{mine}-private-key",
        dest="private_key",
        help="base64; every user of the machine can see it, so prefer a file",
    )
    parser.add_argument("--keys-dir", default=DEFAULT_KEYS_DIRECTORY, help="default: %(default)s")
    other = parser.add_mutually_exclusive_group(required=True)
    other.add_argument(f"--{peer}-public-key", dest="peer_public_key", help="base64, as connections:list shows it")
    other.add_argument(f"--{peer}-public-key-file", dest="peer_public_key_file", help="a file with it, or a key file")


def open_box(options: argparse.Namespace) -> nacl.public.Box:
    """The box between the own private key and the peer's public key."""
    private_key = nacl.public.PrivateKey(_decode_key(_private_key_text(options), "private key"))
    peer_public_key = _decode_key(_peer_public_key_text(options), "peer's public key")
    require_usable(peer_public_key, "peer's public key")
    return nacl.public.Box(private_key, nacl.public.PublicKey(peer_public_key))


def require_usable(public_key: bytes, what: str) -> None:
    """Refuses a point that nothing may be sealed to."""
    # X25519 ignores the top bit, so it makes no other point.
    point = int.from_bytes(public_key, "little") % 2**255
    if point in SMALL_ORDER or point >= FIELD_PRIME:
        raise PayloadError(f"the {what} is not a usable X25519 key")


def _private_key_text(options: argparse.Namespace) -> str:
    if options.private_key:
        return options.private_key
    if options.private_key_file:
        path = expand_path(options.private_key_file)
    else:
        path = key_path(options.keys_dir, options.agent_id)
    try:
        text = read_text(path, secret=True)
    except FileNotFoundError:
        raise PayloadError(f"{path} does not exist; generate_keypair.py makes a key file") from None
    return _key_in(text, "privateKey", path)


def _peer_public_key_text(options: argparse.Namespace) -> str:
    if options.peer_public_key is not None:
        return options.peer_public_key
    path = expand_path(options.peer_public_key_file)
    return _key_in(require_text(path), "publicKey", path)


def require_text(path: Path) -> str:
    """The text of a file that has to be there."""
    try:
        return read_text(path)
    except FileNotFoundError:
        raise PayloadError(f"{path} does not exist") from None


def _key_in(text: str, field: str, path: Path) -> str:
    """The key in a file's text: the field of a JSON object, or the text as it is."""
    if not text.lstrip().startswith("{"):
        return text
    try:
        key = json.loads(text).get(field)
    except (ValueError, RecursionError):
        # Not chained: the parser's message could quote the key.
        raise PayloadError(f"{path} is not valid JSON") from None
    if not isinstance(key, str):
        raise PayloadError(f"{path} holds no {field}")
    return key


def _decode_key(text: str, what: str) -> bytes:
    key = decode_base64(text, what)
    if len(key) != KEY_BYTES:
        raise PayloadError(f"the {what} must be {KEY_BYTES} bytes, not {len(key)}")
    if encode_base64(key) != text.strip():
        raise PayloadError(f"the {what} is not canonical base64")
    return key


def run_command(command: Callable[[], None]) -> int:
    """Runs a script's work; turns what the caller can put right into one line on stderr and exit code 1."""
    try:
        if nacl is None:
            raise PayloadError("PyNaCl is missing: apt install python3-nacl (Debian) or pip install pynacl")
        command()
    except (PayloadError, UnusableFile) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"error: {error.filename or 'i/o'}: {error.strerror or error}", file=sys.stderr)
        return 1
    return 0
