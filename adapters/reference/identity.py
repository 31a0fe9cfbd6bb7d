"""Who may log in, and what becomes of it: users and tokens that come and go while the servers run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, final

from .checks import Standing, standing_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from sasl.keys import ScramKeys

    from .checks import Checks
    from .grants import TokenEndpoint
    from .verifier import Users, Verifier


@final
class Identity:
    """What the mail servers and the authority know together of users. It is used in the servers' event loop alone.

    Attributes:
        users: who has which password.
        authority: who grants tokens.
        checks: who answers the questions of logins.
        passwords: of the users that have one; without those that were given by stored keys.
    """

    def __init__(self, known: Users, users: Verifier, authority: TokenEndpoint, checks: Checks) -> None:
        self.users = users
        self.authority = authority
        self.checks = checks
        self.passwords = {name: password for name, password in known.items() if isinstance(password, str)}
        users.trust(authority)
        authority.shut_out(users.is_disabled)

    def standing(self, hashed: bytes) -> Standing | None:
        """Return how it stands with a token by its hash; None if nobody knows it."""
        return standing_of(self.checks, hashed) or self.users.standing(hashed)

    def add(self, name: str, password: str | ScramKeys) -> None:
        """Let a user in from now on. Raises UsageError for one that there is, and for what cannot be used."""
        self.users.add_user(name, password)
        self._note(name, password)

    def remove(self, name: str) -> None:
        """Forget a user. Raises UsageError if there is none."""
        known = self.users.known(name)
        self.users.remove_user(name)
        self.passwords.pop(name, None)
        self.authority.revoke_consent(known)

    def set_password(self, name: str, password: str | ScramKeys, *, ends: Literal["", "renewals", "sessions"]) -> None:
        """Give a user another password; `ends` is what ends with the former one, as `Persona.password_ends` has it.

        Raises UsageError if there is no such user, and for a password that cannot be used.
        """
        self.users.set_password(name, password)
        self._note(name, password)
        known = self.users.known(name)
        if ends == "sessions":
            self.users.sign_out(name)
            self.authority.revoke_consent(known)
        elif ends == "renewals":
            self.authority.end_renewals(known)

    def watch(self, told: Callable[[], object]) -> Callable[[], None]:
        """Have a function called when a token was revoked; return what ends that."""
        further = getattr(self.checks, "watch", None)
        ends = [self.authority.watch(told), *([] if further is None else [further(told)])]

        def stop() -> None:
            for end in ends:
                end()

        return stop

    def _note(self, name: str, password: str | ScramKeys) -> None:
        self.passwords.pop(name, None)
        if isinstance(password, str):
            self.passwords[name] = password
