"""What the server's side of TLS knows of a connection: its channel bindings, and the client's certificate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final

from ..channel_binding import bindings
from .certificates import ServerContext

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

    from .connection import Connection

NO_TLS: Final = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "RECORD_LAYER_FAILURE"})
"""What OpenSSL says to octets that are no TLS."""


@final
class Security:
    """TLS on one connection, once it has begun.

    Attributes:
        bindings: the channel bindings, by their types (RFC 5929, RFC 9266).
        certificate: the client's, DER, or None.
    """

    def __init__(self, context: ssl.SSLContext) -> None:
        self.bindings: Mapping[str, bytes] = {}
        self.certificate: bytes | None = None
        self._context = context

    async def begin(self, connection: Connection, *, grace: float) -> bool:
        """Do the handshake; return whether the connection is under TLS now."""
        if not await connection.start_tls(self._context, grace=grace):
            return False
        tls = connection.ssl_object
        if tls is not None:
            exporters = self._context.exporters if isinstance(self._context, ServerContext) else None
            export = None if exporters is None else exporters.take(tls)
            context = tls.context if isinstance(tls.context, ServerContext) else self._context  # one of its own, or not
            own = context.certificate if isinstance(context, ServerContext) else None
            self.bindings = bindings(tls, server_side=True, certificate=own, exporter=export)
            self.certificate = tls.getpeercert(binary_form=True)
        return True
