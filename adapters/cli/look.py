"""What a server shows before it gets a credential: its greeting, TLS, its certificate, what it offers.

`visit` opens the connection on which a login may follow. Nothing of a credential is needed for it, and nothing sent.
"""

from __future__ import annotations

import logging
import socket
import ssl
from contextlib import ExitStack, contextmanager, suppress
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, final

from sasl.errors import ConnectionLost, ProtocolError, SASLError
from sasl.text import printable
from sasl.value import replace, value

from ..refusals import protocol_of
from ..wire.imap import grammar as imap
from ..wire.pop import grammar as pop
from ..wire.smtp import grammar as smtp
from ..wire.text import one_line, text_of
from .certificate import read_certificate
from .connection import connect, errors_of, library_for, start_tls, tls_facts
from .exits import OtherProtocol, Untrusted
from .watched import Hearing, watched_classes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from ..binding.login import Offer
    from .certificate import Certificate
    from .connection import AnyLibrary
    from .url import Target

_log: Final = logging.getLogger("sasl")
_SECOND_LOOK: Final = 2.0  # seconds for a connection that only finds out why the first one failed
_LONGEST_LINE: Final = 200  # characters of it that are shown
NAMES: Final[Mapping[str, str]] = {"imap": "IMAP", "pop": "POP3", "smtp": "SMTP"}

_MECHANISMS: Final[Mapping[str, Callable[[tuple[str, ...]], list[str]]]] = {
    "imap": imap.mechanisms,
    "pop": pop.mechanisms,
    "smtp": smtp.mechanisms,
}
"""How each protocol's mechanisms are read out of what a server says that it can do."""


@final
@value
class Look:
    """What a server has shown.

    Attributes:
        greeting: its first lines, as they may be shown.
        tls: version and cipher, or None without TLS.
        certificate: what its certificate says, or None.
        before_tls: what it said that it can do before STARTTLS; None where TLS began with the connection, or never.
        capabilities: what it says that it can do.
        offered: the mechanisms that it offers.
        milliseconds: how long it took to learn all that.
    """

    greeting: tuple[str, ...]
    tls: Mapping[str, str] | None
    certificate: Certificate | None
    before_tls: tuple[str, ...] | None
    capabilities: tuple[str, ...]
    offered: tuple[str, ...]
    milliseconds: int

    @property
    def offers_tls(self) -> bool:
        """Whether it offers STARTTLS where no TLS was begun."""
        return self.tls is None and not {"STARTTLS", "STLS"}.isdisjoint(map(str.upper, self.capabilities))


@final
class Visit:
    """A connection on which nobody has logged in yet.

    Attributes:
        library: the description of its library; it has the offer at hand and does not ask for it again.
        conn: the library's connection.
        offer: what to choose from.
        look: what the server has shown.
    """

    def __init__(self, library: AnyLibrary, conn: Any, offer: Offer, look: Look) -> None:
        self.library: AnyLibrary = replace(library, offer=lambda _conn, _dialogue: offer)
        self.conn = conn
        self.offer = offer
        self.look = look


@contextmanager
def visit(
    target: Target, context: ssl.SSLContext, *, starttls: str, timeout: float, name: str | None = None
) -> Iterator[Visit]:
    """Connect, begin TLS, read what the server offers, and close at the end.

    `starttls` is "require", "prefer" or "never", for a protocol whose TLS does not begin with the connection;
    `timeout` is in seconds, for each read and write; `name` is what SMTP's EHLO says that this machine is called.
    What is said goes to the logger `sasl` at DEBUG.
    Raises as `connect` and `start_tls` do; OtherProtocol for a server that speaks another protocol, Untrusted with the
    certificate that it has shown.
    """
    with ExitStack() as stack:
        yield _arrive(stack, target, context, starttls=starttls, timeout=timeout, name=name)


