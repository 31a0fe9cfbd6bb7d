"""The logins that are not SASL (IMAP LOGIN, POP USER and PASS): when they may be used, and their exchange."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from sasl.credentials import Password
from sasl.errors import MechanismUnavailable, PolicyViolation, UsageError
from sasl.exchange import ClientExchange
from sasl.policy import Choice
from sasl.policy import choose as choose_mechanism
from sasl.prep import has_controls
from sasl.registry import canonical
from sasl.steps import Complete

if TYPE_CHECKING:
    from collections.abc import Collection

    from sasl.channel import Channel
    from sasl.credentials import Credentials
    from sasl.policy import Policy
    from sasl.steps import ClientSteps


def choose_or_fall_back(
    name: str,
    obstacle: str,
    offered: Collection[str],
    credentials: Credentials,
    *,
    policy: Policy,
    channel: Channel,
    mechanism: str | None,
) -> Choice:
    """Choose as `sasl.choose` does; else the command `name`, for a password, if there is no `obstacle` to it.

    Servers without a mechanism for passwords exist (iCloud, Alibaba, Proton Bridge). The policy holds for the
    command as for a plaintext mechanism: a pinned account or a required channel binding does without it.
    """
    by_name = mechanism is not None and canonical(mechanism) == name
    if policy.pin is not None and canonical(policy.pin) == name:
        policy = replace(policy, pin=None)  # every mechanism is at least as strong
    nothing = None
    if not by_name:
        try:
            return choose_mechanism(offered, credentials, policy=policy, channel=channel, mechanism=mechanism)
        except MechanismUnavailable as error:
            nothing = error
        if mechanism is not None or not isinstance(credentials, Password):
            raise nothing
    if not isinstance(credentials, Password):
        raise MechanismUnavailable(f"{name} takes a password", passed_over={name: "takes Password"})
    passed_over = {} if nothing is None else dict(nothing.passed_over)
    if obstacle:
        passed_over[name] = obstacle
        raise MechanismUnavailable(f"no way to send a password: {obstacle}", passed_over=passed_over)
    if not policy.permits_plaintext(channel):
        refusal = "sends the credential in the clear, and there is no TLS"
    elif policy.pin is not None:
        refusal = f"weaker than {policy.pin}, which this account is pinned to"
    elif policy.channel_binding == "require":
        refusal = "the policy requires channel binding"
    else:
        return Choice(name, channel, passed_over=passed_over)
    passed_over[name] = refusal
    raise PolicyViolation(f"the policy does not allow {name}: {refusal}", passed_over=passed_over)


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
