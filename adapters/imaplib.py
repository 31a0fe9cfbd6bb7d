"""imaplib: `authenticate` for its connections, and drop-in classes whose login() is safe (RFC 9051 section 6.2).

It writes and reads lines by the connection's own send() and readline(), which are documented to be overridden, and
keeps `state` and `capabilities` as imaplib does. imaplib's authenticate() has no initial response, needs two writes
(and 40 ms) for a response, and is out of step with the server after a failure of its callback.
"""

from __future__ import annotations

import imaplib
import os
import re
from functools import partial
from ssl import SSLSocket, create_default_context
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, cast

from sasl.errors import (
    AuthenticationFailed,
    AuthorizationFailed,
    Cancelled,
    ConnectionLost,
    LimitExceeded,
    MechanismUnavailable,
    PolicyViolation,
    ProtocolError,
    SASLError,
    ServerNotProven,
    TemporaryFailure,
    UsageError,
)
from sasl.policy import DEFAULT_POLICY, Policy
from sasl.secret import Secret

from . import _binding
from ._binding import CheckedContext, Dialogue, LibraryError, credentials_of, guarded
from .wire.imap import LOGIN, choose, client_wire, mechanisms
from .wire.text import printable

if TYPE_CHECKING:
    from collections.abc import Callable
    from ssl import SSLContext

    from sasl.credentials import Credentials, Token
    from sasl.policy import Choice

    from .wire.imap import ClientWire

    Watch: TypeAlias = Callable[[Choice, ClientWire], object]

Answer: TypeAlias = tuple[Literal["OK"], list[bytes]]

_SHOWS_LINES: Final = 4
"""The level from which imaplib's debug output shows what is sent."""
_UNDER_TLS: Final = ("TLS session already established",)
"""What imaplib says to a second starttls(), though nothing is lost."""
_LOGGED_OUT: Final = re.compile(r"command \S+ illegal in state LOGOUT, only allowed in states .*")


def authenticate(
    conn: imaplib.IMAP4,
    credentials: Credentials,
    *,
    mechanism: str | None = None,
    initial_response: bool | None = None,
    policy: Policy | None = None,
    timeout: float | None = None,
) -> Answer:
    """Log in; return ("OK", [text]) as imaplib does, with `conn.state` and `conn.capabilities` as they are now.

    The mechanism is chosen from the connection's capabilities as `sasl.choose` does; for a password that none of
    them takes, the LOGIN command stands in. `initial_response=False` never sends one with the command. `timeout` is
    in seconds, for the whole login; without it, each read and write has the connection's own time-out, and the whole
    login ten times that.
    Raises the classes below, all of them IMAP4.error, and UsageError and TokenError. The connection is usable after
    a refusal; where the exchange was cut or the server broke the protocol, it is closed. Each call sends the credential
    once: a second one on the same connection sends it again.
    """
    credentials = _binding.veiled(credentials)
    return run(
        conn, credentials, mechanism=mechanism, initial_response=initial_response, policy=policy, timeout=timeout
    )


def run(
    conn: imaplib.IMAP4,
    credentials: Credentials,
    *,
    mechanism: str | None = None,
    initial_response: bool | None = None,
    policy: Policy | None = None,
    timeout: float | None = None,
    watch: Watch | None = None,
) -> Answer:
    """Do what `authenticate` does; call `watch` with the choice and the wire before the command is sent."""
    credentials = _binding.veiled(credentials)
    dialogue = Dialogue(conn.send, partial(_readline, conn), partial(_close, conn), printing=conn.debug >= _SHOWS_LINES)

    def attempt() -> Answer:
        sock, allowed = conn.sock, policy or DEFAULT_POLICY
        channel = _binding.describe(sock, "imap", conn.host, conn.port)
        _binding.check(credentials, mechanism, channel, command=LOGIN)
        _check_state(conn)
        offered = mechanisms(conn.capabilities)
        channel = _binding.bound(channel, sock, offered, credentials, policy=allowed, mechanism=mechanism)
        with _binding.clocked(conn, timeout):
            choice = choose(
                conn.capabilities,
                credentials,
                policy=allowed,
                channel=channel,
                mechanism=mechanism,
            )
            ready = _binding.resolved(credentials)
            wire = client_wire(
                choice,
                ready,
                tag=f"S{os.urandom(8).hex()}",
                capabilities=conn.capabilities,
                initial_response=initial_response,
            )
            if watch is not None:
                watch(choice, wire)
            debug, conn.debug = conn.debug, 0
            try:
                dialogue.hold(wire)
                text = dialogue.last.rstrip(b"\r\n").split(b" ", 2)[2:]
                conn.capabilities = _capabilities(conn, wire)
            finally:
                conn.debug = debug
            conn.state = "AUTH"
            _binding.remember(allowed, choice, ready)
            return "OK", text or [b""]

    return guarded(attempt, dialogue, partial(_translated, dialogue))


