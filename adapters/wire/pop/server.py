"""The server's side of AUTH, USER and PASS, APOP, and STLS (RFC 5034, RFC 1939 section 7, RFC 2595)."""

from __future__ import annotations

import re

from sasl.errors import UsageError
from sasl.registry import server
from sasl.steps import Failure
from sasl.typed import TYPE_CHECKING, final

from ..line import Line, has_breaks, plain_line, without_end
from ..server import TOO_LONG, TORN, Refusal, Server
from ..starttls import StartTlsServer
from .grammar import APOP, LONGEST_COMMAND, REPLIES, USER, is_msg_id

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from typing import Any, ClassVar, Final

    from sasl.errors import Kind
    from sasl.steps import Event, Question

    from ..server import Script

_LOGGED_IN: Final = "-ERR Logged in already"
_APOP: Final = re.compile(rb"([^ ]+ [0-9a-f]{32})")


@final
class ServerWire(Server):
    """The server's side of one AUTH; of USER and the PASS that follows it, or of one APOP, where these are offered.

    USER and PASS ("POP-USER") ask CheckPassword, as PLAIN does. Between the two another command may come: the wire is
    forgotten then. APOP ("POP-APOP") asks FindSecret for the user's password, a `Secret` or str. `timestamp` is the
    msg-id that the greeting of this connection ended with, and no other greeting ever. `settings` are those of every
    wire.
    Raises UsageError for a timestamp that a client would not take.
    """

    prompt = b"+ "
    replies = REPLIES

    def __init__(self, offered: Collection[str], *, timestamp: bytes = b"", **settings: Any) -> None:
        super().__init__(offered, **settings)
        if APOP in self._offered and not is_msg_id(timestamp):
            raise UsageError("the timestamp of APOP is a msg-id: <...@...> (RFC 822 section 4.6)")
        self._timestamp = timestamp

    def _begin(self, line: bytes) -> Line | Question | None:
        text = without_end(line)
        if has_breaks(text):
            return self.answered(TORN)
        name, _, arguments = text.partition(b" ")
        name = name.upper()
        if name in (b"USER", b"PASS"):
            return self._run(USER, _user_and_pass(line, self.longest_line, self._against(USER)))
        if name == b"APOP":
            return self.answered(self._take_apop(text, arguments))
        return self.answered(self._authenticate(text, arguments if name == b"AUTH" else b""))

    def _take_apop(self, line: bytes, arguments: bytes) -> Event:
        """Take APOP (RFC 1939 section 7)."""
        if len(line) + 2 > LONGEST_COMMAND:
            return TOO_LONG
        if failure := self._against(APOP):
            return failure
        if not _APOP.fullmatch(arguments):
            return Failure("malformed", "not APOP with a name and a digest (RFC 1939 section 7)")
        self.exchange = server(APOP, channel=self._channel, limits=self._limits, timestamp=self._timestamp)
        return self.exchange.start(arguments)


def _user_and_pass(line: bytes, longest: int, against: Failure | None) -> Script:
    """Read USER and the PASS that follows it at once (RFC 1939 section 7)."""
    user = b""
    while True:
        name, _, argument = without_end(line).partition(b" ")
        name = name.upper()
        if len(line) > longest:
            return Refusal(TOO_LONG)
        if has_breaks(without_end(line)):
            return Refusal(TORN)
        if name not in (b"USER", b"PASS"):
            return Refusal(Failure("malformed", "neither USER nor PASS (RFC 1939 section 7)"))
        if against and against.kind == "state":
            return Refusal(against, plain_line(_LOGGED_IN))
        if name == b"PASS":
            return (user, argument) if user else _no("state", "USER comes first")
        if not argument:
            return _no("malformed", "USER takes a name")
        if against:
            return Refusal(against)
        user = argument
        line = yield plain_line("+OK Now the password")


def _no(kind: Kind, why: str) -> Refusal:
    return Refusal(Failure(kind, why), plain_line(f"-ERR {why}"))


@final
class StartTlsServerWire(StartTlsServer):
    """The server's side of STLS (RFC 2595 section 4)."""

    grammar = re.compile(rb"STLS ?", re.IGNORECASE)
    replies: ClassVar[Mapping[str, str]] = {
        "yes": "+OK Begin TLS",
        "malformed": "-ERR STLS takes no argument",
        "authenticated": _LOGGED_IN,
        "tls": "-ERR TLS is in force already",
        "injected": "-ERR Octets in the clear behind STLS",
    }
