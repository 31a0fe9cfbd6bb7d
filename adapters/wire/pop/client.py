"""The client's side of AUTH, USER and PASS, APOP, CAPA and STLS (RFC 5034, RFC 1939, RFC 2449, RFC 2595)."""

from __future__ import annotations

import re
from functools import partial

from sasl.client_exchange import ClientExchange
from sasl.errors import ProtocolError, UsageError
from sasl.policy import DEFAULT_POLICY
from sasl.policy import choose as sasl_choose
from sasl.prep import control_error, controls_in
from sasl.secret import Secret
from sasl.steps import Complete, Harmless
from sasl.typed import TYPE_CHECKING, final

from ..answer import Answer
from ..client import Client
from ..line import Line, plain_line, without_end
from ..starttls import StartTls
from ..text import challenge_of, octets_of, one_line, text_of
from . import grammar
from .grammar import APOP, LONGEST_COMMAND, USER

if TYPE_CHECKING:
    from collections.abc import Collection, Generator, Mapping
    from typing import Any, Literal

    from sasl.channel import Channel
    from sasl.credentials import Credentials
    from sasl.policy import Choice, Policy
    from sasl.steps import ClientSteps

    from ..client import Script


def choose(
    capabilities: Collection[str],
    credentials: Credentials,
    *,
    policy: Policy = DEFAULT_POLICY,
    channel: Channel,
    mechanism: str | None = None,
    greeting: bytes | str = b"",
    refused: Mapping[str, str] = {},
) -> Choice:
    """Choose a mechanism; for a password that no offered mechanism takes, APOP, else USER and PASS.

    `capabilities` are the lines of CAPA; a server without CAPA has none, and USER and PASS all the same. `greeting` is
    the server's first line: APOP needs the timestamp in it, and to be allowed by name (`APOP`).
    Raises as `sasl.choose` does.
    """
    names = {line.split()[0].upper() for line in capabilities if line.strip()}
    missing = names and "USER" not in names
    commands = {USER: "the server does not have USER, or this session is logged in" if missing else ""}
    no_apop = grammar.against_apop(greeting)
    if no_apop != grammar.NO_TIMESTAMP or (mechanism is not None and mechanism.upper() == APOP):
        commands[APOP] = no_apop
    offered = grammar.mechanisms(capabilities)
    return sasl_choose(
        offered,
        credentials,
        policy=policy,
        channel=channel,
        mechanism=mechanism,
        commands=commands,
        refused=refused,
    )


@final
class ClientWire(Client):
    """The client's side of one AUTH; of USER and PASS, or of APOP, if the exchange is that of POP-USER or POP-APOP.

    An initial response is sent only if the line stays within 255 octets (RFC 5034 section 4), which real tokens
    do not; `initial_response=False` never sends one (Exchange closes the connection on it for XOAUTH2).
    `only` sends one of the commands USER and PASS for a caller that has them apart (see `user_wire`).
    `greeting` is the server's first line, whose timestamp APOP hashes with the password: that does not show it, but
    lets whoever hears it try passwords, and the server proves nothing. Raises UsageError if it wants one and there is
    none.

    Who has lines gives them to `receive`. A library that has read the replies itself gives them to `replied` and
    `continued`, as octets or as a text, without line ends.
    """

    protocol = "pop"
    challenge_begin = re.compile(rb"(\+)(?!OK(?: |\Z)) ?", re.IGNORECASE)

    def __init__(
        self,
        exchange: ClientExchange,
        *,
        initial_response: bool | None = None,
        greeting: bytes | str = b"",
        only: Literal["USER", "PASS"] | None = None,
    ) -> None:
        name = exchange.name
        script: Script | None = _user if name == USER else None
        if only is not None:
            script = partial(_one, only)
        if name == APOP:
            stamp = grammar.timestamp(greeting)
            if stamp is None:
                raise UsageError(grammar.against_apop(greeting), mechanism=APOP)
            script = partial(_apop, stamp)
        self._only = only
        initial = initial_response is not False
        super().__init__(exchange, f"AUTH {name}", initial=initial, longest=LONGEST_COMMAND, script=script)

    def receive(self, line: bytes) -> Line | None:
        """Take a line from the server; return what to send, or None: done."""
        if not self._admit(line):
            return None
        line = without_end(line)
        if self._refuse_breaks(line):
            return None
        status = grammar.status(line)
        if status is not None:
            return self.replied(*status)
        if line.startswith(b"+"):
            return self.continued(challenge_of(line))
        self._break_off("neither +OK, -ERR nor a challenge", text_of(line))
        return None

    def replied(self, ok: bool, rest: bytes | str) -> Line | None:  # noqa: FBT001 -- as the grammar has it
        """Take a reply: whether it is +OK, and what follows; return what to send, or None: done."""
        if self.done or not self.turns:
            self._refuse_turn()
        rest = octets_of(rest)
        if self._refuse_breaks(rest):
            return None
        if ok and self._only == "USER":
            self.server_text = self._tidy(text_of(rest))
            self.done = True
        elif ok and self.exchange.name == USER and self.turns == 1 and self._only is None:
            return self._go_on(rest)
        elif ok:
            self._take_yes(text_of(rest))
        else:
            code, text = grammar.response(rest)
            self._take_no(text, code)
        return None

    def continued(self, text: bytes | str) -> Line | None:
        """Take a challenge, given in base64: what follows "+"; return what to send."""
        if self.done or not self.turns:
            self._refuse_turn()
        text = octets_of(text)
        if self.exchange.name not in (USER, APOP):
            return self._go_on(text)
        self._break_off("a challenge where none belongs", text_of(text))
        return None