def is_session_lost(error: BaseException) -> bool:
    """Whether an error of imaplib or of `authenticate` says that the session is gone: log in on a new connection then.

    So it is after BYE (a token that has expired, too long a pause, a restart), at the end of the connection, after a
    time-out and where imaplib has lost track of the answers. It is False for a refusal, which a new connection gets
    as well, and for a mailbox that has become read-only.
    """
    if isinstance(error, SASLError) or not isinstance(error, imaplib.IMAP4.error):
        return _binding.is_gone(error)
    if isinstance(error, imaplib.IMAP4.abort):
        return not isinstance(error, imaplib.IMAP4.readonly) and error.args != _UNDER_TLS
    return _LOGGED_OUT.fullmatch(str(error)) is not None


class IMAP4(imaplib.IMAP4):
    """imaplib's IMAP4 with another login() and a starttls() that checks the server's certificate by default.

    Attributes:
        policy: what login() may do.
        mechanism: the one mechanism for login(), or None for the strongest that fits.
    """

    policy: Policy = DEFAULT_POLICY
    mechanism: str | None = None

    def login(self, user: str, password: Credentials | Token) -> Answer:
        """Log in by SASL, or by LOGIN where the server has no mechanism for a password; as `authenticate` does.

        `password` is the user's password (a str or a `sasl.Secret`), credentials, or a callable or token source for
        the user's bearer token.
        """
        password = Secret(password) if isinstance(password, str) else _binding.veiled(password)
        password = credentials_of(user, password)
        return authenticate(self, password, policy=self.policy, mechanism=self.mechanism)

    def login_cram_md5(self, user: str, password: Credentials | Token) -> Answer:
        """Log in by CRAM-MD5, where `policy` allows it by name; as `authenticate` does."""
        password = Secret(password) if isinstance(password, str) else _binding.veiled(password)
        password = credentials_of(user, password)
        return authenticate(self, password, policy=self.policy, mechanism="CRAM-MD5")

    def starttls(self, ssl_context: SSLContext | None = None) -> tuple[Literal["OK"], list[None]]:
        """Start TLS. Without a context, ssl.create_default_context() is used, which checks the certificate.

        Raises IMAPPolicyViolation if the server does not offer it, refuses it, or says something else; if anything in
        the clear follows its reply, the connection is closed. IMAPConnectionLost where it ends the connection. What
        TLS raises is SSLError.
        """
        if isinstance(self.sock, SSLSocket):
            raise self.abort(*_UNDER_TLS)  # as imaplib does, but IMAP4_SSL does not know it
        close = partial(_close, self)
        checked = CheckedContext(ssl_context, partial(_unread, self), close, IMAPPolicyViolation)

        def attempt() -> tuple[Literal["OK"], list[None]]:
            if "STARTTLS" not in self.capabilities:
                raise PolicyViolation(_binding.NOT_OFFERED)
            return super(IMAP4, self).starttls(cast("SSLContext", checked))

        def explain(error: Exception) -> SASLError | None:
            return _explained(self, error, begun=checked.begun)

        return _binding.begin_tls(attempt, close, explain, partial(_binding.translate, classes=_FAMILY))


class IMAP4_SSL(IMAP4, imaplib.IMAP4_SSL):  # noqa: N801 -- the library's name
    """The same over TLS from the first octet; without a context, the server's certificate is checked."""

    def __init__(
        self,
        host: str = "",
        port: int = 993,
        *,
        ssl_context: SSLContext | None = None,
        **options: Any,
    ) -> None:
        super().__init__(host, port, ssl_context=ssl_context or create_default_context(), **options)


class IMAPAuthenticationFailed(LibraryError, AuthenticationFailed, imaplib.IMAP4.error):
    """The server said no to the credential; `args` holds its text with the response code, as imaplib has it."""


class IMAPAuthorizationFailed(AuthorizationFailed, IMAPAuthenticationFailed):
    """The credential is good, but may not act as who was asked for."""


