"""The server's side of AUTHENTICATE, LOGIN and STARTTLS (RFC 9051 section 6.2)."""

from __future__ import annotations

import re

from sasl.steps import Failure
from sasl.typed import TYPE_CHECKING, final

from ..line import Line, has_breaks, plain_line, without_end
from ..server import TOO_LONG, TORN, Refusal, Server
from ..starttls import StartTlsServer
from .arguments import GO_AHEAD, WRONG_NUMBER, Arguments
from .grammar import LOGIN, REPLIES, TAG, command

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from typing import Any, ClassVar

    from sasl.steps import Question

    from ..server import Script


@final
class ServerWire(Server):
    """The server's side of one AUTHENTICATE, or of one LOGIN command where "IMAP-LOGIN" is offered.

    LOGIN asks CheckPassword, as PLAIN does. `capabilities`, if given, stand in the tagged OK: those that hold after the
    login. `settings` are those of every wire.
    """

    prompt = b"+ "
    replies = REPLIES

    def __init__(self, offered: Collection[str], *, capabilities: Iterable[str] = (), **settings: Any) -> None:
        super().__init__(offered, **settings)
        self._tag = "*"
        self._capabilities = " ".join(capabilities)

    def _begin(self, line: bytes) -> Line | Question | None:
        text = without_end(line)
        self._tag, name, arguments = command(text)
        if has_breaks(text):
            return self.answered(TORN)
        if name != b"LOGIN":
            return self.answered(self._authenticate(text, arguments if name == b"AUTHENTICATE" else b""))
        if len(line) > self.longest_line:
            return self.answered(TOO_LONG)
        return self._run(LOGIN, _login(self._tag, arguments, self.longest_line, self._against(LOGIN)))

    def _reply(self, kind: str) -> Line:
        text = self.replies[kind]
        if kind == "accepted" and self._capabilities:
            text = text.replace(" ", f" [CAPABILITY {self._capabilities}] ", 1)
        return plain_line(f"{self._tag} {text}")


def _login(tag: str, line: bytes, longest: int, against: Failure | None) -> Script:
    """Read the arguments of LOGIN (RFC 9051 section 6.2.3). A no spares the client its literals."""
    arguments = Arguments(longest)
    arguments.receive(line)
    while not arguments.done and not (arguments.waits and against):
        arguments.receive((yield GO_AHEAD if arguments.waits else None))
    if arguments.refusal:
        return Refusal(Failure("malformed", arguments.refusal), arguments.answer(tag), arguments.must_close)
    if against and against.kind == "state":
        return Refusal(against)
    if arguments.done and (arguments.nested or len(arguments.words) != 2):
        return Refusal(Failure("malformed", WRONG_NUMBER), plain_line(f"{tag} BAD {WRONG_NUMBER}"))
    if against:
        return Refusal(against)
    user, password = arguments.words
    return user, password


@final
class StartTlsServerWire(StartTlsServer):
    """The server's side of STARTTLS (RFC 9051 section 6.2.1)."""

    grammar = re.compile(rb"%b STARTTLS ?" % TAG, re.IGNORECASE)
    replies: ClassVar[Mapping[str, str]] = {
        "yes": "OK Begin TLS",
        "malformed": "BAD STARTTLS takes no argument",
        "authenticated": REPLIES["state"],
        "tls": "BAD TLS is in force already",
        "injected": "BYE Octets in the clear behind STARTTLS",
    }

    def _reply_line(self, line: bytes, text: str) -> Line:
        tag, _, _ = command(line)
        return plain_line(f"{'*' if text.startswith('BYE') else tag} {text}")
