"""IMAP's AUTHENTICATE, LOGIN and STARTTLS (RFC 9051 section 6.2, RFC 4959), both ends, sans-I/O.

Lines go in as they were read, with their CRLF: only so can literals be counted.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, ClassVar, Final, final

from sasl.credentials import Password
from sasl.errors import ConnectionLost, LimitExceeded, PolicyViolation, ProtocolError, UsageError
from sasl.policy import DEFAULT_POLICY, Choice, Policy
from sasl.registry import client
from sasl.secret import Secret
from sasl.steps import Failure

from ._arguments import GO_AHEAD, WRONG_NUMBER, Arguments
from ._client import NO_CHALLENGE, Client, printable, sized, text_of
from ._login import Command, choose_or_fall_back, forbidden, login_exchange
from ._server import AuthServer, Server
from .line import Line, plain_line, without_end
from .starttls import StartTls, StartTlsServer

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from sasl.channel import Channel
    from sasl.credentials import Credentials
    from sasl.errors import Kind, SASLError
    from sasl.exchange import ClientExchange
    from sasl.steps import Event, Question, Success

LOGIN: Final = "IMAP-LOGIN"
"""The name in a `Choice` of the LOGIN command (RFC 9051 section 6.2.3), which is not a SASL mechanism."""

_TAGGED: Final = re.compile(rb"(OK|NO|BAD)(?: (.*))?", re.IGNORECASE | re.DOTALL)
_CODE: Final = re.compile(rb"\[([A-Z0-9!#$&'+,./:;<=>?@^_`|~-]+)(?: ([^\]]*))?\] ?(.*)", re.IGNORECASE | re.DOTALL)
_LITERAL: Final = re.compile(rb"\{([0-9]{1,20})\+?\}\Z")
_TAG: Final = re.compile(r"[A-Za-z0-9.]{1,64}")
_MOST_UNTAGGED: Final = 262_144  # octets between the command and its tagged reply

# RFC 5530; INUSE, LIMIT and SERVERBUG say nothing about the credential.
_KINDS: Final[Mapping[str, Kind]] = {
    "AUTHENTICATIONFAILED": "credentials",
    "AUTHORIZATIONFAILED": "authorization",
    "EXPIRED": "expired",
    "CONTACTADMIN": "disabled",
    "UNAVAILABLE": "unavailable",
    "INUSE": "unavailable",
    "LIMIT": "unavailable",
    "SERVERBUG": "unavailable",
    "PRIVACYREQUIRED": "policy",
}


def greeting(line: bytes) -> tuple[str, ...] | None:
    """Read a server's greeting; return the capabilities in it, or None if it holds none.

    Raises PolicyViolation for PREAUTH: nobody knows as whom the connection is authenticated, and STARTTLS is
    not possible any more. ConnectionLost for BYE, ProtocolError for anything else.
    """
    match = re.fullmatch(rb"\* (OK|PREAUTH|BYE)(?: (.*))?", line.rstrip(b"\r\n"), re.IGNORECASE | re.DOTALL)
    if match is None:
        raise ProtocolError("not an IMAP greeting (RFC 9051 section 7.1)")
    status = match[1].upper()
    if status == b"PREAUTH":
        raise PolicyViolation("the server says that it knows already who this is (PREAUTH)")
    code, argument, text = _response(match[2] or b"")
    if status == b"BYE":
        text = printable(text)
        raise ConnectionLost(f"the server ended the connection: {text}", server_text=text, response_code=code)
    return tuple(argument.split()) if code == "CAPABILITY" else None


def mechanisms(capabilities: Iterable[str]) -> list[str]:
    """Return the SASL mechanisms of a capability list."""
    return [name[5:] for name in capabilities if name[:5].upper() == "AUTH="]


def choose(
    capabilities: Collection[str],
    credentials: Credentials,
    *,
    policy: Policy = DEFAULT_POLICY,
    channel: Channel,
    mechanism: str | None = None,
) -> Choice:
    """Choose a mechanism; for a password that no offered mechanism takes, the LOGIN command, where it is allowed.

    LOGIN is never chosen under LOGINDISABLED (RFC 9051 section 6.2.3). Raises as `sasl.choose` does.
    """
    disabled = "LOGINDISABLED" in (name.upper() for name in capabilities)
    return choose_or_fall_back(
        [Command(LOGIN, "the server has LOGINDISABLED" if disabled else "")],
        mechanisms(capabilities),
        credentials,
        policy=policy,
        channel=channel,
        mechanism=mechanism,
    )


class _Imap(Client):
    """What AUTHENTICATE and LOGIN share: the lines of a server.

    Attributes:
        capabilities: after a login, those that the server named with it; None if it has to be asked again.
    """

    def __init__(self, exchange: ClientExchange, tag: str) -> None:
        super().__init__(exchange)
        if not _TAG.fullmatch(tag):
            raise UsageError("a tag is letters, digits and dots")
        self.capabilities: tuple[str, ...] | None = None
        self._tag = tag.encode("ascii")
        self._in_untagged = False  # an untagged response goes on, in a literal or behind one
        self._literal = 0  # octets of the literal still to come
        self._octets = 0  # of all untagged responses

    def receive(self, line: bytes) -> Line | None:
        """Take a line from the server; return what to send, or None: wait for another line, or done."""
        if not self._admit(line):
            return None
        if self._in_untagged:
            self._untagged(line, line[self._literal :])
            return None
        if line.startswith(b"* "):
            self._untagged(line, line)
            self._announced(without_end(line)[2:])
            return None
        line = without_end(line)
        if line.startswith(b"+"):
            return self._continuation(line)
        tag, _, rest = line.partition(b" ")
        match = _TAGGED.fullmatch(rest)
        if match is None or tag != self._tag:
            what = "neither untagged, nor a challenge, nor the reply to the command"
            self._broken(ProtocolError(what, server_text=text_of(line)))
            return None
        self._reply(match[1].upper(), match[2] or b"")
        return None

    def shown(self, line: bytes) -> str:
        """Return how a line from the server may be printed: challenges only by their size."""
        line = without_end(line)
        return f"+ {sized(line[1:].removeprefix(b' '))}" if line.startswith(b"+") else self._said(text_of(line))

    def _continuation(self, line: bytes) -> Line | None:
        """Take a challenge. Bare "+" is an empty one: Exchange, Stalwart and Migadu leave the space out."""
        return self._challenge(line[2:] if line == b"+" or line.startswith(b"+ ") else NO_CHALLENGE)

    def _reply(self, status: bytes, rest: bytes) -> None:
        code, argument, text = _response(rest)
        if status == b"OK":
            if self._yes(text) and code == "CAPABILITY":
                self.capabilities = tuple(argument.split())
        elif status == b"NO" or self.cancelled or self.exchange.explained:
            self._no(text, _KINDS.get(code or "", "credentials"), code)
        else:
            text = self.server_text = self._said(text)
            self._over(ProtocolError(f"the server did not understand: {text}", server_text=text, response_code=code))

    def _announced(self, response: bytes) -> None:
        """Look at the first line of an untagged response."""
        if self.done:
            return
        name, _, rest = response.partition(b" ")
        name = name.upper()
        if name == b"BYE":
            code, _, text = _response(rest)
            self._lost(text, code)
        elif name == b"PREAUTH":
            self._broken(ProtocolError("the server greets in the middle of an exchange", server_text=text_of(rest)))
        elif name == b"CAPABILITY":
            self.capabilities = tuple(text_of(rest).split())

    def _untagged(self, line: bytes, rest: bytes) -> None:
        """Pass over a line of an untagged response; `rest` is what follows the literal in it, if it is in one."""
        self._literal = max(0, self._literal - len(line))
        self._octets += len(line)
        opened = _LITERAL.search(without_end(rest))
        if opened:
            self._literal = int(opened[1])
        self._in_untagged = bool(opened or self._literal or not rest)
        if self._octets + self._literal > _MOST_UNTAGGED:
            self._over(LimitExceeded(f"more than {_MOST_UNTAGGED} octets of untagged responses"), close=True)

    def _over(self, error: SASLError | None, *, close: bool = False) -> None:
        super()._over(error, close=close)
        if error is not None:
            self.capabilities = None


@final
class ClientWire(_Imap):
    """The client's side of one AUTHENTICATE.

    `tag` is the command's; unpredictable ones keep a server from answering before it was asked.
    `capabilities` decide on the initial response, which is sent only under SASL-IR or IMAP4rev2 (RFC 4959,
    RFC 9051 section 6.2.2); `initial_response=False` never sends one (Coremail advertises SASL-IR and refuses it).
    """

    def __init__(
        self,
        exchange: ClientExchange,
        *,
        tag: str = "A1",
        capabilities: Iterable[str] = (),
        initial_response: bool | None = None,
    ) -> None:
        super().__init__(exchange, tag)
        advertised = {"SASL-IR", "IMAP4REV2"} & {name.upper() for name in capabilities}
        self._may_send_initial = bool(advertised) and initial_response is not False

    def command(self) -> Line:
        """Return the command line. Raises UsageError if the credentials cannot be used; nothing was sent then."""
        command = f"{self._tag.decode()} AUTHENTICATE {self.exchange.name}"
        return self._start(may_send_initial=self._may_send_initial, longest=None, command=command)


@final
class LoginWire(_Imap):
    """The client's side of one LOGIN command (RFC 9051 section 6.2.3), for servers with no mechanism for a password.

    ASCII goes as quoted strings, all else as literals in UTF-8, each after the server's "+".
    """

    def __init__(self, credentials: Password, *, tag: str = "A1") -> None:
        super().__init__(login_exchange(LOGIN, credentials), tag)
        self._arguments = [Secret(credentials.authcid), credentials.password]
        self._keep(Secret(_quoted(credentials.password.reveal())))

    def command(self) -> Line:
        """Return the first line of the command. Raises UsageError if the credentials cannot be used with it."""
        self._begin()
        line = self._more(self._tag + b" LOGIN", f"{self._tag.decode()} LOGIN")
        if self._arguments:
            self.exchange.defer()
        return line

    def _continuation(self, line: bytes) -> Line | None:
        if not self._arguments:
            what = "the server asks for more of a command that is complete"
            self._broken(ProtocolError(what, server_text=text_of(line)))
            return None
        literal = self._arguments.pop(0).reveal().encode("utf-8")
        self.turns += 1
        answer = self._more(literal, f"<{len(literal)} octets>")
        if not self._arguments:
            self.exchange.respond(b"")  # all has left: from here on a yes counts
        return answer

    def _more(self, octets: bytes, shown: str) -> Line:
        """Add arguments up to the next literal, which has to wait."""
        while self._arguments:
            argument = self._arguments[0].reveal()
            size = len(argument.encode("utf-8"))
            if not argument.isascii():
                return Line(octets + b" {%d}\r\n" % size, f"{shown} <literal>")
            octets += b" " + _quoted(argument).encode("ascii")
            shown += f" <{size} octets>"
            self._arguments.pop(0)
        return Line(octets + b"\r\n", shown)


def _quoted(text: str) -> str:
    """Return a text as a quoted string (RFC 9051 section 4.3)."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def client_wire(
    choice: Choice,
    credentials: Credentials,
    *,
    tag: str = "A1",
    capabilities: Iterable[str] = (),
    initial_response: bool | None = None,
) -> ClientWire | LoginWire:
    """Return the wire for what `choose` chose. Raises UsageError as `sasl.client` does."""
    if choice.name == LOGIN:
        if not isinstance(credentials, Password):
            raise UsageError(f"{LOGIN} takes a password", mechanism=LOGIN)
        return LoginWire(credentials, tag=tag)
    exchange = client(choice.name, credentials, channel=choice.channel, limits=choice.limits)
    return ClientWire(exchange, tag=tag, capabilities=capabilities, initial_response=initial_response)


