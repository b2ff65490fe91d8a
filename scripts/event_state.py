"""Keeps the file that says which event this agent is checked in to: ~/.c2c/active_event.json.

Run `set` after events:checkIn, `clear` after events:checkOut, `status` to look. Each prints one JSON object with the
keys `status` (active, expired, none, invalid, error), `statePath`, `state`, `cleared` and `detail`; the exit code is 1
for `invalid` (there is a file, but no eventId and expiresAt can be read from it) and `error`, else 0. An invalid
file stays until `set` or `clear` is run: a guess at its meaning could drop a check-in that still holds.

event_heartbeat.py shares the functions of this module.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from private_files import UnusableFile, expand_path, read_json_object, replace_json

DEFAULT_STATE_PATH = "~/.c2c/active_event.json"


def now_ms() -> int:
    """The present as Unix milliseconds."""
    return int(time.time() * 1000)


def parse_instant(value: object) -> int | None:
    """Unix milliseconds from a number, a string of digits or an ISO 8601 string (UTC if it names no zone)."""
    if isinstance(value, bool):
        return None
    if isinstance(value, (int, float)):
        # The bounds also keep out NaN, the infinities and what no clock can show.
        return int(value) if 0 <= value < 10**15 else None
    if not isinstance(value, str):
        return None
    text = value.strip()
    if re.fullmatch(r"[0-9]{1,15}", text):
        return int(text)
    if text[-1:] in ("Z", "z"):
        # fromisoformat learned to read Z only in Python 3.11.
        text = text[:-1] + "+00:00"
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return parse_instant(round(moment.timestamp() * 1000))


def load_state(path: Path) -> dict[str, Any] | None:
    """The state with `expiresAt` in milliseconds, None where there is no file; UnusableFile where it makes no sense."""
    try:
        state = read_json_object(path)
    except FileNotFoundError:
        return None
    event_id = state.get("eventId")
    if not isinstance(event_id, str) or not event_id:
        raise UnusableFile(f"{path} names no eventId")
    expires_at = parse_instant(state.get("expiresAt"))
    if expires_at is None:
        raise UnusableFile(f"{path} has no readable expiresAt")
    return {**state, "expiresAt": expires_at}


def clear_state(path: Path) -> bool:
    """Removes the file; says whether there was one."""
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    return True


def _set(path: Path, options: argparse.Namespace) -> dict[str, Any]:
    expires_at = parse_instant(options.expires_at)
    checked_in_at = options.checked_in_at or datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    if not options.event_id:
        return {"status": "error", "detail": "--event-id must not be empty"}
    if expires_at is None:
        return {"status": "error", "detail": "--expires-at must be Unix milliseconds or an ISO 8601 time"}
    if checked_in_at.isdigit() or parse_instant(checked_in_at) is None:
        return {"status": "error", "detail": "--checked-in-at must be an ISO 8601 time"}
    replace_json(path, {"eventId": options.event_id, "expiresAt": expires_at, "checkedInAt": checked_in_at})
    return _status(path, options)


def _status(path: Path, options: argparse.Namespace) -> dict[str, Any]:
    try:
        state = load_state(path)
    except UnusableFile as error:
        return {"status": "invalid", "detail": str(error)}
    if state is None:
        return {"status": "none"}
    if state["expiresAt"] > now_ms():
        return {"status": "active", "state": state}
    cleared = options.clear_expired and clear_state(path)
    return {"status": "expired", "state": state, "cleared": cleared}


def _clear(path: Path, _options: argparse.Namespace) -> dict[str, Any]:
    return {"status": "none", "cleared": clear_state(path)}


def _parse_options(arguments: list[str] | None) -> argparse.Namespace:
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--state-path", default=DEFAULT_STATE_PATH, help="default: %(default)s")
    parser = argparse.ArgumentParser(description="Keeps the file that says which event this agent is checked in to.")
    parser.set_defaults(clear_expired=False)
    commands = parser.add_subparsers(dest="command", required=True)

    set_command = commands.add_parser("set", parents=[shared], help="remember a check-in")
    set_command.add_argument("--event-id", required=True)
    set_command.add_argument("--expires-at", required=True, help="Unix milliseconds or ISO 8601")
    set_command.add_argument("--checked-in-at", help="ISO 8601; default: now")
    set_command.set_defaults(run=_set)

    status_command = commands.add_parser("status", parents=[shared], help="say what is remembered")
    status_command.add_argument("--clear-expired", action="store_true", help="remove the file if its time has passed")
    status_command.set_defaults(run=_status)

    clear_command = commands.add_parser("clear", parents=[shared], help="forget the check-in")
    clear_command.set_defaults(run=_clear)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    options = _parse_options(arguments)
    path = expand_path(options.state_path)
    try:
        outcome = options.run(path, options)
    except OSError as error:
        outcome = {"status": "error", "detail": f"{path}: {error.strerror or error}"}
    report = {"status": None, "statePath": str(path), "state": None, "cleared": False, "detail": None, **outcome}
    print(json.dumps(report))
    return 1 if report["status"] in ("invalid", "error") else 0


if __name__ == "__main__":
    sys.exit(main())
