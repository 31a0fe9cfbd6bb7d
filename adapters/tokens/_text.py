"""A token as other programs write it: on the first line, or in an object of JSON.

    {"access_token": "ya29.a0Af", "expires_at": 1767225600, "scope": "https://mail.google.com/"}

`expires_at` is in seconds since 1970, or a time by RFC 3339; `expires_in` is in seconds from now.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from sasl.credentials import AccessToken
from sasl.errors import TokenError, hide_frames

from ..documents import parse_object

if TYPE_CHECKING:
    from collections.abc import Mapping

LARGEST: Final = 65_536
"""Octets of a token, or of a document that holds one."""

_TOKEN: Final = re.compile(rb"[!-~]+")  # wider than b68token of RFC 6750, which deployed tokens leave
_END_OF_TIME: Final = datetime(9999, 12, 31, tzinfo=UTC).timestamp()
_FARTHEST: Final = 1e9  # seconds; a lifetime beyond that is none
_LIKE_A_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+-]{40,}=*")


def mask_tokens(text: str) -> str:
    """Return a text without what looks like a token or a part of one: 40 characters without a space or a slash."""
    return _LIKE_A_TOKEN.sub("***", text)


def is_over(token: AccessToken, now: float) -> bool:
    """Whether a token is over at a time in seconds since 1970; what does not say when it ends never is."""
    return token.expires_at is not None and token.expires_at.timestamp() <= now


@hide_frames
def parse_token(octets: bytes, called: str, *, now: float | None = None) -> AccessToken:
    """Return the token that a text holds. `called` is what errors call the text.

    `now` is the time in seconds since 1970 at which the text was written; where nobody knows it, `expires_in` says
    nothing.
    Raises TokenError (no_token), which shows nothing of the text.
    """
    if octets.startswith(b"{"):
        document = parse_object(octets, unique=True) if len(octets) <= LARGEST else None
        if document is None:
            raise _none(f"{called} is no object of JSON")
        return _parse_document(document, called, now)
    line = octets.partition(b"\n")[0].removesuffix(b"\r")
    if not _is_token(line):
        raise _none(f"{called} holds no token on its first line: printable ASCII without a space")
    return AccessToken(line.decode("ascii"))


def _parse_document(document: Mapping[str, Any], called: str, now: float | None) -> AccessToken:
    token, scope = document.get("access_token"), document.get("scope")
    if not isinstance(token, str) or not _is_token(token.encode("utf-8", "replace")):
        raise _none(f"{called} holds no access_token that is one")
    if not isinstance(scope, str | None):
        raise _none(f"{called} holds a scope that is no text")
    return AccessToken(token, _end(document, called, now), scope or None)


def _end(document: Mapping[str, Any], called: str, now: float | None) -> datetime | None:
    """Return when the token ends; None where the document does not say."""
    at, lifetime = document.get("expires_at"), document.get("expires_in")
    if at is not None:
        end = _parse_time(at)
        if end is None:
            raise _none(f"{called} holds an expires_at that is neither seconds since 1970 nor a time by RFC 3339")
        return end
    if lifetime is None or now is None:
        return None
    if not _is_number(lifetime) or not abs(lifetime) <= _FARTHEST:
        raise _none(f"{called} holds an expires_in that is no number of seconds")
    return datetime.fromtimestamp(now, UTC) + timedelta(seconds=lifetime)


def _parse_time(at: object) -> datetime | None:
    if isinstance(at, int | float) and _is_number(at):
        return datetime.fromtimestamp(at, UTC) if 0 <= at < _END_OF_TIME else None
    try:
        time = datetime.fromisoformat(at) if isinstance(at, str) else None
        return None if time is None or time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _is_number(content: object) -> bool:
    return isinstance(content, int | float) and not isinstance(content, bool)


def _is_token(octets: bytes) -> bool:
    return len(octets) <= LARGEST and _TOKEN.fullmatch(octets) is not None


def _none(what: str) -> TokenError:
    return TokenError(what, code="no_token")
