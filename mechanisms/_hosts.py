"""Which names are the server's own: a client says which it meant to reach (RFC 7628 section 3.2, RFC 2831 2.1.2)."""

from __future__ import annotations

from sasl.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

    from sasl.channel import Channel


def own_names(hosts: Collection[str], channel: Channel) -> Collection[str]:
    """Return `hosts` (one or several, in any case) or else the channel's host, in lower case; nothing if unknown."""
    if isinstance(hosts, str):  # a single name is one, not its letters
        hosts = (hosts,)
    if hosts:
        return [name.lower() for name in hosts if name]
    return (channel.host.lower(),) if channel.host else ()
