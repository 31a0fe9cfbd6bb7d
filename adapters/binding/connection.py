"""A connection of a library's: opened, put under TLS, closed."""

from __future__ import annotations

import socket
from contextlib import contextmanager

from sasl.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from ssl import SSLContext
    from typing import Any, Final, TypeVar

    from .login import Library

    C = TypeVar("C")

GLOBAL_TIMEOUT: Final[Any] = socket._GLOBAL_DEFAULT_TIMEOUT  # type: ignore[attr-defined]  # noqa: SLF001
"""What smtplib and poplib take for the time-out where none is given: that of socket.setdefaulttimeout()."""


@contextmanager
def connect(
    library: Library[C, Any],
    host: str,
    port: int,
    *,
    tls: SSLContext | None = None,
    starttls: SSLContext | None = None,
    timeout: float | None = None,
) -> Iterator[C]:
    """Connect, under TLS from the first octet with `tls`, or from STARTTLS on with `starttls`; close at the end.

    `timeout` is in seconds, for each read and write. What the library raises leaves as it is.
    """
    conn = library.open(host, port, tls=tls, timeout=timeout)
    try:
        if starttls is not None:
            library.start_tls(conn, starttls)
        yield conn
    finally:
        library.close(conn)


def open_by_class(
    host: str,
    port: int,
    *,
    tls: SSLContext | None = None,
    timeout: float | None = None,
    classes: tuple[Callable[..., C], Callable[..., C]],
    context: str = "context",
    **settings: Any,
) -> C:
    """Connect as the standard library does: by one of two classes, the second of which is for TLS from the first octet.

    `context` is what that one calls its SSLContext; both take the `settings`.
    """
    in_the_clear, under_tls = classes
    if tls is None:
        return in_the_clear(host, port, timeout=timeout, **settings)
    return under_tls(host, port, timeout=timeout, **{context: tls}, **settings)


def close(conn: Any) -> None:
    """Close a connection of the standard library's, which may be closed already."""
    try:
        conn.close()
    except OSError:
        pass
