"""Keeps the file that says which event this agent is checked in to: ~/.c2c/active_event.json.

Run `set` after events:checkIn, `clear` after events:checkOut, `status` to look. Each prints one JSON object with the
keys `status` (`ok` for set and clear; `active`, `expired` or `none` for status; else `invalid` or `error`), `path`,
`active`, `expired`, `nowMs`, `state`, `action` (`cleared` or `none`), `deleted`, `reason` and `detail`. The exit code is
1 for `invalid` (there is a file, but no eventId and expiresAt can be read from it) and `error`, else 0. An invalid file
stays until `set` or `clear` is run: a guess at its meaning could drop a check-in that still holds.
"""

from __future__ import annotations

import argparse
import json
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from event_file import DEFAULT_STATE_PATH, OUTREACH_MODES, clear_state, load_state, now_ms, parse_instant
from private_files import UnusableFile, expand_path, replace_json


def _set(path: Path, options: argparse.Namespace) -> dict[str, Any]:
    expires_at = parse_instant(options.expires_at)
    checked_in_at = options.checked_in_at or datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    if not options.event_id:
        return {"status": "error", "detail": "--event-id must not be empty"}
    if expires_at is None:
        return {"status": "error", "detail": "--expires-at must be Unix milliseconds or an ISO 8601 time"}
    if checked_in_at.isdigit() or parse_instant(checked_in_at) is None:
        return {"status": "error", "detail": "--checked-in-at must be an ISO 8601 time"}
    brief = {
        "eventGoal": options.event_goal,
        "introConstraints": options.intro_constraints,
        "outreachMode": options.outreach_mode,
    }
    state = {"eventId": options.event_id, "expiresAt": expires_at, "checkedInAt": checked_in_at}
    replace_json(path, {**state, **{field: text for field, text in brief.items() if text}})
    return {**_status(path, options), "status": "ok"}


def _status(path: Path, options: argparse.Namespace) -> dict[str, Any]:
    try:
        state = load_state(path)
    except UnusableFile as error:
        return {"status": "invalid", "reason": "invalid_state_file", "detail": str(error)}
    if state is None:
        return {"status": "none", "reason": "missing_state_file"}
    now = now_ms() if options.now_ms is None else options.now_ms
    active = state["expiresAt"] > now
    cleared = not active and options.clear_expired and clear_state(path)
    return {
        "status": "active" if active else "expired",
        "active": active,
        "expired": not active,
        "nowMs": now,
        "state": state,
        "action": "cleared" if cleared else "none",
        "deleted": cleared,
    }


def _clear(path: Path, _options: argparse.Namespace) -> dict[str, Any]:
    deleted = clear_state(path)
    return {"status": "ok", "action": "cleared" if deleted else "none", "deleted": deleted}


def _parse_options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Keeps the file that says which event this agent is checked in to.")
    path_names = ("--path", "--state-path")
    parser.add_argument(*path_names, dest="path", default=DEFAULT_STATE_PATH, help="default: %(default)s")
    parser.set_defaults(clear_expired=False, now_ms=None)
    # The same option behind the command; without a default of its own, or it would undo the one before the command.
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument(*path_names, dest="path", default=argparse.SUPPRESS, help="the file; also before the command")
    commands = parser.add_subparsers(dest="command", required=True)

    set_command = commands.add_parser("set", parents=[shared], help="remember a check-in")
    set_command.add_argument("--event-id", required=True)
    set_command.add_argument("--expires-at", required=True, help="Unix milliseconds or ISO 8601")
    set_command.add_argument("--checked-in-at", help="ISO 8601; default: now")
    set_command.add_argument("--event-goal", help="what the human wants from the event")
    set_command.add_argument("--intro-constraints", help="what intros have to respect")
    set_command.add_argument("--outreach-mode", choices=OUTREACH_MODES, help="whether intros may be proposed unasked")
    set_command.set_defaults(run=_set)

    status_command = commands.add_parser("status", parents=[shared], help="say what is remembered")
    status_command.add_argument("--now-ms", type=int, help="Unix milliseconds to take for the present")
    status_command.add_argument("--clear-expired", action="store_true", help="remove the file if its time has passed")
    status_command.set_defaults(run=_status)

    clear_command = commands.add_parser("clear", parents=[shared], help="forget the check-in")
    clear_command.set_defaults(run=_clear)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    options = _parse_options(arguments)
    path = expand_path(options.path)
    try:
        outcome = options.run(path, options)
    except OSError as error:
        outcome = {"status": "error", "detail": f"{path}: {error.strerror or error}"}
    report = {
        "status": None,
        "path": str(path),
        "active": False,
        "expired": False,
        "nowMs": now_ms(),
        "state": None,
        "action": "none",
        "deleted": False,
        "reason": None,
        "detail": None,
        **outcome,
    }
    print(json.dumps(report))
    return 1 if report["status"] in ("invalid", "error") else 0


if __name__ == "__main__":
    sys.exit(main())
