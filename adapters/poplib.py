"""poplib: `authenticate` for its connections, and drop-in classes with login(), auth() (RFC 5034) and apop().

poplib has neither AUTH nor a public way to send a command, and reads no line of more than 2,048 octets: a Kerberos
ticket is longer. So lines go over the connection's `sock` and `file`, each in one write.

`authenticate` returns the server's line (b"+OK ...") and raises the classes below, all of them error_proto. For a
password that no mechanism takes, USER and PASS stand in, and before them APOP, where the policy allows "POP-APOP" and
the greeting has a usable timestamp.
"""

from __future__ import annotations

import poplib
import ssl
import sys
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial
from operator import methodcaller

from sasl import errors
from sasl.credentials import is_credentials
from sasl.errors import ConnectionLost, ProtocolError, SASLError, UsageError
from sasl.policy import DEFAULT_POLICY, Policy
from sasl.registry import canonical
from sasl.secret import Secret
from sasl.typed import TYPE_CHECKING, cast

from .binding import (
    Binding,
    Callback,
    Family,
    Library,
    LibraryError,
    Offer,
    auth,
    begin_tls,
    callback_script,
    channel,
    speak,
)
from .binding.clock import limit_time
from .binding.connection import GLOBAL_TIMEOUT, close, open_by_class
from .binding.dialogue import READ, Dialogue, print_debug
from .binding.errors import tidied, unasked_error
from .binding.given import credentials_of, type_of, veil, veil_password
from .binding.gone import is_gone_below
from .binding.tls import client_context, hint_at_tls, no_tls, read_ahead
from .wire.pop import APOP, CapaWire, ClientWire, choose, client_wire, pass_wire, user_wire
from .wire.pop.grammar import farewell, is_farewell
from .wire.text import end_of_connection, octets_of, text_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from ssl import SSLContext
    from typing import Any, Final

    from sasl.credentials import Credentials, Token

    from .binding.callback import Respond
    from .binding.tls import Path

_EOF: Final = ("-ERR EOF",)
"""What poplib's error holds at the end of the connection; lines of a server are bytes."""


def _arguments(error: SASLError, dialogue: Dialogue) -> tuple[bytes | str] | None:
    if dialogue.refused and isinstance(error, errors.AuthenticationFailed | errors.TemporaryFailure):
        return (dialogue.refused.encode(),)
    return _EOF if isinstance(error, ConnectionLost) else None


_OURS: Final = Family(_arguments)


_CUT: Final = (b"", b"-", b"-E", b"-ER")
"""What poplib says that the server has said, where the connection was cut in the first word of a reply."""


def is_session_lost(error: BaseException) -> bool:
    """Whether an error of poplib or of `authenticate` says that the session is gone: log in on a new connection then.

    So it is at the end of the connection, after a time-out, and where a -ERR without a code, or with SYS/TEMP, says
    in words that the server ends it: POP3 has no reply for that. It is False for a refusal, which a new connection
    gets as well. Marks for deletion are gone with the session.
    """
    if isinstance(error, SASLError) or not isinstance(error, poplib.error_proto):
        return is_gone_below(error)
    said = error.args[0] if error.args else None
    return error.args == _EOF or (isinstance(said, bytes) and (said in _CUT or is_farewell(said)))


