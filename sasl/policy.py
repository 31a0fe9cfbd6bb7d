"""Which mechanism, and why not the others: the client's `choose` and the server's `offer`."""

from __future__ import annotations

from collections.abc import Iterable

from .channel import UNKNOWN_CHANNEL, Channel
from .credentials import Bearer, External, Password
from .errors import MechanismUnavailable, PolicyViolation, UsageError
from .limits import DEFAULT_LIMITS, Limits
from .registry import Mechanism, canonical, known_mechanisms, lookup
from .typed import TYPE_CHECKING, Protocol, final
from .value import field, replace, value

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from typing import Final, Literal

    from .credentials import Credentials
    from .steps import Question


class Pins(Protocol):
    """Remembers which mechanism each account logged in with: a dict, or a mapping that keeps it on disk.

    An account is a text, "imap://user@host".
    """

    def get(self, account: str, /) -> str | None:
        """Return the mechanism of an account, or None."""
        ...

    def __setitem__(self, account: str, mechanism: str, /) -> None:
        """Remember the mechanism of an account."""
        ...


@final
@value
class Policy:
    """What is allowed.

    Attributes:
        plaintext: where a mechanism that sends a usable credential may run without TLS.
        allow: names of mechanisms that are off by default and allowed here.
        channel_binding: whether a -PLUS mechanism is preferred, required or never used.
        min_iterations, max_iterations: SCRAM iteration counts.
        pin: the mechanism that this account once logged in with: a weaker one is refused. -PLUS is never weaker than
            what has no channel binding.
        pins: where pins are kept, for policies that serve many accounts: what it says of an account holds where
            `pin` says nothing. `remember` writes there.

    Raises UsageError for a value that is none of these.
    """

    plaintext: Literal["never", "loopback", "always"] = "never"
    allow: Collection[str] = ()
    channel_binding: Literal["prefer", "require", "never"] = "prefer"
    min_iterations: int = DEFAULT_LIMITS.min_iterations
    max_iterations: int = DEFAULT_LIMITS.max_iterations
    pin: str | None = None
    pins: Pins | None = field(default=None, hidden=True)

    def __post_init__(self) -> None:
        if self.plaintext not in ("never", "loopback", "always"):
            raise UsageError("plaintext is never, loopback or always")
        if self.channel_binding not in ("prefer", "require", "never"):
            raise UsageError("channel_binding is prefer, require or never")
        if isinstance(self.allow, str) or not isinstance(self.allow, Iterable):
            raise UsageError("allow is a collection of names, not one name")
        if not isinstance(self.min_iterations, int) or not isinstance(self.max_iterations, int):
            raise UsageError("iterations are counted")
        object.__setattr__(self, "allow", frozenset(canonical(name) for name in self.allow))
        if self.pin is not None:
            object.__setattr__(self, "pin", canonical(self.pin))

    def permits_plaintext(self, channel: Channel) -> bool:
        """Whether a credential may be sent as it is over this connection."""
        return (
            channel.tls
            or self.plaintext == "always"
            or (self.plaintext == "loopback" and channel.loopback)
        )  # fmt: skip

    def pinned(self, channel: Channel, credentials: Credentials) -> Policy:
        """Return the policy for one account: with the pin that is kept for it, if there is one.

        Raises UsageError if the store fails.
        """
        account = _account(channel, credentials)
        if self.pins is None or self.pin is not None or account is None:
            return self
        failure = ""
        try:
            return replace(self, pin=self.pins.get(account), pins=None)
        except Exception as error:
            failure = type(error).__name__
        raise UsageError(f"the store of pins failed with {failure}")

    def remember(self, choice: Choice, credentials: Credentials) -> None:
        """Pin an account to the mechanism that it has just logged in with, unless it is pinned to a stronger one.

        Does nothing without `pins`, and where host or user are not known. Raises UsageError if the store fails.
        """
        account = _account(choice.channel, credentials)
        if self.pins is None or account is None:
            return
        failure = ""
        try:
            before = self.pins.get(account)
            if before is None or _rank(choice.name) > _rank(before):
                self.pins[account] = choice.name
        except Exception as error:
            failure = type(error).__name__
        if failure:
            raise UsageError(f"the store of pins failed with {failure}")


DEFAULT_POLICY: Final = Policy()


@final
@value
class Choice:
    """What `choose` decided.

    Attributes:
        name: the mechanism.
        channel: what to pass to `sasl.client`: its bindings are empty where -PLUS was offered and not taken, or where
            the policy wants none.
        limits: what to pass on as well; holds the policy's iteration counts.
        passed_over: every other name that was looked at, with the reason against it.
    """

    name: str
    channel: Channel = UNKNOWN_CHANNEL
    limits: Limits = DEFAULT_LIMITS
    passed_over: Mapping[str, str] = field(default_factory=dict)


