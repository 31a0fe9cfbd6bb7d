"""imaplib: `authenticate` for its connections, and drop-in classes whose login() is safe (RFC 9051 section 6.2).

It writes and reads lines by the connection's own send() and readline(), which are documented to be overridden, and
keeps `state` and `capabilities` as imaplib does. imaplib's authenticate() has no initial response, needs two writes
(and 40 ms) for a response, and is out of step with the server after a failure of its callback.

`authenticate` returns ("OK", [text]) and raises the classes below, all of them IMAP4.error. The LOGIN command stands in
for a password that no mechanism takes.
"""

from __future__ import annotations

import imaplib
import os
import re
import ssl
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from operator import methodcaller

from sasl import errors
from sasl.errors import ConnectionLost, LimitExceeded, PolicyViolation, ProtocolError, SASLError, UsageError
from sasl.policy import DEFAULT_POLICY, Policy
from sasl.registry import canonical
from sasl.typed import TYPE_CHECKING

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
from .binding.callback import is_client_first
from .binding.clock import Flood, limit_time
from .binding.connection import open_by_class
from .binding.dialogue import Dialogue, quiet
from .binding.errors import explain_foreign, is_parsers, tidied
from .binding.given import credentials_of, type_of, veil, veil_password
from .binding.gone import is_gone_below
from .binding.tls import NOT_OFFERED, client_context, has_unread, hint_at_tls, no_tls
from .wire.imap import ClientWire, choose, client_wire, greeting
from .wire.text import end_of_connection, not_a_greeting, one_line

if TYPE_CHECKING:
    from collections.abc import Iterator
    from ssl import SSLContext
    from typing import Any, Final, Literal, NoReturn, TypeAlias

    from sasl.credentials import Credentials, Token
    from sasl.steps import ClientSteps

    from .binding.callback import Respond
    from .binding.tls import Path

    Answer: TypeAlias = tuple[Literal["OK"], list[bytes]]

_SHOWS_LINES: Final = 4
"""The level from which imaplib's debug output shows what is sent."""
_UNDER_TLS: Final = ("TLS session already established",)
"""What imaplib says to a second starttls(), though nothing is lost."""
_LOGGED_OUT: Final = re.compile(r"command \S+ illegal in state LOGOUT, only allowed in states .*")
_NOT_UNDERSTOOD: Final = re.compile(r"unexpected (?:tagged )?response: ")


def text_of_refusal(error: SASLError, dialogue: Dialogue) -> tuple[str, ...] | None:
    """Return what imaplib's own error for a refusal is made of: the text with the response code."""
    refused = isinstance(error, errors.AuthenticationFailed | errors.TemporaryFailure | errors.Cancelled)
    return tuple(dialogue.refused.split(" ", 2)[2:]) or None if refused else None  # the text behind tag and NO


_OURS: Final = Family(text_of_refusal)


def is_session_lost(error: BaseException) -> bool:
    """Whether an error of imaplib or of `authenticate` says that the session is gone: log in on a new connection then.

    So it is after BYE (a token that has expired, too long a pause, a restart), at the end of the connection, after a
    time-out and where imaplib has lost track of the answers. It is False for a refusal, which a new connection gets
    as well, and for a mailbox that has become read-only.
    """
    if isinstance(error, SASLError) or not isinstance(error, imaplib.IMAP4.error):
        return is_gone_below(error)
    if isinstance(error, imaplib.IMAP4.abort):
        return not isinstance(error, imaplib.IMAP4.readonly) and error.args != _UNDER_TLS
    return _LOGGED_OUT.fullmatch(str(error)) is not None