@final
class StartTlsWire(StartTls):
    """The client's side of STARTTLS (RFC 9051 section 6.2.1)."""

    def __init__(self, *, tag: str = "A1") -> None:
        yes = re.compile(rb"%s OK(?: .*)?" % re.escape(tag.encode("ascii")), re.IGNORECASE)
        super().__init__(f"{tag} STARTTLS", yes)

    def _goes_on(self, line: bytes, /) -> bool:
        return line.startswith(b"* ") and line[2:5].upper() != b"BYE"


# --- the server's side

_REPLIES: Final[Mapping[str, str]] = {
    "credentials": "NO [AUTHENTICATIONFAILED] Authentication failed",
    "authorization": "NO [AUTHORIZATIONFAILED] Authorization failed",
    "expired": "NO [EXPIRED] The credential has expired",
    "disabled": "NO [CONTACTADMIN] The account cannot be used",
    "unavailable": "NO [UNAVAILABLE] Cannot authenticate now, try later",
    "malformed": "BAD Malformed authentication message",
    "unexpected_ir": "BAD The mechanism takes no initial response",
    "cancelled": "BAD Authentication cancelled",
    "limit": "BAD Authentication message too large",
    "state": "BAD Authenticated already",
    "unsupported": "NO Unsupported authentication mechanism",
    "policy": "NO [PRIVACYREQUIRED] Encryption is required first",
}
TAG: Final = rb"[A-Za-z0-9.!#$&',/:;<=>?@^_`|~-]{1,64}"
"""The grammar of a tag that a server takes."""

