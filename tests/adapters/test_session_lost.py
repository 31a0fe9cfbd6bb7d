"""`is_session_lost` of each binding: the end of a session, as each library tells it, and refusals, which are none."""

from __future__ import annotations

import errno
import imaplib
import poplib
import smtplib
import socket
import ssl
import struct
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

import sasl
import sasl.adapters.imaplib
import sasl.adapters.poplib
import sasl.adapters.smtplib
from sasl.adapters import reference
from sasl.adapters.reference import Settings

from ..support.protocols import PROTOCOLS
from .conftest import CLOSE, HANG

if TYPE_CHECKING:
    from sasl.adapters.reference import Endpoint, Servers

BINDINGS: dict[str, Any] = {
    "imap": sasl.adapters.imaplib,
    "pop": sasl.adapters.poplib,
    "smtp": sasl.adapters.smtplib,
}
PASSWORD = sasl.Password("alice", "wonderland")
protocols = pytest.mark.parametrize("protocol", BINDINGS)


def raised(call: Any, *arguments: Any) -> BaseException:
    with pytest.raises(Exception) as error:
        call(*arguments)
    return error.value


def mail(conn: smtplib.SMTP) -> object:
    return conn.sendmail("a@example.org", ["b@example.org"], "Subject: x\n\nx\n")


def use(protocol: str, conn: Any) -> object:
    """What a user does next."""
    return mail(conn) if protocol == "smtp" else conn.noop()


def logged_in(protocol: str, servers: Servers, stack: ExitStack, *, drop_in: bool) -> Any:
    """A connection that is logged in; of the library's own class, or of ours."""
    conn = connected(protocol, servers, stack, BINDINGS[protocol] if drop_in else None)
    BINDINGS[protocol].authenticate(conn, PASSWORD)
    return conn


def connected(protocol: str, servers: Servers, stack: ExitStack, module: Any = None) -> Any:
    server, context = getattr(servers, protocol), servers.client_context()
    return stack.enter_context(PROTOCOLS[protocol].connected(server.tls_port, context, module, host=server.host))


def at_the_server(server: Endpoint, end: Any) -> None:
    """End the server's connection, and wait until it is ended."""
    connection = server.sessions[-1].connection
    ended = threading.Event()

    def kill() -> None:
        end(connection)
        connection._closed.add_done_callback(lambda _: ended.set())

    connection._closed.get_loop().call_soon_threadsafe(kill)
    assert ended.wait(10)


def aborted(connection: Any) -> None:
    connection.abort()


def reset(connection: Any) -> None:
    sock = connection._transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.abort()


# --- at the reference servers


@pytest.mark.parametrize("drop_in", [False, True], ids=["library", "drop-in"])
@protocols
def test_a_server_that_shuts_down_ends_the_session(protocol: str, *, drop_in: bool) -> None:
    with ExitStack() as stack:
        with reference.running(settings=Settings()) as servers:
            conn = logged_in(protocol, servers, stack, drop_in=drop_in)
            use(protocol, conn)
        error = raised(use, protocol, conn)  # BYE, 421; POP3 has no word for it
    assert BINDINGS[protocol].is_session_lost(error), repr(error)


@protocols
def test_a_session_that_was_idle_for_too_long_is_lost(protocol: str) -> None:
    with reference.running(settings=Settings(idle=0.05)) as servers, ExitStack() as stack:
        conn = logged_in(protocol, servers, stack, drop_in=False)
        at_the_server(getattr(servers, protocol), lambda _: None)
        assert BINDINGS[protocol].is_session_lost(raised(use, protocol, conn))


@pytest.mark.parametrize("end", [aborted, reset])
@protocols
def test_a_connection_that_ends_without_a_word_is_lost(protocol: str, end: Any, sasl_servers: Servers) -> None:
    with ExitStack() as stack:
        conn = logged_in(protocol, sasl_servers, stack, drop_in=False)
        at_the_server(getattr(sasl_servers, protocol), end)
        error = raised(use, protocol, conn)
        assert BINDINGS[protocol].is_session_lost(error), repr(error)