class IMAP4(imaplib.IMAP4):
    """imaplib's IMAP4 with another login() and a starttls() that checks the server's certificate by default.

    Attributes:
        policy: what login() and authenticate() may do.
        mechanism: the one mechanism for login(), or None for the strongest that fits.
    """

    policy: Policy = DEFAULT_POLICY
    mechanism: str | None = None

    def __init__(self, host: str = "", port: int = 143, timeout: float | None = None) -> None:
        with self._opened():
            super().__init__(host, port, timeout)

    @contextmanager
    def _opened(self) -> Iterator[None]:
        """Open a connection within the limits of one call; say what a server says that is none of IMAP's."""
        failure: SASLError | None = None
        with ExitStack() as self._limits:
            try:
                yield
            except Flood as error:
                failure = error
            except imaplib.IMAP4.error as error:
                if error.args != (None,) and not self._meant_another(error):
                    raise
            except Exception as error:
                if isinstance(error, OSError) or "_allowance" not in vars(self) or not is_parsers(error, _OURS):
                    raise
                failure = explain_foreign(error, _OURS)
            else:
                del self._limits
                return
            greeting = self._allowance.last
            _close(self)
        raise _OURS.translate(failure or not_a_greeting("IMAP", greeting))

    def _meant_another(self, error: Exception) -> bool:
        """Whether imaplib does not understand the server's first line, and no client of IMAP would."""
        heard = vars(self).get("_allowance")  # whoever overrides open() may have left it out
        if heard is None or "welcome" in vars(self) or _NOT_UNDERSTOOD.search(str(error)) is None:
            return False
        return not heard.last.startswith(b"* ")

    def open(self, host: Any = "", port: Any = 143, timeout: float | None = None) -> None:
        """Open the connection as imaplib does; what the constructor reads of it is limited."""
        super().open(host, port, timeout)
        if (limits := vars(self).get("_limits")) is not None:
            self._allowance = limits.enter_context(limit_time(self, None))

    def login(self, user: str, password: Credentials | Token | bytes) -> Answer:
        """Log in by SASL, or by LOGIN where the server has no mechanism for a password; as `authenticate` does.

        `password` is the user's password (a str or a `sasl.Secret`), credentials, or a callable or token source for
        the user's bearer token.
        """
        password = veil_password(password)
        return authenticate(self, credentials_of(user, password), policy=self.policy, mechanism=self.mechanism)

    def authenticate(self, mechanism: str, authobject: Respond) -> Any:  # typeshed has str where imaplib has octets
        """Log in by one mechanism, which `authobject` speaks, as imaplib has it; return ("OK", [text]).

        It is called with each challenge (bytes) and returns the response (bytes, or str for UTF-8) or None to cancel;
        with b"" for the initial response of a mechanism that is known here, whatever the server says there. What it
        raises leaves as it is, after the exchange was cancelled, and the connection is closed. An error challenge to a
        token is answered as the mechanism wants it, without the callback. The text of an error has the server's code.
        `policy` holds for the mechanism; one that is not known here wants TLS, and no pin and no required channel
        binding. An empty challenge after a response cancels: nobody can tell whether the credential has left.
        """
        authobject = veil(authobject)
        if not callable(authobject):
            raise UsageError(f"an authobject is a callable, not {type_of(authobject)}")
        name, respond = canonical(mechanism), Callback(authobject)
        script = self._script(name, respond)
        wire = partial(ClientWire, tag=f"S{os.urandom(8).hex()}", initial_response=False)
        try:
            return speak(LIBRARY, self, name, script, respond, policy=self.policy, wire=wire)
        except (IMAPAuthenticationFailed, IMAPTemporaryFailure, IMAPCancelled) as error:
            said = str(error.args[0])
            error.sentence = said if said.endswith(error.sentence) else f"{error.sentence}: {said}"
            raise

    @staticmethod
    def _script(mechanism: str, respond: Callback) -> ClientSteps:
        """Return a client script that asks a callback as imaplib does."""
        yield from callback_script(mechanism, respond, respond(b"") if is_client_first(mechanism) else None)

    def login_cram_md5(self, user: str, password: Credentials | Token | bytes) -> Answer:
        """Log in by CRAM-MD5, where `policy` allows it by name; as `authenticate` does."""
        password = veil_password(password)
        return authenticate(self, credentials_of(user, password), policy=self.policy, mechanism="CRAM-MD5")

    def starttls(self, ssl_context: SSLContext | None = None) -> tuple[Literal["OK"], list[None]]:
        """Start TLS. Without a context, ssl.create_default_context() is used, which checks the certificate.

        Raises IMAPPolicyViolation if the server does not offer it, refuses it, or says something else; if anything in
        the clear follows its reply, the connection is closed. IMAPConnectionLost where it ends the connection. What
        TLS raises is SSLError.
        """
        if isinstance(self.sock, ssl.SSLSocket):
            raise self.abort(*_UNDER_TLS)  # as imaplib does, but IMAP4_SSL does not know it

        def start(context: SSLContext) -> tuple[Literal["OK"], list[None]]:
            if "STARTTLS" not in self.capabilities:
                raise PolicyViolation(NOT_OFFERED)
            return super(IMAP4, self).starttls(context)

        return begin_tls(LIBRARY, self, ssl_context, start, self._explain_tls, leftover=_leftover)

    def _explain_tls(self, error: Exception, begun: bool) -> SASLError | None:  # noqa: FBT001 -- of begin_tls()
        """Return what an error of imaplib's starttls() is; after a server's yes, it is not about that any more."""
        text = str(error)
        if not isinstance(error, imaplib.IMAP4.error):
            return None
        if self.untagged_responses.get("BYE"):
            return end_of_connection(one_line(text.rpartition(" => ")[2]))
        if "socket error" in text.partition("unexpected")[0]:
            return end_of_connection()
        if isinstance(error, imaplib.IMAP4.abort) or " => " in text:  # else it is a NO or BAD
            _close(self)
        return ProtocolError(one_line(text)) if begun else no_tls(text)


