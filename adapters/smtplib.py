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

from sasl import errors
from sasl.credentials import is_credentials
from sasl.errors import ConnectionLost, LimitExceeded, PolicyViolation, ProtocolError, SASLError, UsageError
from sasl.policy import DEFAULT_POLICY, Policy, choose
from sasl.registry import canonical
from sasl.typed import TYPE_CHECKING, cast

from .binding import (
    Binding,
    Callback,
    Family,
    Library,
    LibraryError,
    Offer,
    begin_tls,
    callback_script,
    channel,
    speak,
)
from .binding.clock import Flood, limit_time
from .binding.connection import GLOBAL_TIMEOUT, close, open_by_class
from .binding.dialogue import READ, Dialogue, quiet
from .binding.errors import tidied, timeout_error, unasked_error
from .binding.given import credentials_of, type_of, veil, veil_password
from .binding.gone import is_gone_below
from .binding.tls import NOT_OFFERED, client_context, hint_at_tls, no_tls, read_ahead
from .wire.smtp import ClientWire, client_wire
from .wire.smtp.grammar import ends_session, farewell
from .wire.text import end_of_connection, octets_of, text_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from ssl import SSLContext
    from typing import Any, Final, TypeAlias

    from sasl.channel import Channel
    from sasl.credentials import Credentials, Token
    from sasl.steps import ClientSteps

    from .binding.tls import Path

    AuthObject: TypeAlias = Callable[..., bytes | str | None]

Reply: TypeAlias = tuple[int, bytes]

_MYSELF: Final = "[127.0.0.1]"
"""smtplib would ask the name service for this machine's name, which takes long."""


def _arguments(error: SASLError, dialogue: Dialogue) -> Reply | None:
    if not isinstance(error, errors.AuthenticationFailed | errors.TemporaryFailure):
        return None
    if dialogue.wire is None:  # to EHLO, or to STARTTLS
        return int((error.response_code or "-1")[:3]), error.server_text.encode()
    return dialogue.wire.code or -1, dialogue.wire.reply


_OURS: Final = Family(_arguments)


def is_session_lost(error: BaseException) -> bool:
    """Whether an error of smtplib or of `authenticate` says that the session is gone: log in on a new connection then.

    So it is after 421, at the end of the connection, after a time-out, and where a sender or a recipient gets 530: the
    server has forgotten the login, as Microsoft does with a token that has expired. It is False for a refusal, which
    a new connection gets as well. If it came in answer to DATA, the message may have been taken.
    """
    if isinstance(error, SASLError) or not isinstance(error, smtplib.SMTPException):
        return is_gone_below(error)
    replies: list[tuple[int, bytes | str]]
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        replies = [*error.recipients.values()]
    elif isinstance(error, smtplib.SMTPResponseException):
        replies = [(error.smtp_code, error.smtp_error)]
    else:
        return isinstance(error, smtplib.SMTPServerDisconnected)
    if isinstance(error, smtplib.SMTPAuthenticationError):
        return error.smtp_code == 421
    return any(ends_session(code, text_of(octets_of(said))) for code, said in replies)


