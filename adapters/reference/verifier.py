"""How the reference servers check: users with passwords, and tokens that are good, expired or revoked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, final, get_args

from sasl.errors import SASLError, UsageError
from sasl.prep import saslprep
from sasl.secret import Secret
from sasl.steps import Accepted, Authorize, CheckPassword, CheckToken, Rejected

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sasl.steps import Answer, Question

SCOPE: Final = "mail"
"""The scope that an error challenge asks for."""

TokenState: TypeAlias = Literal["good", "expired", "revoked"]
TOKEN_STATES: Final[tuple[TokenState, ...]] = get_args(TokenState)

_ANSWERS: Final[frozenset[type[Question]]] = frozenset({CheckPassword, CheckToken})
_DECOY: Final = Secret("\0")  # stands in where there is no such user; SASLprep lets no password be equal to it


@final
@dataclass(frozen=True, slots=True)
class Token:
    """One token that the servers know: its value, whose it is, and what has become of it."""

    value: Secret
    user: str
    state: TokenState


@final
class Verifier:
    """Answers the questions of the servers' exchanges.

    `users` maps names to passwords; both are prepared by SASLprep, so that all spellings which it makes equal
    are one. Raises UsageError for a name or a password that cannot be prepared or of which nothing is left.
    """

    def __init__(self, users: Mapping[str, str]) -> None:
        self._passwords = {_stored(name): Secret(_stored(password)) for name, password in users.items()}
        self._tokens: list[Token] = []

    @property
    def answers(self) -> frozenset[type[Question]]:
        """The types of question that it serves, for `sasl.offer`."""
        return _ANSWERS

    def add_token(self, value: str, user: str, state: TokenState = "good") -> None:
        """Make a token known; one of the same value is replaced.

        Raises UsageError if there is no such user or no such state.
        """
        name = _stored(user)
        if name not in self._passwords:
            raise UsageError(f"no such user: {user!r}")
        if state not in TOKEN_STATES:
            raise UsageError(f"a token is one of {', '.join(TOKEN_STATES)}, not {state!r}")
        token = Token(Secret(value), name, state)
        self._tokens = [known for known in self._tokens if known.value != token.value] + [token]

    def __call__(self, question: Question) -> Any:
        """Answer a question; NotImplemented for those that it does not serve."""
        if isinstance(question, CheckPassword):
            return self._check_password(question.authcid, question.password)
        if isinstance(question, CheckToken):
            return self._check_token(question.token)
        if isinstance(question, Authorize):
            return _authorize(question.identity, question.authzid)
        return NotImplemented

    def _check_password(self, authcid: str, password: Secret) -> Answer:
        """One path, one comparison and one text, whether there is such a user or not."""
        name = _queried(authcid) or ""
        matches = self._passwords.get(name, _DECOY) == (_queried(password.reveal()) or "")
        return Accepted(name) if matches else Rejected("unknown user or wrong password")

    def _check_token(self, presented: Secret) -> Answer:
        """Say whose the token is. Whether that one may open the mailbox is `Authorize`'s to say."""
        found = None
        for token in self._tokens:  # all of them, whichever it is
            if token.value == presented:
                found = token
        detail = {"scope": SCOPE}
        if found is None:
            return Rejected("unknown token", detail=detail)
        if found.state == "expired":
            return Rejected("the token has expired", "expired", detail)
        if found.state == "revoked":
            return Rejected("the token was revoked", detail=detail)
        return Accepted(found.user)


def _authorize(identity: str, authzid: str | None) -> Answer:
    if not authzid or _queried(authzid) == identity:
        return Accepted(identity)
    return Rejected("nobody may act as another user here", "authorization")


def _stored(text: str) -> str:
    prepared = saslprep(text, stored=True)
    if not prepared:
        raise UsageError("a name or a password of which SASLprep leaves nothing (RFC 4013)")
    return prepared


def _queried(text: str) -> str | None:
    """The form to compare, None for what cannot be prepared: nobody has that name."""
    try:
        return saslprep(text)
    except SASLError:
        return None