@protocols
def test_a_connection_that_ends_in_the_login_is_lost(protocol: str, sasl_servers: Servers) -> None:
    with ExitStack() as stack:
        conn = logged_in(protocol, sasl_servers, stack, drop_in=False)
        at_the_server(getattr(sasl_servers, protocol), aborted)
        if protocol == "imap":
            conn.state = "NONAUTH"
        error = raised(BINDINGS[protocol].authenticate, conn, PASSWORD)
    assert isinstance(error, sasl.ConnectionLost)
    assert BINDINGS[protocol].is_session_lost(error)


@protocols
def test_a_refused_login_is_not_a_lost_session(protocol: str, sasl_servers: Servers) -> None:
    with ExitStack() as stack:
        conn = connected(protocol, sasl_servers, stack)
        if protocol == "imap":
            own = [(conn.login, "alice", "looking-glass"), (conn.select,)]
        elif protocol == "pop":
            conn.user("alice")
            own = [(conn.pass_, "looking-glass"), (conn.stat,)]
        else:
            own = [(conn.login, "alice", "looking-glass")]
        errors = [raised(*call) for call in own]
        errors.append(raised(BINDINGS[protocol].authenticate, conn, sasl.Password("alice", "looking-glass")))
        errors.append(raised(BINDINGS[protocol].authenticate, conn, sasl.Bearer("alice", "no-token")))
        BINDINGS[protocol].authenticate(conn, PASSWORD)  # it was not lost
    assert [error for error in errors if BINDINGS[protocol].is_session_lost(error)] == []


def test_a_sender_without_a_login_has_to_log_in_anew(sasl_servers: Servers) -> None:
    """As where Microsoft forgets the login of a token that has expired."""
    with ExitStack() as stack:
        error = raised(mail, connected("smtp", sasl_servers, stack))
        assert isinstance(error, smtplib.SMTPSenderRefused)
        assert sasl.adapters.smtplib.is_session_lost(error)


# --- at scripted sasl_servers

GOODBYES = {
    "imap": [b"* BYE Session expired, please login again.\r\n", b"* BYE Session invalidated - AccessTokenExpired\r\n"],
    "pop": [
        b"-ERR [SYS/TEMP] Session expired\r\n",
        b"-ERR Disconnected for inactivity.\r\n",
        b"-ERR Server shutting down.\r\n",
    ],
    "smtp": [b"421 4.4.2 Idle for too long\r\n", b"421-4.7.0 Session\r\n421 4.7.0 expired\r\n"],
}
COMMANDS = {"imap": b"{tag} NOOP", "pop": b"NOOP", "smtp": None}  # MAIL FROM, in letters that differ by version


def ready(speech: Any, stage: Any, *answers: Any) -> Any:
    """A connection where the next command gets these answers."""
    offered = [] if speech.name == "pop" else speech.offer("PLAIN", extra=())
    conn, _ = stage.play(speech, [*offered, (COMMANDS[speech.name], list(answers))])
    if speech.name == "smtp":
        conn.ehlo()
    return conn


@pytest.mark.parametrize(("protocol", "goodbye"), [(name, line) for name, lines in GOODBYES.items() for line in lines])
def test_a_goodbye_is_the_end_of_the_session(protocol: str, goodbye: bytes, request: Any, stage: Any) -> None:
    conn = ready(request.getfixturevalue(protocol), stage, goodbye, CLOSE)
    error = raised(use, protocol, conn)
    assert BINDINGS[protocol].is_session_lost(error), repr(error)


def test_a_server_that_does_not_answer_in_time_is_lost_and_stays_so(speech: Any, stage: Any) -> None:
    conn = ready(speech, stage, HANG)
    conn.sock.settimeout(0.05)
    for _ in range(2):
        error = raised(use, speech.name, conn)
        assert speech.binding.is_session_lost(error), repr(error)


def test_what_a_connection_says_that_was_closed_by_a_binding_is_that_it_is_gone(imap: Any, stage: Any) -> None:
    conn = ready(imap, stage, b"* BYE x\r\n", CLOSE)
    imap.binding.LIBRARY.close(conn)
    assert imap.binding.is_session_lost(raised(conn.select))
    assert imap.binding.is_session_lost(raised(conn.noop))


