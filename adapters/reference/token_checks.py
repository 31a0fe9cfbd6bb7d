"""What the tokens of a reference authority are good for, put before what another verifier says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, final

from sasl.steps import CheckToken

from .checks import Standing, hashes_of, options_for, standing_of
from .verifier import judge_token

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from sasl.registry import Mechanism
    from sasl.steps import Question

    from .checks import Checks
    from .grants import TokenEndpoint


@final
class TokenChecks:
    """A verifier that asks the endpoint first."""

    def __init__(self, endpoint: TokenEndpoint, verifier: Checks) -> None:
        self._endpoint = endpoint
        self._verifier = verifier

    @property
    def answers(self) -> frozenset[type[Question]]:
        """The types of question that both serve."""
        return frozenset(self._verifier.answers) | {CheckToken}

    @property
    def hashes(self) -> Collection[str] | None:
        """What the other verifier has the SCRAM keys of every user for."""
        return hashes_of(self._verifier)

    def options(self, row: Mechanism) -> Mapping[str, Any]:
        """Return what the other verifier wants the script of a row to be told."""
        return options_for(self._verifier, row)

    def standing(self, hashed: bytes) -> Standing | None:
        """Return how it stands with a token, by its hash; None for one that nobody knows."""
        return self._endpoint.standing(hashed) or standing_of(self._verifier, hashed)

    def watch(self, told: Callable[[], object]) -> Callable[[], None]:
        """Have a function called when a token was revoked; return what ends that."""
        return self._endpoint.watch(told)

    def __call__(self, question: Question) -> Any:
        """Answer a question."""
        verdict = self._endpoint.verdict(question.token) if isinstance(question, CheckToken) else None
        if verdict is None:
            return self._verifier(question)
        return judge_token(*verdict)
