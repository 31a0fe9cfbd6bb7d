"""SCRAM keys as others store them: Dovecot, GNU SASL, RFC 5803, PostgreSQL, MongoDB, Kafka, Prosody. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Mapping

from .base64 import decode, encode
from .errors import SASLError
from .hashes import LONGEST_SALT
from .typed import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any, Final, TypeAlias

Parts: TypeAlias = tuple[str, int, bytes, bytes, bytes]
"""Mechanism, iterations, salt, stored key and server key."""

_LONGEST_FIELD: Final = LONGEST_SALT  # characters of base64

_FIELD: Final = r"[^,:$\s]+"
_NAME: Final = r"SCRAM-[A-Z0-9-]+"
_COUNT: Final = r"[1-9][0-9]{0,9}"
_DOVECOT: Final = re.compile(
    rf"\{{(?P<mechanism>{_NAME})\}}(?P<iterations>{_COUNT}),(?P<salt>{_FIELD}),(?P<stored>{_FIELD}),(?P<server>{_FIELD})"
    r"(?:,(?:[0-9a-f]{2})+)?",  # SaltedPassword, which gsasl --verbose adds and nobody should keep
    re.IGNORECASE,  # as doveadm reads it
)
_RFC_5803: Final = re.compile(
    rf" *(?P<mechanism>{_NAME}) *\$ *(?P<iterations>{_COUNT}):(?P<salt>{_FIELD}) *"
    rf"\$ *(?P<stored>{_FIELD}):(?P<server>{_FIELD}) *",
    re.IGNORECASE,
)
_PAIR: Final = r"[a-z_]+=[^],=\s]+=*"
_KAFKA: Final = re.compile(rf"(?:(?P<mechanism>{_NAME})=)?\[?(?P<pairs>{_PAIR}(?:, ?{_PAIR}){{3}})\]?")
_PROSODY: Final = re.compile(r'return \{(?:\s*\["[a-z_]+"\] = (?:"[^"\\]*"|[0-9]+)[;,]?)+\s*\};?\s*')
_LUA: Final = re.compile(r'\["([a-z_]+)"\] = (?:"([^"\\]*)"|([0-9]+))')
_MONGODB: Final = "SCRAM-SHA-256"  # its SCRAM-SHA-1 is of another password: see `ScramKeys.mongodb`
_OF_SIZE: Final = {20: "SCRAM-SHA-1", 32: "SCRAM-SHA-256", 64: "SCRAM-SHA-512"}  # those of Kafka and Prosody

NO_FORM: Final = "it has none of the forms of Dovecot, PostgreSQL, RFC 5803, MongoDB, GNU SASL, Kafka or Prosody"


def parse(stored: object) -> Parts | str:
    """Return the parts of a stored credential, in any form of those named here; a reason for anything else.

    What a file holds, as text or octets, may end in a line end. What the parts are worth is for the caller to say:
    whether there is such a mechanism, and keys of such a size.
    """
    if isinstance(stored, bytes):
        stored = stored.decode("utf-8", "replace")
    match stored:
        case str():
            return _parse_text(stored.rstrip("\r\n"))
        case Mapping():
            return _parse_document(stored)
    return f"it is text, octets or a document, not {type(stored).__name__}"


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


def _parse_text(stored: str) -> Parts | str:
    if match := _DOVECOT.fullmatch(stored) or _RFC_5803.fullmatch(stored):
        mechanism, iterations, *texts = match.group("mechanism", "iterations", "salt", "stored", "server")
        return _decode(mechanism.upper(), int(iterations), texts)
    if match := _KAFKA.fullmatch(stored):
        pairs = dict(pair.strip().split("=", 1) for pair in match["pairs"].split(","))
        return _parse_kafka(match["mechanism"], pairs)
    if _PROSODY.fullmatch(stored):
        return _parse_prosody({name: text or number for name, text, number in _LUA.findall(stored)})
    return NO_FORM


def _parse_kafka(mechanism: str | None, pairs: Mapping[str, str]) -> Parts | str:
    """Parse "salt=..,stored_key=..,server_key=..,iterations=..", which names its hash by the size of the keys."""
    if set(pairs) != {"salt", "stored_key", "server_key", "iterations"}:
        return NO_FORM
    texts = [pairs["salt"], pairs["stored_key"], pairs["server_key"]]
    return _name(_decode(mechanism or "", _number(pairs["iterations"]), texts))


def _parse_prosody(values: Mapping[str, Any]) -> Parts | str:
    """Parse what Prosody's accounts hold: the salt is text, the keys are hexadecimal."""
    salt, stored, server = (values.get(name) for name in ("salt", "stored_key", "server_key"))
    if not isinstance(salt, str) or not isinstance(stored, str) or not isinstance(server, str):
        return NO_FORM
    try:
        keys = bytes.fromhex(stored), bytes.fromhex(server)
    except ValueError:
        return "the hexadecimal text of a key is none"  # raised, it would show the key
    return _name(("", _number(values.get("iteration_count")), salt.encode("utf-8"), *keys))


def _name(parts: Parts | str) -> Parts | str:
    """Add the mechanism that keys of such a size are for, where it is not known."""
    if isinstance(parts, str) or parts[0]:
        return parts
    mechanism = _OF_SIZE.get(len(parts[3]))
    return "no hash is known that has keys of this size" if mechanism is None else (mechanism, *parts[1:])


def _parse_document(stored: Mapping[str, Any]) -> Parts | str:
    """Parse MongoDB's document of a user, or its "credentials"; or what Prosody keeps of an account."""
    if "stored_key" in stored:
        return _parse_prosody(stored)
    credentials = stored.get("credentials", stored)
    if not isinstance(credentials, Mapping):
        return NO_FORM
    keys = credentials.get(_MONGODB)
    if not isinstance(keys, Mapping):
        return f"a document without {_MONGODB}; MongoDB makes its SCRAM-SHA-1 of another password"
    texts = [keys.get(field) for field in ("salt", "storedKey", "serverKey")]
    return _decode(_MONGODB, _number(keys.get("iterationCount")), texts)


def _number(value: Any) -> Any:
    """Return a whole number, also as mongoexport writes it: {"$numberInt": "4096"}, 15000.0; anything else as it is."""
    if isinstance(value, Mapping) and len(value) == 1:
        ((kind, value),) = value.items()
        if kind not in ("$numberInt", "$numberLong", "$numberDouble"):
            return None
        value = value.removesuffix(".0") if isinstance(value, str) else value
    if isinstance(value, str) and re.fullmatch(_COUNT, value):
        return int(value)
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _decode(mechanism: str, iterations: Any, texts: list[Any]) -> Parts | str:
    """Decode base64, with its padding or without it, as doveadm takes it."""
    found: list[bytes] = []
    for what, text in zip(("salt", "stored key", "server key"), texts, strict=True):
        octets = _octets(text)
        if not octets:
            return f"the base64 of the {what} is none"
        found.append(octets)
    return mechanism, iterations, found[0], found[1], found[2]


def _octets(text: Any) -> bytes | None:
    if not isinstance(text, str) or not text.isascii():
        return None
    padding = "" if text.endswith("=") else "=" * (-len(text) % 4)
    try:
        return decode((text + padding).encode("ascii"), limit=_LONGEST_FIELD)
    except SASLError:
        return None


def _texts(parts: Parts) -> tuple[str, ...]:
    mechanism, iterations, *octets = parts
    return mechanism, str(iterations), *(encode(part).decode("ascii") for part in octets)
