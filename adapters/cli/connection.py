"""Connections to a mail server of each protocol: opened, put under TLS, logged in on, ended.

They are those of the standard library in the form of this package's drop-in classes. What these and the system
raise leaves as a SASLError.
"""

from __future__ import annotations

import socket
import ssl
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias, final

from sasl.errors import (
    ConnectionLost,
    LimitExceeded,
    PolicyViolation,
    ProtocolError,
    SASLError,
    TemporaryFailure,
    UsageError,
)

from ..wire import imap
from .exits import NoSuchHost, Undecodable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from sasl.credentials import Credentials

    from .url import Target

_POP_EOF: Final = "-ERR EOF"  # poplib's own, a str
_MYSELF: Final = "[127.0.0.1]"
"""What EHLO says: smtplib would ask the name service for this machine's name, which may take long and tells it."""


class Connection(Protocol):
    """A connection to a server, in the terms of no protocol."""

    @property
    def sock(self) -> socket.socket:
        """The socket below."""
        ...

    def offers_starttls(self) -> bool:
        """Whether the server offers STARTTLS. Raises PolicyViolation where it is too late for that."""
        ...

    def starttls(self, context: ssl.SSLContext) -> None:
        """Begin TLS."""

    def login(self, credentials: Credentials, **options: Any) -> None:
        """Log in, with the options of a binding's run()."""

    def logout(self) -> None:
        """Take leave."""

    def close(self) -> None:
        """Close it."""


def tls_context(ca: str | None, client_certificate: str | None, passphrase: Callable[[], str]) -> ssl.SSLContext:
    """Return a context that checks the server's certificate and name, by the CAs in `ca` or else the system's.

    `client_certificate` is a PEM file with the certificate and the key of this side; `passphrase` is asked where
    the key is encrypted.
    Raises UsageError for a file that cannot be read, Undecodable for one that holds something else.
    """
    name = "--ca"
    try:
        context = ssl.create_default_context(cafile=ca)
        if client_certificate is not None:
            name = "--client-cert"
            context.load_cert_chain(client_certificate, password=passphrase)
        return context
    except ssl.SSLError:
        failure: UsageError = Undecodable(f"the file of {name} holds no usable PEM, or the passphrase is wrong")
    except OSError as error:
        failure = UsageError(f"the file of {name} cannot be read: {error.strerror}")
    raise failure


@contextmanager
def connected(target: Target, context: ssl.SSLContext, *, starttls: str, timeout: float) -> Iterator[Connection]:
    """Connect, begin TLS, and close at the end.

    `starttls` is "require", "prefer" or "never", for a protocol whose TLS does not begin with the connection.
    `timeout` is in seconds, for each read and write.
    Raises NoSuchHost, ConnectionLost, ProtocolError (of kind "certificate" or "tls" where TLS fails),
    PolicyViolation where TLS is required and not to be had, TemporaryFailure where the server says so.
    """
    family = _FAMILIES[target.protocol]
    with _errors_of(family):
        connection: Connection = family(target, context, timeout)
    try:
        if not target.implicit_tls and starttls != "never":
            _start_tls(family, connection, context, required=starttls == "require")
        yield connection
    finally:
        try:
            connection.close()
        except OSError:
            pass  # TLS may have closed it


def tls_facts(connection: Connection) -> Mapping[str, str] | None:
    """Return version and cipher, or None without TLS."""
    sock = connection.sock
    if not isinstance(sock, ssl.SSLSocket):
        return None
    cipher = sock.cipher()
    return {"version": sock.version() or "", "cipher": cipher[0] if cipher else ""}


def _start_tls(family: _Family, connection: Connection, context: ssl.SSLContext, *, required: bool) -> None:
    with _errors_of(family):
        offered = connection.offers_starttls()
    if offered:
        with _errors_of(family, starting_tls=True):
            connection.starttls(context)
    elif required:
        raise PolicyViolation("the server offers no STARTTLS, and TLS is required")


@contextmanager
def _errors_of(family: _Family, *, starting_tls: bool = False) -> Iterator[None]:
    """Let what the library and the system raise leave as an error of ours. A no to STARTTLS is a PolicyViolation."""
    try:
        yield
        return
    except SASLError:
        raise
    except Exception as error:
        failure = family.explain(error)
        if starting_tls and failure is not None and (failure.server_text or not isinstance(failure, ConnectionLost)):
            failure = PolicyViolation(f"the server refuses STARTTLS: {failure.server_text or failure}")
        failure = failure or _of_the_system(error)
        if failure is None:
            raise
    raise failure


