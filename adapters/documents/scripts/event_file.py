"""The file that says which event this agent is checked in to, for the scripts that keep it and that act on it."""

from __future__ import annotations

import re
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from private_files import UnusableFile, read_json_object

DEFAULT_STATE_PATH = "~/.c2c/active_event.json"
OUTREACH_MODES = ("suggest_only", "propose_for_me")


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
