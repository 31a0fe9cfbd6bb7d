"""What a server says, as it may be kept and printed."""

from __future__ import annotations

from sasl import base64
from sasl.errors import ConnectionLost, ProtocolError, ServerBusy, UsageError
from sasl.text import printable
from sasl.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Final

LONGEST_TEXT: Final = 1000
"""Characters of a server's text that an error keeps."""
NO_CHALLENGE: Final = b"*"
"""Text that is not base64: what a protocol takes for a challenge that its grammar does not have."""


def text_of(octets: bytes) -> str:
    """Decode what a server says; it may be in any charset."""
    return octets.decode("utf-8", "replace")


def octets_of(text: bytes | str) -> bytes:
    """Return what a library has read of a server's reply as octets; it may have decoded them, in whatever way.

    Raises UsageError for what is neither octets nor a text.
    """
    if isinstance(text, bytes):
        return text
    if not isinstance(text, str):
        raise UsageError(f"what a server says is bytes or str, not {type(text).__name__}")
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def one_line(text: str) -> str:
    """Return the beginning of a server's text on one line, without what a terminal would obey."""
    return printable(text, limit=LONGEST_TEXT, instead=" ").strip()


def end_of_connection(text: str = "", response_code: str | None = None, *, protocol: str = "") -> ConnectionLost:
    """Return the error for a server that ends the connection, or wants none, with what it says.

    It is ServerBusy where that means "not now": 421, a response code like UNAVAILABLE, or a text that is known.
    `protocol` tells whose response code it is; without it, digits are SMTP's, and words those of IMAP and POP3.
    """
    if not text and response_code is None:
        return ConnectionLost(sentence_of_end(text))
    from ..refusals import classify

    protocol = protocol or ("smtp" if (response_code or "")[:1].isdigit() else "imap")
    row = classify(protocol, text=text, code=response_code, phase="greeting")
    busy = row.kind == "unavailable"
    return (ServerBusy if busy else ConnectionLost)(
        sentence_of_end(text),
        server_text=text,
        response_code=response_code,
        kind="unavailable" if busy else None,
        refusal=row.id,
    )


def sentence_of_end(said: str) -> str:
    """Return what an error says of a server that ends the connection, with what the server says if it says anything."""
    return f"the server ended the connection: {said}" if said else "the server ended the connection"


def not_a_greeting(protocol: str, line: bytes) -> ProtocolError:
    """Return the error for a server's first line that is none of its protocol ("IMAP", "POP3", "SMTP").

    It says what the line is, and of which other protocol, if that is known.
    """
    from ..refusals import classify, protocol_of

    other = protocol_of(line)
    if other == protocol:  # begins as it should
        other = ""
    row = classify("", code=f"<{other or 'UNKNOWN'}>", phase="greeting")
    said = one_line(text_of(line))
    whose = f": this port speaks {other}" if other else ""
    return ProtocolError(f"not a greeting of {protocol}{whose}: {said}", server_text=said, refusal=row.id)


def challenge_of(line: bytes) -> bytes:
    """Return the base64 text of a line that begins with "+". Exchange, Stalwart and Migadu send a bare "+"."""
    return line[2:] if line == b"+" or line.startswith(b"+ ") else NO_CHALLENGE


def prompt_of(text: bytes) -> bytes:
    """Return what a challenge says that nobody has to read: what its first word stands for, or else all of it.

    Servers write these without padding, without base64, and with a comment behind them.
    """
    word = text.split(b" ", 1)[0]
    try:
        found = base64.decode(word + b"=" * (-len(word) % 4))
        found.decode("utf-8")
    except (ProtocolError, UnicodeDecodeError):
        return text
    return found


def size_of(text: bytes) -> str:
    """Return how the base64 text of a challenge is shown: by the size of what it stands for."""
    try:
        return f"<{len(base64.decode(text, limit=len(text)))} octets>"
    except ProtocolError:
        return f"<{len(text)} octets that are not base64>"
