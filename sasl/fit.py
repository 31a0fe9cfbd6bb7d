"""What fits a connection and a password: channel binding, and hashes of a password that preparing would change."""

from __future__ import annotations

from functools import partial

from .channel import END_POINT, LazyBindings
from .credentials import Password
from .errors import LimitExceeded, MechanismUnavailable, UsageError
from .prep import prepare_own
from .registry import lookup
from .typed import TYPE_CHECKING
from .value import replace

if TYPE_CHECKING:
    from collections.abc import Collection

    from .channel import Channel
    from .credentials import Credentials
    from .policy import Policy
    from .registry import Mechanism


def asks_for_binding(policy: Policy) -> bool:
    """Whether the policy, or a pin, wants channel binding and nothing else: a row with -PLUS is tried at any price."""
    return policy.channel_binding == "require" or is_bound(policy.pin)


def is_bound(name: str | None) -> bool:
    """Whether a name is that of a mechanism with channel binding; None is not."""
    row = None if name is None else known(name)
    return row is not None and row.twin is not None


def no_binding(policy: Policy, channel: Channel, wanted: str | None) -> str:
    """Return why a -PLUS mechanism cannot be used on a connection, or would fail there; "" if it can."""
    if channel.default_binding is not None:
        return ""
    if wanted is None and not asks_for_binding(policy):
        return "this connection has not the channel binding that is the default for its TLS version"
    if channel.bindings:
        return ""
    missing = "no channel-binding data for this connection"
    return f"{missing}, and this account is pinned to {policy.pin}" if is_bound(policy.pin) else missing


def bind(channel: Channel, row: Mechanism, policy: Policy, names: Collection[str]) -> Channel:
    """Return the channel with what the mechanism is to make of its bindings: bind to one, say "y", or say nothing.

    "y" tells a server which offered no -PLUS that it could have been used; one that has it refuses then.
    """
    if row.twin is None and (policy.channel_binding == "never" or _is_offered_bound(row, names)):
        return replace(channel, bindings={})
    select = partial(_binding_of, channel, asked=row.twin is not None)
    found = channel.bindings
    return replace(
        channel,
        bindings=LazyBindings(select, default=found.default) if isinstance(found, LazyBindings) else select(),
    )


def _binding_of(channel: Channel, *, asked: bool) -> dict[str, bytes]:
    """Return the one channel binding of a login: the default, or else, where it is asked for, what any TLS library has.

    That is the hash of the server's certificate.
    """
    found, kind = channel.bindings, channel.default_binding
    if kind is None and asked:
        kind = END_POINT if END_POINT in found else next(iter(found))
    return {} if kind is None else {kind: found[kind]}


def _is_offered_bound(row: Mechanism, names: Collection[str]) -> bool:
    """Whether the server offers the same mechanism with channel binding, be it known here or not."""
    if f"{row.name}-PLUS" in names:
        return True
    return any(other is not None and other.twin == row.name for other in map(known, names))


def without_changed(
    rows: list[Mechanism], credentials: Credentials, channel: Channel, unfit: dict[str, str]
) -> list[Mechanism]:
    """Return the rows without those that would hash another text than what was typed, if others are left over TLS.

    Why each of them is passed over is added to `unfit`.
    """
    if not isinstance(credentials, Password) or not channel.tls:
        return rows
    as_typed = [row for row in rows if row.plaintext]
    if not as_typed or len(as_typed) == len(rows) or not (reason := _change_of(credentials)):
        return rows
    unfit.update((row.name, reason) for row in rows if not row.plaintext)
    return as_typed


def _change_of(credentials: Password) -> str:
    """Return what preparing does to a password that is not to be hashed then; "" if nothing."""
    try:
        prepare_own(credentials.authcid)
        prepared = prepare_own(credentials.password, stored=True)
    except (UsageError, LimitExceeded):
        return "the password, or the user name, cannot be prepared for hashing (SASLprep)"
    same = prepared == credentials.password
    return "" if same else "it hashes the password as SASLprep changes it; servers keep it as it was typed"


def known(name: str) -> Mechanism | None:
    """Return the row of a mechanism, or None where there is none of that name."""
    try:
        return lookup(name)
    except MechanismUnavailable:
        return None
