"""`is_gone`: which errors say that a connection is of no use any more, whatever the library."""

from __future__ import annotations

import asyncio
import errno
import imaplib
import poplib
import smtplib
import socket
import ssl
import subprocess
import sys

import anyio
import OpenSSL.SSL
import pytest
import trio

import sasl
from sasl.adapters.binding import is_gone
from sasl.adapters.binding.gone import _BOUND

from ..support.libraries import Client, clients

GONE = [
    sasl.ConnectionLost(),
    sasl.ServerBusy(),
    ConnectionResetError(),
    BrokenPipeError(),
    TimeoutError(),
    ssl.SSLEOFError(),
    OSError(errno.EBADF, "closed"),
    OSError("cannot read from timed out object"),
    EOFError(),
    asyncio.IncompleteReadError(b"", 1),
    imaplib.IMAP4.abort("socket error: EOF"),
    poplib.error_proto("-ERR EOF"),
    smtplib.SMTPServerDisconnected("Connection unexpectedly closed"),
    smtplib.SMTPSenderRefused(421, b"closing", "me"),
    anyio.EndOfStream(),
    anyio.IncompleteRead(),
    anyio.ClosedResourceError(),
    anyio.BrokenResourceError(),
    trio.BrokenResourceError(),
    trio.ClosedResourceError(),
    trio.TooSlowError(),
    OpenSSL.SSL.ZeroReturnError(),
    OpenSSL.SSL.SysCallError(-1, "Unexpected EOF"),
]
NOT_GONE = [
    sasl.AuthenticationFailed(),
    sasl.TemporaryFailure(),
    ConnectionRefusedError(),
    socket.gaierror(),
    FileNotFoundError(),
    ValueError("a line that is too long"),
    ssl.SSLCertVerificationError(),
    imaplib.IMAP4.error("NO"),
    imaplib.IMAP4.readonly("read-only"),
    poplib.error_proto(b"-ERR no such message"),
    smtplib.SMTPAuthenticationError(535, b"no"),
    trio.BusyResourceError(),
    OpenSSL.SSL.WantReadError(),
    KeyboardInterrupt(),
]


@pytest.mark.parametrize("error", GONE, ids=lambda error: type(error).__name__)
def test_a_connection_is_of_no_use_any_more(error: BaseException) -> None:
    assert is_gone(error)


@pytest.mark.parametrize("error", NOT_GONE, ids=lambda error: type(error).__name__)
def test_anything_else_is_about_something_else(error: BaseException) -> None:
    assert not is_gone(error)


@pytest.mark.parametrize("package", _BOUND)
def test_an_error_that_a_library_has_besides_its_own_says_nothing(package: str) -> None:
    """Its binding is asked, and does not ask back."""
    pytest.importorskip(package, reason=f"{package} is not installed")
    unknown = type("Unknown", (Exception,), {"__module__": f"{package}.of_another_release"})
    assert not is_gone(unknown())


@pytest.mark.parametrize("client", clients())
def test_the_binding_of_each_library_is_asked(client: Client) -> None:
    """A library's errors are told by its binding, unless they are another library's, or sockets'."""
    packages = {cls.__module__.partition(".")[0] for cls in client.lost.__mro__}
    assert packages & set(_BOUND) or issubclass(client.lost, OSError)


def test_no_library_is_loaded_to_ask() -> None:
    script = (
        "import sys; from sasl.adapters.binding import is_gone; before = set(sys.modules);"
        "assert is_gone(EOFError()) and not is_gone(ValueError()); print(*(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, text=True, check=True, cwd="/")
    assert done.stdout.split() == []