# --- made by hand

EVERYWHERE = [
    (ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"), True),
    (BrokenPipeError(errno.EPIPE, "Broken pipe"), True),
    (ConnectionAbortedError(), True),
    (TimeoutError("timed out"), True),
    (OSError("cannot read from timed out object"), True),
    (OSError(errno.EBADF, "Bad file descriptor"), True),
    (OSError(errno.ENOTCONN, "Transport endpoint is not connected"), True),
    (ssl.SSLEOFError(8, "EOF occurred in violation of protocol"), True),
    (ssl.SSLZeroReturnError(6, "TLS/SSL connection has been closed"), True),
    (sasl.ConnectionLost("end of file"), True),
    (ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"), False),
    (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), False),
    (ssl.SSLCertVerificationError(1, "certificate verify failed"), False),
    (FileNotFoundError(errno.ENOENT, "No such file or directory"), False),
    (sasl.AuthenticationFailed("no"), False),
    (sasl.TemporaryFailure("later"), False),
    (sasl.ProtocolError("what?"), False),
    (sasl.UsageError("you"), False),
    (sasl.TokenError("no token"), False),
    (ValueError("x"), False),
    (KeyboardInterrupt(), False),
]
LOGGED_OUT = "command NOOP illegal in state LOGOUT, only allowed in states NONAUTH"  # imaplib says, or a server
IMAP = [
    (imaplib.IMAP4.abort("command: NOOP => Session expired, please login again."), True),
    (imaplib.IMAP4.abort("socket error: EOF"), True),
    (imaplib.IMAP4.abort("command: NOOP => socket error: [Errno 32] Broken pipe"), True),
    (imaplib.IMAP4.abort("unexpected response: b'A1 OK'"), True),
    (imaplib.IMAP4.error("command SELECT illegal in state LOGOUT, only allowed in states AUTH, SELECTED"), True),
    (sasl.adapters.imaplib.IMAPConnectionLost("BYE"), True),
    (imaplib.IMAP4.error("command SELECT illegal in state NONAUTH, only allowed in states AUTH, SELECTED"), False),
    (imaplib.IMAP4.error("[AUTHENTICATIONFAILED] no"), False),
    (imaplib.IMAP4.error("NOOP command error: BAD [b'command X illegal in state LOGOUT, only allowed in']"), False),
    (imaplib.IMAP4.readonly("INBOX status changed to READ-ONLY"), False),
    (imaplib.IMAP4.abort("TLS session already established"), False),
    (sasl.adapters.imaplib.IMAPAuthenticationFailed("[AUTHENTICATIONFAILED] no"), False),
    (sasl.adapters.imaplib.IMAPTemporaryFailure("[UNAVAILABLE] later"), False),
    (sasl.adapters.imaplib.IMAPAuthenticationFailed(LOGGED_OUT), False),
    (sasl.adapters.imaplib.IMAPProtocolError(LOGGED_OUT), False),
]
POP = [
    (poplib.error_proto("-ERR EOF"), True),
    (poplib.error_proto(b"-ERR [SYS/TEMP] Session expired"), True),
    (poplib.error_proto(b"-err [sys/temp] session has expired, log in again"), True),
    (poplib.error_proto(b"-ERR Session has been closed"), True),
    (poplib.error_proto(b"-ERR Timeout"), True),
    (poplib.error_proto(b"-ERR Connection timed out"), True),
    (poplib.error_proto(b"-ERR Time-out"), True),
    (poplib.error_proto(b"-ERR Time out"), True),
    (poplib.error_proto(b"-ERR Idle for too long"), True),
    (poplib.error_proto(b"-ERR [SYS/TEMP]Session expired"), True),
    (poplib.error_proto(b"-ERR [SYS/TEMP/LATER] Session expired"), True),
    (poplib.error_proto(b"-ERR [SYS/TEMP/] Your session expired"), True),
    (poplib.error_proto(b"-ERR Your session has just expired"), True),
    (poplib.error_proto(b"-ERR Your session has not yet expired"), False),
    (poplib.error_proto(b"-ERR [SYS/TEMPORAL] Session expired"), False),
    (sasl.adapters.poplib.POPConnectionLost("-ERR EOF"), True),
    (poplib.error_proto(b"-ERR EOF"), False),  # a server that says so
    (poplib.error_proto(b"-ERR"), False),
    (poplib.error_proto(b"-ERR [AUTH] Session expired"), False),
    (poplib.error_proto(b"-ERR [IN-USE] Another session is active; disconnect it"), False),
    (poplib.error_proto(b"-ERR [SYS/PERM] disconnected for good"), False),
    (poplib.error_proto(b"-ERR [SYS/TEMP] Cannot authenticate now, try later"), False),
    (poplib.error_proto(b"-ERR The password has expired"), False),
    (poplib.error_proto(b"-ERR No such message"), False),
    (poplib.error_proto("line too long"), False),
    (poplib.error_proto(), False),
    (sasl.adapters.poplib.POPTemporaryFailure(b"-ERR [SYS/TEMP] Session expired"), False),
    (sasl.adapters.poplib.POPAuthenticationFailed(b"-ERR [AUTH] no"), False),
]
REFUSED: Any = smtplib.SMTPSenderRefused  # its text is bytes, or a str
SMTP = [
    (smtplib.SMTPServerDisconnected("Connection unexpectedly closed"), True),
    (smtplib.SMTPSenderRefused(421, b"4.7.0 Closing", "a@b"), True),
    (smtplib.SMTPSenderRefused(530, b"5.7.57 Client not authenticated", "a@b"), True),
    (REFUSED(530, "5.7.0 Authentication required", "a@b"), True),
    (smtplib.SMTPRecipientsRefused({"a@b": (550, b"no"), "c@d": (421, b"Closing")}), True),
    (smtplib.SMTPRecipientsRefused({"a@b": (530, b"5.7.57 Client not authenticated")}), True),
    (smtplib.SMTPDataError(421, b"Closing"), True),
    (smtplib.SMTPHeloError(421, b"Too busy"), True),
    (smtplib.SMTPAuthenticationError(421, b"Closing"), True),
    (sasl.adapters.smtplib.SMTPConnectionLost("421"), True),
    (smtplib.SMTPSenderRefused(530, b"5.7.0 Must issue a STARTTLS command first", "a@b"), False),
    (REFUSED(530, "5.7.0 Must issue a StartTLS command first", "a@b"), False),
    (smtplib.SMTPSenderRefused(550, b"no", "a@b"), False),
    (smtplib.SMTPSenderRefused(451, b"later", "a@b"), False),
    (smtplib.SMTPRecipientsRefused({"a@b": (550, b"421 no such user")}), False),
    (smtplib.SMTPRecipientsRefused({}), False),
    (smtplib.SMTPDataError(554, b"spam"), False),
    (smtplib.SMTPAuthenticationError(535, b"5.7.8 no"), False),
    (smtplib.SMTPAuthenticationError(530, b"5.7.0 no"), False),
    (smtplib.SMTPNotSupportedError("no AUTH"), False),
    (smtplib.SMTPException("x"), False),
    (sasl.adapters.smtplib.SMTPAuthenticationFailed(535, b"no"), False),
    (sasl.adapters.smtplib.SMTPTemporaryFailure(454, b"later"), False),
    (sasl.adapters.smtplib.SMTPTLSRefused(454, b"later"), False),
    (sasl.adapters.smtplib.SMTPTLSRefused(530, b"5.7.0 Authentication required"), False),
]
CASES = [
    *[(protocol, error, lost) for protocol in BINDINGS for error, lost in EVERYWHERE],
    *[
        (protocol, error, lost)
        for protocol, cases in (("imap", IMAP), ("pop", POP), ("smtp", SMTP))
        for error, lost in cases
    ],
]


@pytest.mark.parametrize(("protocol", "error", "lost"), CASES, ids=lambda value: repr(value)[:70])
def test_an_error_is_the_end_of_a_session_or_not(protocol: str, error: BaseException, *, lost: bool) -> None:
    assert BINDINGS[protocol].is_session_lost(error) is lost
