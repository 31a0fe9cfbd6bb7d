"""A connection of a library's for as long as a block: opened, put under TLS, closed."""

from __future__ import annotations

from contextlib import contextmanager

from sasl.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from ssl import SSLContext
    from typing import Any, TypeVar

    from .login import Library

    C = TypeVar("C")


@contextmanager
def connected(
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