class IMAP4_SSL(IMAP4, imaplib.IMAP4_SSL):  # noqa: N801 -- the library's name
    """The same over TLS from the first octet; without a context, the server's certificate is checked."""

    def __init__(
        self,
        host: str = "",
        port: int = 993,
        *,
        ssl_context: SSLContext | None = None,
        timeout: float | None = None,
        keyfile: Path | None = None,
        certfile: Path | None = None,
    ) -> None:
        context = client_context(ssl_context, certfile, keyfile)
        with self._opened():
            super(IMAP4, self).__init__(host, port, ssl_context=context, timeout=timeout)


class IMAP4_stream(IMAP4, imaplib.IMAP4_stream):  # noqa: N801 -- the library's name
    """The same over the standard input and output of a command.

    Nobody can tell where it leads: to the policy it is a connection in the clear to another machine.
    """

    def __init__(self, command: str) -> None:
        with self._opened():
            super(IMAP4, self).__init__(command)

    def starttls(self, ssl_context: SSLContext | None = None) -> NoReturn:  # noqa: ARG002
        """Raise IMAPPolicyViolation: TLS wants a socket."""
        raise IMAPPolicyViolation(origin=PolicyViolation("a stream has no socket for TLS"))


class IMAPAuthenticationFailed(LibraryError, errors.AuthenticationFailed, imaplib.IMAP4.error, family=_OURS):
    """The server said no to the credential; `args` holds its text with the response code, as imaplib has it."""


class IMAPAuthorizationFailed(errors.AuthorizationFailed, IMAPAuthenticationFailed, family=_OURS):
    """The credential is good, but may not act as who was asked for."""


class IMAPTemporaryFailure(LibraryError, errors.TemporaryFailure, imaplib.IMAP4.error, family=_OURS):
    """Try later, with the same credential."""


class IMAPConnectionLost(LibraryError, errors.ConnectionLost, imaplib.IMAP4.abort, family=_OURS):
    """The server ended the connection (BYE, end of file), or did not answer in time."""


class IMAPServerBusy(errors.ServerBusy, IMAPTemporaryFailure, IMAPConnectionLost, family=_OURS):
    """The server ended the connection and says that it is for now: both of its bases."""


class IMAPMechanismUnavailable(LibraryError, errors.MechanismUnavailable, imaplib.IMAP4.error, family=_OURS):
    """No mechanism in common."""


class IMAPPolicyViolation(LibraryError, errors.PolicyViolation, imaplib.IMAP4.error, family=_OURS):
    """The policy refused; no credential was sent."""


class IMAPProtocolError(LibraryError, errors.ProtocolError, imaplib.IMAP4.error, family=_OURS):
    """The server broke the rules, or did not understand the command."""


class IMAPServerNotProven(errors.ServerNotProven, IMAPProtocolError, family=_OURS):
    """A yes that came too early, or without proof."""


class IMAPLimitExceeded(errors.LimitExceeded, IMAPProtocolError, family=_OURS):
    """The server sent too much."""


class IMAPCancelled(LibraryError, errors.Cancelled, imaplib.IMAP4.error, family=_OURS):
    """This side cancelled."""


# --- the description


