"""Files that belong to one agent alone: credentials, keys and state under ~/.c2c.

Writes them with mode 0600 in directories of mode 0700, and reads secrets only from files that nobody else can read.
What stands in a file is the business of the scripts beside this one.
"""

from __future__ import annotations

import json
import os
import stat
import tempfile
from pathlib import Path
from typing import Any


class UnusableFile(Exception):
    """A file that is there but cannot be used; the message says why, in one line."""


def expand_path(text: str) -> Path:
    """An option's path, with ~ expanded."""
    return Path(os.path.expanduser(text))


def read_text(path: Path, *, secret: bool = False) -> str:
    """The file's text. A missing file raises FileNotFoundError, every other trouble UnusableFile."""
    try:
        with open(path, encoding="utf-8") as file:
            # Asked of the open file, so that it cannot be exchanged between the check and the read.
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            # Windows has no such bits and reports every file as open to all.
            if secret and os.name != "nt" and mode & 0o077:
                raise UnusableFile(f"{path} is open to other users (mode {mode:04o}); run: chmod 600 {path}")
            return file.read()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UnusableFile(f"cannot read {path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise UnusableFile(f"{path} is not UTF-8 text") from None


def read_json_object(path: Path, *, secret: bool = False) -> dict[str, Any]:
    """The JSON object in a file; raises as read_text does."""
    text = read_text(path, secret=secret)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        # Not chained: the parser's message can quote the file, and the file can hold a secret.
        raise UnusableFile(f"{path} is not valid JSON") from None
    if not isinstance(value, dict):
        raise UnusableFile(f"{path} must hold a JSON object")
    return value


def replace_json(path: Path, value: dict[str, Any]) -> None:
    """Writes the file in one step: a reader sees the old content or the new, never half of it."""
    _make_private_directory(path.parent)
    # mkstemp creates with mode 0600; the rename keeps it.
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        _write_json(descriptor, value)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def create_json(path: Path, value: dict[str, Any]) -> None:
    """Writes a new file; raises FileExistsError rather than touch one that is there."""
    _make_private_directory(path.parent)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        _write_json(descriptor, value)
    except BaseException:
        os.unlink(path)
        raise


def _write_json(descriptor: int, value: dict[str, Any]) -> None:
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(value, file, indent=2)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())


def _make_private_directory(directory: Path) -> None:
    # Path.mkdir(parents=True) would give the parents the default mode.
    if directory.is_dir():
        return
    _make_private_directory(directory.parent)
    directory.mkdir(mode=0o700, exist_ok=True)