def _of_the_system(error: Exception) -> SASLError | None:
    """What an error of sockets or TLS means, or one of the library's parser; None for a bug."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return ProtocolError(f"the server's certificate is not trusted: {error.verify_message}", kind="certificate")
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return ConnectionLost("the server ended the connection instead of beginning TLS", kind="tls")
    if isinstance(error, ssl.SSLError):
        return ProtocolError(f"TLS failed: {error.reason}", kind="tls")
    if isinstance(error, socket.gaierror):
        return NoSuchHost(f"no such host: {error.strerror}", kind="no_such_host")
    if isinstance(error, TimeoutError):
        return ConnectionLost("the server did not answer in time", kind="timeout")
    if isinstance(error, ConnectionResetError | BrokenPipeError):
        return ConnectionLost("the server ended the connection")
    if isinstance(error, OSError):
        return ConnectionLost(f"cannot connect: {error.strerror}", kind="unreachable")
    if isinstance(error, ValueError | LookupError | ArithmeticError | MemoryError):
        return ProtocolError("the server sent what cannot be read")
    return None


@final
class _Imap:
    def __init__(self, target: Target, context: ssl.SSLContext, timeout: float) -> None:
        from .. import imaplib

        self._run = imaplib.run
        self._conn: imaplib.IMAP4
        if target.implicit_tls:
            self._conn = imaplib.IMAP4_SSL(target.host, target.port, ssl_context=context, timeout=timeout)
        else:
            self._conn = imaplib.IMAP4(target.host, target.port, timeout=timeout)

    @property
    def sock(self) -> socket.socket:
        return self._conn.sock

    def offers_starttls(self) -> bool:
        if self._conn.state != "NONAUTH":
            raise PolicyViolation("the server says that it knows already who this is (PREAUTH): TLS cannot begin")
        return "STARTTLS" in self._conn.capabilities

    def starttls(self, context: ssl.SSLContext) -> None:
        self._conn.starttls(context)

    def login(self, credentials: Credentials, **options: Any) -> None:
        self._run(self._conn, credentials, **options)

    def logout(self) -> None:
        self._conn.logout()

    def close(self) -> None:
        self._conn.shutdown()

    @staticmethod
    def explain(error: Exception) -> SASLError | None:
        import imaplib

        if not isinstance(error, imaplib.IMAP4.error):
            return None
        said = error.args[0]
        if isinstance(said, bytes):  # the greeting
            try:
                imap.greeting(said)
            except SASLError as failure:
                return failure
        text = str(said)
        if isinstance(error, imaplib.IMAP4.abort) and "unexpected" not in text:
            if "socket error" in text:
                return ConnectionLost("the server ended the connection")
            text = text.partition(" => ")[2]  # of BYE
            return ConnectionLost(f"the server ended the connection: {text}", server_text=text)
        return ProtocolError(f"the server does not speak IMAP: {text}")


@final
class _Pop:
    def __init__(self, target: Target, context: ssl.SSLContext, timeout: float) -> None:
        from .. import poplib

        self._run = poplib.run
        self._conn: poplib.POP3
        if target.implicit_tls:
            self._conn = poplib.POP3_SSL(target.host, target.port, context=context, timeout=timeout)
        else:
            self._conn = poplib.POP3(target.host, target.port, timeout=timeout)

    @property
    def sock(self) -> socket.socket:
        return self._conn.sock

    def offers_starttls(self) -> bool:
        import poplib

        try:
            capabilities = self._conn.capa()
        except poplib.error_proto as error:
            cause = error.__context__
            if isinstance(cause, poplib.error_proto) and cause.args[0] == _POP_EOF:
                raise cause from None
            return False  # a server that does not know CAPA
        return "STLS" in (name.upper() for name in capabilities)

    def starttls(self, context: ssl.SSLContext) -> None:
        self._conn.stls(context)

    def login(self, credentials: Credentials, **options: Any) -> None:
        self._run(self._conn, credentials, **options)

    def logout(self) -> None:
        self._conn.quit()

    def close(self) -> None:
        self._conn.close()

    @staticmethod
    def explain(error: Exception) -> SASLError | None:
        import poplib

        if not isinstance(error, poplib.error_proto):
            return None
        said = error.args[0]
        if said == _POP_EOF:
            return ConnectionLost("the server ended the connection")
        text = said.decode("utf-8", "replace") if isinstance(said, bytes) else said
        if text.startswith("-ERR"):
            text = text[4:].strip()
            return ConnectionLost(f"the server wants no connection: {text}", server_text=text)
        return ProtocolError(f"the server does not speak POP3: {text}")


@final
class _Smtp:
    def __init__(self, target: Target, context: ssl.SSLContext, timeout: float) -> None:
        from .. import smtplib

        self._run = smtplib.run
        self._conn: smtplib.SMTP
        if target.implicit_tls:
            self._conn = smtplib.SMTP_SSL(target.host, target.port, _MYSELF, context=context, timeout=timeout)
        else:
            self._conn = smtplib.SMTP(target.host, target.port, _MYSELF, timeout=timeout)

    @property
    def sock(self) -> socket.socket:
        assert self._conn.sock is not None  # noqa: S101 -- for mypy: it is connected
        return self._conn.sock

    def offers_starttls(self) -> bool:
        self._conn.ehlo_or_helo_if_needed()
        return self._conn.has_extn("starttls")

    def starttls(self, context: ssl.SSLContext) -> None:
        self._conn.starttls(context=context)

    def login(self, credentials: Credentials, **options: Any) -> None:
        self._run(self._conn, credentials, **options)

    def logout(self) -> None:
        self._conn.quit()

    def close(self) -> None:
        self._conn.close()

    @staticmethod
    def explain(error: Exception) -> SASLError | None:
        import smtplib

        if isinstance(error, smtplib.SMTPServerDisconnected):
            lost = error.__context__
            return (_of_the_system(lost) if isinstance(lost, OSError) else None) or ConnectionLost(
                "the server ended the connection"
            )
        if not isinstance(error, smtplib.SMTPResponseException):
            return None
        code, said = error.smtp_code, error.smtp_error
        if isinstance(said, str):
            return LimitExceeded("a line that is too long for smtplib")
        text = said.decode("utf-8", "replace")
        if code == 421 or code >= 500:
            said_why = f"the server wants no connection: {text}"
            return ConnectionLost(said_why, server_text=text, response_code=str(code))
        if code >= 400:
            return TemporaryFailure(text, server_text=text, response_code=str(code), kind="unavailable")
        return ProtocolError(f"the server does not speak SMTP: {text}")


_Family: TypeAlias = type[_Imap] | type[_Pop] | type[_Smtp]

_FAMILIES: Final[Mapping[str, _Family]] = {"imap": _Imap, "pop": _Pop, "smtp": _Smtp}