def _offers_tls(conn: imaplib.IMAP4) -> bool:
    if conn.state != "NONAUTH":
        raise PolicyViolation("the server says that it knows already who this is (PREAUTH): TLS cannot begin")
    return "STARTTLS" in conn.capabilities


def _dialogue(conn: imaplib.IMAP4) -> Dialogue:
    shows = conn.debug >= _SHOWS_LINES  # IMAPClient replaces _mesg(), and python -O has none
    show = getattr(conn, "_mesg", None) if shows else None
    return Dialogue(conn.send, partial(_readline, conn), partial(_close, conn), show=show)


def _check(conn: imaplib.IMAP4) -> None:
    if conn.state == "AUTH" and conn.welcome.upper().startswith(b"* PREAUTH"):
        raise PolicyViolation("the server says that it knows already who this is (PREAUTH)")
    if conn.state != "NONAUTH":
        raise UsageError(f"a login on a connection whose state is {conn.state}, not NONAUTH")


def _offer(conn: imaplib.IMAP4, dialogue: Dialogue) -> Offer:
    said = conn.capabilities
    if "STARTTLS" in said:
        hint_at_tls(dialogue, conn)
    return Offer(partial(choose, said), partial(client_wire, capabilities=said), tuple(said))


def _finish(conn: imaplib.IMAP4, dialogue: Dialogue) -> Answer:
    text = dialogue.last.rstrip(b"\r\n").split(b" ", 2)[2:]
    named = dialogue.wire.capabilities  # with the yes
    conn.capabilities = ask_capabilities(conn) if named is None else tuple(map(str.upper, named))
    conn.state = "AUTH"
    return "OK", text or [b""]


@tidied
def _explain(error: Exception) -> SASLError | None:
    if not isinstance(error, imaplib.IMAP4.error):
        return None
    said = error.args[0]
    if isinstance(said, bytes):  # the greeting
        try:
            greeting(said)
        except SASLError as failure:
            return failure
    text = str(said)
    if not isinstance(error, imaplib.IMAP4.abort) or _NOT_UNDERSTOOD.search(text):
        return ProtocolError(f"the server does not speak IMAP: {text}")
    return end_of_connection() if "socket error: " in text else end_of_connection(text.partition(" => ")[2])  # of BYE


def _close(conn: imaplib.IMAP4) -> None:
    conn.state = "LOGOUT"  # so that the end of a `with` block does not try to log out on it
    with suppress(OSError):
        conn.shutdown()  # close() closes a mailbox


def _leftover(conn: imaplib.IMAP4) -> bool:
    """Forget what came in the clear (RFC 9051 section 6.2.1); return whether more of it waits."""
    conn.untagged_responses.clear()
    return any(getattr(conn, "_readbuf", ())) or has_unread(conn)  # Python 3.14 and later read without conn.file


def ask_capabilities(conn: imaplib.IMAP4) -> tuple[str, ...]:
    """Ask the server what it can do; return () if it does not say. Raises ConnectionLost."""
    lost, names = None, ""
    conn.untagged_responses.pop("CAPABILITY", None)  # of before
    try:
        status, data = conn.capability()
        names = (data[-1] or b"").decode("ascii", "replace") if status == "OK" else ""
    except conn.abort as error:
        lost = str(error)
    except conn.error:
        pass  # it logs in and does not know CAPABILITY
    if lost is not None:
        raise ConnectionLost(f"the connection ended when the server was asked for its capabilities: {lost}")
    return tuple(names.upper().split())


def _readline(conn: imaplib.IMAP4) -> bytes:
    try:
        return conn.readline()
    except conn.abort:
        return b""
    except conn.error:
        pass
    raise LimitExceeded("a line that is too long for imaplib")


LIBRARY: Final[Library[imaplib.IMAP4, Answer]] = Library(
    service="imap",
    errors=_OURS,
    open=partial(open_by_class, classes=(IMAP4, IMAP4_SSL), context="ssl_context"),
    offers_tls=_offers_tls,
    start_tls=lambda conn, context: conn.starttls(context),
    channel=lambda conn: channel(conn.sock, service="imap", host=conn.host, port=conn.port),
    dialogue=_dialogue,
    check=_check,
    offer=_offer,
    finish=_finish,
    explain=_explain,
    leave=methodcaller("logout"),
    close=_close,
    reserve=partial(quiet, level="debug"),
)
authenticate: Final = Binding(LIBRARY).authenticate
