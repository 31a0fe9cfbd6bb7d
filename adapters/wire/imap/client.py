"""The client's side of AUTHENTICATE, LOGIN and STARTTLS (RFC 9051 section 6.2, RFC 4959)."""

from __future__ import annotations

import os
import re
from functools import partial

from sasl.errors import LimitExceeded, ProtocolError, UsageError
from sasl.policy import DEFAULT_POLICY
from sasl.policy import choose as sasl_choose
from sasl.secret import Secret
from sasl.typed import TYPE_CHECKING, final

from ..answer import Answer
from ..client import Client
from ..line import Line, plain_line, without_end
from ..starttls import StartTls
from ..text import challenge_of, end_of_connection, octets_of, one_line, text_of
from . import grammar
from .grammar import LOGIN

if TYPE_CHECKING:
    from collections.abc import Collection, Generator, Iterable, Mapping
    from typing import Any, Final

    from sasl.channel import Channel
    from sasl.client_exchange import ClientExchange
    from sasl.credentials import Credentials
    from sasl.policy import Choice, Policy

_TAG: Final = re.compile(r"[A-Za-z0-9.]{1,64}")
_TAKES_INITIAL: Final = frozenset({"SASL-IR", "IMAP4REV2"})
_WITH_URL: Final = frozenset({"REFERRAL", "WEBALERT"})  # RFC 2221, and Gmail
_FOR_THE_USER: Final = frozenset({"ALERT", "WEBALERT"})
_MOST_UNTAGGED: Final = 262_144  # octets between the command and its tagged reply


