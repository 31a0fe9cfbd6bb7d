"""Which mechanism, and why not the others: the client's `choose` and the server's `offer`."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from itertools import islice
from operator import attrgetter
from types import MappingProxyType

from .channel import UNKNOWN_CHANNEL, Channel
from .credentials import Password, is_credentials
from .errors import MechanismUnavailable, PolicyViolation, SASLError, UsageError, is_interruption
from .fit import asks_for_binding, bind, is_bound, known, no_binding, without_changed
from .hashes import HASHES
from .limits import DEFAULT_LIMITS, Limits
from .prep import saslprep
from .registry import Mechanism, canonical, client, known_mechanisms, lookup
from .typed import TYPE_CHECKING, Protocol, final
from .value import field, replace, value

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from typing import Any, Final, Literal

    from .client_exchange import ClientExchange
    from .credentials import Credentials
    from .steps import Question

_MOST_NAMES: Final = 4_096
"""How many names of a server's list are looked at: no server offers a hundredth of them."""
_MOST_TOLD: Final = 16
"""How many of them an error names in its text; `passed_over` has all."""
_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


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
        min_iterations, max_iterations: SCRAM iteration counts; of the default maximum, `sasl.Limits` tells what it is
            for hashes that take longer.
        pin: the mechanism that this account once logged in with: a weaker one is refused. -PLUS is never weaker than
            what has no channel binding.
        pins: where pins are kept, for policies that serve many accounts: what it says of an account holds where
            `pin` says nothing. `remember` writes there.
        fallback: whether a binding may go on with another mechanism after a refusal of one that neither showed nor
            proved the password, over TLS.
        prepare: whether passwords are prepared (RFC 4013) before they are hashed or checked; False takes them as they
            are, for servers that keep them so.

    Raises UsageError for a value that is none of these.
    """

    plaintext: Literal["never", "loopback", "always"] = "never"
    allow: Collection[str] = ()
    channel_binding: Literal["prefer", "require", "never"] = "prefer"
    min_iterations: int = DEFAULT_LIMITS.min_iterations
    max_iterations: int = DEFAULT_LIMITS.max_iterations
    pin: str | None = None
    pins: Pins | None = field(default=None, hidden=True)
    fallback: bool = True
    prepare: bool = True

    def __post_init__(self) -> None:
        if self.plaintext not in ("never", "loopback", "always"):
            raise UsageError("plaintext is never, loopback or always")
        if self.channel_binding not in ("prefer", "require", "never"):
            raise UsageError("channel_binding is prefer, require or never")
        if isinstance(self.allow, str) or not isinstance(self.allow, Iterable):
            raise UsageError("allow is a collection of names, not one name")
        Limits(min_iterations=self.min_iterations, max_iterations=self.max_iterations)  # refuses what is no number
        if not isinstance(self.fallback, bool) or not isinstance(self.prepare, bool):
            raise UsageError("fallback and prepare are True or False")
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
        if self.pins is None or self.pin is not None or (account := _account(channel, credentials)) is None:
            return self
        failure = ""
        try:
            return replace(self, pin=self.pins.get(account), pins=None)
        except Exception as error:
            if is_interruption(error):
                raise
            failure = type(error).__name__
        raise UsageError(f"the store of pins failed with {failure}")

    def remember(self, choice: Choice, credentials: Credentials) -> None:
        """Pin an account to the mechanism that it has just logged in with, unless it is pinned to a stronger one.

        The pin has no -PLUS, unless the choice was asked for: channel binding depends on TLS version and library, and
        a pin that is out of reach locks the account out.
        Does nothing without `pins`, and where host or user are not known. Raises UsageError if the store fails.
        """
        if self.pins is None or (account := _account(choice.channel, credentials)) is None:
            return
        failure = ""
        try:
            name = choice.name if choice.asked_for else _without_binding(choice.name)
            if not _outlasts(self.pins.get(account), name):
                self.pins[account] = name
        except Exception as error:
            if is_interruption(error):
                raise
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
        channel: what to pass to `sasl.client`: its bindings are what -PLUS is to bind to, or what tells the server that
            -PLUS could be used if it were offered; empty otherwise.
        limits: what to pass on as well; holds the policy's iteration counts.
        passed_over: every other name that was looked at, with the reason against it.
        asked_for: whether the caller, a required channel binding or a pin wants this and no other: nothing may follow
            its refusal.
        prepare: whether the password is prepared before it is hashed.
        fallback: the mechanism that the server refused before this one, or None.
        pin: the pin with -PLUS that asks for channel binding, or None.
    """

    name: str
    channel: Channel = UNKNOWN_CHANNEL
    limits: Limits = DEFAULT_LIMITS
    passed_over: Mapping[str, str] = field(default_factory=dict)
    asked_for: bool = False
    prepare: bool = True
    fallback: str | None = None
    pin: str | None = None

    def client(self, credentials: Credentials, /, **mechanism_options: Any) -> ClientExchange:
        """Return the client's side of an exchange, with the channel and the limits of this choice.

        Raises as `sasl.client` does.
        """
        if "channel" in mechanism_options or "limits" in mechanism_options:
            mechanism_options.clear()
            raise UsageError("the channel and the limits of an exchange are those of the choice", mechanism=self.name)
        try:
            if not self.prepare and _knows_prepare(lookup(self.name)):
                mechanism_options.setdefault("prepare", False)
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
    commands: Mapping[str, str] = _NOTHING,
    refused: Mapping[str, str] = _NOTHING,
) -> Choice:
    """Choose the strongest mechanism that the server offers, the credentials fit and the policy allows.

    `mechanism` narrows the choice to one name; it never bypasses the policy. A token never goes into a
    password mechanism, nor the reverse. `commands` are the login commands of the protocol, each with what the server
    has against it, or ""; they come after all mechanisms, and no name in `offered` stands for one. `refused` are
    families (`Mechanism.family`) that the server has refused already, each with the words to say so; they do not come
    again.
    A -PLUS mechanism is chosen only with `Channel.default_binding`, unless it is asked for: by name, by a required
    channel binding, or by a pin. A mechanism that hashes the password is passed over if preparing changes it or is
    impossible (RFC 4013) and one that sends it as it is may be used over TLS: servers keep passwords as typed.
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
    wanted, mechanism = None if mechanism is None else _canonical(mechanism), None
    names = _names(offered)
    fitting: list[Mechanism] = []
    unfit: dict[str, str] = {}
    forbidden: dict[str, str] = {}
    hashes = False  # whether a mechanism fits that hashes the password
    for name, row in _candidates(names, commands, wanted).items():
        if isinstance(row, str):
            unfit[name] = row
        elif reason := _misfit(row, credentials, channel) or refused.get(row.family, ""):
            unfit[name] = reason
        elif reason := against(row, policy, channel):
            forbidden[name] = reason
        elif row.twin is not None and (reason := no_binding(policy, channel, wanted)):
            (forbidden if is_bound(policy.pin) else unfit)[name] = reason
        else:
            fitting.append(row)
            hashes = hashes or not row.plaintext
    if hashes and policy.prepare and wanted is None and len(fitting) > 1:
        fitting = without_changed(fitting, credentials, channel, unfit)
    if not fitting:
        raise _nothing(unfit, forbidden, wanted)
    best = _strongest(fitting)
    others = {row.name: _behind(row, best) for row in fitting if row is not best}
    bound = best.twin is not None
    return Choice(
        best.name,
        channel if best.plaintext else bind(channel, best, policy, names),
        DEFAULT_LIMITS if policy is DEFAULT_POLICY else _limits(policy.min_iterations, policy.max_iterations),
        unfit | forbidden | others,
        wanted is not None or (bound and asks_for_binding(policy)),
        policy.prepare,
        pin=policy.pin if bound and wanted is None and is_bound(policy.pin) else None,
    )


def offer(
    channel: Channel,
    policy: Policy,
    answers: Collection[type[Question]],
    hashes: Collection[str] | None = None,
) -> list[str]:
    """Return the mechanisms that a server should advertise, the strongest first.

    `answers` are the question types that its verifier serves; `hashes` those that it has SCRAM keys for, by hashlib's
    names ("sha256"), or can derive, for every user: a client takes the strongest of what is offered, and does not get
    in where there are no keys for it. None is for any. What the policy forbids over this channel is
    left out: a plaintext mechanism without TLS, one that is off by default, a -PLUS one without the type of channel
    binding that clients use unasked (`Channel.default_binding`).
    """
    return [
        row.name
        for row in known_mechanisms()
        if row.server is not None
        and set(row.questions) <= set(answers)
        and not against(row, policy, channel)
        and not (row.twin is not None and channel.default_binding is None)
        and not (row.needs_tls and not channel.tls)
        and (hashes is None or HASHES.get(row.name.removesuffix("-PLUS")) in (None, *hashes))
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
        pinned = known(policy.pin)
        if pinned is None or _is_weaker(row, pinned):
            return f"weaker than {policy.pin}, which this account is pinned to"
    return ""


def _is_weaker(row: Mechanism, pinned: Mechanism) -> bool:
    """Whether a mechanism gives away more of a credential than the one that an account is pinned to.

    Rank alone does not tell: POP-APOP ranks below PLAIN, as MD5 is broken, yet keeps the password to itself. A token
    gives nothing away of a password, nor the reverse.
    """
    if row.credentials is not pinned.credentials:
        return False
    return row.rank < pinned.rank or (row.plaintext and not pinned.plaintext)


def _outlasts(pin: str | None, name: str) -> bool:
    """Whether a pin stays as it is after a login with a mechanism: with the same one, or with a weaker one.

    A password's stays after a login by a token, too.
    """
    pinned, row = None if pin is None else known(pin), known(name)
    if pinned is None or row is None:
        return False
    if pinned.credentials is not row.credentials:
        return pinned.credentials is Password
    return pinned.name == row.name or _is_weaker(row, pinned)


def _account(channel: Channel, credentials: Credentials) -> str | None:
    """Return what an account is called in a store of pins; None where nobody can say which one it is."""
    if credentials.user is None or not channel.host:
        return None
    user = credentials.user
    if not (user.isascii() and user.isprintable()):
        try:
            user = saslprep(user)
        except SASLError:
            pass  # it is compared as it is
    return f"{channel.service.lower()}://{user}@{channel.host.lower().removesuffix('.')}"


def _names(offered: Iterable[str]) -> list[str]:
    """Return the names of a server's list that are names, each once, in its order; no more than a server may have."""
    names: dict[str, None] = {}
    for name in islice(offered, _MOST_NAMES):
        try:
            names[canonical(name)] = None
        except UsageError:
            continue
    return list(names)


