"""What the bindings of imaplib, poplib and smtplib share: the loop, the trace, the channel, errors that are two things.

A binding gives a `Dialogue` three functions of the library's connection (send, read a line, close) and a wire; all
rules of the exchange are the wire's, all rules of the connection are here: what closes it, and what is shown of it.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from errno import EBADF, ENETDOWN, ENETRESET, ENOTCONN
from io import BufferedReader
from ipaddress import ip_address
from socket import MSG_PEEK
from ssl import SSLEOFError, SSLError, SSLSocket, SSLZeroReturnError, create_default_context
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias, TypeVar, cast

from sasl.channel import Channel
from sasl.credentials import Bearer, Credentials, Password, TokenSource
from sasl.errors import (
    Cancelled,
    ConnectionLost,
    LimitExceeded,
    MechanismUnavailable,
    PolicyViolation,
    SASLError,
    UsageError,
)
from sasl.policy import against
from sasl.registry import Mechanism, canonical, client, lookup
from sasl.resolution import resolve
from sasl.secret import Secret
from sasl.steps import Complete
from sasl.value import replace

from .channel_binding import bindings
from .wire.client import LONGEST_LINE
from .wire.text import printable, text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from socket import socket
    from ssl import SSLContext

    from sasl.credentials import Token
    from sasl.policy import Choice, Policy
    from sasl.steps import ClientSteps

    from .wire.line import Line

    Respond: TypeAlias = Callable[[bytes], bytes | str | None]

T = TypeVar("T")

READ: Final = LONGEST_LINE + 1
"""Octets to read at most for one line: one more than a wire takes, so that it sees that there are too many."""

_NO_CONNECTION: Final = (EBADF, ENETDOWN, ENETRESET, ENOTCONN)
_TIMED_OUT_BEFORE: Final = ("cannot read from timed out object",)
"""What the file of a socket raises from its first time-out on."""
_PATIENCE: Final = 10
"""How many times a connection's own time-out a login may take."""


class Wire(Protocol):
    """The client's side of a command exchange, as `sasl.adapters.wire` has it for each protocol."""

    done: bool
    error: SASLError | None
    must_close: bool

    def command(self) -> Line:
        """Return the command line."""
        ...

    def receive(self, line: bytes) -> Line | None:
        """Take a line; return what to send."""
        ...

    def shown(self, line: bytes) -> str:
        """Return how a line from the server may be printed."""
        ...

    def lost(self) -> None:
        """Say that the connection ended."""
        ...

    def abandon(self, error: SASLError) -> None:
        """End it for a reason of the driver's."""


class Dialogue:
    """A library's connection during a login: lines out, lines in, each shown without what must not be seen.

    `send` writes octets at once, `readline` returns a line with its end (b"" at the end of the connection), `close`
    ends it and never fails. `printing` shows the lines on stderr, where the library's debug output would have been.

    Attributes:
        wire: the exchange that was held, or None.
        last: the server's last line, with its end.
        refused: the line in which the server said no, as it may be shown; "" if there is none.
    """

    def __init__(
        self,
        send: Callable[[bytes], object],
        readline: Callable[[], bytes],
        close: Callable[[], None],
        *,
        printing: bool,
    ) -> None:
        self.close = close
        self.wire: Wire | None = None
        self.last = b""
        self.refused = ""
        self._send = send
        self._readline = readline
        self._printing = printing

    def send(self, line: Line) -> None:
        """Send a line, in one write."""
        self._show("C", line.shown)
        self._send(line.octets)

    def read(self, shown: Callable[[bytes], str] | None = None) -> bytes:
        """Return the server's next line with its end. Raises EOFError where there is none, or only a part of one."""
        line = self._readline()
        if not line.endswith(b"\n") and len(line) < READ:
            raise EOFError
        self.last = line
        self._show("S", (shown or _plain)(line))
        return line

    def hold(self, wire: Wire) -> None:
        """Run a wire to its end, raise its error if it has one, close the connection if nothing else can follow.

        Raises UsageError before anything is sent if the credentials cannot be used.
        """
        self.wire = wire
        line: Line | None = wire.command()
        try:
            while not wire.done:
                if line is not None:
                    self.send(line)
                line = wire.receive(self.read(wire.shown))
        except TimeoutError:
            wire.abandon(too_late())
        except (EOFError, OSError):
            wire.lost()
        except LimitExceeded as error:
            wire.abandon(error)
        except BaseException:
            wire.abandon(Cancelled("the exchange was interrupted"))
            raise
        if wire.must_close:
            self.close()
        elif wire.error is not None:
            self.refused = wire.shown(self.last)
        if wire.error is not None:
            raise wire.error

    def _show(self, who: str, text: str) -> None:
        if (logging := sys.modules.get("logging")) is not None:  # who has not imported it listens to nothing
            logging.getLogger("sasl").debug("%s: %s", who, text)
        if self._printing:
            print(f"{who}: {text}", file=sys.stderr)


