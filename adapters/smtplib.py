"""smtplib: `authenticate` for its connections, and drop-in classes with another login() (RFC 4954).

EHLO comes first, or the server forgets the login at the EHLO that sendmail() would send. Lines go out by the
connection's send() and come in from its `file`, as they are: smtplib's docmd() reads "235x" and half a line as 235.
"""

from __future__ import annotations

import smtplib
from functools import partial
from ssl import create_default_context
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

from sasl.credentials import Credentials
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
from sasl.policy import DEFAULT_POLICY, Policy, choose
from sasl.registry import canonical
from sasl.secret import Secret

from . import _binding
from ._binding import READ, CheckedContext, Dialogue, LibraryError, credentials_of, guarded, type_of
from .wire.smtp import ClientWire, client_wire

if TYPE_CHECKING:
    from collections.abc import Callable
    from socket import socket
    from ssl import SSLContext

    from sasl.channel import Channel
    from sasl.credentials import Token
    from sasl.policy import Choice
    from sasl.steps import ClientSteps

    AuthObject: TypeAlias = Callable[..., bytes | str | None]
    Watch: TypeAlias = Callable[[Choice, ClientWire], object]

Reply: TypeAlias = tuple[int, bytes]


def authenticate(
    conn: smtplib.SMTP,
    credentials: Credentials,
    *,
    mechanism: str | None = None,
    initial_response: bool | None = None,
    policy: Policy | None = None,
    timeout: float | None = None,
) -> Reply:
    """Log in; return (235, text) as smtplib does. 503, "already authenticated", is an error here.

    EHLO is sent if it was not yet, and the mechanism is chosen from what it says as `sasl.choose` does.
    `initial_response=False` never sends one with the command. `timeout` is in seconds, for the whole login;
    without it, each read and write has the connection's own time-out, and the whole login ten times that.
    Raises the classes below, all of them SMTPException, and UsageError and TokenError. The connection is usable after
    a refusal; where the exchange was cut or the server broke the protocol, it is closed. Each call sends the credential
    once: a second one on the same connection sends it again.
    """
    credentials = _binding.veiled(credentials)
    return run(
        conn, credentials, mechanism=mechanism, initial_response=initial_response, policy=policy, timeout=timeout
    )


def run(
    conn: smtplib.SMTP,
    credentials: Credentials,
    *,
    mechanism: str | None = None,
    initial_response: bool | None = None,
    policy: Policy | None = None,
    timeout: float | None = None,
    watch: Watch | None = None,
) -> Reply:
    """Do what `authenticate` does; call `watch` with the choice and the wire before the command is sent."""
    credentials = _binding.veiled(credentials)
    dialogue = _dialogue(conn)

    def attempt() -> Reply:
        sock, allowed = conn.sock, policy or DEFAULT_POLICY
        channel = _channel(conn)
        _binding.check(credentials, mechanism, channel)
        _check_connected(conn)
        with _binding.clocked(conn, timeout):
            _greet(conn)
            offered = conn.esmtp_features["auth"].split() if conn.has_extn("auth") else []
            channel = _binding.bound(channel, sock, offered, credentials, policy=allowed, mechanism=mechanism)
            choice = choose(offered, credentials, policy=allowed, channel=channel, mechanism=mechanism)
            ready = _binding.resolved(credentials)
            wire = client_wire(choice, ready, initial_response=initial_response)
            if watch is not None:
                watch(choice, wire)
            reply = _held(conn, dialogue, wire)
            _binding.remember(allowed, choice, ready)
            return reply

    return guarded(attempt, dialogue, partial(_translated, dialogue))


def is_session_lost(error: BaseException) -> bool:
    """Whether an error of smtplib or of `authenticate` says that the session is gone: log in on a new connection then.

    So it is after 421, at the end of the connection, after a time-out, and where a sender or a recipient gets 530: the
    server has forgotten the login, as Microsoft does with a token that has expired. It is False for a refusal, which
    a new connection gets as well. If it came in answer to DATA, the message may have been taken.
    """
    if isinstance(error, SASLError) or not isinstance(error, smtplib.SMTPException):
        return _binding.is_gone(error)
    replies: list[tuple[int, bytes | str]]
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        replies = [*error.recipients.values()]
    elif isinstance(error, smtplib.SMTPResponseException):
        replies = [(error.smtp_code, error.smtp_error)]
    else:
        return isinstance(error, smtplib.SMTPServerDisconnected)
    at_login = isinstance(error, smtplib.SMTPAuthenticationError)
    return any(code == 421 or (code == 530 and not at_login and not _wants_tls(text)) for code, text in replies)


