"""POP3's AUTH, USER and PASS, and STLS (RFC 5034, RFC 1939, RFC 2595), both ends, sans-I/O."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, final

from sasl.credentials import Password
from sasl.errors import LimitExceeded, ProtocolError, UsageError
from sasl.policy import DEFAULT_POLICY, Choice, Policy
from sasl.registry import client

from ._client import NO_CHALLENGE, Client, printable, sized, text_of
from ._login import choose_or_fall_back, login_exchange
from ._server import Server
from .line import Line, plain_line, without_end
from .starttls import StartTls

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from sasl.channel import Channel
    from sasl.credentials import Credentials
    from sasl.exchange import ClientExchange
    from sasl.secret import Secret
    from sasl.steps import Success

USER: Final = "POP-USER"
"""The name in a `Choice` of the commands USER and PASS (RFC 1939 section 7), which are not a SASL mechanism."""
LONGEST_COMMAND: Final = 255
"""Octets of a command line with its CRLF (RFC 2449 section 4)."""

_STATUS: Final = re.compile(rb"(\+OK|-ERR)(?: (.*))?", re.IGNORECASE | re.DOTALL)
_CODE: Final = re.compile(rb"\[([A-Za-z0-9/_-]+)\] ?(.*)", re.DOTALL)

# RFC 2449 section 8 and RFC 3206; codes are hierarchical, so only their first words count. IN-USE means that the
# credentials were good. SYS/PERM asks for somebody to look after the server, as IMAP's CONTACTADMIN does.
_KINDS: Final[Mapping[str, str]] = {
    "AUTH": "credentials",
    "SYS/TEMP": "unavailable",
    "SYS/PERM": "disabled",
    "IN-USE": "unavailable",
    "LOGIN-DELAY": "unavailable",
}
_MOST_CAPABILITIES: Final = 65_536  # octets


def mechanisms(capabilities: Iterable[str]) -> list[str]:
    """Return the SASL mechanisms of a CAPA list, given as its lines."""
    words = [line.split() for line in capabilities]
    return [name for line in words if line and line[0].upper() == "SASL" for name in line[1:]]


def choose(
    capabilities: Collection[str],
    credentials: Credentials,
    *,
    policy: Policy = DEFAULT_POLICY,
    channel: Channel,
    mechanism: str | None = None,
) -> Choice:
    """Choose a mechanism; for a password that no offered mechanism takes, USER and PASS.

    `capabilities` are the lines of CAPA; a server without CAPA has none, and USER and PASS all the same.
    Raises as `sasl.choose` does.
    """
    names = {line.split()[0].upper() for line in capabilities if line.strip()}
    missing = names and "USER" not in names
    return choose_or_fall_back(
        USER,
        "the server does not have USER, or this session is logged in" if missing else "",
        mechanisms(capabilities),
        credentials,
        policy=policy,
        channel=channel,
        mechanism=mechanism,
    )


@final
class CapaWire:
    """The client's side of CAPA (RFC 2449): collects the lines of its answer.

    Attributes:
        capabilities: the lines, once done; empty where the server does not know the command.
        done: whether the answer is complete.
        error: ProtocolError for an answer that is none, LimitExceeded for one without end; the connection is to be
            closed then.
    """

    def __init__(self) -> None:
        self.capabilities: list[str] = []
        self.done = False
        self.error: ProtocolError | None = None
        self._begun = False
        self._octets = 0

    def command(self) -> Line:
        """Return the command line."""
        return plain_line("CAPA")

    def receive(self, line: bytes) -> None:
        """Take a line of the answer."""
        self._octets += len(line)
        if self._octets > _MOST_CAPABILITIES:
            self.error = LimitExceeded(f"more than {_MOST_CAPABILITIES} octets of capabilities")
            self.done = True
            return
        line = without_end(line)
        if not self._begun:
            self._begun = True
            self._first(line)
        elif line == b".":
            self.done = True
        else:
            self.capabilities.append(text_of(line.removeprefix(b".")))

    def _first(self, line: bytes) -> None:
        status = _STATUS.fullmatch(line)
        if status is None:
            text = printable(text_of(line))
            self.error = ProtocolError("neither +OK nor -ERR (RFC 1939 section 3)", server_text=text)
        self.done = status is None or status[1].upper() == b"-ERR"


class _Pop(Client):
    """What AUTH, USER and PASS share: the lines of a server."""

    def receive(self, line: bytes) -> Line | None:
        """Take a line from the server; return what to send, or None: done."""
        if not self._admit(line):
            return None
        line = without_end(line)
        status = _STATUS.fullmatch(line)
        if status is not None:
            return self._reply(status[1].upper(), status[2] or b"")
        if line.startswith(b"+"):
            return self._continuation(line)
        self._broken(ProtocolError("neither +OK, -ERR nor a challenge", server_text=text_of(line)))
        return None

    def shown(self, line: bytes) -> str:
        """Return how a line from the server may be printed: challenges only by their size."""
        line = without_end(line)
        if _STATUS.fullmatch(line) or not line.startswith(b"+"):
            return self._said(text_of(line))
        return f"+ {sized(line[1:].removeprefix(b' '))}"

    def _continuation(self, line: bytes) -> Line | None:
        """Take a challenge. Bare "+" is an empty one: Exchange and Stalwart leave the space out."""
        return self._challenge(line[2:] if line == b"+" or line.startswith(b"+ ") else NO_CHALLENGE)

    def _reply(self, status: bytes, rest: bytes) -> Line | None:
        if status == b"+OK":
            self._yes(text_of(rest))
            return None
        code = _CODE.fullmatch(rest)
        if code is None:
            self._no(text_of(rest), "credentials", None)
            return None
        name = text_of(code[1]).upper()
        self._no(text_of(code[2]), _kind(name), name)
        return None


@final
class ClientWire(_Pop):
    """The client's side of one AUTH.

    An initial response is sent only if the line stays within 255 octets (RFC 5034 section 4), which real tokens
    do not; `initial_response=False` never sends one (Exchange closes the connection on it for XOAUTH2).
    """

    def __init__(self, exchange: ClientExchange, *, initial_response: bool | None = None) -> None:
        super().__init__(exchange)
        self._may_send_initial = initial_response is not False

    def command(self) -> Line:
        """Return the command line. Raises UsageError if the credentials cannot be used; nothing was sent then."""
        command = f"AUTH {self.exchange.name}"
        return self._start(may_send_initial=self._may_send_initial, longest=LONGEST_COMMAND, command=command)


@final
class UserWire(_Pop):
    """The client's side of USER and PASS (RFC 1939 section 7), for servers with no mechanism for a password."""

    def __init__(self, credentials: Password) -> None:
        super().__init__(login_exchange(USER, credentials))
        self._user = credentials.authcid
        self._password: Secret | None = credentials.password

    def command(self) -> Line:
        """Return the USER line. Raises UsageError if the credentials cannot be used with these commands."""
        self._begin()
        self.exchange.defer()
        user = self._user.encode("utf-8")
        return Line(b"USER %s\r\n" % user, f"USER <{len(user)} octets>")

    def _continuation(self, line: bytes) -> Line | None:
        self._broken(ProtocolError("a challenge where none belongs", server_text=text_of(line)))
        return None

    def _reply(self, status: bytes, rest: bytes) -> Line | None:
        if status != b"+OK" or self._password is None:
            return super()._reply(status, rest)
        password, self._password = self._password.reveal().encode("utf-8"), None
        self.exchange.respond(b"")
        self.turns += 1
        return Line(b"PASS %s\r\n" % password, f"PASS <{len(password)} octets>")