def too_late() -> ConnectionLost:
    """Return the error for a server that takes too long."""
    return ConnectionLost("the server did not answer in time", kind="timeout")


def guarded(attempt: Callable[[], T], dialogue: Dialogue, translated: Callable[[SASLError], SASLError]) -> T:
    """Return what `attempt` returns; what goes wrong in it leaves as the library's error.

    Whatever is no SASLError has cut the dialogue somewhere, so the connection is closed. Nothing leaves with the
    frames below this one: those of the library hold what was sent.
    """
    failure: BaseException
    try:
        return attempt()
    except SASLError as error:
        if isinstance(error, ConnectionLost):
            dialogue.close()
        failure = translated(error)
    except TimeoutError:
        dialogue.close()
        failure = translated(too_late())
    except (EOFError, OSError):
        dialogue.close()
        failure = translated(ended())
    except BaseException as error:
        dialogue.close()
        failure = error
    raise failure.with_traceback(None)


def describe(sock: socket | None, service: str, host: str | None = None, port: int | None = None) -> Channel:
    """Return the channel of a connection. `host` is the server's name as the caller meant it, if the library knows.

    TLS is TLS here, whether or not the connection's context checks certificates: that was the caller's to decide.
    """
    peer: Any = None
    try:
        peer = sock.getpeername() if sock is not None else None
    except OSError:
        pass  # the first write will tell that it is closed
    tls = isinstance(sock, SSLSocket)
    if not isinstance(peer, tuple):  # a pipe, or a socket in the file system
        return Channel(tls=tls, loopback=isinstance(peer, str | bytes), service=service)
    address = ip_address(peer[0])
    return Channel(
        tls=tls,
        loopback=(getattr(address, "ipv4_mapped", None) or address).is_loopback,
        service=service,
        host=_looked_up(host) if host else None,
        port=port or peer[1],
    )


def bound(
    channel: Channel,
    sock: socket | None,
    offered: Iterable[str],
    credentials: Credentials,
    *,
    policy: Policy,
    mechanism: str | None,
) -> Channel:
    """Return the channel with its bindings, where a mechanism may be chosen that has a use for them.

    That is one with -PLUS, and its twin without: it tells the server that it saw no -PLUS. All other logins do without:
    bindings want the server's certificate parsed, and cryptography takes 40 ms to import.
    """
    wanted = None if mechanism is None else canonical(mechanism)
    if not isinstance(sock, SSLSocket) or policy.channel_binding == "never":
        return channel
    if not any(_binds(name, credentials, wanted) for name in offered):
        return channel
    return replace(channel, bindings=bindings(sock))


def remember(policy: Policy, choice: Choice, credentials: Credentials) -> None:
    """Pin the account to what it has just logged in with; a store of pins that fails does not undo the login."""
    try:
        policy.remember(choice, credentials)
    except UsageError as error:
        import logging

        logging.getLogger("sasl").warning("the mechanism is not remembered: %s", error)


def _binds(name: str, credentials: Credentials, wanted: str | None) -> bool:
    """Whether an offered mechanism may be chosen and is, or has, one with channel binding."""
    try:
        row = lookup(name)
        if wanted not in (None, row.name) or not isinstance(credentials, row.credentials):
            return False
        # What is of use to an eavesdropper has no -PLUS; to look for one might read the metadata of all packages.
        return row.twin is not None or (not row.plaintext and lookup(f"{row.name}-PLUS").twin == row.name)
    except (MechanismUnavailable, UsageError):
        return False


