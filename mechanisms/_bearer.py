"""What XOAUTH2 and OAUTHBEARER share (RFC 7628 section 3): key=value pairs, the token, the error challenge."""

from __future__ import annotations

from sasl.errors import ProtocolError, UsageError
from sasl.secret import Secret
from sasl.steps import Challenge, Rejected
from sasl.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping
    from typing import Final, TypeAlias

    from sasl.credentials import Bearer
    from sasl.limits import Limits

    ErrorChallenge: TypeAlias = Callable[[Rejected], Mapping[str, str] | None]
    """What says of a refusal what the error challenge holds, beside what it always does; None: none is sent."""

KVSEP: Final = b"\x01"
_END: Final = KVSEP + KVSEP

# A token is printable ASCII without spaces; RFC 6750 says b68token, which deployed tokens leave. A value is that, SP,
# HTAB, CR and LF; from 0x80 on UTF-8, which the user name of XOAUTH2 may hold. Octets are counted out by translate(),
# which goes once over a message: a regular expression takes ten times as long for a token of 2,500 octets.
_VCHAR: Final = bytes(range(0x21, 0x7F))
_VALUES: Final = KVSEP + b" \t\r\n" + _VCHAR + bytes(range(0x80, 0x100))
_KNOWN: Final = ("status", "schemes", "scope", "openid-configuration")


def token_of(credentials: Bearer) -> str:
    """Return the token. Raises UsageError if it is not printable ASCII without spaces (RFC 6750 section 2.1)."""
    token = credentials.token.reveal() if isinstance(credentials.token, Secret) else ""
    if not token or not token.isascii() or token.encode("ascii").translate(None, _VCHAR):
        raise UsageError("a token is printable ASCII without spaces, and not empty; did a line end come with it?")
    return token


def pairs(message: bytes) -> dict[bytes, bytes]:
    """Parse *(key "=" value ^A) ^A; keys are case-sensitive.

    Raises ProtocolError for anything else, and for a key that comes twice: two readers could take another one.
    """
    if not message.endswith(_END):
        raise ProtocolError("the key/value pairs do not end in two ^A (RFC 7628 section 3.1)")
    if message.translate(None, _VALUES):
        raise ProtocolError("not a key=value pair (RFC 7628 section 3.1)")
    found: dict[bytes, bytes] = {}
    for pair in message[:-2].split(KVSEP):
        name, equals, value = pair.partition(b"=")
        if not equals or not name.isalpha():
            raise ProtocolError("not a key=value pair (RFC 7628 section 3.1)")
        if name in found:
            raise ProtocolError("a key that comes twice")
        found[name] = value
    return found


def parse_auth(value: bytes | None) -> Secret | None:
    """Return the token of a value of `pairs`, or None for an empty one, which asks which scope is wanted.

    Raises ProtocolError if there is no auth value or it is not "Bearer" and one token.
    """
    if value is None:
        raise ProtocolError("no auth value (RFC 7628 section 3.1)")
    if not value:
        return None
    scheme, _, token = value.partition(b" ")
    if scheme.lower() != b"bearer" or not token or not token.isascii() or _has_spaces(token):
        raise ProtocolError("no bearer token in the auth value (RFC 6750 section 2.1)")
    return Secret(token.decode("ascii"))


def parse_error(challenge: bytes, limits: Limits) -> dict[str, str]:
    """Return what an error challenge says, text to text; empty if it is unreadable or too large.

    Numbers are taken as text (a status of 401), other values and unknown keys are left out, control
    characters are escaped. Nothing in it is ever followed or fetched (RFC 7628 section 5).
    """
    if len(challenge) > limits.error_json:
        return {}
    try:
        text = challenge.decode("utf-8-sig")  # json.loads() would take UTF-16 and UTF-32, which no such message is in
    except UnicodeDecodeError:
        return {}
    from sasl.text import nesting, printable

    if nesting(text) > limits.error_json_depth:
        return {}
    import json  # 7 ms, and only a refusal needs it

    try:
        error = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(error, dict):
        return {}
    texts = {key: str(error[key]) for key in _KNOWN if isinstance(error.get(key), str) or type(error.get(key)) is int}
    return {key: printable(text) for key, text in texts.items()}


def explain(
    rejected: Rejected, default: Mapping[str, str], error_challenge: ErrorChallenge | None
) -> Generator[Challenge, bytes, None]:
    """Send the error challenge for a refusal and take the answer, whatever it is (RFC 7628 section 3.2.3)."""
    said = {} if error_challenge is None else error_challenge(rejected)
    if said is None:
        return
    import json

    detail = {**default, **(rejected.detail or {}), **said}
    yield Challenge(json.dumps(detail, separators=(",", ":")).encode("ascii"), refusal=rejected)


def _has_spaces(octets: bytes) -> bool:
    return 0x20 in octets or 0x09 in octets or 0x0D in octets or 0x0A in octets  # octets are found faster than bytes
