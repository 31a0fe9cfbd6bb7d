"""The connection below an exchange, as far as authentication depends on it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from .errors import SASLError, UsageError, is_interruption
from .secret import octets
from .typed import TYPE_CHECKING, final
from .value import field, value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Final

UNKNOWN: Final = ""
"""What is said of the default channel binding where only the bindings can tell."""
_NO_BINDINGS: Final[Mapping[str, bytes]] = MappingProxyType({})
_TYPES: Final = (
    ("tls", bool),
    ("loopback", bool),
    ("service", str),
    ("host", str | None),
    ("port", int | None),
    ("bindings", Mapping),
    ("tls_version", str | None),
    ("checked", bool),
)
END_POINT: Final = "tls-server-end-point"
"""The type of channel binding that any TLS library has: the hash of the server's certificate (RFC 5929 section 4)."""
_EXPORTER: Final = "tls-exporter"
_UNIQUE: Final = "tls-unique"
_BEFORE_1_3: Final = frozenset({"TLSv1", "TLSv1.1", "TLSv1.2"})


@final
class LazyBindings(Mapping[str, bytes]):
    """The channel bindings of a connection, fetched when somebody looks: most logins have no use for them.

    `fetch` returns them, the preferred one first; once it has, it is not called again. A SASLError, an OSError and an
    ImportError that it raises leave as they are where the bindings are looked at, all else is a UsageError there.
    `default` is what `Channel.default_binding` is to be, for who knows it before: None if it is not at hand.
    """

    __slots__ = ("_fetch", "_found", "default")

    def __init__(self, fetch: Callable[[], Mapping[str, bytes]], *, default: str | None = UNKNOWN) -> None:
        self.default = default
        self._fetch = fetch
        self._found: Mapping[str, bytes] | None = None

    def __getitem__(self, kind: str) -> bytes:
        return self._fetch_once()[kind]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fetch_once())

    def __len__(self) -> int:
        return len(self._fetch_once())

    def __repr__(self) -> str:
        return "LazyBindings()"

    def _fetch_once(self) -> Mapping[str, bytes]:
        if self._found is None:
            self._found = _check_bindings(_bindings_from(self._fetch))
        return self._found


@final
@value
class Channel:
    """Describes the connection to `choose`, `offer`, `client` and `server`.

    Attributes:
        tls: whether TLS is in force, with a certificate that was checked or not, which `checked` tells: imaplib, poplib
            and smtplib check none unless they are given a context.
        loopback: whether the peer is this machine.
        service: the protocol's service name: "imap", "pop", "smtp" (RFC 4422 section 4).
        host: the server's name as the client meant it, or None.
        port: the server's port, or None.
        bindings: channel-binding type to its octets, the preferred one first (RFC 5056); `LazyBindings` are not
            looked at before a mechanism does.
        tls_version: "TLSv1.3", ..., as `ssl.SSLSocket.version` names it, or None.
        checked: whether the connection's TLS context checks the server's certificate; False where nobody told.

    Raises UsageError for a part of another type: what is nearly True is no TLS.
    """

    tls: bool = False
    loopback: bool = False
    service: str = ""
    host: str | None = None
    port: int | None = None
    bindings: Mapping[str, bytes] = field(default_factory=lambda: _NO_BINDINGS)
    tls_version: str | None = None
    checked: bool = False

    def __post_init__(self) -> None:
        for name, kind in _TYPES:
            if not isinstance(getattr(self, name), kind):
                raise UsageError(f"the {name} of a channel is not {type(getattr(self, name)).__name__}")
        if self.bindings is not _NO_BINDINGS and not isinstance(self.bindings, LazyBindings):
            object.__setattr__(self, "bindings", _check_bindings(self.bindings))

    @property
    def default_binding(self) -> str | None:
        """The type of channel binding that is the default for the TLS version and at hand; None if it is not at hand.

        That is tls-exporter under TLS 1.3 (RFC 9266 section 3), tls-unique before it (RFC 5802 section 6). Where nobody
        told the version, tls-unique tells that it is an older one. Only with this type may a peer be expected to bind
        without being asked to.
        """
        found = self.bindings
        if isinstance(found, LazyBindings) and found.default != UNKNOWN:
            return found.default
        old = self.tls_version in _BEFORE_1_3
        if _UNIQUE in found and (old or self.tls_version is None):
            return _UNIQUE
        return _EXPORTER if _EXPORTER in found and not old else None

    def __hash__(self) -> int:
        return hash((*self._parts(), tuple(self.bindings.items())))

    def __reduce__(self) -> tuple[type[Channel], tuple[object, ...]]:
        bindings = dict(self.bindings)  # a mapping proxy is neither pickled nor copied
        return type(self), (*self._parts(), bindings, self.tls_version, self.checked)

    def __repr__(self) -> str:
        known = {} if isinstance(self.bindings, LazyBindings) else self.bindings  # printing fetches nothing
        bindings = "".join(f", {kind}={octets(data)}" for kind, data in known.items())
        where = f"{self.service!r}, host={self.host!r}, port={self.port!r}"
        return f"Channel(tls={self.tls}, loopback={self.loopback}, service={where}{bindings})"

    def _parts(self) -> tuple[object, ...]:
        return self.tls, self.loopback, self.service, self.host, self.port


def _bindings_from(fetch: Callable[[], Mapping[str, bytes]]) -> Mapping[str, bytes]:
    """Call a function of the caller's; of what it raises unexpectedly only the type is told: it may hold anything."""
    try:
        return fetch()
    except (SASLError, OSError, ImportError):
        raise
    except Exception as error:
        if is_interruption(error):
            raise
        kind = type(error).__name__
    raise UsageError(f"the channel bindings could not be fetched: {kind}")


def _check_bindings(bindings: Mapping[str, bytes]) -> Mapping[str, bytes]:
    """Return a copy that cannot be changed. Raises UsageError for what are no bindings."""
    copy = dict(bindings)
    if not all(isinstance(kind, str) and isinstance(data, bytes) for kind, data in copy.items()):
        raise UsageError("the bindings of a channel are octets by the names of their types")
    return MappingProxyType(copy)


UNKNOWN_CHANNEL: Final = Channel()