def choose(
    offered: Iterable[str],
    credentials: Credentials,
    *,
    policy: Policy = DEFAULT_POLICY,
    channel: Channel | None = None,
    mechanism: str | None = None,
) -> Choice:
    """Choose the strongest mechanism that the server offers, the credentials fit and the policy allows.

    `mechanism` narrows the choice to one name; it never bypasses the policy. A token never goes into a
    password mechanism, nor the reverse.
    Raises PolicyViolation if only the policy stood in the way, else MechanismUnavailable; both say why in
    `passed_over`. UsageError if `mechanism` is not a name, or `offered` a text instead of a collection of names.
    """
    if isinstance(offered, str | bytes) or not isinstance(offered, Iterable):
        raise UsageError("offered is a collection of names, not one text")
    if isinstance(credentials, str | bytes):
        del credentials
        raise UsageError("credentials are a Password, a Bearer, ..., not a bare text")
    channel = UNKNOWN_CHANNEL if channel is None else channel
    if not isinstance(policy, Policy) or not isinstance(channel, Channel):
        raise UsageError("policy is a Policy, channel a Channel")
    policy = policy.pinned(channel, credentials)
    wanted = None if mechanism is None else canonical(mechanism)
    names = _names(offered)
    passed_over: dict[str, str] = {}
    refused: dict[str, str] = {}
    fitting: list[Mechanism] = []
    for name in names:
        if wanted not in (None, name):
            passed_over[name] = f"{wanted} was asked for"
            continue
        row, reason = _usable(name, credentials, channel)
        if row is None:
            passed_over[name] = reason
        elif reason := against(row, policy, channel):
            refused[name] = reason
        else:
            fitting.append(row)
    if wanted is not None and wanted not in names:
        passed_over[wanted] = "the server does not offer it"
    if not fitting:
        reasons = passed_over | refused
        if refused:
            listed = "; ".join(f"{name}: {reason}" for name, reason in refused.items())
            raise PolicyViolation(f"the policy allows none of what is offered ({listed})", passed_over=reasons)
        told = {wanted: reasons[wanted]} if wanted is not None else reasons
        listed = "; ".join(f"{name}: {reason}" for name, reason in told.items()) or "it offers nothing"
        raise MechanismUnavailable(f"no mechanism in common with the server ({listed})", passed_over=reasons)
    best = max(fitting, key=lambda row: row.rank)
    best = next((row for row in fitting if row.twin == best.name), best)
    passed_over |= refused
    passed_over |= {row.name: f"{best.name} is stronger" for row in fitting if row is not best}
    if policy.channel_binding == "never" or _offered_with_binding(best, names):
        channel = replace(channel, bindings={})
    limits = replace(DEFAULT_LIMITS, min_iterations=policy.min_iterations, max_iterations=policy.max_iterations)
    return Choice(best.name, channel, limits, passed_over)


def offer(channel: Channel, policy: Policy, answers: Collection[type[Question]]) -> list[str]:
    """Return the mechanisms that a server should advertise, the strongest first.

    `answers` are the question types that its verifier serves. What the policy forbids over this channel is
    left out: a plaintext mechanism without TLS, one that is off by default, a -PLUS one without bindings.
    """
    return [
        row.name
        for row in known_mechanisms()
        if row.server is not None
        and set(row.questions) <= set(answers)
        and not against(row, policy, channel)
        and not (row.twin is not None and not channel.bindings)
        and not (row.credentials is External and not channel.tls)  # what is external to us comes from TLS
    ]


def _account(channel: Channel, credentials: Credentials) -> str | None:
    """What an account is called in a store of pins; None where nobody can say which one it is."""
    if isinstance(credentials, Password):
        user = credentials.authcid
    elif isinstance(credentials, Bearer):
        user = credentials.username
    else:
        return None
    return f"{channel.service}://{user}@{channel.host.lower()}" if channel.host else None


def _rank(name: str) -> int:
    """How strong a mechanism is; what is not in the registry, a login command for instance, is the weakest."""
    row = _known(name)
    return 0 if row is None else row.rank


def _names(offered: Iterable[str]) -> list[str]:
    """The names of a server's list that are names, each once, in its order."""
    names: dict[str, None] = {}
    for name in offered:
        try:
            names[canonical(name)] = None
        except UsageError:
            continue
    return list(names)


def _known(name: str) -> Mechanism | None:
    try:
        return lookup(name)
    except MechanismUnavailable:
        return None


def _offered_with_binding(row: Mechanism, names: Collection[str]) -> bool:
    """Whether the server offers the same mechanism with channel binding, be it known here or not."""
    if f"{row.name}-PLUS" in names:
        return True
    return any(other is not None and other.twin == row.name for other in map(_known, names))


def _usable(name: str, credentials: Credentials, channel: Channel) -> tuple[Mechanism | None, str]:
    """The row of a name, or what stands in its way apart from the policy."""
    try:
        row = lookup(name)
    except MechanismUnavailable as error:
        return None, str(error)
    if row.client is None:
        return None, f"{name} has no client side here"
    if not isinstance(credentials, row.credentials):
        return None, f"takes {row.credentials.__name__}, not {type(credentials).__name__}"
    if row.twin is not None and not channel.bindings:
        return None, "no channel-binding data for this connection"
    if row.credentials is External and not channel.tls:
        return None, "says what TLS has proved, and there is no TLS"
    return row, ""


def against(row: Mechanism, policy: Policy, channel: Channel) -> str:
    """What the policy has against a mechanism here; empty if nothing."""
    if row.plaintext and not policy.permits_plaintext(channel):
        return "sends the credential in the clear, and there is no TLS"
    if row.off_by_default and row.name not in policy.allow:
        return "off unless the policy allows it by name"
    if row.twin is not None and policy.channel_binding == "never":
        return "the policy wants no channel binding"
    if row.twin is None and policy.channel_binding == "require":
        return "the policy requires channel binding"
    if policy.pin is not None:
        pinned = _known(policy.pin)
        if pinned is None or row.rank < pinned.rank:
            return f"weaker than {policy.pin}, which this account is pinned to"
    return ""