_AUTHENTICATE: Final = re.compile(rb"%b AUTHENTICATE ([^ ]+)(?: ([^ ]+))?" % TAG, re.IGNORECASE)
_LOGIN: Final = re.compile(rb"%b LOGIN(?: (.*))?" % TAG, re.IGNORECASE | re.DOTALL)


class _ImapServer(Server):
    """What AUTHENTICATE and LOGIN share: the tag, and the verdicts.

    `capabilities`, if given, stand in the tagged OK: those that hold after the login.
    """

    def __init__(self, offered: Collection[str], *, capabilities: Iterable[str] = (), **settings: Any) -> None:
        super().__init__(offered, **settings)
        self._tag = "*"
        self._capabilities = " ".join(capabilities)

    def _succeeded(self, _success: Success) -> Line:
        code = f"[CAPABILITY {self._capabilities}] " if self._capabilities else ""
        return plain_line(f"{self._tag} OK {code}Authenticated")

    def _refused(self, kind: str) -> Line:
        return plain_line(f"{self._tag} {_REPLIES[kind]}")


@final
class ServerWire(_ImapServer, AuthServer):
    """The server's side of one AUTHENTICATE."""

    def _command(self, line: bytes) -> tuple[bytes, bytes | None] | None:
        self._tag = _tag_of(line)
        match = _AUTHENTICATE.fullmatch(line)
        return None if match is None else (match[1], match[2])

    def _challenged(self, text: bytes) -> bytes:
        return b"+ " + text