def _canonical(name: str) -> str:
    """Return the name that a caller asks for, in upper case; "" for what is none and may be a password gone astray."""
    try:
        return canonical(name)
    except UsageError:
        return ""


def _candidates(names: Iterable[str], commands: Mapping[str, str], wanted: str | None) -> dict[str, Mechanism | str]:
    """Return the row of each name that may be chosen, or why it may not."""
    if wanted == "":
        raise UsageError("not a mechanism name (RFC 4422 section 3.1)")
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
    if row.needs_tls and not channel.tls:
        return "says what TLS has proved, and there is no TLS"
    return ""


def _strongest(fitting: list[Mechanism]) -> Mechanism:
    """Return the row of the highest rank, or the one with channel binding that goes with it."""
    best = max(fitting, key=attrgetter("rank"))
    return next((row for row in fitting if row.twin == best.name), best)


def _behind(row: Mechanism, best: Mechanism) -> str:
    """Return why a mechanism that fits is passed over."""
    return f"{best.name} comes first" if row.command else f"{best.name} is stronger"


@lru_cache(16)
def _limits(least: int, most: int) -> Limits:
    return replace(DEFAULT_LIMITS, min_iterations=least, max_iterations=most)


def _knows_prepare(row: Mechanism) -> bool:
    """Whether the client of a mechanism prepares passwords unless it is told not to: those that hash none do not."""
    code = getattr(row.script("client"), "__code__", None)
    return code is not None and "prepare" in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]


def _without_binding(name: str) -> str:
    row = known(name)
    return name if row is None or row.twin is None else row.twin


def _nothing(
    unfit: Mapping[str, str], refused: Mapping[str, str], wanted: str | None
) -> MechanismUnavailable | PolicyViolation:
    """Return the error for an offer of which nothing can be used."""
    reasons = {**unfit, **refused}
    if refused:
        listed = _list(refused)
        return PolicyViolation(f"the policy allows none of what is offered ({listed})", passed_over=reasons)
    listed = _list(reasons if wanted is None else {wanted: reasons[wanted]}) or "it offers nothing"
    return MechanismUnavailable(f"no mechanism in common with the server ({listed})", passed_over=reasons)


def _list(reasons: Mapping[str, str]) -> str:
    """Return names, each with its reason, as a text; where there are many, how many more there are."""
    told = "; ".join(f"{name}: {reason}" for name, reason in islice(reasons.items(), _MOST_TOLD))
    return told if len(reasons) <= _MOST_TOLD else f"{told}; and {len(reasons) - _MOST_TOLD} more"
