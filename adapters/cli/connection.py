"""Connections to a mail server of each protocol: opened, put under TLS, ended.

They are those of the standard library in the form of this package's drop-in classes. What these and the system
raise leaves as a SASLError.
"""

from __future__ import annotations

import socket
import ssl
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

from sasl.errors import ConnectionLost, PolicyViolation, ProtocolError, SASLError, UsageError

from ..binding import Library
from .exits import NoSuchHost, Undecodable, Untrusted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from .url import Target

AnyLibrary: TypeAlias = Library[Any, Any]

_MODULES: Final[Mapping[str, str]] = {"imap": "..imaplib", "pop": "..poplib", "smtp": "..smtplib"}


def library_for(protocol: str) -> AnyLibrary:
    """Return the description of the library that speaks a protocol."""
    return cast("AnyLibrary", import_module(_MODULES[protocol], __package__).LIBRARY)


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
def connect(
    library: AnyLibrary, target: Target, context: ssl.SSLContext, *, timeout: float, **settings: Any
) -> Iterator[Any]:
    """Connect, under TLS if it begins with the connection, and close at the end.

    `timeout` is in seconds, for each read and write; `settings` are for the library's `open`.
    Raises NoSuchHost, ConnectionLost, Untrusted, ProtocolError (of kind "tls" where TLS fails), TemporaryFailure where
    the server says so.
    """
    tls = context if target.implicit_tls else None
    with errors_of(library):
        conn = library.open(target.host, target.port, tls=tls, timeout=timeout, **settings)
    try:
        yield conn
    finally:
        library.close(conn)


def start_tls(
    library: AnyLibrary,
    conn: Any,
    context: ssl.SSLContext,
    *,
    required: bool,
    see: Callable[[], object] = bool,
) -> None:
    """Begin TLS by STARTTLS, where the server offers it; `see` is called before.

    Raises PolicyViolation where it does not and it is required, and as `connect` does.
    """
    with errors_of(library):
        if library.offers_tls(conn):
            see()
            library.start_tls(conn, context)
        elif required:
            raise PolicyViolation("the server offers no STARTTLS, and TLS is required")


def tls_facts(sock: socket.socket | None) -> Mapping[str, str] | None:
    """Return version and cipher, or None without TLS."""
    if not isinstance(sock, ssl.SSLSocket):
        return None
    cipher = sock.cipher()
    return {"version": sock.version() or "", "cipher": cipher[0] if cipher else ""}


@contextmanager
def errors_of(library: AnyLibrary) -> Iterator[None]:
    """Let what the library and the system raise leave as an error of ours."""
    try:
        yield
        return
    except SASLError:
        raise
    except Exception as error:
        failure = library.explain(error) or _explain(error)
        if failure is None:
            raise
    raise failure


def _explain(error: Exception) -> SASLError | None:
    """What an error of sockets or TLS means, or one of the library's parser; None for a bug."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return Untrusted(error.verify_code, error.verify_message)
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return ConnectionLost("the server ended the connection instead of beginning TLS", kind="tls")
    if isinstance(error, ssl.SSLError):
        return ProtocolError(f"TLS failed: {error.reason}", kind="tls")
    if isinstance(error, socket.gaierror):
        return NoSuchHost(f"no such host: {error.strerror}", kind="no_such_host")
    if isinstance(error, TimeoutError):
        return ConnectionLost("the server did not answer in time", kind="timeout")
    if isinstance(error, ConnectionResetError | BrokenPipeError | EOFError):
        return ConnectionLost("the server ended the connection")
    if isinstance(error, OSError):
        return ConnectionLost(f"cannot connect: {error.strerror}", kind="unreachable")
    if isinstance(error, ValueError | LookupError | ArithmeticError | MemoryError):
        return ProtocolError("the server sent what cannot be read")
    return None
