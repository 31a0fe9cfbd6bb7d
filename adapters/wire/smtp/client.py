"""The client's side of AUTH and STARTTLS (RFC 4954, RFC 3207)."""

from __future__ import annotations

import re

from sasl.errors import ProtocolError, UsageError
from sasl.typed import TYPE_CHECKING, final

from ..answer import Answer
from ..client import Client
from ..line import plain_line
from ..starttls import StartTls
from ..text import NO_CHALLENGE, end_of_connection, not_a_greeting, octets_of, one_line, text_of
from . import grammar
from .grammar import LONGEST_COMMAND, LONGEST_RESPONSE, Reply

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any, Final

    from sasl.client_exchange import ClientExchange
    from sasl.credentials import Credentials
    from sasl.errors import SASLError
    from sasl.policy import Choice

    from ..line import Line


_NAME: Final = re.compile(r"[!-~]{1,255}")


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
class Greeting(Answer):
    """The server's greeting (RFC 5321 section 4.3.1), of one line or several."""

    def __init__(self) -> None:
        super().__init__()
        self._reply = Reply()

    def _take(self, line: bytes) -> None:
        other = None
        try:
            self.done = self._reply.receive(line)
        except ProtocolError:
            other = not_a_greeting("SMTP", line)
        if other is not None:
            raise other
        if self.done:
            grammar.check_greeting(self._reply)


@final
class EhloWire(Answer):
    """The client's side of EHLO (RFC 5321 section 4.1.1.1), or of LMTP's LHLO (RFC 2033 section 4.1).

    `name` is what this machine is called, or its address: "[192.0.2.1]". Raises UsageError for what is neither.

    Attributes:
        capabilities: the extensions that the server offers, as it said them, once done.
    """

    def __init__(self, name: str, *, verb: str = "EHLO") -> None:
        if not _NAME.fullmatch(name):
            raise UsageError("a machine's name is printable ASCII without a space")
        super().__init__()
        self.capabilities: list[str] = []
        self._command = plain_line(f"{verb} {name}")
        self._reply = Reply()

    def command(self) -> Line:
        """Return the command line."""
        return self._command

    def _take(self, line: bytes) -> None:
        reply = self._reply
        self.done = reply.receive(line)
        if not self.done:
            return
        if reply.code != 250:
            raise self._refusal(reply.code, one_line(reply.text[1]))
        self.capabilities += map(text_of, reply.lines[1:])

    def _refusal(self, code: int, text: str) -> SASLError:
        if code == 421:
            return end_of_connection(text, str(code))
        said = f"the server refuses {self._command.shown.partition(' ')[0]}: {text}"
        return ProtocolError(said, server_text=text, response_code=str(code))


@final
class StartTlsWire(StartTls):
    """The client's side of STARTTLS (RFC 3207)."""

    def __init__(self) -> None:
        super().__init__("STARTTLS", re.compile(rb"220(?: .*)?"), re.compile(rb"220-"))