def client_wire(
    choice: Choice, credentials: Credentials, *, initial_response: bool | None = None
) -> ClientWire | UserWire:
    """Return the wire for what `choose` chose. Raises UsageError as `sasl.client` does."""
    if choice.name == USER:
        if not isinstance(credentials, Password):
            raise UsageError(f"{USER} takes a password", mechanism=USER)
        return UserWire(credentials)
    exchange = client(choice.name, credentials, channel=choice.channel, limits=choice.limits)
    return ClientWire(exchange, initial_response=initial_response)


@final
class StartTlsWire(StartTls):
    """The client's side of STLS (RFC 2595 section 4)."""

    def __init__(self) -> None:
        super().__init__("STLS", re.compile(rb"\+OK(?: .*)?", re.IGNORECASE))


# --- the server's side

_REPLIES: Final[Mapping[str, str]] = {
    "credentials": "-ERR [AUTH] Authentication failed",
    "authorization": "-ERR [AUTH] Authorization failed",
    "expired": "-ERR [AUTH] The credential has expired",
    "disabled": "-ERR [AUTH] The account cannot be used",
    "unavailable": "-ERR [SYS/TEMP] Cannot authenticate now, try later",
    "malformed": "-ERR Malformed authentication message",
    "unexpected_ir": "-ERR The mechanism takes no initial response",
    "cancelled": "-ERR Authentication cancelled",
    "limit": "-ERR Authentication message too large",
    "state": "-ERR Authenticated already",
    "unsupported": "-ERR Unsupported authentication mechanism",
    "policy": "-ERR Encryption is required first",
}
_COMMAND: Final = re.compile(rb"AUTH ([^ ]+)(?: ([^ ]+))?", re.IGNORECASE)


@final
class ServerWire(Server):
    """The server's side of one AUTH."""

    def _command(self, line: bytes) -> tuple[bytes, bytes | None] | None:
        match = _COMMAND.fullmatch(line)
        return None if match is None else (match[1], match[2])

    def _challenged(self, text: bytes) -> bytes:
        return b"+ " + text

    def _succeeded(self, _success: Success) -> Line:
        return plain_line("+OK Authenticated")

    def _refused(self, kind: str) -> Line:
        return plain_line(_REPLIES[kind])


def _kind(code: str) -> str:
    """Return the kind of a hierarchical response code: SYS/TEMP/FUTURE is a SYS/TEMP."""
    for known, kind in _KINDS.items():
        if code == known or code.startswith(known + "/"):
            return kind
    return "credentials"
