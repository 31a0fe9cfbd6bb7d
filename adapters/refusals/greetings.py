"""What a port says first where it is not what was looked for: another protocol, or no."""

from __future__ import annotations

import re

from sasl.typed import TYPE_CHECKING

from .table import Row

if TYPE_CHECKING:
    from typing import Final

_AT: Final = "This port speaks {}, not what was asked for: check the port and the scheme of the URL."

GREETINGS: Final = (
    *(
        Row(f"speaks-{name.lower()}", None, _AT.format(name), codes=(f"<{name}>",), phase="greeting")
        for name in ("IMAP", "POP3", "SMTP", "FTP", "SSH", "HTTP")
    ),
    Row(
        "speaks-tls",
        None,
        "TLS begins at once at this port: use imaps, pops or smtps.",
        codes=("<TLS>",),
        phase="greeting",
    ),
    Row(
        "speaks-nothing-known",
        None,
        "The server does not begin as its protocol wants, see above: check the port, or ask its admin.",
        codes=("<UNKNOWN>",),
        phase="greeting",
    ),
    Row(
        "no-service",
        None,
        "The server wants no connection, see what it says: it may know this machine's address, or be down. The "
        "credential was not sent.",
        phase="greeting",
    ),
)

# The first that fits; an ESMTP server says so, an FTP server mostly too.
_PROTOCOLS: Final = (
    ("IMAP", re.compile(rb"\* (?:OK|PREAUTH|BYE)\b", re.IGNORECASE)),
    ("POP3", re.compile(rb"\+OK\b|-ERR\b", re.IGNORECASE)),
    ("FTP", re.compile(rb"[245]20[ -].*\bFTP", re.IGNORECASE | re.DOTALL)),
    ("SMTP", re.compile(rb"(?:220|421|554)[ -]")),
    ("SSH", re.compile(rb"SSH-[0-9]")),
    ("HTTP", re.compile(rb"HTTP/[0-9]|<!doctype html|<html", re.IGNORECASE)),
    ("TLS", re.compile(rb"[\x14-\x17]\x03[\x00-\x04]", re.DOTALL)),
)


def protocol_of(line: bytes) -> str:
    """Return which protocol a server's first line is of: "IMAP", "POP3", "SMTP", "TLS", ...; "" if unknown."""
    return next((name for name, begin in _PROTOCOLS if begin.match(line)), "")
