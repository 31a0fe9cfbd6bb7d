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
from contextlib import suppress
from functools import partial
from operator import methodcaller
from ssl import SSLSocket, create_default_context

from sasl import errors
from sasl.errors import ConnectionLost, LimitExceeded, PolicyViolation, ProtocolError, SASLError, UsageError
from sasl.policy import DEFAULT_POLICY, Policy
from sasl.typed import TYPE_CHECKING

from .binding import Binding, Library, LibraryError, Offer, begin_tls, describe, is_gone
from .binding.connection import open_by_class
from .binding.dialogue import Dialogue, quiet
from .binding.given import credentials_of, veil_password
from .binding.tls import NOT_OFFERED, has_unread, no_tls
from .wire.imap import choose, client_wire, greeting
from .wire.text import end_of_connection, one_line

if TYPE_CHECKING:
    from ssl import SSLContext
    from typing import Any, Final, Literal, TypeAlias

    from sasl.credentials import Credentials, Token

    from .binding.errors import Family

    Answer: TypeAlias = tuple[Literal["OK"], list[bytes]]

_SHOWS_LINES: Final = 4
"""The level from which imaplib's debug output shows what is sent."""
_UNDER_TLS: Final = ("TLS session already established",)
"""What imaplib says to a second starttls(), though nothing is lost."""
_LOGGED_OUT: Final = re.compile(r"command \S+ illegal in state LOGOUT, only allowed in states .*")
_NOT_UNDERSTOOD: Final = re.compile(r"unexpected (?:tagged )?response: ")
_OURS: Final[Family] = {}


def is_session_lost(error: BaseException) -> bool:
    """Whether an error of imaplib or of `authenticate` says that the session is gone: log in on a new connection then.

    So it is after BYE (a token that has expired, too long a pause, a restart), at the end of the connection, after a
    time-out and where imaplib has lost track of the answers. It is False for a refusal, which a new connection gets
    as well, and for a mailbox that has become read-only.
    """
    if isinstance(error, SASLError) or not isinstance(error, imaplib.IMAP4.error):
        return is_gone(error)
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
        password = veil_password(password)
        return authenticate(self, credentials_of(user, password), policy=self.policy, mechanism=self.mechanism)

    def login_cram_md5(self, user: str, password: Credentials | Token) -> Answer:
        """Log in by CRAM-MD5, where `policy` allows it by name; as `authenticate` does."""
        password = veil_password(password)
        return authenticate(self, credentials_of(user, password), policy=self.policy, mechanism="CRAM-MD5")

    def starttls(self, ssl_context: SSLContext | None = None) -> tuple[Literal["OK"], list[None]]:
        """Start TLS. Without a context, ssl.create_default_context() is used, which checks the certificate.

        Raises IMAPPolicyViolation if the server does not offer it, refuses it, or says something else; if anything in
        the clear follows its reply, the connection is closed. IMAPConnectionLost where it ends the connection. What
        TLS raises is SSLError.
        """
        if isinstance(self.sock, SSLSocket):
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
        **options: Any,
    ) -> None:
        super().__init__(host, port, ssl_context=ssl_context or create_default_context(), **options)


class IMAPAuthenticationFailed(LibraryError, errors.AuthenticationFailed, imaplib.IMAP4.error, family=_OURS):
    """The server said no to the credential; `args` holds its text with the response code, as imaplib has it."""


class IMAPAuthorizationFailed(errors.AuthorizationFailed, IMAPAuthenticationFailed, family=_OURS):
    """The credential is good, but may not act as who was asked for."""


class IMAPTemporaryFailure(LibraryError, errors.TemporaryFailure, imaplib.IMAP4.error, family=_OURS):
    """Try later, with the same credential."""


class IMAPConnectionLost(LibraryError, errors.ConnectionLost, imaplib.IMAP4.abort, family=_OURS):
    """The server ended the connection (BYE, end of file), or did not answer in time."""


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


def _offer(conn: imaplib.IMAP4, _dialogue: Dialogue) -> Offer:
    said = conn.capabilities
    wire = partial(client_wire, tag=f"S{os.urandom(8).hex()}", capabilities=said)
    return Offer(partial(choose, said), wire)


def _finish(conn: imaplib.IMAP4, dialogue: Dialogue) -> Answer:
    text = dialogue.last.rstrip(b"\r\n").split(b" ", 2)[2:]
    conn.capabilities = _capabilities(conn, dialogue.wire.capabilities)
    conn.state = "AUTH"
    return "OK", text or [b""]


def _arguments(dialogue: Dialogue, error: SASLError) -> tuple[str, ...] | None:
    refused = isinstance(error, errors.AuthenticationFailed | errors.TemporaryFailure)
    return tuple(dialogue.refused.split(" ", 2)[2:]) or None if refused else None  # the text behind tag and NO


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


def _capabilities(conn: imaplib.IMAP4, names: tuple[str, ...] | None) -> tuple[str, ...]:
    """Return what the server can do after the login: what it named with its yes, or else asked again."""
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
    return tuple(map(str.upper, names))


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
    channel=lambda conn: describe(conn.sock, "imap", conn.host, conn.port),
    dialogue=_dialogue,
    check=_check,
    offer=_offer,
    finish=_finish,
    arguments=_arguments,
    explain=_explain,
    leave=methodcaller("logout"),
    close=_close,
    mute=partial(quiet, level="debug"),
)
authenticate: Final = Binding(LIBRARY).authenticate
