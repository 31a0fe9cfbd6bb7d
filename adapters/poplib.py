"""poplib: `authenticate` for its connections, and drop-in classes with login(), auth() (RFC 5034) and apop().

poplib has neither AUTH nor a public way to send a command, and reads no line of more than 2,048 octets: a Kerberos
ticket is longer. So lines go over the connection's `sock` and `file`, each in one write.
"""

from __future__ import annotations

import poplib
import re
import sys
from functools import partial
from ssl import SSLSocket, create_default_context
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

from sasl.credentials import Credentials, Password
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
from sasl.exchange import ClientExchange
from sasl.policy import DEFAULT_POLICY, Policy
from sasl.registry import canonical, client
from sasl.secret import Secret

from . import _binding
from ._binding import READ, CheckedContext, Dialogue, LibraryError, credentials_of, guarded, type_of
from .wire.pop import APOP, USER, CapaWire, ClientWire, choose, client_wire, mechanisms

if TYPE_CHECKING:
    from collections.abc import Callable
    from ssl import SSLContext

    from sasl.channel import Channel
    from sasl.credentials import Token
    from sasl.policy import Choice

    from ._binding import Respond

    Watch: TypeAlias = Callable[[Choice, ClientWire], object]

_EOF: Final = ("-ERR EOF",)
"""What poplib's error holds at the end of the connection; lines of a server are bytes."""
_ENDS: Final = re.compile(
    rb"-ERR (?:\[SYS/TEMP(?:/[^\]]*)?\] ?)?(?!\[).*"
    rb"(?:session (?:\w+ ){0,2}(?:expired|invalid|ended|closed)|disconnect|inactiv|idle|time[d-]? ?out|shutting down)",
    re.IGNORECASE,
)
"""How servers say that they end a session: Dovecot's "Disconnected for inactivity", "Server shutting down"; others'."""


def authenticate(
    conn: poplib.POP3,
    credentials: Credentials,
    *,
    mechanism: str | None = None,
    initial_response: bool | None = None,
    policy: Policy | None = None,
    timeout: float | None = None,
) -> bytes:
    """Log in; return the server's line (b"+OK ...") as poplib's commands do.

    The mechanism is chosen from CAPA as `sasl.choose` does; for a password that none of them takes, USER and PASS
    stand in, and before them APOP, where the policy allows "POP-APOP" and the greeting has a usable timestamp.
    `initial_response=False` never sends one with the command. `timeout` is in seconds, for the whole login; without
    it, each read and write has the connection's own time-out, and the whole login ten times that.
    Raises the classes below, all of them error_proto, and UsageError and TokenError. The connection is usable after
    a refusal; where the exchange was cut or the server broke the protocol, it is closed. Each call sends the credential
    once: a second one on the same connection sends it again.
    """
    credentials = _binding.veiled(credentials)
    return run(
        conn, credentials, mechanism=mechanism, initial_response=initial_response, policy=policy, timeout=timeout
    )


def run(
    conn: poplib.POP3,
    credentials: Credentials,
    *,
    mechanism: str | None = None,
    initial_response: bool | None = None,
    policy: Policy | None = None,
    timeout: float | None = None,
    watch: Watch | None = None,
) -> bytes:
    """Do what `authenticate` does; call `watch` with the choice and the wire before the command is sent."""
    credentials = _binding.veiled(credentials)
    dialogue = _dialogue(conn)

    def attempt() -> bytes:
        sock, allowed = conn.sock, policy or DEFAULT_POLICY
        channel = _channel(conn)
        _binding.check(credentials, mechanism, channel, command=USER)
        if mechanism is not None and canonical(mechanism) == APOP and isinstance(credentials, Password):
            client(APOP, credentials).start()  # the same for what is no mechanism
        _check_connected(conn)
        with _binding.clocked(conn, timeout):
            greeting = conn.getwelcome()
            capabilities = _capabilities(dialogue)
            offered = mechanisms(capabilities)
            channel = _binding.bound(channel, sock, offered, credentials, policy=allowed, mechanism=mechanism)
            choice = choose(
                capabilities,
                credentials,
                policy=allowed,
                channel=channel,
                mechanism=mechanism,
                greeting=greeting,
            )
            ready = _binding.resolved(credentials)
            wire = client_wire(choice, ready, initial_response=initial_response, greeting=greeting)
            if watch is not None:
                watch(choice, wire)
            dialogue.hold(wire)
            _binding.remember(allowed, choice, ready)
            return dialogue.last.rstrip(b"\r\n")

    return guarded(attempt, dialogue, partial(_translated, dialogue))