def choose(
    capabilities: Collection[str],
    credentials: Credentials,
    *,
    policy: Policy = DEFAULT_POLICY,
    channel: Channel,
    mechanism: str | None = None,
    refused: Mapping[str, str] = {},
) -> Choice:
    """Choose a mechanism; for a password that no offered mechanism takes, the LOGIN command, where it is allowed.

    LOGIN is never chosen under LOGINDISABLED (RFC 9051 section 6.2.3). `refused` and what is raised are as
    with `sasl.choose`.
    """
    disabled = "LOGINDISABLED" in map(str.upper, capabilities)
    commands = {LOGIN: "the server has LOGINDISABLED" if disabled else ""}
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
    """The client's side of one AUTHENTICATE; of one LOGIN command, if the exchange is that of IMAP-LOGIN.

    `tag` is the command's; unpredictable ones keep a server from answering before it was asked.
    `capabilities` decide on the initial response, which is sent only under SASL-IR or IMAP4rev2 (RFC 4959,
    RFC 9051 section 6.2.2); `initial_response=False` never sends one (Coremail advertises SASL-IR and refuses it).

    Who has lines gives them to `receive`. A library that has read the responses itself gives them to `continued`,
    `tagged` and `untagged`, as octets or as a text, without line ends.
    """

    protocol = "imap"
    challenge_begin = re.compile(rb"(\+) ?")

    def __init__(
        self,
        exchange: ClientExchange,
        *,
        tag: str = "A1",
        capabilities: Iterable[str] = (),
        initial_response: bool | None = None,
    ) -> None:
        _check_tag(tag)
        super().__init__(
            exchange,
            f"{tag} AUTHENTICATE {exchange.name}",
            initial=initial_response is not False and not _TAKES_INITIAL.isdisjoint(map(str.upper, capabilities)),
            script=partial(_login, tag) if exchange.name == LOGIN else None,
        )
        self._tag = tag.encode("ascii")
        self._capabilities: tuple[str, ...] | None = None
        self._in_untagged = False  # an untagged response goes on, in a literal or behind one
        self._literal = 0  # octets of the literal still to come
        self._octets = 0  # of all untagged responses

    @property
    def capabilities(self) -> tuple[str, ...] | None:
        """After a login, the capabilities that the server named with it; None if it has to be asked again."""
        return self._capabilities if self.error is None else None

    def receive(self, line: bytes) -> Line | None:
        """Take a line from the server; return what to send, or None: wait for another line, or done."""
        if not self._admit(line):
            return None
        if self._in_untagged:
            rest = line[self._literal :]
            if not self._refuse_breaks(without_end(rest)):
                self._pass_over(line, rest)
            return None
        text = without_end(line)
        if self._refuse_breaks(text):
            return None
        if text.startswith(b"* "):
            self._pass_over(line, line)
            if not self.done:
                self.untagged(text[2:])
            return None
        if text.startswith(b"+"):
            return self.continued(challenge_of(text))
        reply = grammar.tagged_reply(text, self._tag)
        if reply is None:
            self._break_off("neither untagged, nor a challenge, nor the reply to the command", text_of(text))
        else:
            self.tagged(*reply)
        return None

    def continued(self, text: bytes | str) -> Line | None:
        """Take a challenge, given in base64, or the go-ahead to a literal: what follows "+"; return what to send."""
        if self.done or not self.turns:
            self._refuse_turn()
        return self._go_on(octets_of(text))

    def tagged(self, status: bytes | str, rest: bytes | str) -> None:
        """Take the reply to the command: OK, NO or BAD, and what follows."""
        if self.done or not self.turns:
            self._refuse_turn()
        rest = octets_of(rest)
        if self._refuse_breaks(rest):
            return
        code, argument, text = grammar.response(rest)
        status = octets_of(status).upper()
        if status == b"OK":
            if self._take_yes(text) and code == "CAPABILITY":
                self._capabilities = tuple(argument.split())
            return
        self._note(code, argument, text)
        self._take_no(text, code, understood=status == b"NO")

    def untagged(self, rest: bytes | str) -> None:
        """Take an untagged response, what follows "*"; of one with literals, its first line."""
        if self.done or not self.turns:
            self._refuse_turn()
        name, _, rest = octets_of(rest).partition(b" ")
        name = name.upper()
        if self._refuse_breaks(rest):
            return
        if name == b"BYE":
            code, argument, text = grammar.response(rest)
            self._note(code, argument, text)
            self._end(text, code)
        elif name in (b"OK", b"NO", b"BAD"):
            code, argument, text = grammar.response(rest)
            if name != b"OK" or code in _FOR_THE_USER:
                self._note(code, argument, text)
                self._hear(text, code, refuses=name != b"OK")
        elif name == b"PREAUTH":
            self._break_off("the server greets in the middle of an exchange", text_of(rest))
        elif name == b"CAPABILITY":
            self._capabilities = tuple(text_of(rest).split())

    def _note(self, code: str | None, argument: str, text: str) -> None:
        """Keep what a response code says besides its name: for the user, who has to be shown it."""
        if code in _WITH_URL and argument:
            self._detail[code.lower()] = one_line(argument)
        elif code == "ALERT" and text:
            self._detail["alert"] = one_line(text)

    def _pass_over(self, line: bytes, rest: bytes) -> None:
        """Count a line of an untagged response; `rest` is what follows the literal in it, if it is in one."""
        self._octets += len(line)
        opened = grammar.literal(rest)
        self._literal = max(0, self._literal - len(line)) if opened is None else opened
        self._in_untagged = opened is not None or not rest
        if self._octets + self._literal > _MOST_UNTAGGED:
            self._finish(LimitExceeded(f"more than {_MOST_UNTAGGED} octets of untagged responses"), close=True)


def _check_tag(tag: str) -> None:
    if not _TAG.fullmatch(tag):
        raise UsageError("a tag is letters, digits and dots")


def client_wire(
    choice: Choice,
    credentials: Credentials,
    *,
    tag: str | None = None,
    capabilities: Iterable[str] = (),
    initial_response: bool | None = None,
    options: Mapping[str, Any] = {},
) -> ClientWire:
    """Return the wire for what `choose` chose; `options` are the mechanism's. Raises as `sasl.client` does.

    Without a tag, it is a new one: a second reply to one command is none to the next then.
    """
    tag = new_tag() if tag is None else tag
    exchange = choice.client(credentials, **options)
    return ClientWire(exchange, tag=tag, capabilities=capabilities, initial_response=initial_response)


