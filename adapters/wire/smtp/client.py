"""The client's side of AUTH and STARTTLS (RFC 4954, RFC 3207)."""

from __future__ import annotations

import re

from sasl.errors import ProtocolError, UsageError
from sasl.typed import TYPE_CHECKING, final

from ..client import Client
from ..starttls import StartTls
from ..text import NO_CHALLENGE, octets_of, text_of
from . import grammar
from .grammar import LONGEST_COMMAND, LONGEST_RESPONSE, Reply

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from sasl.client_exchange import ClientExchange
    from sasl.credentials import Credentials
    from sasl.policy import Choice

    from ..line import Line


@final
class ClientWire(Client):
    """The client's side of one AUTH.

    An initial response is sent only if the line stays within 512 octets: Gmail refuses longer ones with 555,
    Dovecot with 500, Postfix with a 535 that looks like a wrong password.

    Who has lines gives them to `receive`. A library that has read the replies itself gives them to `replied`.

    Attributes:
        code: the code of the server's verdict; 0 before it.
        reply: the octets that the server said with it, all lines, without the credential.
    """

    protocol = "smtp"
    challenge_limit = LONGEST_RESPONSE
    challenge_begin = re.compile(rb"(334).?", re.DOTALL)

    def __init__(self, exchange: ClientExchange, *, initial_response: bool | None = None) -> None:
        initial = initial_response is not False
        super().__init__(exchange, f"AUTH {exchange.name}", initial=initial, longest=LONGEST_COMMAND)
        self.code = 0
        self.reply = b""
        self._incoming = Reply()

    def receive(self, line: bytes) -> Line | None:
        """Take a line from the server; return what to send, or None: wait for another line, or done."""
        if not self._admit(line):
            return None
        reply = self._incoming
        try:
            if not reply.receive(line):
                return None
        except ProtocolError as error:
            error.server_text = text_of(line)
            self._finish(self._pending or error, close=True)
            return None
        self._incoming = Reply()
        return self.replied(reply.code, reply.lines)

    def replied(self, code: int, lines: Iterable[bytes | str]) -> Line | None:
        """Take a reply: its code, and its lines without it; return what to send, or None: done."""
        if self.done or not self.turns:
            self._refuse_turn()
        if not isinstance(code, int) or isinstance(lines, (str, bytes)):
            raise UsageError("a reply is a code, a number, and a collection of lines", mechanism=self.exchange.name)
        texts = [octets_of(line) for line in lines]
        if any(self._refuse_breaks(text) for text in texts):
            return None
        if code == 334:
            return self._go_on(texts[0] if len(texts) == 1 else NO_CHALLENGE)
        self.code = code
        self.reply = self._without_credential(b"\n".join(texts))
        enhanced, text = grammar.text_of_lines(texts)
        said = f"{code} {enhanced}" if enhanced else str(code)
        if code == 235:
            self._take_yes(text)
        elif code == 421:
            self._end(text, said)
        elif code < 400:
            self._break_off(f"the server answered AUTH by {said}", text)
        else:
            self._take_no(text, said)
        return None

    def _without_credential(self, octets: bytes) -> bytes:
        """Return the octets of a reply, in whatever charset, or what is left of them without the credential."""
        text = text_of(octets)
        if self.scrub(text) != text:
            return self.scrub(text).encode("utf-8")
        other = octets.decode("latin-1")
        hidden = not octets.isascii() and self.scrub(other) != other
        return b"" if hidden else octets


def client_wire(
    choice: Choice,
    credentials: Credentials,
    *,
    initial_response: bool | None = None,
    options: Mapping[str, Any] = {},
) -> ClientWire:
    """Return the wire for what `choose` chose; `options` are the mechanism's. Raises as `sasl.client` does."""
    return ClientWire(choice.client(credentials, **options), initial_response=initial_response)


@final
class StartTlsWire(StartTls):
    """The client's side of STARTTLS (RFC 3207)."""

    def __init__(self) -> None:
        super().__init__("STARTTLS", re.compile(rb"220(?: .*)?"), re.compile(rb"220-"))