def is_session_lost(error: BaseException) -> bool:
    """Whether an error of poplib or of `authenticate` says that the session is gone: log in on a new connection then.

    So it is at the end of the connection, after a time-out, and where a -ERR without a code, or with SYS/TEMP, says
    in words that the server ends it: POP3 has no reply for that. It is False for a refusal, which a new connection
    gets as well. Marks for deletion are gone with the session.
    """
    if isinstance(error, SASLError) or not isinstance(error, poplib.error_proto):
        return _binding.is_gone(error)
    said = error.args[0] if error.args else b""
    return error.args == _EOF or (isinstance(said, bytes) and _ENDS.match(said) is not None)


class POP3(poplib.POP3):
    """poplib's POP3 with login() and auth(), with an apop() and a stls() that check what the server sends.

    Attributes:
        policy: what login(), auth() and apop() may do.
        mechanism: the one mechanism for login(), or None for the strongest that fits.
    """

    policy: Policy = DEFAULT_POLICY
    mechanism: str | None = None

    def __init__(self, host: str, port: int = poplib.POP3_PORT, *args: Any, **options: Any) -> None:
        try:
            super().__init__(host, port, *args, **options)
        except BaseException:
            if getattr(self, "file", None) is not None:  # poplib leaves it open where the greeting is none
                _close(self)
            raise

    def login(self, user: str, password: Credentials | Token) -> bytes:
        """Log in by SASL, or by POP3's own commands where the server has no mechanism for a password: `authenticate`.

        `password` is the user's password (a str or a `sasl.Secret`), credentials, or a callable or token source for
        the user's bearer token.
        """
        password = Secret(password) if isinstance(password, str) else _binding.veiled(password)
        password = credentials_of(user, password)
        return authenticate(self, password, policy=self.policy, mechanism=self.mechanism)

    def apop(self, user: str, password: Credentials | Token) -> bytes:
        """Log in by APOP; return the server's line (b"+OK ...").

        `password` is a str, a `sasl.Secret` or a `Password`. `policy` has to allow "POP-APOP": MD5 is broken, and
        whoever listens can try passwords.
        Raises as `authenticate` does, POPMechanismUnavailable where the greeting has no timestamp or one that is not a
        msg-id: poplib hashes what anybody puts there, which can give the password away (CVE-2007-1558).
        """
        password = Secret(password) if isinstance(password, str) else _binding.veiled(password)
        password = credentials_of(user, password)
        return authenticate(self, password, policy=self.policy, mechanism=APOP)

    def auth(
        self,
        mechanism: str,
        authobject: Respond | Credentials | None = None,
        initial_response: bytes | str | None = None,
    ) -> bytes:
        """Run AUTH with one mechanism; return the server's line (b"+OK ...").

        `authobject` is called with each challenge (bytes) and returns the response (bytes, or str for UTF-8) or None
        to cancel; or it is credentials, and the mechanism is one that is registered here. `initial_response`, which
        excludes an `authobject`, is all that such an exchange needs: a challenge after it cancels.
        `policy` holds for the mechanism; one that is not known here wants TLS, and no pin and no required channel
        binding. An empty challenge after a response cancels: nobody can tell whether the credential has left.
        """
        authobject = _binding.veiled(authobject)
        given = (authobject is not None) + (initial_response is not None)
        script = _binding.callbacks(authobject, initial_response)  # type: ignore[arg-type]  # looked at below
        del initial_response  # frames of an error show it else
        if given != 1:
            raise UsageError("AUTH takes an authobject or an initial response")
        if isinstance(authobject, Credentials):
            return authenticate(self, authobject, policy=self.policy, mechanism=mechanism)
        if authobject is not None and not callable(authobject):
            raise UsageError(f"an authobject is a callable or credentials, not {type_of(authobject)}")
        name = canonical(mechanism)
        wire = ClientWire(ClientExchange(name, script))
        dialogue = _dialogue(self)

        def attempt() -> bytes:
            _check_connected(self)
            _binding.check_allowed(name, self.policy, _channel(self))
            with _binding.clocked(self, None):
                dialogue.hold(wire)
            return dialogue.last.rstrip(b"\r\n")

        return guarded(attempt, dialogue, partial(_translated, dialogue))

    def stls(self, context: SSLContext | None = None) -> bytes:
        """Start TLS. Without a context, ssl.create_default_context() is used, which checks the certificate.

        Raises POPPolicyViolation if the server does not offer it, refuses it, or says something else; if anything in
        the clear follows its reply, the connection is closed. POPConnectionLost where it ends the connection. What
        TLS raises is SSLError.
        """
        if isinstance(self.sock, SSLSocket):
            return super().stls(context)  # which says that this is so
        close = partial(_close, self)
        checked = CheckedContext(context, partial(_unread, self), close, POPPolicyViolation)

        def attempt() -> bytes:
            _check_connected(self)
            return super(POP3, self).stls(cast("SSLContext", checked))

        def explain(error: Exception) -> SASLError | None:
            return None if checked.begun else _explained(self, error)

        return _binding.begin_tls(attempt, close, explain, partial(_translated, _dialogue(self)))