def _wants_tls(text: bytes | str) -> bool:
    """Whether a 530 is about TLS (RFC 3207 section 4), not about a login."""
    return "STARTTLS" in (text if isinstance(text, str) else text.decode("utf-8", "replace")).upper()


class SMTP(smtplib.SMTP):
    """smtplib's SMTP with another login() and auth(), and a starttls() that checks the server's certificate by default.

    Fit for Django's `connection_class`.

    Attributes:
        policy: what login() and auth() may do.
        mechanism: the one mechanism for login(), or None for the strongest that fits.
    """

    policy: Policy = DEFAULT_POLICY
    mechanism: str | None = None
    _auth_challenge_count: int  # smtplib's, whose auth_login() tells by it what is asked for

    def login(self, user: str, password: Credentials | Token, *, initial_response_ok: bool = True) -> Reply:
        """Log in by SASL, as `authenticate` does: one mechanism, and no other one after a refusal.

        `password` is the user's password (a str or a `sasl.Secret`), credentials, or a callable or token source for
        the user's bearer token.
        """
        password = Secret(password) if isinstance(password, str) else _binding.veiled(password)
        password = credentials_of(user, password)
        return authenticate(
            self,
            password,
            policy=self.policy,
            mechanism=self.mechanism,
            initial_response=None if initial_response_ok else False,
        )

    def auth(self, mechanism: str, authobject: AuthObject | Credentials, *, initial_response_ok: bool = True) -> Reply:
        """Run AUTH with one mechanism, after EHLO if it was not sent yet; return (235, text).

        `authobject` is called as smtplib does: without an argument for the initial response, None if there is none,
        then with each challenge (bytes). It returns the response (str for UTF-8, or bytes) or None to cancel; what it
        raises cancels as well and leaves as ProtocolError, before the first challenge as UsageError. Or it is
        credentials, and the mechanism is one that is registered here. An initial response that makes the command
        longer than 512 octets goes after the server's prompt.
        `policy` holds for the mechanism; one that is not known here wants TLS, and no pin and no required channel
        binding. An empty challenge after a response cancels: nobody can tell whether the credential has left. 503,
        "already authenticated", is an error here.
        """
        authobject = _binding.veiled(authobject)
        if isinstance(authobject, Credentials):
            initial_response = None if initial_response_ok else False
            return authenticate(
                self, authobject, policy=self.policy, mechanism=mechanism, initial_response=initial_response
            )
        name = canonical(mechanism)
        if not callable(authobject):
            raise UsageError(f"an authobject is a callable or credentials, not {type_of(authobject)}")
        wire = ClientWire(ClientExchange(name, self._script(authobject, initial=initial_response_ok)))
        dialogue = _dialogue(self)

        def attempt() -> Reply:
            _check_connected(self)
            _binding.check_allowed(name, self.policy, _channel(self))
            with _binding.clocked(self, None):
                _greet(self)
                return _held(self, dialogue, wire)

        return guarded(attempt, dialogue, partial(_translated, dialogue))

    def _script(self, respond: AuthObject, *, initial: bool) -> ClientSteps:
        """Return a client script that asks a callback as smtplib does, and counts as it does for its auth_login()."""
        response = respond() if initial else None
        self._auth_challenge_count = 0 if response is None else 1

        def answer(challenge: bytes) -> bytes | str | None:
            self._auth_challenge_count += 1
            return respond(challenge)

        yield from _binding.callbacks(answer, response)

    def starttls(self, *args: Any, context: SSLContext | None = None, **options: Any) -> Reply:
        """Start TLS. Without a context, ssl.create_default_context() is used, which checks the certificate.

        Raises SMTPPolicyViolation if the server does not offer it (SMTPTLSNotOffered), refuses it or says something
        else (SMTPTLSRefused); if anything in the clear follows its reply, the connection is closed. SMTPConnectionLost
        where it ends the connection. What TLS raises is SSLError.
        """
        checked = CheckedContext(context, partial(_unread, self), self.close, SMTPPolicyViolation)
        options["context"] = checked

        def attempt() -> Reply:
            _check_connected(self)
            _greet(self)
            return super(SMTP, self).starttls(*args, **options)

        return _binding.begin_tls(attempt, self.close, partial(_explained, self), partial(_translated, _dialogue(self)))


