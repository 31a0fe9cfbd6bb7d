"""The logins that are not SASL (IMAP LOGIN, POP USER and PASS, APOP): when they may be used, and their exchange."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final

from sasl.credentials import Password
from sasl.errors import MechanismUnavailable, PolicyViolation, UsageError
from sasl.exchange import ClientExchange
from sasl.policy import Choice
from sasl.policy import choose as choose_mechanism
from sasl.prep import has_controls
from sasl.registry import canonical, lookup
from sasl.steps import Complete
from sasl.value import replace, value

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from sasl.channel import Channel
    from sasl.credentials import Credentials
    from sasl.policy import Policy
    from sasl.steps import ClientSteps


@final
@value
class Command:
    """A command that logs in by a password and is no SASL mechanism, as `choose_or_fall_back` looks at it.

    Attributes:
        name: its name in a `Choice`.
        obstacle: why the server does not take it here; empty if it does.
        offered: whether the server speaks of it at all; one that it does not is mentioned only where it is asked for.
        plaintext: whether it sends the password.
        off_by_default: whether it is used only where the policy allows it by name.
    """

    name: str
    obstacle: str = ""
    offered: bool = True
    plaintext: bool = True
    off_by_default: bool = False


def choose_or_fall_back(
    commands: Sequence[Command],
    offered: Collection[str],
    credentials: Credentials,
    *,
    policy: Policy,
    channel: Channel,
    mechanism: str | None,
) -> Choice:
    """Choose as `sasl.choose` does; else, for a password, the first of the `commands` that can be had.

    Servers without a mechanism for passwords exist (iCloud, Alibaba, Proton Bridge), and some that have only those
    that are off by default. The policy holds for a command as for a mechanism: one that sends the password wants TLS,
    and a pinned account or a required channel binding does without any.
    """
    policy = policy.pinned(channel, credentials)
    names = [command.name for command in commands]
    wanted = None if mechanism is None else canonical(mechanism)
    pin = policy.pin
    withheld: dict[str, str] = {}
    if pin in names:
        policy = replace(policy, pin=None)  # every mechanism is at least as strong as a command that sends the password
        if not commands[names.index(pin)].plaintext:
            withheld = {name: _weaker(pin) for name in offered if _sends_password(name)}
            offered = [name for name in offered if name not in withheld]
    if wanted in [name.upper() for name in withheld]:
        raise PolicyViolation(f"the policy does not allow {wanted}: {_weaker(str(pin))}", passed_over=withheld)
    by_name = wanted in names
    nothing: MechanismUnavailable | PolicyViolation | None = None
    if not by_name:
        try:
            choice = choose_mechanism(offered, credentials, policy=policy, channel=channel, mechanism=mechanism)
        except (MechanismUnavailable, PolicyViolation) as error:
            nothing = error
        else:
            others = {
                each.name: f"{wanted} was asked for"
                if wanted
                else each.obstacle or _against(each, policy, channel) or f"{choice.name} comes first"
                for each in commands
                if each.offered and each.off_by_default  # the others are a last resort, which goes without saying
            }
            return replace(choice, passed_over={**choice.passed_over, **withheld, **others})
        if wanted is not None or not isinstance(credentials, Password):
            raise nothing
    elif not isinstance(credentials, Password):
        raise MechanismUnavailable(f"{wanted} takes a password", passed_over={str(wanted): "takes Password"})
    passed_over = {} if nothing is None else dict(nothing.passed_over)
    obstacles: dict[str, str] = {}
    refused = withheld
    for number, command in enumerate(commands):
        if wanted != command.name if by_name else not command.offered:
            continue
        if command.obstacle:
            obstacles[command.name] = command.obstacle
        elif reason := _against(command, policy, channel):
            refused[command.name] = reason
        elif pin is not None and pin not in names[number:]:
            refused[command.name] = _weaker(pin)
        else:
            return Choice(command.name, channel, passed_over=passed_over | obstacles | refused)
    passed_over |= obstacles | refused
    if isinstance(nothing, PolicyViolation):
        raise PolicyViolation(str(nothing), passed_over=passed_over)
    if refused:
        listed = "; ".join(f"{name}: {reason}" for name, reason in refused.items())
        raise PolicyViolation(f"the policy does not allow {listed}", passed_over=passed_over)
    raise MechanismUnavailable(f"no way to send a password: {'; '.join(obstacles.values())}", passed_over=passed_over)


def _weaker(pin: str) -> str:
    return f"weaker than {pin}, which this account is pinned to"


def _sends_password(name: str) -> bool:
    try:
        return lookup(name).plaintext
    except (MechanismUnavailable, UsageError):
        return False


def forbidden(policy: Policy, channel: Channel) -> str:
    """What the policy has against a command that sends the password over this connection; empty if nothing."""
    if not policy.permits_plaintext(channel):
        return "sends the credential in the clear, and there is no TLS"
    return _REQUIRES_BINDING if policy.channel_binding == "require" else ""


_REQUIRES_BINDING: Final = "the policy requires channel binding"


def _against(command: Command, policy: Policy, channel: Channel) -> str:
    """What the policy has against a command here; empty if nothing."""
    if command.off_by_default and command.name not in policy.allow:
        return "off unless the policy allows it by name"
    if command.plaintext:
        return forbidden(policy, channel)
    return _REQUIRES_BINDING if policy.channel_binding == "require" else ""


def login_exchange(name: str, credentials: Password) -> ClientExchange:
    """Return an exchange for a login that has one step, so that its errors are those of every mechanism."""
    return ClientExchange(name, _script(credentials), secret=credentials.password)


def _script(credentials: Password) -> ClientSteps:
    if credentials.authzid:
        raise UsageError("a login command cannot ask to act as another user")
    for text in (credentials.authcid, credentials.password.reveal()):
        if not text or has_controls(text):
            raise UsageError("a user name and a password are not empty and hold no control characters")
    yield Complete(b"")
