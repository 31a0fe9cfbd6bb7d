"""Which mechanism, and why not the others: the client's `choose` and the server's `offer`."""

from __future__ import annotations

from collections.abc import Iterable
from types import MappingProxyType

from .channel import UNKNOWN_CHANNEL, Channel
from .credentials import is_credentials
from .errors import MechanismUnavailable, PolicyViolation, SASLError, UsageError
from .limits import DEFAULT_LIMITS, Limits
from .registry import Mechanism, canonical, client, known_mechanisms, lookup
from .typed import TYPE_CHECKING, Protocol, final
from .value import field, replace, value

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from typing import Any, Final, Literal

    from .client_exchange import ClientExchange
    from .credentials import Credentials
    from .steps import Question

_NO_COMMANDS: Final[Mapping[str, str]] = MappingProxyType({})


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
            if not _outlasts(self.pins.get(account), choice.name):
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
        name: the mechanism, or the login command.
        channel: what to pass to `sasl.client`: its bindings are empty where -PLUS was offered and not taken, or where
            the policy wants none.
        limits: what to pass on as well; holds the policy's iteration counts.
        passed_over: every other name that was looked at, with the reason against it.
    """

    name: str
    channel: Channel = UNKNOWN_CHANNEL
    limits: Limits = DEFAULT_LIMITS
    passed_over: Mapping[str, str] = field(default_factory=dict)

    def client(self, credentials: Credentials, /, **mechanism_options: Any) -> ClientExchange:
        """Return the client's side of an exchange, with the channel and the limits of this choice.

        Raises as `sasl.client` does.
        """
        if "channel" in mechanism_options or "limits" in mechanism_options:
            mechanism_options.clear()
            raise UsageError("the channel and the limits of an exchange are those of the choice", mechanism=self.name)
        try:
            return client(self.name, credentials, channel=self.channel, limits=self.limits, **mechanism_options)
        except SASLError:
            mechanism_options.clear()  # a password may have gone astray here
            raise


def choose(
    offered: Iterable[str],
    credentials: Credentials,
    *,
    policy: Policy = DEFAULT_POLICY,
    channel: Channel | None = None,
    mechanism: str | None = None,
    commands: Mapping[str, str] = _NO_COMMANDS,
) -> Choice:
    """Choose the strongest mechanism that the server offers, the credentials fit and the policy allows.

    `mechanism` narrows the choice to one name; it never bypasses the policy. A token never goes into a
    password mechanism, nor the reverse. `commands` are the login commands of the protocol, each with what the server
    has against it, or ""; they come after all mechanisms, and no name in `offered` stands for one.
    Raises PolicyViolation if only the policy stood in the way, else MechanismUnavailable; both say why in
    `passed_over`. UsageError if `mechanism` is not a name, `offered` a text instead of a collection of names, or
    `commands` something else than login commands.
    """
    if isinstance(offered, str | bytes) or not isinstance(offered, Iterable):
        raise UsageError("offered is a collection of names, not one text")
    if not hasattr(commands, "items"):
        raise UsageError("commands are the names of login commands, each with what is against it")
    if not is_credentials(credentials):
        kind = type(credentials).__name__
        del credentials  # it may be a bare password
        raise UsageError(f"credentials are a Password, a Bearer, ..., not {kind}")
    channel = UNKNOWN_CHANNEL if channel is None else channel
    if not isinstance(policy, Policy) or not isinstance(channel, Channel):
        raise UsageError("policy is a Policy, channel a Channel")
    policy = policy.pinned(channel, credentials)
    wanted = None if mechanism is None else canonical(mechanism)
    names = _names(offered)
    fitting: list[Mechanism] = []
    unfit: dict[str, str] = {}
    refused: dict[str, str] = {}
    for name, row in _candidates(names, commands, wanted).items():
        if isinstance(row, str):
            unfit[name] = row
        elif reason := _misfit(row, credentials, channel):
            unfit[name] = reason
        elif reason := against(row, policy, channel):
            refused[name] = reason
        else:
            fitting.append(row)
    if not fitting:
        raise _nothing(unfit, refused, wanted)
    best = _strongest(fitting)
    others = {row.name: _behind(row, best) for row in fitting if row is not best}
    if policy.channel_binding == "never" or _is_offered_bound(best, names):
        channel = replace(channel, bindings={})
    limits = replace(DEFAULT_LIMITS, min_iterations=policy.min_iterations, max_iterations=policy.max_iterations)
    return Choice(best.name, channel, limits, unfit | refused | others)


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
        and not (row.needs_tls and not channel.tls)
    ]


def against(row: Mechanism, policy: Policy, channel: Channel) -> str:
    """Return what the policy has against a mechanism here; an empty text if nothing."""
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
        if pinned is None or _is_weaker(row, pinned):
            return f"weaker than {policy.pin}, which this account is pinned to"
    return ""


def _is_weaker(row: Mechanism, pinned: Mechanism) -> bool:
    """Whether a mechanism gives away more than the one that an account is pinned to.

    Rank alone does not tell: POP-APOP ranks below PLAIN, as MD5 is broken, yet keeps the password to itself.
    """
    return row.rank < pinned.rank or (row.plaintext and not pinned.plaintext)


def _outlasts(pin: str | None, name: str) -> bool:
    """Whether a pin stays as it is after a login with a mechanism: with the same one, or with a weaker one."""
    pinned, row = None if pin is None else _known(pin), _known(name)
    if pinned is None or row is None:
        return False
    return pinned.name == row.name or _is_weaker(row, pinned)


def _account(channel: Channel, credentials: Credentials) -> str | None:
    """Return what an account is called in a store of pins; None where nobody can say which one it is."""
    if credentials.user is None or not channel.host:
        return None
    return f"{channel.service}://{credentials.user}@{channel.host.lower()}"


def _names(offered: Iterable[str]) -> list[str]:
    """Return the names of a server's list that are names, each once, in its order."""
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