class _Unusable:
    """Stands for what was passed where a credential belongs, which may be a bare password: tracebacks show locals."""

    __slots__ = ("kind",)

    def __init__(self, value: object) -> None:
        self.kind = type(value).__name__


def veiled(value: T) -> T:
    """Return what is a credential, a source of one or a callback; in the place of anything else, only its type.

    A function of ours that takes one rebinds it to this first, so that no frame of an error shows a bare password.
    """
    if value is None or isinstance(value, Credentials) or callable(value):
        return value
    if isinstance(value, (Secret, _Unusable, TokenSource)):
        return value
    return cast("T", _Unusable(value))


def type_of(value: object) -> str:
    """Return the name of a value's type, as it was before it was veiled."""
    return value.kind if isinstance(value, _Unusable) else type(value).__name__


def check(credentials: object, mechanism: str | None, channel: Channel, *, command: str = "") -> None:
    """Raise UsageError for what cannot be used, whatever the server says: so it is known before anything is sent.

    `command` is the name of the command that stands in for a mechanism.
    """
    if not isinstance(credentials, Credentials):
        raise UsageError(f"credentials are a Password, a Bearer, ..., not {type_of(credentials)}")
    if mechanism is None:
        return
    name = canonical(mechanism)
    if isinstance(credentials, Bearer) and not isinstance(credentials.token, Secret):
        return  # no source is asked for a token that may not be needed
    if name == command and isinstance(credentials, Password):
        client(name, credentials).start()
        return
    try:
        row = lookup(name)
    except MechanismUnavailable:
        return  # whoever chooses says so, and what there is instead
    if isinstance(credentials, row.credentials) and row.twin is None:
        client(name, credentials, channel=channel).start()


def resolved(credentials: Credentials) -> Credentials:
    """Return credentials whose token is at hand. Raises TokenError."""
    return resolve(credentials) if isinstance(credentials, Bearer) else credentials


def callbacks(respond: Respond | None, initial: bytes | str | None) -> ClientSteps:
    """Return a client script that asks a callback; the server may say yes after any of its responses."""
    challenge = yield None if initial is None else Complete(_octets(initial))
    while True:
        response = None if respond is None else respond(challenge)
        if response is None:
            raise Cancelled("there is no answer to the server's challenge")
        challenge = yield Complete(_octets(response))


def is_gone(error: BaseException) -> bool:
    """Whether an error, whatever the library, says that a connection is of no use any more: ours does, or the socket's.

    After a time-out nobody knows whose answer comes next. A connection that was refused never was one.
    """
    if isinstance(error, ConnectionRefusedError) or not isinstance(error, OSError):
        return isinstance(error, ConnectionLost)
    lost = isinstance(error, ConnectionLost | ConnectionError | TimeoutError | SSLEOFError | SSLZeroReturnError)
    return lost or error.errno in _NO_CONNECTION or error.args == _TIMED_OUT_BEFORE


def check_allowed(name: str, policy: Policy, channel: Channel) -> None:
    """Refuse a mechanism that a callback speaks, where the policy has something against it.

    One that is not known here may send what is usable to an eavesdropper, and is as weak as one can be.
    """
    try:
        row = lookup(name)
    except MechanismUnavailable:
        row = Mechanism(name, None, None, Password, client_first=True, plaintext=True, rank=0)
    if reason := against(row, policy, channel):
        raise PolicyViolation(f"the policy does not allow {row.name}: {reason}")


def credentials_of(user: str, secret: Credentials | Token) -> Credentials:
    """Return what the second argument of a library's login() stands for, veiled.

    A `Secret` is the user's password; a callable or a `TokenSource` gives the user's token. Credentials are
    taken as they are, with the user name that is in them.
    """
    if isinstance(secret, Credentials):
        return secret
    if isinstance(secret, Secret):
        return Password(user, secret)
    if callable(secret) or isinstance(secret, TokenSource):
        return Bearer(user, secret)
    raise UsageError(f"a password, credentials or a token source, not {type_of(secret)}")