class SMTP(smtplib.SMTP):
    """smtplib's SMTP with another login() and auth(), and a starttls() that checks the server's certificate by default.

    Fit for Django's `connection_class`.

    Attributes:
        policy: what login() and auth() may do.
        mechanism: the one mechanism for login(), or None for the strongest that fits.
    """

    policy: Policy = DEFAULT_POLICY
    mechanism: str | None = None
    _host: str  # smtplib's, which checks certificates against it
    _auth_challenge_count: int  # smtplib's, whose auth_login() tells by it what is asked for

    def login(self, user: str, password: Credentials | Token | bytes, *, initial_response_ok: bool = True) -> Reply:
        """Log in by SASL, as `authenticate` does: with another mechanism after a no to the first, where that is safe.

        `password` is the user's password (a str or a `sasl.Secret`), credentials, or a callable or token source for
        the user's bearer token. Another mechanism follows a no that came before anything which shows or proves the
        password had left, over TLS; `Policy(fallback=False)` lets none.
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
        raises leaves as it is, after the exchange was cancelled, and the connection is closed. An error challenge to a
        token is answered as the mechanism wants it, without the callback. Or it is credentials, and the mechanism is
        one that is registered here. An initial response that makes the command longer than 512 octets goes after the
        server's prompt.
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
        respond = Callback(authobject)
        script = self._script(name, respond, initial=initial_response_ok)
        first = partial(_greet, self)
        return speak(LIBRARY, self, name, script, respond, policy=self.policy, wire=ClientWire, first=first)

    def _script(self, mechanism: str, respond: Callback, *, initial: bool) -> ClientSteps:
        """Return a client script that asks a callback as smtplib does, and counts as it does for its auth_login()."""
        response = respond() if initial else None
        self._auth_challenge_count = 0 if response is None else 1

        def answer(challenge: bytes) -> bytes | str | None:
            self._auth_challenge_count += 1
            return respond(challenge)

        yield from callback_script(mechanism, answer, response)

    def starttls(
        self, keyfile: Path | None = None, certfile: Path | None = None, context: SSLContext | None = None
    ) -> Reply:
        """Start TLS. Without a context, ssl.create_default_context() is used, which checks the certificate.

        `keyfile` and `certfile` are for a certificate of the client's, and exclude a context.
        Raises SMTPPolicyViolation if the server does not offer it (SMTPTLSNotOffered), refuses it or says something
        else (SMTPTLSRefused); if anything in the clear follows its reply, the connection is closed. SMTPConnectionLost
        where it ends the connection. What TLS raises is SSLError.
        """
        context = client_context(context, certfile, keyfile)

        def start(checked: SSLContext) -> Reply:
            _check(self)
            _greet(self)
            return super(SMTP, self).starttls(context=checked)

        return begin_tls(LIBRARY, self, context, start, self._explain_tls)

    def connect(self, host: str = "localhost", port: int = 0, source_address: Any = None) -> Reply:
        """Connect as smtplib does, and note the host without the port that may stand behind it: TLS checks its name."""
        self._host = host.partition(":")[0] if not port and host.count(":") == 1 else host
        return super().connect(host, port, source_address)

    def getreply(self) -> Reply:
        """Read a reply as smtplib does, but no endless one."""
        failure: SASLError
        try:
            with limit_time(self, None):
                return super().getreply()
        except Flood as error:
            failure = error
        self.close()
        raise _OURS.translate(failure)

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
        timeout: float | None = GLOBAL_TIMEOUT,
        source_address: tuple[str, int] | None = None,
        context: SSLContext | None = None,
        keyfile: Path | None = None,
        certfile: Path | None = None,
    ) -> None:
        super().__init__(
            host,
            port,
            local_hostname,
            timeout=cast("float", timeout),
            source_address=source_address,
            context=client_context(context, certfile, keyfile),
        )


class LMTP(SMTP, smtplib.LMTP):
    """The same for LMTP (RFC 2033), over TCP or, with a path for the host, over a socket in the file system.

    It logs in as the service "smtp", not "lmtp", which is what stands in DIGEST-MD5's digest-uri, in `Channel.service`
    and in the accounts of `Policy(pins=...)`.
    """


class SMTPAuthenticationFailed(
    LibraryError, errors.AuthenticationFailed, smtplib.SMTPAuthenticationError, family=_OURS
):
    """The server said no to the credential."""


class SMTPAuthorizationFailed(errors.AuthorizationFailed, SMTPAuthenticationFailed, family=_OURS):
    """The credential is good, but may not act as who was asked for."""


class SMTPTemporaryFailure(LibraryError, errors.TemporaryFailure, smtplib.SMTPAuthenticationError, family=_OURS):
    """Try later, with the same credential. smtplib's error for 454 is SMTPAuthenticationError too."""


class SMTPConnectionLost(LibraryError, errors.ConnectionLost, smtplib.SMTPServerDisconnected, family=_OURS):
    """The server ended the connection (421, end of file), or did not answer in time."""


class SMTPServerBusy(errors.ServerBusy, SMTPTemporaryFailure, SMTPConnectionLost, family=_OURS):
    """The server ended the connection and says that it is for now (421): both of its bases."""