class SMTP_SSL(SMTP, smtplib.SMTP_SSL):  # noqa: N801 -- the library's name
    """The same over TLS from the first octet; without a context, the server's certificate is checked."""

    def __init__(
        self,
        host: str = "",
        port: int = 0,
        local_hostname: str | None = None,
        *,
        context: SSLContext | None = None,
        **options: Any,
    ) -> None:
        super().__init__(host, port, local_hostname, context=context or create_default_context(), **options)


class _WithReply(LibraryError):
    """An error with the server's reply, as SMTPResponseException has it; the code is -1 if there was none."""

    smtp_error: bytes | str

    def __init__(self, code: int, reply: bytes, *, origin: SASLError | None = None) -> None:
        super().__init__(code, reply, origin=origin)
        self.smtp_code = code
        self.smtp_error = reply


class SMTPAuthenticationFailed(_WithReply, AuthenticationFailed, smtplib.SMTPAuthenticationError):
    """The server said no to the credential."""


class SMTPAuthorizationFailed(AuthorizationFailed, SMTPAuthenticationFailed):
    """The credential is good, but may not act as who was asked for."""


class SMTPTemporaryFailure(_WithReply, TemporaryFailure, smtplib.SMTPAuthenticationError):
    """Try later, with the same credential. smtplib's error for 454 is SMTPAuthenticationError too."""


class SMTPConnectionLost(LibraryError, ConnectionLost, smtplib.SMTPServerDisconnected):
    """The server ended the connection (421, end of file), or did not answer in time."""


class SMTPMechanismUnavailable(LibraryError, MechanismUnavailable, smtplib.SMTPNotSupportedError):
    """No mechanism in common, or no AUTH at all."""


class SMTPPolicyViolation(LibraryError, PolicyViolation, smtplib.SMTPException):
    """The policy refused; no credential was sent."""


class SMTPTLSNotOffered(SMTPPolicyViolation, smtplib.SMTPNotSupportedError):
    """The server has no STARTTLS."""


class SMTPTLSRefused(_WithReply, SMTPPolicyViolation, smtplib.SMTPResponseException):
    """The server's answer to STARTTLS is not 220."""


class SMTPProtocolError(LibraryError, ProtocolError, smtplib.SMTPException):
    """The server broke the rules."""


class SMTPServerNotProven(ServerNotProven, SMTPProtocolError):
    """A yes that came too early, or without proof."""


class SMTPLimitExceeded(LimitExceeded, SMTPProtocolError):
    """The server sent too much."""


class SMTPHeloRefused(_WithReply, SMTPProtocolError, smtplib.SMTPHeloError):
    """The server refused EHLO and HELO."""


class SMTPCancelled(LibraryError, Cancelled, smtplib.SMTPException):
    """This side cancelled."""


_FAMILY: Final = _binding.family(
    SMTPAuthenticationFailed,
    SMTPAuthorizationFailed,
    SMTPTemporaryFailure,
    SMTPConnectionLost,
    SMTPMechanismUnavailable,
    SMTPPolicyViolation,
    SMTPProtocolError,
    SMTPServerNotProven,
    SMTPLimitExceeded,
    SMTPCancelled,
)


def _translated(dialogue: Dialogue, error: SASLError) -> SASLError:
    args = None
    wire = dialogue.wire
    if isinstance(wire, ClientWire) and isinstance(error, AuthenticationFailed | TemporaryFailure):
        args = (wire.code or -1, wire.reply)
    return _binding.translate(error, _FAMILY, args)


def _dialogue(conn: smtplib.SMTP) -> Dialogue:
    return Dialogue(partial(_send, conn), partial(_readline, conn), conn.close, printing=bool(conn.debuglevel))