def _arrive(
    stack: ExitStack, target: Target, context: ssl.SSLContext, *, starttls: str, timeout: float, name: str | None
) -> Visit:
    """Open a connection that the stack closes, and look at the server."""
    library, hearing = library_for(target.protocol), Hearing()
    settings: dict[str, Any] = {"classes": watched_classes(target.protocol, hearing)}
    if name is not None and target.protocol == "smtp":
        settings["local_hostname"] = name
    begun = monotonic()
    try:
        with hearing.listening():
            conn = stack.enter_context(connect(library, target, context, timeout=timeout, **settings))
            before = None
            if not target.implicit_tls and starttls != "never":
                before = _begin_tls(library, conn, context, required=starttls == "require")
            if tls := tls_facts(conn.sock):
                _log.debug("TLS begins: %s %s", tls["version"], tls["cipher"])
            with errors_of(library):
                library.check(conn)
                offer: Offer = library.offer(conn, library.dialogue(conn))
        return Visit(library, conn, offer, _look(library, conn, offer, hearing, before=before, begun=begun))
    except Untrusted as error:
        stack.close()
        failure: SASLError = error
        error.certificate = read_certificate(_shown_certificate(library, target, timeout))
    except SASLError as error:
        stack.close()
        failure = _name_protocol(error, target, hearing.first, timeout)
    raise failure


def _begin_tls(library: AnyLibrary, conn: Any, context: ssl.SSLContext, *, required: bool) -> tuple[str, ...] | None:
    """Begin TLS where it is to be had; return what the server said before that it can do; None if TLS did not begin."""
    seen: list[tuple[str, ...]] = []
    start_tls(library, conn, context, required=required, see=lambda: seen.append(_said(library.service, conn)))
    return seen[0] if seen else None


def _said(protocol: str, conn: Any) -> tuple[str, ...]:
    """Return what a server has said that it can do, as the library keeps it."""
    if protocol == "imap":
        return tuple(conn.capabilities)
    kept = conn.esmtp_features if protocol == "smtp" else {name: " ".join(words) for name, words in conn.said.items()}
    return tuple(f"{name} {words}".rstrip().upper() for name, words in kept.items())


def _look(
    library: AnyLibrary, conn: Any, offer: Offer, hearing: Hearing, *, before: tuple[str, ...] | None, begun: float
) -> Look:
    sock = conn.sock
    return Look(
        tuple(hearing.greeting),
        tls_facts(sock),
        read_certificate(sock.getpeercert(binary_form=True)) if isinstance(sock, ssl.SSLSocket) else None,
        before,
        tuple(printable(each) for each in offer.capabilities),
        tuple(printable(each) for each in dict.fromkeys(_MECHANISMS[library.service](offer.capabilities))),
        round((monotonic() - begun) * 1000),
    )


# --- why there is no connection


def _shown_certificate(library: AnyLibrary, target: Target, timeout: float) -> bytes | None:
    """Return the certificate that a server shows, DER: Python keeps none that it does not trust.

    Nothing but the beginning of TLS is sent on this connection.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    seconds = min(_SECOND_LOOK, timeout)
    with suppress(SASLError), connect(library, target, context, timeout=seconds) as conn:
        if not target.implicit_tls:
            start_tls(library, conn, context, required=True)
        certificate: bytes | None = conn.sock.getpeercert(binary_form=True)
        return certificate
    return None


def _name_protocol(error: SASLError, target: Target, first: bytes, timeout: float) -> SASLError:
    """Return the error that says what else answers at the port, if that can be seen."""
    if not isinstance(error, ProtocolError | ConnectionLost):
        return error
    if not first and error.kind == "tls" and target.implicit_tls:
        first = _first_line(target, min(_SECOND_LOOK, timeout))
    spoken = protocol_of(first)
    wanted = NAMES[target.protocol]
    line = one_line(text_of(first))[:_LONGEST_LINE]
    if spoken == wanted and error.kind == "tls" and target.implicit_tls:
        return OtherProtocol(f"{wanted} without TLS", "TLS", line)
    return error if spoken in ("", wanted) else OtherProtocol(spoken, wanted, line)


def _first_line(target: Target, seconds: float) -> bytes:
    """Return what a server says in the clear to whom says nothing; after a silence, to a request of HTTP."""
    octets = b""
    with suppress(OSError), socket.create_connection((target.host, target.port), timeout=seconds / 2) as sock:
        try:
            octets = sock.recv(_LONGEST_LINE)
        except TimeoutError:
            sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
            octets = sock.recv(_LONGEST_LINE)
    return octets.partition(b"\n")[0]
