"""Calls of the server's functions with an agent's key, for scripts that act on their own.

The key goes to one server and nowhere else: redirects are not followed, and no proxy reads along.
"""

from __future__ import annotations

import http.client
import ipaddress
import json
import re
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from private_files import UnusableFile, read_json_object

# The server fills in its own address when it hands this script out.
DEFAULT_API_BASE = "{{BASE_URL}}/api"
TIMEOUT_SECONDS = 15
MAX_REPLY_BYTES = 4 * 1024 * 1024


class CallFailed(Exception):
    """A call without a usable value: refused, rejected, or lost on the way."""

    def __init__(self, path: str, detail: str, **more: Any) -> None:
        super().__init__(detail)
        known = {key: value for key, value in more.items() if value is not None}
        self.entry = {"call": path, "detail": detail, **known}


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    # A followed redirect would carry the bearer to wherever the reply points.
    def redirect_request(self, *_arguments: Any, **_more: Any) -> None:
        return None


class Api:
    """The server's two endpoints, spoken to with one agent's key."""

    def __init__(self, base: str, key: str) -> None:
        self._base = base.rstrip("/")
        self._key = key
        handlers: list[urllib.request.BaseHandler] = [_NoRedirects()]
        if _is_loopback(base) or not base.lower().startswith("https:"):
            # A proxy from the environment would read the key of a plain request, and cannot reach our loopback.
            handlers.append(urllib.request.ProxyHandler({}))
        self._opener = urllib.request.build_opener(*handlers)

    def query(self, path: str, args: dict[str, Any], expected: type) -> Any:
        return self._call("query", path, args, expected)

    def mutation(self, path: str, args: dict[str, Any]) -> dict[str, Any]:
        return self._call("mutation", path, args, dict)

    def _call(self, kind: str, path: str, args: dict[str, Any], expected: type) -> Any:
        if not _is_usable_base(self._base):
            raise CallFailed(path, "the API base must be an http or https URL; see --api-base")
        request = urllib.request.Request(
            f"{self._base}/{kind}",
            data=json.dumps({"path": path, "args": args, "format": "json"}).encode(),
            headers={
                "Content-Type": "application/json",
                "Accept": "application/json",
                "User-Agent": "c2c-event-heartbeat",
                "Authorization": f"Bearer {self._key}",
            },
        )
        try:
            with self._opener.open(request, timeout=TIMEOUT_SECONDS) as response:
                status, headers, body = response.status, response.headers, response.read(MAX_REPLY_BYTES + 1)
        except urllib.error.HTTPError as error:
            with error:
                status, headers, body = error.code, error.headers, _read_quietly(error)
        except urllib.error.URLError as error:
            raise CallFailed(path, f"cannot reach the server: {error.reason}") from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise CallFailed(path, f"cannot reach the server: {error or type(error).__name__}") from None

        if 300 <= status < 400:
            target = urllib.parse.urlsplit(headers.get("Location") or "").netloc or "another path"
            raise CallFailed(path, f"redirected to {target}; set --api-base to the final address", httpStatus=status)
        if len(body) > MAX_REPLY_BYTES:
            raise CallFailed(path, "the reply is too large", httpStatus=status)
        envelope = self._parse(body)
        if status == 200 and envelope.get("status") == "success":
            if not isinstance(envelope.get("value"), expected):
                raise CallFailed(path, "the server sent a value of an unexpected shape")
            return envelope["value"]
        raise _failure(path, status, headers, envelope)

    def _parse(self, body: bytes) -> dict[str, Any]:
        # A server that echoes the request must not get the key into our output.
        text = body.decode("utf-8", "replace").replace(self._key, "[redacted]")
        try:
            envelope = json.loads(text)
        except (ValueError, RecursionError):
            return {}
        return envelope if isinstance(envelope, dict) else {}


def _failure(path: str, status: int, headers: Any, envelope: dict[str, Any]) -> CallFailed:
    data = envelope.get("errorData")
    data = data if isinstance(data, dict) else {}
    message = envelope.get("errorMessage") or envelope.get("message") or f"unexpected reply (HTTP {status})"
    retry_after: Any = headers.get("Retry-After")
    if retry_after is None and isinstance(data.get("retryAfterMs"), (int, float)):
        retry_after = data["retryAfterMs"] / 1000
    elif isinstance(retry_after, str) and re.fullmatch(r"[0-9]{1,9}", retry_after):
        retry_after = int(retry_after)
    return CallFailed(
        path,
        str(message)[:500],
        code=data.get("code") or envelope.get("code"),
        httpStatus=status,
        retryAfter=retry_after,
    )


def _read_quietly(error: urllib.error.HTTPError) -> bytes:
    try:
        return error.read(MAX_REPLY_BYTES + 1)
    except (OSError, http.client.HTTPException):
        return b""


def _is_usable_base(base: str) -> bool:
    try:
        parts = urllib.parse.urlsplit(base)
        # Asking for the port also checks it.
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    return usable and not (parts.username or parts.query or parts.fragment)


def _is_loopback(base: str) -> bool:
    try:
        host = urllib.parse.urlsplit(base).hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def load_credentials(path: Path) -> dict[str, Any]:
    """The credentials, with an apiKey that is fit for a header; raises UnusableFile otherwise."""
    try:
        credentials = read_json_object(path, secret=True)
    except FileNotFoundError:
        raise UnusableFile(f'{path} does not exist; store {{"apiKey": "c2c_..."}} there with mode 0600') from None
    key = credentials.get("apiKey")
    # Any other character would make the HTTP client raise an error that quotes the whole header.
    if not isinstance(key, str) or not re.fullmatch(r"[A-Za-z0-9._~+/=-]{8,}", key):
        raise UnusableFile(f"{path} holds no valid apiKey")
    return credentials