def _held(conn: smtplib.SMTP, dialogue: Dialogue, wire: ClientWire) -> Reply:
    """Run the wire while smtplib's debug output is mute; return the reply."""
    level = conn.debuglevel
    conn.set_debuglevel(0)
    try:
        dialogue.hold(wire)
    finally:
        conn.set_debuglevel(level)
    return wire.code, wire.reply


def _check_connected(conn: smtplib.SMTP) -> None:
    if conn.sock is None:
        raise ConnectionLost("there is no connection: call connect() first")


def _channel(conn: smtplib.SMTP) -> Channel:
    """Return the channel. smtplib keeps the host's name, perhaps with its port, where nobody is meant to look."""
    host = getattr(conn, "_host", None) or ""
    return _binding.describe(conn.sock, "smtp", host.partition(":")[0] if host.count(":") == 1 else host)


def _greet(conn: smtplib.SMTP) -> None:
    """Send EHLO, or HELO, if it was not sent yet on this connection."""
    failure: SASLError | None = None
    reader: Any = conn
    reader.file = whole = _WholeLines(conn.file or cast("socket", conn.sock).makefile("rb"))
    try:
        conn.ehlo_or_helo_if_needed()
    except smtplib.SMTPHeloError as error:
        failure = _helo_refused(error.smtp_code, cast("bytes", error.smtp_error))
    except smtplib.SMTPResponseException:
        failure = LimitExceeded("a line that is too long for smtplib, which closes the connection then")
    except smtplib.SMTPServerDisconnected as error:
        failure = _lost(error)
    finally:
        if reader.file is whole:  # else it is closed
            reader.file = whole.file
    if failure is not None:
        raise failure


def _lost(error: smtplib.SMTPServerDisconnected) -> ConnectionLost:
    late = isinstance(error.__context__, TimeoutError)
    return _binding.too_late() if late else ConnectionLost(f"the connection was lost: {error}")


def _explained(conn: SMTP, error: Exception) -> SASLError | None:
    """Return what an error of smtplib's starttls() is."""
    if isinstance(error, smtplib.SMTPNotSupportedError):
        return SMTPTLSNotOffered(*error.args, origin=PolicyViolation(_binding.NOT_OFFERED))
    if isinstance(error, smtplib.SMTPServerDisconnected):
        return _lost(error)
    if not isinstance(error, smtplib.SMTPResponseException):
        return None
    reply = cast("bytes", error.smtp_error)
    origin = _binding.no_tls(reply)
    if error.smtp_code == 421:
        return _binding.ended(origin.server_text, "421")
    if error.smtp_code < 400:
        conn.close()
    return SMTPTLSRefused(error.smtp_code, reply, origin=origin)


class _WholeLines:
    """A connection's file that takes half a line for the end of the connection; to smtplib "250" is all of EHLO."""

    def __init__(self, file: Any) -> None:
        self.file = file
        self.close = file.close

    def readline(self, size: int) -> bytes:
        """Return a line with its end, b"" if there is none."""
        line: bytes = self.file.readline(size)
        return line if line.endswith(b"\n") or len(line) >= size else b""


def _helo_refused(code: int, reply: bytes) -> SASLError:
    text = reply.decode("utf-8", "replace")
    if code == 421:
        said = f"the server ended the connection: {text}"
        return ConnectionLost(said, server_text=text, response_code=str(code))
    said = f"the server refused EHLO and HELO: {text}"
    return SMTPHeloRefused(code, reply, origin=ProtocolError(said, server_text=text, response_code=str(code)))


def _send(conn: smtplib.SMTP, octets: bytes) -> None:
    """Send octets. smtplib says of a write that takes too long that the server is not connected."""
    try:
        conn.send(octets)
        return
    except smtplib.SMTPServerDisconnected as error:
        if not isinstance(error.__context__, TimeoutError):
            raise
    raise TimeoutError


def _readline(conn: smtplib.SMTP) -> bytes:
    return cast("bytes", cast("Any", conn.file).readline(READ))  # a file since EHLO was answered


def _unread(conn: smtplib.SMTP) -> bool:
    return _binding.unread(cast("socket", conn.sock), conn.file)
