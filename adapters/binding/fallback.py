"""Which mechanism a login begins with, and which one may follow a refusal (docs/decisions/0006-going-on-after-a-no.md).

No octet is sent here: a login asks for the first choice, and after a refusal for the next one.
"""

from __future__ import annotations

import sys

from sasl.credentials import Password
from sasl.errors import AuthenticationFailed, MechanismUnavailable, PolicyViolation, SASLError
from sasl.registry import lookup
from sasl.typed import TYPE_CHECKING, final
from sasl.value import replace

from ..providers import begin_with

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable
    from typing import Any, Final

    from sasl.channel import Channel
    from sasl.credentials import Credentials
    from sasl.policy import Choice, Policy


_BOUND: Final = "-PLUS"
"""Stands among the families for channel binding: the same family may follow without it."""


@final
class Course:
    """The course of one login: its mechanisms, one after the other.

    `choose` is that of the library's `Offer`, `mechanism` what the caller asked for by name, `checked` whether the
    server's certificate was: what a connection without that has taught is not believed of one with it.

    Attributes:
        choice: what was chosen last.
        account: under which name the memory knows the account; None where nothing may be learned of it.
        lesson: what the memory is to know of the account after the login; None for nothing new.
    """

    choice: Choice

    def __init__(
        self,
        choose: Callable[..., Choice],
        credentials: Credentials,
        policy: Policy,
        channel: Channel,
        *,
        mechanism: str | None,
        checked: bool,
    ) -> None:
        self._choose = choose
        self._credentials = credentials
        self._policy = policy
        self._channel = channel
        self._mechanism = mechanism
        self._refused: dict[str, str] = {}  # families, or `_BOUND`, each with what to say of it
        self._failed: dict[str, str] = {}  # mechanisms, each with what the server said
        self._went_on = False
        may_go_on = policy.fallback and mechanism is None and channel.tls
        user = credentials.user if may_go_on else None
        self.account: Hashable = (
            None
            if user is None or channel.host is None
            else (channel.service, channel.host.lower().removesuffix("."), channel.port, user, checked)
        )
        self._may_go_on = may_go_on
        self._known = False
        self.lesson: frozenset[str] | None = None

    def begin(self) -> None:
        """Make the first choice. Raises as `sasl.choose` does."""
        channel = self._channel
        first = begin_with(channel.service, channel.host) if self._may_go_on else None
        choice = None if first is None else self._prefer(first)
        self.choice = choice or self._choose(
            self._credentials, policy=self._policy, channel=channel, mechanism=self._mechanism
        )

    def learn(self, refused: frozenset[str] | None) -> None:
        """Choose anew, without what the server is known to refuse, if that leaves anything."""
        if refused is None:
            return
        self._known = True
        for name in refused:
            self._refused[name] = "the server refused it before"
        row = lookup(self.choice.name)
        if row.family not in refused and not (row.twin is not None and _BOUND in refused):
            return
        following = self._next()
        if following is None:
            self._refused.clear()
        else:
            self.choice = following

    def go_on(self, wire: Any, refusal: AuthenticationFailed) -> None:
        """Choose what may follow the refusal that a wire has ended with. Raises the refusal if nothing may."""
        name, row = self.choice.name, lookup(self.choice.name)
        binds = row.twin is not None and not wire.exchange.explained
        following = None
        if self._may_follow(wire):
            self._refused[_BOUND if binds else row.family] = f"the server refused {name}: {refusal}"
            following = self._next() if binds or not self._went_on else None
        if following is None:
            self._explain(wire, refusal)
            raise refusal
        self._failed[name] = str(refusal)
        self._went_on = self._went_on or lookup(following.name).family != row.family
        _tell(name, following.name)
        self.choice = replace(following, fallback=name)

    def succeed(self) -> None:
        """Note that the last choice has logged in: what was refused before it need not be tried again."""
        if self._failed or not self._known:
            self.lesson = frozenset(self._refused)

    def _explain(self, wire: Any, refusal: AuthenticationFailed) -> None:
        """Tell in the last refusal what led to it.

        A server that refused the mechanism and hung up leaves another one for the next connection.
        """
        if wire.must_close and not self._failed and _is_about_the_mechanism(refusal):
            self.lesson = frozenset({*self._refused, lookup(self.choice.name).family})
        refusal.passed_over = {**refusal.passed_over, **self._failed}
        if refusal.kind not in ("unsupported", "policy"):
            return
        pin = self.choice.pin or self._policy.pinned(self._channel, self._credentials).pin
        if self.choice.pin is not None:
            refusal.kind = "policy"
        if pin is not None:
            refusal.args = (f"the server refused {self.choice.name}, and this account is pinned to {pin}: {refusal}",)

    def _may_follow(self, wire: Any) -> bool:
        """Whether another mechanism may follow: one refusal that is about the mechanism, on a connection that lives.

        Nothing may have left that shows or proves the password, or the server has the password itself already.
        """
        if not self._may_go_on or self.choice.asked_for or wire.must_close:
            return False
        if not _is_about_the_mechanism(wire.error):
            return False
        sends_password = isinstance(self._credentials, Password) and lookup(self.choice.name).plaintext
        return sends_password or not wire.exchange.revealed

    def _prefer(self, name: str) -> Choice | None:
        """Return the choice of what the provider of this host is known to want first; None if it may not be used."""
        try:
            return replace(self._choose_now(name), asked_for=False)
        except (MechanismUnavailable, PolicyViolation):
            return None

    def _next(self) -> Choice | None:
        """Return the choice without what was refused; None if nothing is left."""
        try:
            return self._choose_now(None)
        except (MechanismUnavailable, PolicyViolation):
            return None

    def _choose_now(self, mechanism: str | None) -> Choice:
        policy, refused = self._policy, self._refused
        if _BOUND in refused and policy.channel_binding == "prefer":
            policy = replace(policy, channel_binding="never")
        more = {"refused": refused} if refused else {}
        return self._choose(self._credentials, policy=policy, channel=self._channel, mechanism=mechanism, **more)


def _is_about_the_mechanism(error: SASLError) -> bool:
    return isinstance(error, AuthenticationFailed) and error.kind == "unsupported"


def _tell(refused: str, following: str) -> None:
    logging = sys.modules.get("logging")  # who has not imported it listens to nothing
    if logging is not None:
        said = "the server refused the mechanism %s, and not the password: going on with %s"
        logging.getLogger("sasl").info(said, refused, following)