def new_tag() -> str:
    """Return a tag for a command that a server cannot answer before it was asked."""
    return f"S{os.urandom(8).hex()}"


def _login(tag: str, exchange: ClientExchange, secrets: list[Secret]) -> Generator[Line, None, None]:
    """Give the lines of LOGIN (RFC 9051 section 6.2.3), ASCII in quoted strings, all else in literals of UTF-8.

    A user name that is an atom stands there as it is, as imaplib sends it.

    No variable holds the password, which a traceback would show.
    """
    user, password = exchange.start() or b"", secrets[0]
    secrets.append(Secret(grammar.quote(password.reveal())))
    line = Line(f"{tag} LOGIN".encode("ascii"), f"{tag} LOGIN")
    if grammar.is_atom(user):
        line = _append(line, user, user)
    elif user.isascii():
        line = _append_quoted(line, user)
    else:
        exchange.defer()
        yield _announce_literal(line, len(user))
        line = _literal_line(exchange.respond(b""))
    if password.reveal().isascii():
        yield _end_line(_append_quoted(line, exchange.respond(b"")))
    else:
        yield _announce_literal(line, len(password.reveal().encode("utf-8")))
        yield _end_line(_literal_line(exchange.respond(b"")))


def _append_quoted(line: Line, text: bytes) -> Line:
    quoted = grammar.quote(text.decode("ascii")).encode("ascii")
    return _append(line, text, quoted)


def _append(line: Line, text: bytes, quoted: bytes) -> Line:
    return Line(b"%b %b" % (line.octets, quoted), f"{line.shown} <{len(text)} octets>")


def _literal_line(text: bytes) -> Line:
    return Line(text, f"<{len(text)} octets>")


def _announce_literal(line: Line, size: int) -> Line:
    """Return a line that ends by announcing a literal of so many octets."""
    return Line(b"%b {%d}\r\n" % (line.octets, size), f"{line.shown} <literal>")


def _end_line(line: Line) -> Line:
    return Line(line.octets + b"\r\n", line.shown)


@final
class Greeting(Answer):
    """The server's greeting (RFC 9051 section 7.1).

    Attributes:
        capabilities: what the server says in it that it can do; None where it has to be asked for that.
    """

    capabilities: tuple[str, ...] | None = None

    def _take(self, line: bytes) -> None:
        self.capabilities = grammar.greeting(line)
        self.done = True


@final
class CapabilityWire(Answer):
    """The client's side of CAPABILITY (RFC 9051 section 6.1.1).

    Attributes:
        capabilities: what the server can do, once done; empty where it does not say.
    """

    def __init__(self, *, tag: str = "A1") -> None:
        _check_tag(tag)
        super().__init__()
        self.capabilities: list[str] = []
        self._tag = tag

    def command(self) -> Line:
        """Return the command line."""
        return plain_line(f"{self._tag} CAPABILITY")

    def _take(self, line: bytes) -> None:
        if grammar.tagged_reply(line, self._tag.encode("ascii")) is not None:
            self.done = True
            return
        star, _, said = line.partition(b" ")
        name, _, rest = said.partition(b" ")
        if star != b"*":
            text = one_line(text_of(line))
            raise ProtocolError("neither untagged, nor the reply to the command", server_text=text)
        if name.upper() == b"BYE":
            code, _, text = grammar.response(rest)
            raise end_of_connection(one_line(text), code)
        if name.upper() == b"CAPABILITY":
            self.capabilities = text_of(rest).split()


@final
class StartTlsWire(StartTls):
    """The client's side of STARTTLS (RFC 9051 section 6.2.1)."""

    def __init__(self, *, tag: str = "A1") -> None:
        _check_tag(tag)
        yes = re.compile(rb"%s OK(?: .*)?" % re.escape(tag.encode("ascii")), re.IGNORECASE)
        super().__init__(f"{tag} STARTTLS", yes, re.compile(rb"\* (?!BYE)", re.IGNORECASE))
