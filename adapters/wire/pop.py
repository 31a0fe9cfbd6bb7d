"""POP3's AUTH, USER and PASS, APOP, and STLS (RFC 5034, RFC 1939 section 7, RFC 2595), both ends, sans-I/O."""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import TYPE_CHECKING, Any, ClassVar, Final, final

from sasl.credentials import Password
from sasl.errors import LimitExceeded, ProtocolError, SASLError, UsageError
from sasl.exchange import ClientExchange, ServerExchange
from sasl.policy import DEFAULT_POLICY, Choice, Policy
from sasl.prep import prepared_secret, saslprep
from sasl.registry import client
from sasl.secret import Secret
from sasl.steps import Challenge, Complete, Failure, FindSecret, Rejected, Unavailable, Verified, ask

from ._client import NO_CHALLENGE, Client, printable, sized, text_of
from ._login import Command, choose_or_fall_back, forbidden, login_exchange
from ._server import AuthServer, Server
from .line import Line, plain_line, without_end
from .starttls import StartTls, StartTlsServer

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from sasl.channel import Channel
    from sasl.credentials import Credentials
    from sasl.errors import Kind
    from sasl.limits import Limits
    from sasl.steps import ClientSteps, Event, Question, ServerSteps, Success

USER: Final = "POP-USER"
"""The name in a `Choice` of the commands USER and PASS (RFC 1939 section 7), which are not a SASL mechanism."""
APOP: Final = "POP-APOP"
"""The name of the command APOP (RFC 1939 section 7), in a `Choice` and in `Policy.allow`: it is off by default."""
LONGEST_COMMAND: Final = 255
"""Octets of a command line with its CRLF (RFC 2449 section 4)."""

_STATUS: Final = re.compile(rb"(\+OK|-ERR)(?: (.*))?", re.IGNORECASE | re.DOTALL)
_CODE: Final = re.compile(rb"\[([!-Z\\^-~]+)\] ?(.*)", re.DOTALL)  # RFC 2449 section 3: rchar, without "["

# RFC 2449 section 8 and RFC 3206; codes are hierarchical, so only their first words count. IN-USE means that the
# credentials were good. SYS/PERM asks for somebody to look after the server, as IMAP's CONTACTADMIN does.
_KINDS: Final[Mapping[str, Kind]] = {
    "AUTH": "credentials",
    "SYS/TEMP": "unavailable",
    "SYS/PERM": "disabled",
    "IN-USE": "unavailable",
    "LOGIN-DELAY": "unavailable",
}
_MOST_CAPABILITIES: Final = 65_536  # octets

_ATOMS: Final = rb"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
_MSG_ID: Final = re.compile(rb"<%b@(?:%b|\[[A-Za-z0-9.:-]+\])>" % (_ATOMS, _ATOMS))
_NO_TIMESTAMP: Final = "the greeting has no timestamp"
_NO_MSG_ID: Final = "the timestamp in the greeting is not one msg-id, which may be an attack"


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
    greeting: bytes | str = b"",
) -> Choice:
    """Choose a mechanism; for a password that no offered mechanism takes, APOP, else USER and PASS.

    `capabilities` are the lines of CAPA; a server without CAPA has none, and USER and PASS all the same. `greeting` is
    the server's first line: APOP needs the timestamp in it, and to be allowed by name (`APOP`).
    Raises as `sasl.choose` does.
    """
    names = {line.split()[0].upper() for line in capabilities if line.strip()}
    missing = names and "USER" not in names
    no_apop = _no_apop(greeting)
    return choose_or_fall_back(
        [
            Command(APOP, no_apop, offered=no_apop != _NO_TIMESTAMP, plaintext=False, off_by_default=True),
            Command(USER, "the server does not have USER, or this session is logged in" if missing else ""),
        ],
        mechanisms(capabilities),
        credentials,
        policy=policy,
        channel=channel,
        mechanism=mechanism,
    )


def timestamp(greeting: bytes | str) -> bytes | None:
    """Return the timestamp of APOP in a server's greeting, with its angle brackets; None if it has no usable one.

    It has to be a msg-id (RFC 822 section 4.6; here without quoted strings) and all that stands in angle brackets.
    What collides in MD5 is no text: whoever puts that there wants the password, octet by octet (CVE-2007-1558).
    """
    line = _greeted(greeting)
    start, end = line.find(b"<"), line.rfind(b">")
    found = line[start : end + 1]
    return found if start >= 0 and _MSG_ID.fullmatch(found) else None


def _no_apop(greeting: bytes | str) -> str:
    """Why there is no APOP after a greeting; empty if there is."""
    if timestamp(greeting) is not None:
        return ""
    return _NO_MSG_ID if b"<" in _greeted(greeting) else _NO_TIMESTAMP


