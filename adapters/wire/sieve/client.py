"""The client's side of AUTHENTICATE, of the capabilities and of STARTTLS (RFC 5804 sections 1.7, 2.1 and 2.2)."""

from __future__ import annotations

import re

from sasl import base64
from sasl.errors import LimitExceeded, ProtocolError
from sasl.policy import DEFAULT_POLICY
from sasl.policy import choose as sasl_choose
from sasl.typed import TYPE_CHECKING, final

from ..answer import Answer
from ..client import Client
from ..line import plain_line
from ..starttls import StartTls
from ..text import NO_CHALLENGE, end_of_connection, not_a_greeting, one_line, size_of, text_of
from . import grammar
from .grammar import Reply, Response

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Final

    from sasl.channel import Channel
    from sasl.client_exchange import ClientExchange
    from sasl.credentials import Credentials
    from sasl.policy import Choice, Policy

    from ..line import Line

_SAYS: Final = re.compile(rb"(?:OK|NO|BYE)(?![^ ])|\{[0-9]+\+?\}\Z", re.IGNORECASE)
"""A line that holds no challenge, and no part of a literal."""
_SUCCESS_DATA: Final = re.compile(rb'(\(SASL) ("[^"]*"?)', re.IGNORECASE)


def choose(
    capabilities: Mapping[str, str],
    credentials: Credentials,
    *,
    policy: Policy = DEFAULT_POLICY,
    channel: Channel,
    mechanism: str | None = None,
    refused: Mapping[str, str] = {},
) -> Choice:
    """Choose a mechanism of those that the server has among its capabilities. Raises as `sasl.choose` does."""
    offered = grammar.mechanisms(capabilities)
    return sasl_choose(offered, credentials, policy=policy, channel=channel, mechanism=mechanism, refused=refused)


@final
class ClientWire(Client):
    """The client's side of one AUTHENTICATE.

    An initial response is always allowed, whatever its length: a string of more than 1,024 octets goes into a literal.
    `initial_response=False` sends none.
    """

    protocol = "sieve"
    empty = b""

    def __init__(self, exchange: ClientExchange, *, initial_response: bool | None = None) -> None:
        super().__init__(exchange, f'AUTHENTICATE "{exchange.name}"', initial=initial_response is not False)
        self._incoming = Response()

    def receive(self, line: bytes) -> Line | None:
        """Take a line from the server; return what to send, or None: wait for another line, or done."""
        if not self._admit(line):
            return None
        try:
            if not self._incoming.receive(line):
                return None
            said = grammar.parse(bytes(self._incoming.octets))
        except ProtocolError as error:
            self._finish(self._pending or error, close=True)
            return None
        self._incoming = Response()
        if isinstance(said, Reply):
            self._take(said)
            return None
        if len(said) == 1:
            return self._go_on(said[0])
        self._break_off("several strings in the place of one challenge", text_of(b" ".join(said)))
        return None

    def _take(self, reply: Reply) -> None:
        """Take what ends the exchange."""
        if reply.status == "OK":
            self._take_ok(reply)
            return
        if reply.code == "REFERRAL" and reply.arguments:
            self._detail["referral"] = one_line(text_of(reply.arguments[0]))
        if reply.status == "NO":
            self._take_no(reply.text, reply.code)
        else:
            self._end(reply.text, reply.code)

    def _take_ok(self, reply: Reply) -> None:
        """Take a yes, perhaps with success data (RFC 5804 section 1.3)."""
        data: bytes | None = None
        if reply.code == "SASL":
            argument = reply.arguments[0] if len(reply.arguments) == 1 else NO_CHALLENGE
            try:
                data = base64.decode(argument, limit=self.challenge_limit)
            except ProtocolError as error:
                self._finish(self._pending or error, close=True)
                return
        self._take_yes(reply.text, data)

    def _quote(self, text: bytes) -> bytes:
        return grammar.quote(text)

    def _show(self, line: bytes) -> str:
        if _SAYS.match(line) is None:
            return size_of(line.removeprefix(b'"').removesuffix(b'"'))
        return self._tidy(text_of(_SUCCESS_DATA.sub(_hide_data, line)))


def _hide_data(match: re.Match[bytes]) -> bytes:
    return b"%b %b" % (match[1], size_of(match[2].strip(b'"')).encode("ascii"))


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
class CapabilityWire(Answer):
    """The client's side of CAPABILITY (RFC 5804 section 2.4): collects the lines of its answer.

    A server says the same without being asked as its greeting, and again once TLS is in force: no command then.

    Attributes:
        capabilities: the names, in upper case, and what stands behind each; "" for nothing. The first one counts where
            a server says one several times.
    """

    def __init__(self) -> None:
        super().__init__()
        self.capabilities: dict[str, str] = {}
        self._incoming = Response()

    def command(self) -> Line:
        """Return the command line."""
        return plain_line("CAPABILITY")

    def _cut(self, line: bytes) -> bytes:
        """Return the line as it is: a literal may hold anything, and `Response` looks at all else."""
        return line

    def _take(self, line: bytes) -> None:
        said = self._response(line)
        if said is None:
            return
        self._incoming = Response()
        if isinstance(said, Reply):
            self._take_reply(said)
        elif len(said) > 2:
            raise ProtocolError("more than one value of a capability", server_text=one_line(text_of(line)))
        else:
            name, value = (text_of(each) for each in (*said, b"")[:2])
            self.capabilities.setdefault(name.upper(), value)

    def _response(self, line: bytes) -> Reply | list[bytes] | None:
        """Return what a response says that this line completes; None if it goes on."""
        try:
            return grammar.parse(bytes(self._incoming.octets)) if self._incoming.receive(line) else None
        except LimitExceeded:
            raise
        except ProtocolError as error:
            problem = error
        raise not_a_greeting("ManageSieve", line) if self._octets == len(line) else problem

    def _take_reply(self, reply: Reply) -> None:
        text = one_line(reply.text)
        if reply.status == "BYE":
            raise end_of_connection(text, reply.code, protocol="sieve")
        if reply.status != "OK":
            why = f"the server does not tell its capabilities: {text}"
            raise ProtocolError(why, server_text=text, response_code=reply.code)
        self.done = True


@final
class StartTlsWire(StartTls):
    """The client's side of STARTTLS (RFC 5804 section 2.2). Once TLS is in force, the server sends its capabilities.

    A yes whose text is a literal counts as one with octets in the clear behind it.
    """

    def __init__(self) -> None:
        super().__init__("STARTTLS", re.compile(rb"OK(?: .*)?", re.IGNORECASE))