def _candidates(names: Iterable[str], commands: Mapping[str, str], wanted: str | None) -> dict[str, Mechanism | str]:
    """Return the row of each name that may be chosen, or why it may not."""
    asked_for = f"{wanted} was asked for"
    found: dict[str, Mechanism | str] = {}
    for name in names:
        found[name] = _row_of(name) if wanted in (None, name) else asked_for
    for name, obstacle in commands.items():
        row = lookup(name)
        if not row.command or not isinstance(obstacle, str):
            raise UsageError(f"{row.name} is not a login command with what is against it", mechanism=row.name)
        found[row.name] = obstacle or row if wanted in (None, row.name) else asked_for
    if wanted is not None:
        found.setdefault(wanted, "the server does not offer it")
    return found


def _row_of(name: str) -> Mechanism | str:
    """Return the row of a name in a server's list of mechanisms, or why it may not be used."""
    try:
        row = lookup(name)
    except MechanismUnavailable as error:
        return str(error)
    return "a login command, which is no mechanism" if row.command else row


def _misfit(row: Mechanism, credentials: Credentials, channel: Channel) -> str:
    """Return what stands in the way of a mechanism apart from the policy; an empty text if nothing."""
    if row.client is None:
        return f"{row.name} has no client side here"
    if not isinstance(credentials, row.credentials):
        return f"takes {row.credentials.__name__}, not {type(credentials).__name__}"
    if row.twin is not None and not channel.bindings:
        return "no channel-binding data for this connection"
    if row.needs_tls and not channel.tls:
        return "says what TLS has proved, and there is no TLS"
    return ""


def _strongest(fitting: list[Mechanism]) -> Mechanism:
    """Return the row of the highest rank, or the one with channel binding that goes with it."""
    best = max(fitting, key=lambda row: row.rank)
    return next((row for row in fitting if row.twin == best.name), best)


def _behind(row: Mechanism, best: Mechanism) -> str:
    """Return why a mechanism that fits is passed over."""
    return f"{best.name} comes first" if row.command else f"{best.name} is stronger"


def _is_offered_bound(row: Mechanism, names: Collection[str]) -> bool:
    """Whether the server offers the same mechanism with channel binding, be it known here or not."""
    if row.plaintext:
        return False  # nothing binds what an eavesdropper could use; to look might read the metadata of all packages
    if f"{row.name}-PLUS" in names:
        return True
    return any(other is not None and other.twin == row.name for other in map(_known, names))


def _nothing(
    unfit: Mapping[str, str], refused: Mapping[str, str], wanted: str | None
) -> MechanismUnavailable | PolicyViolation:
    """Return the error for an offer of which nothing can be used."""
    reasons = {**unfit, **refused}
    if refused:
        listed = "; ".join(f"{name}: {reason}" for name, reason in refused.items())
        return PolicyViolation(f"the policy allows none of what is offered ({listed})", passed_over=reasons)
    told = reasons if wanted is None else {wanted: reasons[wanted]}
    listed = "; ".join(f"{name}: {reason}" for name, reason in told.items()) or "it offers nothing"
    return MechanismUnavailable(f"no mechanism in common with the server ({listed})", passed_over=reasons)