@contextmanager
def clocked(conn: Any, timeout: float | None) -> Iterator[None]:
    """Let all reads and writes of a connection take so many seconds together; TimeoutError is raised then.

    Without a number, each may take as long as the socket's own time-out says, and all together ten times as long.
    """
    sock = conn.sock
    own: float | None = None if sock is None else sock.gettimeout()
    if timeout is None and not own:
        yield
        return
    if sock is None:
        raise UsageError("a connection without a socket has no time-out")
    if timeout is not None and not _takes(sock, timeout):
        raise UsageError("a time-out is a number of seconds, more than 0")
    each = timeout or own or 0
    end = monotonic() + (timeout or each * _PATIENCE)

    def tick() -> None:
        left = end - monotonic()
        if left <= 0:
            raise TimeoutError
        sock.settimeout(min(left, each))

    conn.sock = _Clocked(sock, tick)
    if isinstance(vars(conn).get("file"), BufferedReader):  # Python 3.14's imaplib has none
        conn.file = _Clocked(conn.file, tick)
    try:
        yield
    finally:
        for name in ("sock", "file"):
            if isinstance(value := vars(conn).get(name), _Clocked):  # None after smtplib's and poplib's close()
                setattr(conn, name, value.inner)
        try:
            sock.settimeout(own)
        except OSError:
            pass  # closed meanwhile


class _Clocked:
    """Stands in for a connection's socket, or for its reader, so that a look at the clock comes before each wait.

    A reader that is left to itself waits anew for each octet until a line is complete: a server that sends one now
    and then holds it for ever. So it is only asked for what it has at hand, or for one read of the socket.
    """

    def __init__(self, inner: Any, tick: Callable[[], None]) -> None:
        self.inner = inner
        self._tick = tick

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def makefile(self, mode: str) -> _Clocked:
        """Return a reader, as smtplib makes one for itself."""
        return _Clocked(self.inner.makefile(mode), self._tick)

    def recv(self, size: int) -> bytes:
        """Read from the socket."""
        self._tick()
        octets: bytes = self.inner.recv(size)
        return octets

    def sendall(self, octets: bytes) -> None:
        """Write to the socket."""
        self._tick()
        self.inner.sendall(octets)

    def readline(self, size: int = -1) -> bytes:
        """Read a line, or `size` octets of it."""
        return self._read(size, b"\n")

    def read(self, size: int = -1) -> bytes:
        """Read `size` octets, or all to the end."""
        return self._read(size, None)

    def _read(self, size: int, end: bytes | None) -> bytes:
        octets = bytearray()
        while len(octets) != size and not (end and octets.endswith(end)):
            self._tick()
            at_hand = self.inner.peek(1)
            if not at_hand:
                break
            wanted = at_hand.find(end) + 1 if end else 0
            wanted = wanted or len(at_hand)
            octets += self.inner.read(wanted if size < 0 else min(wanted, size - len(octets)))
        return bytes(octets)


class LibraryError(SASLError):
    """What the bindings raise: an error of ours that is an error of the library as well.

    `args` are those that the library's own error would have, `str()` is a sentence.
    """

    sentence = ""

    def __init__(self, *args: Any, origin: SASLError | None = None) -> None:
        # Not the constructors of the bases: ours would hand its message to one that wants a code.
        vars(self).update(vars(origin or _ours(type(self))()))
        self.args = args
        if origin is not None:
            self.sentence = str(origin)

    def __str__(self) -> str:
        return self.sentence or super().__str__()


def family(*classes: type[LibraryError]) -> Mapping[type[SASLError], type[LibraryError]]:
    """Return a library's errors by the errors of ours that they stand for."""
    return {_ours(cls): cls for cls in classes}


def translate(
    error: SASLError,
    classes: Mapping[type[SASLError], type[LibraryError]],
    args: tuple[Any, ...] | None = None,
) -> SASLError:
    """Return an error as the library's class, with `args` (its sentence by default) and without what led to it.

    UsageError and TokenError are about the caller, not about the server, and stay what they are.
    """
    cls = next((classes[base] for base in type(error).__mro__ if base in classes), None)
    if isinstance(error, LibraryError) or cls is None:
        return error
    return cls(*((str(error),) if args is None else args), origin=error)