def _greeted(greeting: bytes | str) -> bytes:
    """Return what a greeting says after its +OK; nothing if it is none."""
    octets = greeting if isinstance(greeting, bytes) else greeting.encode("utf-8", "surrogatepass")
    status = _STATUS.fullmatch(without_end(octets))
    return b"" if status is None or status[1].upper() != b"+OK" else status[2] or b""


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
    """What AUTH, USER and PASS, and APOP share: the lines of a server."""

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


class _Challengeless(_Pop):
    """What USER and PASS share with APOP: the server has no challenge for them."""

    def _continuation(self, line: bytes) -> Line | None:
        self._broken(ProtocolError("a challenge where none belongs", server_text=text_of(line)))
        return None


@final
class UserWire(_Challengeless):
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

    def _reply(self, status: bytes, rest: bytes) -> Line | None:
        if status != b"+OK" or self._password is None:
            return super()._reply(status, rest)
        password, self._password = self._password.reveal().encode("utf-8"), None
        self.exchange.respond(b"")
        self.turns += 1
        return Line(b"PASS %s\r\n" % password, f"PASS <{len(password)} octets>")


@final
class ApopWire(_Challengeless):
    """The client's side of APOP: it sends a hash of the greeting's timestamp and the password.

    It does not show the password, but lets whoever hears it try passwords, and the server proves nothing.
    Raises UsageError for a greeting without a `timestamp`.
    """

    def __init__(self, credentials: Password, greeting: bytes | str) -> None:
        stamp = timestamp(greeting)
        if stamp is None:
            raise UsageError(_no_apop(greeting), mechanism=APOP)
        super().__init__(apop_exchange(credentials, stamp))

    def command(self) -> Line:
        """Return the command line. Raises UsageError if the credentials cannot be used; nothing was sent then."""
        message = self._begin() or b""
        user, _, digest = message.partition(b" ")
        if len(message) > LONGEST_COMMAND - len(b"APOP \r\n"):
            raise UsageError("a user name that is too long for a command of POP3", mechanism=APOP)
        self._keep(Secret(digest.decode("ascii")))
        return Line(b"APOP %s\r\n" % message, f"APOP <{len(user)} octets> <{len(digest)} octets>")


def apop_exchange(credentials: Password, timestamp: bytes) -> ClientExchange:
    """Return the exchange of an APOP; its one message is what follows the command's name."""
    return ClientExchange(APOP, _apop_client(credentials, timestamp), secret=credentials.password)


def _apop_client(credentials: Password, timestamp: bytes) -> ClientSteps:
    """Send user name and digest, both of what SASLprep makes (RFC 6856 wants that of who hashes UTF-8)."""
    if credentials.authzid:
        raise UsageError("APOP cannot ask to act as another user")
    user, password = saslprep(credentials.authcid), prepared_secret(credentials.password)
    if not user or " " in user:
        raise UsageError("a user name of APOP is not empty and holds no space")
    if not password:
        raise UsageError("a password of APOP is not empty")
    yield Complete(b"%b %b" % (user.encode("utf-8"), _digest(timestamp, password)))


def _digest(timestamp: bytes, password: Secret) -> bytes:
    """The MD5 of the timestamp with the password behind it, in hexadecimal."""
    return hashlib.md5(timestamp + password.reveal().encode("utf-8")).hexdigest().encode("ascii")  # noqa: S324 -- APOP


def client_wire(
    choice: Choice,
    credentials: Credentials,
    *,
    initial_response: bool | None = None,
    greeting: bytes | str = b"",
) -> ClientWire | UserWire | ApopWire:
    """Return the wire for what `choose` chose; `greeting` is the same that it was given.

    Raises UsageError as `sasl.client` does.
    """
    if choice.name in (USER, APOP):
        if not isinstance(credentials, Password):
            raise UsageError(f"{choice.name} takes a password", mechanism=choice.name)
        return UserWire(credentials) if choice.name == USER else ApopWire(credentials, greeting)
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
_LOGGED_IN: Final = "-ERR Logged in already"
_USER: Final = re.compile(rb"(USER|PASS)(?: (.*))?", re.IGNORECASE | re.DOTALL)
_APOP: Final = re.compile(rb"(?i:APOP) ([^ ]+ [0-9a-f]{32})")
_DECOY: Final = Secret("what is hashed where there is no such user; the engine says no whatever comes of it")


class _PopServer(Server):
    """What AUTH, USER and PASS, and APOP share: the verdicts."""

    def _succeeded(self, _success: Success) -> Line:
        return plain_line("+OK Authenticated")

    def _refused(self, kind: str) -> Line:
        return plain_line(_REPLIES[kind])


@final
class ServerWire(_PopServer, AuthServer):
    """The server's side of one AUTH."""

    def _command(self, line: bytes) -> tuple[bytes, bytes | None] | None:
        match = _COMMAND.fullmatch(line)
        return None if match is None else (match[1], match[2])

    def _challenged(self, text: bytes) -> bytes:
        return b"+ " + text


