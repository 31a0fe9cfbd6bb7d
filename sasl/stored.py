"""SCRAM keys as others store them: Dovecot, GNU SASL, RFC 5803, PostgreSQL and MongoDB. Pure parse and print."""

from __future__ import annotations

import re
from collections.abc import Mapping

from .base64 import decode, encode
from .errors import ProtocolError
from .hashes import LONGEST_SALT
from .typed import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any, Final, TypeAlias

Parts: TypeAlias = tuple[str, int, bytes, bytes, bytes]
"""Mechanism, iterations, salt, stored key and server key."""

_LONGEST_FIELD: Final = LONGEST_SALT  # characters of base64

_B64: Final = r"[A-Za-z0-9+/]+={0,2}"
_TEXT: Final = re.compile(_B64)
_DOVECOT: Final = re.compile(
    rf"\{{(?P<mechanism>SCRAM-[A-Z0-9-]+)\}}(?P<iterations>[1-9][0-9]{{0,9}})"
    rf",(?P<salt>{_B64}),(?P<stored>{_B64}),(?P<server>{_B64})"
    r"(?:,(?:[0-9a-f]{2})+)?"  # SaltedPassword, which gsasl --verbose adds and nobody should keep
)
_RFC_5803: Final = re.compile(
    rf" *(?P<mechanism>SCRAM-[A-Z0-9-]+) *\$ *(?P<iterations>[1-9][0-9]{{0,9}})"
    rf":(?P<salt>{_B64}) *\$ *(?P<stored>{_B64}):(?P<server>{_B64}) *"
)
_MONGODB: Final = "SCRAM-SHA-256"  # its SCRAM-SHA-1 is of another password: see `ScramKeys.mongodb`


def parse(stored: object) -> Parts | None:
    """Return the parts of a stored credential, in any form that the functions below print; None for anything else.

    What the parts are worth is for the caller to say: whether there is such a mechanism, and keys of such a size.
    """
    match stored:
        case str():
            return _parse_text(stored)
        case Mapping():
            return _parse_document(stored)
    return None


def print_dovecot(parts: Parts) -> str:
    """Return "{SCRAM-SHA-256}4096,SALT,STOREDKEY,SERVERKEY", as `doveadm pw` and `gsasl --mkpasswd` print it."""
    mechanism, iterations, *texts = _texts(parts)
    return f"{{{mechanism}}}{iterations},{','.join(texts)}"


def print_rfc5803(parts: Parts) -> str:
    """Return "SCRAM-SHA-256$4096:SALT$STOREDKEY:SERVERKEY" (RFC 5803 section 2), which is PostgreSQL's form, too."""
    mechanism, iterations, salt, stored, server = _texts(parts)
    return f"{mechanism}${iterations}:{salt}${stored}:{server}"


def print_mongodb(parts: Parts) -> dict[str, dict[str, Any]]:
    """Return what a user's "credentials" hold in MongoDB."""
    mechanism, _, salt, stored, server = _texts(parts)
    return {mechanism: {"iterationCount": parts[1], "salt": salt, "storedKey": stored, "serverKey": server}}


def _parse_text(stored: str) -> Parts | None:
    match = _DOVECOT.fullmatch(stored) or _RFC_5803.fullmatch(stored)
    if match is None:
        return None
    mechanism, iterations, *texts = match.group("mechanism", "iterations", "salt", "stored", "server")
    return _decode(mechanism, int(iterations), texts)


def _parse_document(stored: Mapping[str, Any]) -> Parts | None:
    """Parse MongoDB's document of a user, or its "credentials"."""
    credentials = stored.get("credentials", stored)
    keys = credentials.get(_MONGODB) if isinstance(credentials, Mapping) else None
    if not isinstance(keys, Mapping):
        return None
    texts = [keys.get(field) for field in ("salt", "storedKey", "serverKey")]
    if not all(isinstance(text, str) and _TEXT.fullmatch(text) for text in texts):
        return None
    return _decode(_MONGODB, keys.get("iterationCount"), texts)


def _decode(mechanism: str, iterations: Any, texts: list[Any]) -> Parts | None:
    try:
        salt, stored, server = (decode(text.encode("ascii"), limit=_LONGEST_FIELD) for text in texts)
    except ProtocolError:
        return None
    return mechanism, iterations, salt, stored, server


def _texts(parts: Parts) -> tuple[str, ...]:
    mechanism, iterations, *octets = parts
    return mechanism, str(iterations), *(encode(part).decode("ascii") for part in octets)