class POP3(poplib.POP3):
    """poplib's POP3 with login() and auth(), with an apop() and a stls() that check what the server sends.

    Attributes:
        policy: what login(), auth(), apop(), user() and pass_() may do.
        mechanism: the one mechanism for login(), or None for the strongest that fits.
    """

    policy: Policy = DEFAULT_POLICY
    mechanism: str | None = None

    def __init__(self, host: str, port: int = poplib.POP3_PORT, timeout: float | None = GLOBAL_TIMEOUT) -> None:
        with self._opened():
            super().__init__(host, port, cast("float", timeout))

    @contextmanager
    def _opened(self) -> Iterator[None]:
        """Open a connection within the limits of one call; close one without a greeting, which poplib leaves open."""
        try:
            with ExitStack() as self._limits:
                yield
        except BaseException:
            if vars(self).get("file") is not None:
                close(self)
            raise
        finally:
            del self._limits

    def _create_socket(self, timeout: float | None) -> Any:
        """Connect as poplib does, in its constructor alone; what that reads of the connection is limited."""
        self.sock = super()._create_socket(timeout)  # type: ignore[misc]
        self._limits.enter_context(limit_time(self, None))
        return self.sock

    def login(self, user: str, password: Credentials | Token | bytes) -> bytes:
        """Log in by SASL, or by POP3's own commands where the server has no mechanism for a password: `authenticate`.

        `password` is the user's password (a str or a `sasl.Secret`), credentials, or a callable or token source for
        the user's bearer token.
        """
        password = veil_password(password)
        return authenticate(self, credentials_of(user, password), policy=self.policy, mechanism=self.mechanism)

    def apop(self, user: str, password: Credentials | Token | bytes) -> bytes:
        """Log in by APOP; return the server's line (b"+OK ...").

        `password` is a str, a `sasl.Secret` or a `Password`. `policy` has to allow "POP-APOP": MD5 is broken, and
        whoever listens can try passwords.
        Raises as `authenticate` does, POPMechanismUnavailable where the greeting has no timestamp or one that is not a
        msg-id: poplib hashes what anybody puts there, which can give the password away (CVE-2007-1558).
        """
        password = veil_password(password)
        return authenticate(self, credentials_of(user, password), policy=self.policy, mechanism=APOP)

    def auth(
        self,
        mechanism: str,
        authobject: Respond | Credentials | None = None,
        initial_response: bytes | str | None = None,
    ) -> bytes:
        """Run AUTH with one mechanism; return the server's line (b"+OK ...").

        `authobject` is called with each challenge (bytes) and returns the response (bytes, or str for UTF-8) or None
        to cancel; or it is credentials, and the mechanism is one that is registered here. What it raises leaves as it
        is, after the exchange was cancelled, and the connection is closed. `initial_response`, which excludes an
        `authobject`, is all that such an exchange needs: a challenge after it cancels. An error challenge to a token is
        answered as the mechanism wants it, without the callback.
        `policy` holds for the mechanism; one that is not known here wants TLS, and no pin and no required channel
        binding. An empty challenge after a response cancels: nobody can tell whether the credential has left.
        """
        authobject = veil(authobject)
        given = (authobject is not None) + (initial_response is not None)
        respond = Callback(authobject) if callable(authobject) else None
        script = callback_script(mechanism, respond, initial_response)
        del initial_response  # frames of an error show it else
        if given != 1:
            raise UsageError("AUTH takes an authobject or an initial response")
        if is_credentials(authobject):
            return authenticate(self, authobject, policy=self.policy, mechanism=mechanism)
        if authobject is not None and respond is None:
            raise UsageError(f"an authobject is a callable or credentials, not {type_of(authobject)}")
        name = canonical(mechanism)
        return speak(LIBRARY, self, name, script, respond, policy=self.policy, wire=ClientWire)

    def user(self, user: str) -> bytes:
        """Send USER, where `policy` allows the password that is to follow; return the server's line (b"+OK ...").

        Raises as `authenticate` does. login() does more: it looks for a mechanism that does not show the password.
        """
        return auth(LIBRARY, self, user_wire(user), self.policy)

    def pass_(self, pswd: str | bytes | Secret) -> bytes:
        """Send PASS, where `policy` allows the password; return the server's line (b"+OK ...").

        Raises as `authenticate` does.
        """
        password = veil_password(pswd)
        del pswd
        if not isinstance(password, Secret):
            raise UsageError(f"a password is a str, not {type_of(password)}")
        return auth(LIBRARY, self, pass_wire(password), self.policy)

    def stls(self, context: SSLContext | None = None) -> bytes:
        """Start TLS. Without a context, ssl.create_default_context() is used, which checks the certificate.

        Raises POPPolicyViolation if the server does not offer it, refuses it, or says something else; if anything in
        the clear follows its reply, the connection is closed. POPConnectionLost where it ends the connection. What
        TLS raises is SSLError.
        """
        if isinstance(self.sock, ssl.SSLSocket):
            return super().stls(context)  # which says that this is so

        def start(context: SSLContext) -> bytes:
            _check(self)
            return super(POP3, self).stls(context)

        return begin_tls(LIBRARY, self, context, start, self._explain_tls)

    def _explain_tls(self, error: Exception, begun: bool) -> SASLError | None:  # noqa: FBT001 -- of begin_tls()
        """Return what an error of poplib's stls() is."""
        if begun:
            return None
        if not isinstance(error, poplib.error_proto):
            return None
        if _is_end(error):
            return end_of_connection()
        said = error.args[0]
        if not octets_of(said).startswith(b"-ERR"):
            close(self)
        return POPPolicyViolation(*error.args, origin=no_tls(said))


class POP3_SSL(POP3, poplib.POP3_SSL):  # type: ignore[misc]  # noqa: N801 -- stls() differs; the library's name
    """The same over TLS from the first octet; without a context, the server's certificate is checked."""

    def __init__(
        self,
        host: str,
        port: int = poplib.POP3_SSL_PORT,
        *,
        timeout: float | None = GLOBAL_TIMEOUT,
        context: SSLContext | None = None,
        keyfile: Path | None = None,
        certfile: Path | None = None,
    ) -> None:
        context = client_context(context, certfile, keyfile)
        with self._opened():
            super(POP3, self).__init__(host, port, timeout=cast("float", timeout), context=context)


class POPAuthenticationFailed(LibraryError, errors.AuthenticationFailed, poplib.error_proto, family=_OURS):
    """The server said no to the credential; `args` holds its line, as poplib has it."""


