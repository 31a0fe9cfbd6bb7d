"""The connection below an exchange, as far as authentication depends on it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from .errors import UsageError
from .secret import octets
from .typed import TYPE_CHECKING, final
from .value import field, value

if TYPE_CHECKING:
    from typing import Final

_NO_BINDINGS: Final[Mapping[str, bytes]] = MappingProxyType({})
_TYPES: Final = (
    ("tls", bool),
    ("loopback", bool),
    ("service", str),
    ("host", str | None),
    ("port", int | None),
    ("bindings", Mapping),
)


@final
@value
class Channel:
    """Describes the connection to `choose`, `offer`, `client` and `server`.

    Attributes:
        tls: whether TLS is in force. Whether the certificate was checked is the TLS context's business, which a
            connection does not tell; imaplib, poplib and smtplib check none unless they are given a context.
        loopback: whether the peer is this machine.
        service: the protocol's service name: "imap", "pop", "smtp" (RFC 4422 section 4).
        host: the server's name as the client meant it, or None.
        port: the server's port, or None.
        bindings: channel-binding type to its octets, the preferred one first (RFC 5056).

    Raises UsageError for a part of another type: what is nearly True is no TLS.
    """

    tls: bool = False
    loopback: bool = False
    service: str = ""
    host: str | None = None
    port: int | None = None
    bindings: Mapping[str, bytes] = field(default_factory=lambda: _NO_BINDINGS)

    def __post_init__(self) -> None:
        for name, kind in _TYPES:
            if not isinstance(getattr(self, name), kind):
                raise UsageError(f"the {name} of a channel is not {type(getattr(self, name)).__name__}")
        if self.bindings is not _NO_BINDINGS:
            bindings = dict(self.bindings)
            if not all(isinstance(key, str) and isinstance(data, bytes) for key, data in bindings.items()):
                raise UsageError("the bindings of a channel are octets by the names of their types")
            object.__setattr__(self, "bindings", MappingProxyType(bindings))

    def __hash__(self) -> int:
        return hash((self.tls, self.loopback, self.service, self.host, self.port, tuple(self.bindings.items())))

    def __reduce__(self) -> tuple[type[Channel], tuple[object, ...]]:
        bindings = dict(self.bindings)  # a mapping proxy is neither pickled nor copied
        return type(self), (self.tls, self.loopback, self.service, self.host, self.port, bindings)

    def __repr__(self) -> str:
        bindings = "".join(f", {kind}={octets(data)}" for kind, data in self.bindings.items())
        where = f"{self.service!r}, host={self.host!r}, port={self.port!r}"
        return f"Channel(tls={self.tls}, loopback={self.loopback}, service={where}{bindings})"


UNKNOWN_CHANNEL: Final = Channel()
