"""smtplib: `authenticate` for its connections, and drop-in classes with another login() (RFC 4954).

EHLO comes first, or the server forgets the login at the EHLO that sendmail() would send. Lines go out by the
connection's send() and come in from its `file`, as they are: smtplib's docmd() reads "235x" and half a line as 235.

`authenticate` returns (235, text) and raises the classes below, all of them SMTPException. 503, "already
authenticated", is an error here.
"""

from __future__ import annotations

import smtplib
from functools import partial
from operator import methodcaller
from ssl import create_default_context

from sasl import errors
from sasl.client_exchange import ClientExchange
from sasl.credentials import is_credentials
from sasl.errors import ConnectionLost, LimitExceeded, PolicyViolation, ProtocolError, SASLError, UsageError
from sasl.policy import DEFAULT_POLICY, Policy, choose
from sasl.registry import canonical
from sasl.typed import TYPE_CHECKING, cast

from .binding import Binding, Library, LibraryError, Offer, auth, begin_tls, describe, is_gone
from .binding.connection import close, open_by_class
from .binding.dialogue import READ, Dialogue, quiet
from .binding.errors import timeout_error
from .binding.given import callback_script, credentials_of, type_of, veil, veil_password
from .binding.tls import NOT_OFFERED, no_tls
from .wire.smtp import ClientWire, client_wire
from .wire.text import end_of_connection

if TYPE_CHECKING:
    from collections.abc import Callable
    from socket import socket
    from ssl import SSLContext
    from typing import Any, Final, TypeAlias

    from sasl.channel import Channel
    from sasl.credentials import Credentials, Token
    from sasl.steps import ClientSteps

    from .binding.errors import Family

    AuthObject: TypeAlias = Callable[..., bytes | str | None]

Reply: TypeAlias = tuple[int, bytes]

_MYSELF: Final = "[127.0.0.1]"
"""smtplib would ask the name service for this machine's name, which takes long."""
_OURS: Final[Family] = {}