@final
class UserServerWire(_PopServer):
    """The server's side of USER and the PASS that follows it at once, which asks CheckPassword as PLAIN does.

    Between the two another command may come: this one is forgotten then. `policy` says whether a password may come
    like this; `settings` are those of every wire.
    """

    def __init__(self, *, policy: Policy = DEFAULT_POLICY, **settings: Any) -> None:
        super().__init__((), **settings)
        self._forbidden = forbidden(policy, self._channel)
        self._user: bytes | None = None
        self._says = ""

    def receive(self, line: bytes) -> Line | Question:
        """Take USER, then PASS; return the line to send or a question to answer. A USER that is taken is no result yet.

        Raises UsageError after the end and while a question is open.
        """
        self._admit()
        event = self._taken(line)
        return plain_line("+OK Now the password") if event is None else self.answered(event)

    def _taken(self, line: bytes) -> Event | None:
        """Return what a command comes to, None if the password is still to come."""
        if len(line) > self.longest_line:
            return Failure("limit", "a command line that is too long")
        match = _USER.fullmatch(without_end(line))
        if match is None:
            return Failure("malformed", "neither USER nor PASS (RFC 1939 section 7)")
        if self._authenticated:
            return self._no("state", _LOGGED_IN)
        argument = match[2] or b""
        if match[1].upper() == b"PASS":
            user = self._user
            return self._no("state", "-ERR USER comes first") if user is None else self._check(user, argument)
        if not argument:
            return self._no("malformed", "-ERR USER takes a name")
        if self._forbidden:
            return Failure("policy", self._forbidden)
        self._user = argument
        return None

    def _no(self, kind: Kind, says: str) -> Failure:
        self._says = says
        return Failure(kind, says.removeprefix("-ERR "))

    def _refused(self, kind: str) -> Line:
        return plain_line(self._says) if self._says else super()._refused(kind)


@final
class ApopServerWire(_PopServer):
    """The server's side of one APOP, which asks FindSecret for the user's password, a `Secret` or str.

    `timestamp` is the msg-id that the greeting of this connection ended with, and no other greeting ever; `settings`
    are those of every wire.
    Raises UsageError for a timestamp that a client would not take.
    """

    def __init__(self, timestamp: bytes, **settings: Any) -> None:
        super().__init__((), **settings)
        if not _MSG_ID.fullmatch(timestamp):
            raise UsageError("the timestamp of APOP is a msg-id: <...@...> (RFC 822 section 4.6)")
        self.longest_line = LONGEST_COMMAND
        self._timestamp = timestamp

    def receive(self, line: bytes) -> Line | Question:
        """Take the command line; return the line to send or a question to answer.

        Raises UsageError after the end and while a question is open.
        """
        self._admit()
        return self.answered(self._begin(without_end(line)))

    def _begin(self, line: bytes) -> Event:
        if len(line) + 2 > self.longest_line:
            return Failure("limit", "a command line that is too long")
        if self._authenticated:
            return Failure("state", "authenticated already")
        match = _APOP.fullmatch(line)
        if match is None:
            return Failure("malformed", "not APOP with a name and a digest (RFC 1939 section 7)")
        self.exchange = ServerExchange(APOP, _apop_server(self._timestamp, self._limits), limits=self._limits)
        return self.exchange.start(match[1])


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


def _apop_server(timestamp: bytes, limits: Limits) -> ServerSteps:
    """Take user name and digest; compare it with that of the password which is kept."""
    user, _, digest = (yield Challenge(b"")).partition(b" ")
    authcid = _name(user, limits)
    record = yield from ask(FindSecret(authcid, "APOP", None))
    password = _kept(_DECOY if record is None else record.value, limits)
    if not hmac.compare_digest(_digest(timestamp, password), digest) or record is None:
        raise Rejected("wrong password")
    return Verified(record.identity)


def _name(user: bytes, limits: Limits) -> str:
    """Return a user name as it is looked for; one that cannot be prepared fails as one that nobody has."""
    try:
        text = user.decode("utf-8")
    except UnicodeDecodeError:
        text = ""
    if not text:
        raise ProtocolError("a user name that is not UTF-8")
    try:
        name = saslprep(text, limit=limits.prep_characters)
    except UsageError:
        name = ""
    if not name:
        raise Rejected("a user name that cannot be prepared (RFC 4013)")
    return name


def _kept(value: object, limits: Limits) -> Secret:
    """Return the password that is kept of a user, prepared."""
    password = None
    try:
        secret = value if isinstance(value, Secret) else Secret(value)  # type: ignore[arg-type]  # it says so itself
        password = prepared_secret(secret, limit=limits.prep_characters)
    except SASLError:
        pass  # its frames hold the password
    if not password:
        raise Unavailable("what is kept of the user is no password, or one that cannot be prepared (RFC 4013)")
    return password


def _kind(code: str) -> Kind:
    """Return the kind of a hierarchical response code: SYS/TEMP/FUTURE is a SYS/TEMP."""
    for known, kind in _KINDS.items():
        if code == known or code.startswith(known + "/"):
            return kind
    return "credentials"