class POPAuthorizationFailed(errors.AuthorizationFailed, POPAuthenticationFailed, family=_OURS):
    """The credential is good, but may not act as who was asked for."""


class POPTemporaryFailure(LibraryError, errors.TemporaryFailure, poplib.error_proto, family=_OURS):
    """Try later, with the same credential; `args` holds the server's line."""


class POPConnectionLost(LibraryError, errors.ConnectionLost, poplib.error_proto, family=_OURS):
    """The server ended the connection, or did not answer in time."""


class POPServerBusy(errors.ServerBusy, POPTemporaryFailure, POPConnectionLost, family=_OURS):
    """The server ended the connection and says that it is for now: both of its bases."""


class POPMechanismUnavailable(LibraryError, errors.MechanismUnavailable, poplib.error_proto, family=_OURS):
    """No mechanism in common."""


class POPPolicyViolation(LibraryError, errors.PolicyViolation, poplib.error_proto, family=_OURS):
    """The policy refused; no credential was sent."""


class POPProtocolError(LibraryError, errors.ProtocolError, poplib.error_proto, family=_OURS):
    """The server broke the rules."""


class POPServerNotProven(errors.ServerNotProven, POPProtocolError, family=_OURS):
    """A yes that came too early, or without proof."""


class POPLimitExceeded(errors.LimitExceeded, POPProtocolError, family=_OURS):
    """The server sent too much."""


class POPCancelled(LibraryError, errors.Cancelled, poplib.error_proto, family=_OURS):
    """This side cancelled."""


# --- the description


def _offers_tls(conn: poplib.POP3) -> bool:
    try:
        with limit_time(conn, None):
            return "STLS" in (name.upper() for name in conn.capa())
    except poplib.error_proto as error:
        if _is_end(error):
            raise
    return False  # a server that does not know CAPA


def _dialogue(conn: poplib.POP3) -> Dialogue:
    def send(octets: bytes) -> None:
        sys.audit("poplib.putline", conn, octets.removesuffix(b"\r\n"))  # as poplib's own commands do
        conn.sock.sendall(octets)

    def readline() -> bytes:
        return conn.file.readline(READ)

    show = print_debug if getattr(conn, "_debugging", 0) else None
    return Dialogue(send, readline, partial(close, conn), show=show, unasked=partial(_unasked, conn))


def _unasked(conn: poplib.POP3) -> SASLError | None:
    """Return the error for what the server says before the next command; Dovecot says so why it ends a session."""
    if not (said := read_ahead(conn)):
        return None
    line = said.partition(b"\n")[0].rstrip()
    return farewell(line) or unasked_error(line)


def _check(conn: poplib.POP3) -> None:
    if conn.sock is None:
        raise ConnectionLost("the connection is closed")


def _offer(conn: poplib.POP3, dialogue: Dialogue) -> Offer:
    greeting, said = conn.getwelcome(), _capabilities(dialogue)
    if "STLS" in map(str.upper, said):
        hint_at_tls(dialogue, conn)
    return Offer(partial(choose, said, greeting=greeting), partial(client_wire, greeting=greeting), tuple(said))


def _finish(_conn: poplib.POP3, dialogue: Dialogue) -> bytes:
    return dialogue.last.rstrip(b"\r\n")


@tidied
def _explain(error: Exception) -> SASLError | None:
    if not isinstance(error, poplib.error_proto):
        return None
    if _is_end(error):
        return end_of_connection()
    text = text_of(octets_of(error.args[0]))
    if not text.startswith("-ERR"):
        return ProtocolError(f"the server does not speak POP3: {text}")
    text = text[4:].strip()
    return ConnectionLost(f"the server wants no connection: {text}", server_text=text)


def _capabilities(dialogue: Dialogue) -> list[str]:
    """Ask for the capabilities. poplib's capa() takes a cut connection for a server that does not know CAPA."""
    wire = CapaWire()
    dialogue.ask(wire)
    return wire.capabilities


def _is_end(error: poplib.error_proto) -> bool:
    """Whether an error is about the end of the connection; that of capa() hides it in its context."""
    return any(each is not None and each.args == _EOF for each in (error, error.__context__))


LIBRARY: Final[Library[poplib.POP3, bytes]] = Library(
    service="pop",
    errors=_OURS,
    open=partial(open_by_class, classes=(POP3, POP3_SSL)),
    offers_tls=_offers_tls,
    start_tls=lambda conn, context: conn.stls(context),
    channel=lambda conn: channel(conn.sock, service="pop", host=conn.host, port=conn.port),
    dialogue=_dialogue,
    check=_check,
    offer=_offer,
    finish=_finish,
    explain=_explain,
    leave=methodcaller("quit"),
    close=close,
    reserve=nullcontext,  # no line goes through what poplib would show
)
authenticate: Final = Binding(LIBRARY).authenticate