def client_wire(
    choice: Choice,
    credentials: Credentials,
    *,
    initial_response: bool | None = None,
    greeting: bytes | str = b"",
    options: Mapping[str, Any] = {},
) -> ClientWire:
    """Return the wire for what `choose` chose, from the same greeting; `options` are the mechanism's.

    Raises UsageError as `sasl.client` does.
    """
    return ClientWire(choice.client(credentials, **options), initial_response=initial_response, greeting=greeting)


def user_wire(user: str) -> ClientWire:
    """Return the wire of USER alone (RFC 1939 section 7): a yes to it is no login, and asks for `pass_wire`."""
    return ClientWire(ClientExchange(USER, _say(Secret(user), Harmless), secret=Secret("")), only="USER")


def pass_wire(password: Secret) -> ClientWire:
    """Return the wire of PASS alone (RFC 1939 section 7), after that of USER."""
    return ClientWire(ClientExchange(USER, _say(password, Complete), secret=password), only="PASS")


def _say(text: Secret, step: type[Harmless | Complete]) -> ClientSteps:
    what = "a user name" if step is Harmless else "a password"
    if controls_in(text.reveal()):
        raise control_error(what)
    octets = b""
    try:
        octets = text.reveal().encode("utf-8")
    except UnicodeEncodeError:
        pass  # the exception holds the password
    if not octets:
        raise UsageError(f"{what} that is empty, or cannot be encoded in UTF-8")
    yield step(octets)


def _one(name: str, exchange: ClientExchange, _secrets: list[Secret]) -> Generator[Line, None, None]:
    """Give the line of one command."""
    yield _line(name, exchange.start() or b"")


def _user(exchange: ClientExchange, _secrets: list[Secret]) -> Generator[Line, None, None]:
    """Give the lines of USER and PASS (RFC 1939 section 7)."""
    yield _line("USER", exchange.start() or b"")
    yield _line("PASS", exchange.respond(b""))


def _line(name: str, text: bytes) -> Line:
    return Line(b"%b %b\r\n" % (name.encode("ascii"), text), f"{name} <{len(text)} octets>")


def _apop(stamp: bytes, exchange: ClientExchange, secrets: list[Secret]) -> Generator[Line, None, None]:
    """Give the line of APOP (RFC 1939 section 7)."""
    exchange.start()
    message = exchange.respond(stamp)
    if len(message) > LONGEST_COMMAND - len(b"APOP \r\n"):
        raise UsageError("a user name that is too long for a command of POP3", mechanism=APOP)
    user, _, digest = message.partition(b" ")
    secrets.append(Secret(digest.decode("ascii")))
    yield Line(b"APOP %b\r\n" % message, f"APOP <{len(user)} octets> <{len(digest)} octets>")


@final
class Greeting(Answer):
    """The server's first line (RFC 1939 section 4)."""

    def _take(self, line: bytes) -> None:
        grammar.check_greeting(line)
        self.done = True


@final
class CapaWire(Answer):
    """The client's side of CAPA (RFC 2449): collects the lines of its answer.

    Attributes:
        capabilities: the lines, once done; empty where the server does not know the command.
    """

    def __init__(self) -> None:
        super().__init__()
        self.capabilities: list[str] = []
        self._begun = False

    def command(self) -> Line:
        """Return the command line."""
        return plain_line("CAPA")

    def _take(self, line: bytes) -> None:
        if not self._begun:
            self._begun = True
            self._take_status(line)
        elif line == b".":
            self.done = True
        else:
            self.capabilities.append(text_of(line.removeprefix(b".")))

    def _take_status(self, line: bytes) -> None:
        status = grammar.status(line)
        if status is None:
            text = one_line(text_of(line))
            raise ProtocolError("neither +OK nor -ERR (RFC 1939 section 3)", server_text=text)
        self.done = not status[0]


@final
class StartTlsWire(StartTls):
    """The client's side of STLS (RFC 2595 section 4)."""

    def __init__(self) -> None:
        super().__init__("STLS", re.compile(rb"\+OK(?: .*)?", re.IGNORECASE))
