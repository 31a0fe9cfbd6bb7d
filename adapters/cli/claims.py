"""What a token says of itself, if it is a JWT (RFC 7519): read for advice alone, and never believed.

Nothing is verified here, so nobody may decide by it who may do what. The token is the user's own, and has been refused.
"""

from __future__ import annotations

import binascii
import json
import re
from base64 import urlsafe_b64decode
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, final

from sasl.text import nesting, printable
from sasl.value import value

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]+\.([A-Za-z0-9_-]+)\.[A-Za-z0-9_-]*")  # RFC 7515 section 7.1
_LONGEST_TOKEN: Final = 65_536  # characters
_LONGEST_PAYLOAD: Final = 16_384  # octets
_DEEPEST: Final = 16
_LONGEST: Final = 200  # characters of what is shown of one claim
_USERS: Final = ("upn", "email", "preferred_username", "unique_name", "sub")
_LAST: Final = 253_402_300_799  # the last second of the year 9999


@final
@value
class Claims:
    """The claims of a token that explain a refusal; "" for one that it does not make.

    Attributes:
        expired: since when it is expired, in UTC; "" if it is not, or does not say.
        not_yet: from when on it is good, in UTC; "" if it is good by now.
        audience: for whom it is.
        scope: what it allows.
        user: whom it is about.
    """

    expired: str = ""
    not_yet: str = ""
    audience: str = ""
    scope: str = ""
    user: str = ""

    def __bool__(self) -> bool:
        return bool(self.expired or self.not_yet or self.audience or self.scope or self.user)


def read_claims(token: str, now: float) -> Claims:
    """Return what a token says of itself; nothing for one that is opaque, or is no sound JWT. Never raises.

    `now` is in seconds since 1970.
    """
    said = _payload(token)
    expiry, begin = _seconds(said.get("exp")), _seconds(said.get("nbf"))
    return Claims(
        _time(expiry) if expiry is not None and expiry <= now else "",
        _time(begin) if begin is not None and begin > now else "",
        _text(said.get("aud")),
        _text(said.get("scp")) or _text(said.get("scope")),
        next((text for name in _USERS if "@" in (text := _text(said.get(name)))), ""),  # a number tells nobody anything
    )


def advise(claims: Claims, user: str | None) -> str:
    """Return in words what the claims of a refused token say; "" if they say nothing."""
    return " ".join(_sentences(claims, user))


def _sentences(claims: Claims, user: str | None) -> Iterator[str]:
    if not claims:
        return
    if claims.expired:
        yield f"The token says that it expired at {claims.expired} (UTC): get a new one."
    if claims.not_yet:
        yield f"The token says that it is not good before {claims.not_yet} (UTC): check this machine's clock."
    if user and not _is_about(claims.user, user):
        yield f"It is about {claims.user}, and the user in the URL is {printable(user, limit=_LONGEST)}."
    parts = (("audience", claims.audience), ("scope", claims.scope))
    if told := ", ".join(f"{name} {text}" for name, text in parts if text):
        yield f"It says of itself (unverified): {told}. Check that this is what the server wants."


def _is_about(named: str, user: str) -> bool:
    """Whether a token may be about a user, who is named by the whole address or by what stands before the @."""
    named, user = named.casefold(), user.casefold()
    return not named or user == named or ("@" not in user and user == named.partition("@")[0])


def _payload(token: str) -> Mapping[str, Any]:
    """Return the claims of a JWT; none if it is not sound."""
    match = _TOKEN.fullmatch(token) if len(token) <= _LONGEST_TOKEN else None
    if match is None:
        return {}
    try:
        octets = urlsafe_b64decode(match[1] + "=" * (-len(match[1]) % 4))
        text = octets.decode("utf-8") if len(octets) <= _LONGEST_PAYLOAD else ""
        found = json.loads(text) if nesting(text) <= _DEEPEST else None
    except (binascii.Error, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _seconds(claim: object) -> float | None:
    """Return a NumericDate (RFC 7519 section 2)."""
    if isinstance(claim, bool) or not isinstance(claim, int | float) or not 0 <= claim <= _LAST:
        return None
    return claim


def _time(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}"


def _text(claim: object) -> str:
    """Return a claim that is a text, or a list of texts, as it may be shown."""
    if isinstance(claim, list) and all(isinstance(each, str) for each in claim):
        claim = " ".join(claim)
    return printable(claim, limit=_LONGEST) if isinstance(claim, str) else ""
