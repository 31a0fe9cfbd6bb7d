"""What a connection is, as far as a login depends on it: its `sasl.Channel`."""

from __future__ import annotations

import re
from functools import partial
from ssl import SSLSocket

from sasl.channel import UNKNOWN_CHANNEL, Channel, LazyBindings
from sasl.typed import TYPE_CHECKING

from ..channel_binding import bindings

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
    tls = isinstance(sock, SSLSocket)
    found: Mapping[str, bytes] = LazyBindings(partial(bindings, sock)) if tls else UNKNOWN_CHANNEL.bindings
    peer: Any = None
    try:
        peer = sock.getpeername() if sock is not None else None
    except OSError:
        pass  # the first write will tell that it is closed
    if not isinstance(peer, tuple):  # a pipe, or a socket in the file system
        return Channel(tls=tls, loopback=isinstance(peer, str | bytes), service=service, bindings=found)
    return Channel(
        tls=tls,
        loopback=_LOOPBACK.fullmatch(str(peer[0])) is not None,
        service=service,
        host=(host if host.isascii() else _as_ascii(host)) if host else None,
        port=port or peer[1],
        bindings=found,
    )


def _as_ascii(host: str) -> str:
    """Return a host's name as it is looked up, in ASCII, if it can be (RFC 3490)."""
    try:
        return host.encode("idna").decode("ascii")
    except UnicodeError:
        return host