class POP3_SSL(POP3, poplib.POP3_SSL):  # type: ignore[misc]  # noqa: N801 -- stls() differs; the library's name
    """The same over TLS from the first octet; without a context, the server's certificate is checked."""

    def __init__(
        self, host: str, port: int = poplib.POP3_SSL_PORT, *, context: SSLContext | None = None, **options: Any
    ) -> None:
        super().__init__(host, port, context=context or create_default_context(), **options)


class POPAuthenticationFailed(LibraryError, AuthenticationFailed, poplib.error_proto):
    """The server said no to the credential; `args` holds its line, as poplib has it."""


class POPAuthorizationFailed(AuthorizationFailed, POPAuthenticationFailed):
    """The credential is good, but may not act as who was asked for."""


class POPTemporaryFailure(LibraryError, TemporaryFailure, poplib.error_proto):
    """Try later, with the same credential; `args` holds the server's line."""


class POPConnectionLost(LibraryError, ConnectionLost, poplib.error_proto):
    """The server ended the connection, or did not answer in time."""


class POPMechanismUnavailable(LibraryError, MechanismUnavailable, poplib.error_proto):
    """No mechanism in common."""


class POPPolicyViolation(LibraryError, PolicyViolation, poplib.error_proto):
    """The policy refused; no credential was sent."""


class POPProtocolError(LibraryError, ProtocolError, poplib.error_proto):
    """The server broke the rules."""


class POPServerNotProven(ServerNotProven, POPProtocolError):
    """A yes that came too early, or without proof."""


class POPLimitExceeded(LimitExceeded, POPProtocolError):
    """The server sent too much."""


class POPCancelled(LibraryError, Cancelled, poplib.error_proto):
    """This side cancelled."""


_FAMILY: Final = _binding.family(
    POPAuthenticationFailed,
    POPAuthorizationFailed,
    POPTemporaryFailure,
    POPConnectionLost,
    POPMechanismUnavailable,
    POPPolicyViolation,
    POPProtocolError,
    POPServerNotProven,
    POPLimitExceeded,
    POPCancelled,
)


def _translated(dialogue: Dialogue, error: SASLError) -> SASLError:
    args: tuple[bytes | str] | None = None
    if dialogue.refused and isinstance(error, AuthenticationFailed | TemporaryFailure):
        args = (dialogue.refused.encode(),)
    elif isinstance(error, ConnectionLost):
        args = _EOF
    return _binding.translate(error, _FAMILY, args)


def _dialogue(conn: poplib.POP3) -> Dialogue:
    def send(octets: bytes) -> None:
        sys.audit("poplib.putline", conn, octets.removesuffix(b"\r\n"))  # as poplib's own commands do
        conn.sock.sendall(octets)

    def readline() -> bytes:
        return conn.file.readline(READ)

    return Dialogue(send, readline, partial(_close, conn), printing=bool(getattr(conn, "_debugging", 0)))


def _channel(conn: poplib.POP3) -> Channel:
    return _binding.describe(conn.sock, "pop", conn.host, conn.port)


def _check_connected(conn: poplib.POP3) -> None:
    if conn.sock is None:
        raise ConnectionLost("the connection is closed")


def _capabilities(dialogue: Dialogue) -> list[str]:
    """Ask for the capabilities. poplib's capa() takes a cut connection for a server that does not know CAPA."""
    wire = CapaWire()
    dialogue.send(wire.command())
    while not wire.done:
        wire.receive(dialogue.read())
    if wire.error is not None:
        dialogue.close()
        raise wire.error
    return wire.capabilities


def _explained(conn: poplib.POP3, error: Exception) -> SASLError | None:
    """Return what an error of poplib's stls() is. Its capa() hides what it was in its context."""
    if isinstance(error, ValueError | LookupError):  # what capa() cannot read
        _close(conn)
        return _binding.no_tls("its capabilities cannot be read")
    if not isinstance(error, poplib.error_proto):
        return None
    if any(each is not None and each.args == _EOF for each in (error, error.__context__)):
        return _binding.ended()
    said = error.args[0]
    if not (said.startswith(b"-ERR") if isinstance(said, bytes) else said.startswith("-ERR")):
        _close(conn)
    return POPPolicyViolation(*error.args, origin=_binding.no_tls(said))


def _unread(conn: poplib.POP3) -> bool:
    return _binding.unread(conn.sock, conn.file)


def _close(conn: poplib.POP3) -> None:
    try:
        conn.close()
    except OSError:
        pass