class SMTPMechanismUnavailable(LibraryError, errors.MechanismUnavailable, smtplib.SMTPNotSupportedError, family=_OURS):
    """No mechanism in common, or no AUTH at all."""


class SMTPPolicyViolation(LibraryError, errors.PolicyViolation, smtplib.SMTPException, family=_OURS):
    """The policy refused; no credential was sent."""


class SMTPTLSNotOffered(SMTPPolicyViolation, smtplib.SMTPNotSupportedError):
    """The server has no STARTTLS."""


class SMTPTLSRefused(SMTPPolicyViolation, smtplib.SMTPResponseException):
    """The server's answer to STARTTLS is not 220."""


class SMTPProtocolError(LibraryError, errors.ProtocolError, smtplib.SMTPException, family=_OURS):
    """The server broke the rules."""


class SMTPServerNotProven(errors.ServerNotProven, SMTPProtocolError, family=_OURS):
    """A yes that came too early, or without proof."""


class SMTPLimitExceeded(errors.LimitExceeded, SMTPProtocolError, family=_OURS):
    """The server sent too much."""


class SMTPHeloRefused(SMTPProtocolError, smtplib.SMTPHeloError):
    """The server refused EHLO and HELO."""


class SMTPCancelled(LibraryError, errors.Cancelled, smtplib.SMTPException, family=_OURS):
    """This side cancelled."""


# --- the description


def _offers_tls(conn: smtplib.SMTP) -> bool:
    with limit_time(conn, None):
        conn.ehlo_or_helo_if_needed()
    return conn.has_extn("starttls")


def _channel(conn: smtplib.SMTP) -> Channel:
    host = getattr(conn, "_host", None) or ""  # the host's name, perhaps with its port; nobody is meant to look
    return channel(conn.sock, service="smtp", host=host.partition(":")[0] if host.count(":") == 1 else host)


def _dialogue(conn: smtplib.SMTP) -> Dialogue:
    show = getattr(conn, "_print_debug", None) if conn.debuglevel else None
    unasked = partial(_unasked, conn)
    return Dialogue(partial(_send, conn), partial(_readline, conn), partial(close, conn), show=show, unasked=unasked)


def _unasked(conn: smtplib.SMTP) -> SASLError | None:
    """Return the error for what the server says before the next command: 421 at any time (RFC 5321 section 3.8)."""
    if not (said := read_ahead(conn)):
        return None
    line = said.partition(b"\n")[0]
    return farewell(line) or unasked_error(line)


def _check(conn: smtplib.SMTP) -> None:
    if conn.sock is None:
        raise ConnectionLost("there is no connection: call connect() first")


def _offer(conn: smtplib.SMTP, dialogue: Dialogue) -> Offer:
    _greet(conn)
    if conn.has_extn("starttls"):
        hint_at_tls(dialogue, conn)
    names = conn.esmtp_features["auth"].split() if conn.has_extn("auth") else []
    said = tuple(f"{name} {words}".rstrip().upper() for name, words in conn.esmtp_features.items())
    return Offer(partial(choose, names), client_wire, said)


def _finish(_conn: smtplib.SMTP, dialogue: Dialogue) -> Reply:
    return dialogue.wire.code, dialogue.wire.reply


@tidied
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
    failure: SASLError
    try:
        with limit_time(conn, None):
            conn.ehlo_or_helo_if_needed()
        return
    except smtplib.SMTPHeloError as error:
        failure = _helo_error(error.smtp_code, cast("bytes", error.smtp_error))
    except smtplib.SMTPResponseException:
        failure = LimitExceeded("a line that is too long for smtplib, which closes the connection then")
    except smtplib.SMTPServerDisconnected as error:
        failure = _loss(error)
    raise failure


def _loss(error: smtplib.SMTPServerDisconnected) -> ConnectionLost:
    late = isinstance(error.__context__, TimeoutError)
    return timeout_error() if late else ConnectionLost(f"the connection was lost: {error}")


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
    explain=_explain,
    leave=methodcaller("quit"),
    close=close,
    reserve=partial(quiet, level="debuglevel"),
)
authenticate: Final = Binding(LIBRARY).authenticate