class IMAPTemporaryFailure(LibraryError, TemporaryFailure, imaplib.IMAP4.error):
    """Try later, with the same credential."""


class IMAPConnectionLost(LibraryError, ConnectionLost, imaplib.IMAP4.abort):
    """The server ended the connection (BYE, end of file), or did not answer in time."""


class IMAPMechanismUnavailable(LibraryError, MechanismUnavailable, imaplib.IMAP4.error):
    """No mechanism in common."""


class IMAPPolicyViolation(LibraryError, PolicyViolation, imaplib.IMAP4.error):
    """The policy refused; no credential was sent."""


class IMAPProtocolError(LibraryError, ProtocolError, imaplib.IMAP4.error):
    """The server broke the rules, or did not understand the command."""


class IMAPServerNotProven(ServerNotProven, IMAPProtocolError):
    """A yes that came too early, or without proof."""


class IMAPLimitExceeded(LimitExceeded, IMAPProtocolError):
    """The server sent too much."""


class IMAPCancelled(LibraryError, Cancelled, imaplib.IMAP4.error):
    """This side cancelled."""


_FAMILY: Final = _binding.family(
    IMAPAuthenticationFailed,
    IMAPAuthorizationFailed,
    IMAPTemporaryFailure,
    IMAPConnectionLost,
    IMAPMechanismUnavailable,
    IMAPPolicyViolation,
    IMAPProtocolError,
    IMAPServerNotProven,
    IMAPLimitExceeded,
    IMAPCancelled,
)


def _translated(dialogue: Dialogue, error: SASLError) -> SASLError:
    args = None
    if dialogue.refused and isinstance(error, AuthenticationFailed | TemporaryFailure):
        args = tuple(dialogue.refused.split(" ", 2)[2:])  # the text behind tag and NO
    return _binding.translate(error, _FAMILY, args or None)


def _check_state(conn: imaplib.IMAP4) -> None:
    if conn.state == "AUTH" and conn.welcome.upper().startswith(b"* PREAUTH"):
        raise PolicyViolation("the server says that it knows already who this is (PREAUTH)")
    if conn.state != "NONAUTH":
        raise UsageError(f"a login on a connection whose state is {conn.state}, not NONAUTH")


def _explained(conn: imaplib.IMAP4, error: Exception, *, begun: bool) -> SASLError | None:
    """Return what an error of imaplib's starttls() is; after a server's yes, it is not about that any more."""
    if not isinstance(error, imaplib.IMAP4.error):
        return None
    text = str(error)
    if conn.untagged_responses.get("BYE"):
        return _binding.ended(printable(text.rpartition(" => ")[2]))
    if "socket error" in text.partition("unexpected")[0]:
        return _binding.ended()
    if isinstance(error, imaplib.IMAP4.abort) or " => " in text:  # else it is a NO or BAD
        _close(conn)
    return ProtocolError(printable(text)) if begun else _binding.no_tls(text)


def _unread(conn: imaplib.IMAP4) -> bool:
    """Forget what came in the clear (RFC 9051 section 6.2.1); return whether more of it waits."""
    conn.untagged_responses.clear()
    buffer = getattr(conn, "_readbuf", None)  # Python 3.14 and later read without conn.file
    return any(buffer or ()) or _binding.unread(conn.sock, conn.file if buffer is None else None)


def _capabilities(conn: imaplib.IMAP4, wire: ClientWire) -> tuple[str, ...]:
    """Return what the server can do after the login: what it named with its yes, or else asked again."""
    names = wire.capabilities
    lost = None
    if names is None:
        names = ()
        conn.untagged_responses.pop("CAPABILITY", None)  # of before
        try:
            status, data = conn.capability()
            names = tuple((data[-1] or b"").decode("ascii", "replace").split()) if status == "OK" else ()
        except conn.abort as error:
            lost = str(error)
        except conn.error:
            pass  # it logs in and does not know CAPABILITY
    if lost is not None:
        raise ConnectionLost(f"the connection ended right after the login: {lost}")
    return tuple(name.upper() for name in names)


def _readline(conn: imaplib.IMAP4) -> bytes:
    try:
        return conn.readline()
    except conn.abort:
        return b""
    except conn.error:
        pass
    raise LimitExceeded("a line that is too long for imaplib")


def _close(conn: imaplib.IMAP4) -> None:
    """Close the connection, so that the end of a `with` block does not try to log out on it."""
    conn.state = "LOGOUT"
    try:
        conn.shutdown()
    except OSError:
        pass
