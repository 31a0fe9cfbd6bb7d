"""What a connection is, as far as a login depends on it: its `sasl.Channel`."""

from __future__ import annotations

import re
import ssl
import sys
from functools import partial

from sasl.channel import UNKNOWN_CHANNEL, Channel, LazyBindings
from sasl.typed import TYPE_CHECKING

from ..channel_binding import bindings, checks_certificate, default_of, tls_version

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Final

_LOOPBACK: Final = re.compile(r"(?:::ffff:)?127(?:\.[0-9]{1,3}){3}|::1")
"""The addresses of this machine, as the system writes them; a proxy's socket may give a name."""


def channel(connection: Any, *, service: str, host: str | None = None, port: int | None = None) -> Channel:
    """Return the channel of a connection, whatever library it is of; after its handshake, where it is under TLS.

    `connection` is a socket or an `SSLSocket` (gevent's, too), an `SSLObject`, a transport or a StreamWriter of
    asyncio's (uvloop's, too), a `Connection` of pyOpenSSL, a stream of trio's or of anyio's; None for a pipe. What is
    none of these is described as one without TLS. `service` is the protocol's service name, `host` the server's name as
    the caller meant it, if he knows, `port` its port, by default the peer's.

    TLS is TLS here, whether or not the connection's context checks certificates: that was the caller's to decide, and
    `Channel.checked` tells of it. The channel bindings are fetched where a mechanism looks at them: they want the
    server's certificate parsed, and cryptography takes 40 ms to import.
    """
    tls: Any = connection
    if isinstance(connection, ssl.SSLSocket):  # looked up now: gevent replaces the class
        version, peer = connection.version(), _peer_of_socket(connection)
        if version is None and peer is not None:  # after unwrap() it goes on, in the clear
            tls = None
    else:
        tls, peer = _parts(connection)
        version = None if tls is None else tls_version(tls)
        if version is None:
            tls = None
    found: Mapping[str, bytes] = UNKNOWN_CHANNEL.bindings
    if tls is not None:
        found = LazyBindings(partial(bindings, tls), default=default_of(tls))
    in_files = isinstance(peer, str | bytes)
    address = peer if isinstance(peer, tuple) else (None, None)
    if in_files or (peer is None and connection is None):  # a socket in the file system, or a pipe
        host = port = None
    return Channel(
        tls=tls is not None,
        loopback=in_files or _LOOPBACK.fullmatch(str(address[0])) is not None,
        service=service,
        host=(host if host.isascii() else _as_ascii(host)) if host else None,
        port=port or address[1],
        bindings=found,
        tls_version=version,
        checked=tls is not None and checks_certificate(tls),
    )


def _parts(connection: Any) -> tuple[Any, Any]:
    """Return what of a connection may be its TLS, and its peer's address; None for what cannot be told."""
    if callable(ask := getattr(connection, "get_extra_info", None)):  # asyncio, uvloop
        return ask("ssl_object"), ask("peername")
    if isinstance(connection, getattr(sys.modules.get("anyio"), "TypedAttributeProvider", ())):
        return _parts_of_anyio(connection)
    below = connection
    while hasattr(below, "transport_stream"):  # trio
        below = below.transport_stream
    return connection, _peer_of_socket(getattr(below, "socket", below))


def _parts_of_anyio(stream: Any) -> tuple[Any, Any]:
    """Return the same of a stream of anyio's: the modules that it is made of are loaded."""
    ask, tls = stream.extra, sys.modules.get("anyio.streams.tls")
    ssl_object = None if tls is None else ask(tls.TLSAttribute.ssl_object, None)
    return ssl_object, ask(sys.modules["anyio.abc"].SocketAttribute.remote_address, None)


def _peer_of_socket(sock: Any) -> Any:
    try:
        return sock.getpeername()
    except (OSError, AttributeError):
        return None  # the first write will tell that it is closed


def _as_ascii(host: str) -> str:
    """Return a host's name as it is looked up, in ASCII, if it can be (RFC 3490)."""
    try:
        return host.encode("idna").decode("ascii")
    except UnicodeError:
        return host