def is_session_lost(error: BaseException) -> bool:
    """Whether an error of smtplib or of `authenticate` says that the session is gone: log in on a new connection then.

    So it is after 421, at the end of the connection, after a time-out, and where a sender or a recipient gets 530: the
    server has forgotten the login, as Microsoft does with a token that has expired. It is False for a refusal, which
    a new connection gets as well. If it came in answer to DATA, the message may have been taken.
    """
    if isinstance(error, SASLError) or not isinstance(error, smtplib.SMTPException):
        return is_gone(error)
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
        password = veil_password(password)
        return authenticate(
            self,
            credentials_of(user, password),
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
        authobject = veil(authobject)
        if is_credentials(authobject):
            initial_response = None if initial_response_ok else False
            return authenticate(
                self, authobject, policy=self.policy, mechanism=mechanism, initial_response=initial_response
            )
        name = canonical(mechanism)
        if not callable(authobject):
            raise UsageError(f"an authobject is a callable or credentials, not {type_of(authobject)}")
        wire = ClientWire(ClientExchange(name, self._script(authobject, initial=initial_response_ok)))
        return auth(LIBRARY, self, wire, self.policy, first=partial(_greet, self))

    def _script(self, respond: AuthObject, *, initial: bool) -> ClientSteps:
        """Return a client script that asks a callback as smtplib does, and counts as it does for its auth_login()."""
        response = respond() if initial else None
        self._auth_challenge_count = 0 if response is None else 1

        def answer(challenge: bytes) -> bytes | str | None:
            self._auth_challenge_count += 1
            return respond(challenge)

        yield from callback_script(answer, response)

    def starttls(self, *args: Any, context: SSLContext | None = None, **options: Any) -> Reply:
        """Start TLS. Without a context, ssl.create_default_context() is used, which checks the certificate.

        Raises SMTPPolicyViolation if the server does not offer it (SMTPTLSNotOffered), refuses it or says something
        else (SMTPTLSRefused); if anything in the clear follows its reply, the connection is closed. SMTPConnectionLost
        where it ends the connection. What TLS raises is SSLError.
        """

        def start(checked: SSLContext) -> Reply:
            _check(self)
            _greet(self)
            options["context"] = checked
            return super(SMTP, self).starttls(*args, **options)

        return begin_tls(LIBRARY, self, context, start, self._explain_tls)

    def _explain_tls(self, error: Exception, _begun: bool) -> SASLError | None:  # noqa: FBT001 -- of begin_tls()
        """Return what an error of smtplib's starttls() is."""
        if isinstance(error, smtplib.SMTPNotSupportedError):
            return SMTPTLSNotOffered(*error.args, origin=PolicyViolation(NOT_OFFERED))
        if isinstance(error, smtplib.SMTPServerDisconnected):
            return _loss(error)
        if not isinstance(error, smtplib.SMTPResponseException):
            return None
        reply = cast("bytes", error.smtp_error)
        origin = no_tls(reply)
        if error.smtp_code == 421:
            return end_of_connection(origin.server_text, "421")
        if error.smtp_code < 400:
            self.close()
        return SMTPTLSRefused(error.smtp_code, reply, origin=origin)


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


class SMTPAuthenticationFailed(_WithReply, errors.AuthenticationFailed, smtplib.SMTPAuthenticationError, family=_OURS):
    """The server said no to the credential."""


class SMTPAuthorizationFailed(errors.AuthorizationFailed, SMTPAuthenticationFailed, family=_OURS):
    """The credential is good, but may not act as who was asked for."""


class SMTPTemporaryFailure(_WithReply, errors.TemporaryFailure, smtplib.SMTPAuthenticationError, family=_OURS):
    """Try later, with the same credential. smtplib's error for 454 is SMTPAuthenticationError too."""


class SMTPConnectionLost(LibraryError, errors.ConnectionLost, smtplib.SMTPServerDisconnected, family=_OURS):
    """The server ended the connection (421, end of file), or did not answer in time."""


class SMTPMechanismUnavailable(LibraryError, errors.MechanismUnavailable, smtplib.SMTPNotSupportedError, family=_OURS):
    """No mechanism in common, or no AUTH at all."""


class SMTPPolicyViolation(LibraryError, errors.PolicyViolation, smtplib.SMTPException, family=_OURS):
    """The policy refused; no credential was sent."""


class SMTPTLSNotOffered(SMTPPolicyViolation, smtplib.SMTPNotSupportedError):
    """The server has no STARTTLS."""


class SMTPTLSRefused(_WithReply, SMTPPolicyViolation, smtplib.SMTPResponseException):
    """The server's answer to STARTTLS is not 220."""


class SMTPProtocolError(LibraryError, errors.ProtocolError, smtplib.SMTPException, family=_OURS):
    """The server broke the rules."""


class SMTPServerNotProven(errors.ServerNotProven, SMTPProtocolError, family=_OURS):
    """A yes that came too early, or without proof."""


class SMTPLimitExceeded(errors.LimitExceeded, SMTPProtocolError, family=_OURS):
    """The server sent too much."""


class SMTPHeloRefused(_WithReply, SMTPProtocolError, smtplib.SMTPHeloError):
    """The server refused EHLO and HELO."""


class SMTPCancelled(LibraryError, errors.Cancelled, smtplib.SMTPException, family=_OURS):
    """This side cancelled."""


# --- the description


def _offers_tls(conn: smtplib.SMTP) -> bool:
    conn.ehlo_or_helo_if_needed()
    return conn.has_extn("starttls")


def _channel(conn: smtplib.SMTP) -> Channel:
    host = getattr(conn, "_host", None) or ""  # the host's name, perhaps with its port; nobody is meant to look
    return describe(conn.sock, "smtp", host.partition(":")[0] if host.count(":") == 1 else host)


def _dialogue(conn: smtplib.SMTP) -> Dialogue:
    show = getattr(conn, "_print_debug", None) if conn.debuglevel else None
    return Dialogue(partial(_send, conn), partial(_readline, conn), partial(close, conn), show=show)


def _check(conn: smtplib.SMTP) -> None:
    if conn.sock is None:
        raise ConnectionLost("there is no connection: call connect() first")


def _offer(conn: smtplib.SMTP, _dialogue: Dialogue) -> Offer:
    _greet(conn)
    names = conn.esmtp_features["auth"].split() if conn.has_extn("auth") else []
    return Offer(partial(choose, names), client_wire)


def _finish(_conn: smtplib.SMTP, dialogue: Dialogue) -> Reply:
    return dialogue.wire.code, dialogue.wire.reply


def _arguments(dialogue: Dialogue, error: SASLError) -> Reply | None:
    refused = isinstance(error, errors.AuthenticationFailed | errors.TemporaryFailure)
    return (dialogue.wire.code or -1, dialogue.wire.reply) if refused and dialogue.wire is not None else None


def _explain(error: Exception) -> SASLError | None:
    if isinstance(error, smtplib.SMTPServerDisconnected):
        return timeout_error() if isinstance(error.__context__, TimeoutError) else end_of_connection()
    if not isinstance(error, smtplib.SMTPResponseException):
        return None
    code, said = error.smtp_code, error.smtp_error
    if isinstance(said, str):
        return LimitExceeded("a line that is too long for smtplib")
    text = said.decode("utf-8", "replace")
    if code == 421 or code >= 500:
        why = f"the server wants no connection: {text}"
        return ConnectionLost(why, server_text=text, response_code=str(code))
    if code >= 400:
        return errors.TemporaryFailure(text, server_text=text, response_code=str(code), kind="unavailable")
    return ProtocolError(f"the server does not speak SMTP: {text}")


def _greet(conn: smtplib.SMTP) -> None:
    """Send EHLO, or HELO, if it was not sent yet on this connection."""
    failure: SASLError | None = None
    reader: Any = conn
    reader.file = whole = _WholeLines(conn.file or cast("socket", conn.sock).makefile("rb"))
    try:
        conn.ehlo_or_helo_if_needed()
    except smtplib.SMTPHeloError as error:
        failure = _helo_error(error.smtp_code, cast("bytes", error.smtp_error))
    except smtplib.SMTPResponseException:
        failure = LimitExceeded("a line that is too long for smtplib, which closes the connection then")
    except smtplib.SMTPServerDisconnected as error:
        failure = _loss(error)
    finally:
        if reader.file is whole:  # else it is closed
            reader.file = whole.file
    if failure is not None:
        raise failure


def _loss(error: smtplib.SMTPServerDisconnected) -> ConnectionLost:
    late = isinstance(error.__context__, TimeoutError)
    return timeout_error() if late else ConnectionLost(f"the connection was lost: {error}")


class _WholeLines:
    """A connection's file that takes half a line for the end of the connection; to smtplib "250" is all of EHLO."""

    def __init__(self, file: Any) -> None:
        self.file = file
        self.close = file.close

    def readline(self, size: int) -> bytes:
        """Return a line with its end, b"" if there is none."""
        line: bytes = self.file.readline(size)
        return line if line.endswith(b"\n") or len(line) >= size else b""


def _helo_error(code: int, reply: bytes) -> SASLError:
    text = reply.decode("utf-8", "replace")
    if code == 421:
        return end_of_connection(text, str(code))
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


LIBRARY: Final[Library[smtplib.SMTP, Reply]] = Library(
    service="smtp",
    errors=_OURS,
    open=partial(open_by_class, classes=(SMTP, SMTP_SSL), local_hostname=_MYSELF),
    offers_tls=_offers_tls,
    start_tls=lambda conn, context: conn.starttls(context=context),
    channel=_channel,
    dialogue=_dialogue,
    check=_check,
    offer=_offer,
    finish=_finish,
    arguments=_arguments,
    explain=_explain,
    leave=methodcaller("quit"),
    close=close,
    mute=partial(quiet, level="debuglevel"),
)
authenticate: Final = Binding(LIBRARY).authenticate