class CheckedContext:
    """Stands in for an SSLContext in a library's starttls(), between the server's reply and the handshake.

    Where `unread` tells of octets in the clear behind the reply, somebody put them there (CVE-2011-0411): `refusal`
    is raised. Whatever fails closes the connection, which is of no use then. Without a context, it is one that checks
    the server's certificate.

    Attributes:
        begun: whether the server has said yes, so that all that follows is TLS's.
    """

    def __init__(
        self,
        context: SSLContext | None,
        unread: Callable[[], bool],
        close: Callable[[], None],
        refusal: type[LibraryError],
    ) -> None:
        self.begun = False
        self._context = context or create_default_context()
        self._unread = unread
        self._close = close
        self._refusal = refusal

    def wrap_socket(self, sock: socket, **settings: Any) -> SSLSocket:
        """Begin TLS, as SSLContext.wrap_socket does."""
        self.begun = True
        try:
            if self._unread():
                raise self._refusal("octets in the clear follow the server's reply to STARTTLS (CVE-2011-0411)")
            return self._context.wrap_socket(sock, **settings)
        except BaseException:
            self._close()
            raise


def begin_tls(
    attempt: Callable[[], T],
    close: Callable[[], None],
    explain: Callable[[Exception], SASLError | None],
    translated: Callable[[SASLError], SASLError],
) -> T:
    """Return what a library's starttls() returns; a server that begins no TLS is an error of ours and of the library's.

    `explain` turns the library's own errors into ours. What TLS itself raises, SSLError, leaves as it is.
    """
    failure: SASLError | None
    try:
        return attempt()
    except SSLError:
        raise
    except SASLError as error:
        failure = error
    except Exception as error:
        failure = explain(error) or _of_the_socket(error)
        if failure is None:
            raise
    if isinstance(failure, ConnectionLost):
        close()
    raise translated(failure)


NOT_OFFERED: Final = "the server does not offer STARTTLS"


def no_tls(said: bytes | str) -> PolicyViolation:
    """Return the error for a server that refuses STARTTLS, with its line, or what the library says in a str."""
    if isinstance(said, str):
        return PolicyViolation(f"the server refuses STARTTLS: {printable(said)}")
    text = printable(text_of(said))
    error = PolicyViolation(f"the server refuses STARTTLS: {text}")
    error.server_text = text
    return error


def ended(said: str = "", response_code: str | None = None) -> ConnectionLost:
    """Return the error for a server that ends the connection, with what it says."""
    text = f": {said}" if said else ""
    return ConnectionLost(f"the server ended the connection{text}", server_text=said, response_code=response_code)


def unread(sock: socket, reader: Any) -> bool:
    """Whether octets wait, in a reader's buffer, if there is one, or below it. Does not block, and takes none."""
    before = sock.gettimeout()
    sock.settimeout(0)
    try:
        return bool(sock.recv(1, MSG_PEEK) if reader is None else reader.peek(1))
    except BlockingIOError:
        return False
    finally:
        sock.settimeout(before)


def _takes(sock: socket, timeout: float) -> bool:
    if not timeout > 0:  # 0 would make it non-blocking; NaN is not more than 0 either
        return False
    try:
        sock.settimeout(timeout)
    except OverflowError:
        return False
    return True


def _looked_up(host: str) -> str:
    """Return a host's name as it is looked up, in ASCII, if it can be (RFC 3490)."""
    try:
        return host if host.isascii() else host.encode("idna").decode("ascii")
    except UnicodeError:
        return host


def _of_the_socket(error: Exception) -> ConnectionLost | None:
    if isinstance(error, TimeoutError):
        return too_late()
    return ended() if isinstance(error, OSError) else None


def _octets(response: bytes | str) -> bytes:
    return response.encode() if isinstance(response, str) else response


def _plain(line: bytes) -> str:
    return printable(text_of(line))


def _ours(cls: type[LibraryError]) -> type[SASLError]:
    """Return the class of sasl.errors that an error of a library stands for."""
    return next(base for base in cls.__mro__ if base.__module__ == SASLError.__module__)