@final
class LoginServerWire(_ImapServer):
    """The server's side of one LOGIN command (RFC 9051 section 6.2.3), which asks CheckPassword as PLAIN does.

    `policy` says whether a password may come like this; `settings` are those of every wire.
    """

    def __init__(self, *, policy: Policy = DEFAULT_POLICY, **settings: Any) -> None:
        super().__init__((), **settings)
        self._forbidden = forbidden(policy, self._channel)
        self._arguments: Arguments | None = None
        self._says: Line | None = None

    def receive(self, line: bytes) -> Line | Question | None:
        """Take the command line, then all lines that its literals spread it over, each as it was read.

        Return the line to send or a question to answer; None: read another line.
        Raises UsageError after the end and while a question is open.
        """
        self._admit()
        arguments = self._arguments
        if arguments is None:
            begun = self._begun(line)
            if isinstance(begun, Failure):
                return self.answered(begun)
            self._arguments = arguments = begun
        else:
            arguments.receive(line)
        event = self._come_to(arguments)
        if event is not None:
            return self.answered(event)
        return GO_AHEAD if arguments.waits else None

    def _begun(self, line: bytes) -> Arguments | Failure:
        """Return the arguments of a command, as far as its first line goes."""
        self._tag = _tag_of(line)
        if len(line) > self.longest_line:
            return Failure("limit", "a command line that is too long")
        match = _LOGIN.fullmatch(without_end(line))
        if match is None:
            return Failure("malformed", "not a LOGIN command")
        arguments = Arguments(self.longest_line)
        arguments.receive(match[1] or b"")
        return arguments

    def _come_to(self, arguments: Arguments) -> Event | None:
        """Return what the arguments come to, None if there are more to come. A no spares the client its literals."""
        if arguments.refusal:
            self.must_close = arguments.must_close
            self._says = arguments.answer(self._tag)
            return Failure("malformed", arguments.refusal)
        if not arguments.done and not arguments.waits:
            return None
        if self._authenticated:
            return Failure("state", "authenticated already")
        if arguments.done and len(arguments.words) != 2:
            self._says = plain_line(f"{self._tag} BAD {WRONG_NUMBER}")
            return Failure("malformed", WRONG_NUMBER)
        if self._forbidden:
            return Failure("policy", self._forbidden)
        return self._check(*arguments.words) if arguments.done else None

    def _refused(self, kind: str) -> Line:
        return self._says or super()._refused(kind)


@final
class StartTlsServerWire(StartTlsServer):
    """The server's side of STARTTLS (RFC 9051 section 6.2.1)."""

    grammar = re.compile(rb"%b STARTTLS ?" % TAG, re.IGNORECASE)
    replies: ClassVar[Mapping[str, str]] = {
        "yes": "OK Begin TLS",
        "malformed": "BAD STARTTLS takes no argument",
        "authenticated": _REPLIES["state"],
        "tls": "BAD TLS is in force already",
        "injected": "BYE Octets in the clear behind STARTTLS",
    }

    def _said(self, line: bytes, text: str) -> Line:
        return plain_line(f"{'*' if text.startswith('BYE') else _tag_of(line)} {text}")


def _tag_of(line: bytes) -> str:
    """Return the tag of a command line, "*" if it has none."""
    tag = line.split(b" ", 1)[0]
    return tag.decode("ascii") if re.fullmatch(TAG, tag) else "*"


def _response(rest: bytes) -> tuple[str | None, str, str]:
    """Split what follows OK, NO, BAD or BYE into response code, its argument and text."""
    match = _CODE.fullmatch(rest)
    if match is None:
        return None, "", text_of(rest)
    return text_of(match[1]).upper(), text_of(match[2] or b""), text_of(match[3])
