"""What a connection is, as far as a login depends on it: its `sasl.Channel`."""

from __future__ import annotations

import re
import ssl
from functools import partial

from sasl.channel import UNKNOWN_CHANNEL, Channel, LazyBindings
from sasl.typed import TYPE_CHECKING

from ..channel_binding import bindings, default_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from socket import socket
    from typing import Any, Final

_LOOPBACK: Final = re.compile(r"(?:::ffff:)?127(?:\.[0-9]{1,3}){3}|::1")
"""The addresses of this machine, as the system writes them; a proxy's socket may give a name."""


def describe(sock: socket | None, service: str, host: str | None = None, port: int | None = None) -> Channel:
    """Return the channel of a connection. `host` is the server's name as the caller meant it, if the library knows.

    TLS is TLS here, whether or not the connection's context checks certificates: that was the caller's to decide. The
    channel bindings are fetched where a mechanism looks at them: they want the server's certificate parsed, and
    cryptography takes 40 ms to import.
    """
    tls = sock if isinstance(sock, ssl.SSLSocket) else None  # looked up now: gevent replaces the class
    version: str | None = None
    found: Mapping[str, bytes] = UNKNOWN_CHANNEL.bindings
    if tls is not None:
        version, found = tls.version(), LazyBindings(partial(bindings, tls), default=default_of(tls))
    peer: Any = None
    try:
        peer = sock.getpeername() if sock is not None else None
    except OSError:
        pass  # the first write will tell that it is closed
    if not isinstance(peer, tuple):  # a pipe, or a socket in the file system
        return Channel(
            tls=tls is not None,
            loopback=isinstance(peer, str | bytes),
            service=service,
            bindings=found,
            tls_version=version,
        )
    return Channel(
        tls=tls is not None,
        loopback=_LOOPBACK.fullmatch(str(peer[0])) is not None,
        service=service,
        host=(host if host.isascii() else _as_ascii(host)) if host else None,
        port=port or peer[1],
        bindings=found,
        tls_version=version,
    )


def checks_certificate(conn: Any) -> bool:
    """Whether the context of a connection's TLS checks the server's certificate; what cannot be seen does not."""
    context = getattr(getattr(conn, "sock", None), "context", None)
    return getattr(context, "verify_mode", ssl.CERT_NONE) is ssl.CERT_REQUIRED


def _as_ascii(host: str) -> str:
    """Return a host's name as it is looked up, in ASCII, if it can be (RFC 3490)."""
    try:
        return host.encode("idna").decode("ascii")
    except UnicodeError:
        return host
