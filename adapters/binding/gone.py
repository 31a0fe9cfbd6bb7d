"""Whether an error says that a connection is of no use any more, whatever the library that has raised it."""

from __future__ import annotations

from errno import EBADF, ENETDOWN, ENETRESET, ENOTCONN
from importlib import import_module
from ssl import SSLEOFError, SSLZeroReturnError

from sasl.errors import ConnectionLost, SASLError
from sasl.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Final

_NO_CONNECTION: Final = (EBADF, ENETDOWN, ENETRESET, ENOTCONN)
_TIMED_OUT_BEFORE: Final = ("cannot read from timed out object",)
"""What the file of a socket raises from its first time-out on."""
_BOUND: Final = ("imaplib", "poplib", "smtplib", "aioimaplib", "aiosmtplib", "imapclient", "sievelib")
"""Libraries whose bindings know it of their errors."""
_ENDS: Final = frozenset(
    {
        "OpenSSL.SysCallError",
        "OpenSSL.ZeroReturnError",
        "anyio.BrokenResourceError",
        "anyio.ClosedResourceError",
        "anyio.EndOfStream",
        "anyio.IncompleteRead",
        "trio.BrokenResourceError",
        "trio.ClosedResourceError",
        "trio.TooSlowError",
    }
)
"""Errors of libraries that carry octets, by package and name: each of them means this."""


def is_gone(error: BaseException) -> bool:
    """Whether an error says that a connection is of no use any more: log in on a new one then.

    It may be ours, a socket's, that of a library that is bound here, or that of pyOpenSSL, asyncio, anyio or trio; no
    library is loaded for it. After a time-out nobody knows whose answer comes next. It is False for a refusal, which a
    new connection gets as well, and for a connection that was refused: it never was one.
    """
    if not isinstance(error, SASLError):
        for cls in type(error).__mro__:
            package = _package_of(cls)
            if package in _BOUND:
                known: bool = import_module(f"..{package}", __package__).is_session_lost(error)
                return known
    return is_gone_below(error)


def is_gone_below(error: BaseException) -> bool:
    """Whether an error says so that is ours, or that a library lets pass: its socket's, or its stream's.

    It is what a binding of this package asks about an error that is not its library's: `is_gone` asks the bindings.
    """
    if isinstance(error, SASLError):
        return isinstance(error, ConnectionLost)
    if isinstance(error, EOFError) or any(f"{_package_of(cls)}.{cls.__name__}" in _ENDS for cls in type(error).__mro__):
        return True
    if isinstance(error, ConnectionRefusedError) or not isinstance(error, OSError):
        return False
    lost = isinstance(error, ConnectionError | TimeoutError | SSLEOFError | SSLZeroReturnError)
    return lost or error.errno in _NO_CONNECTION or error.args == _TIMED_OUT_BEFORE


def _package_of(cls: type) -> str:
    return cls.__module__.partition(".")[0]
