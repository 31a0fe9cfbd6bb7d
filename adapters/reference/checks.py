"""What the reference servers want of a verifier: which questions it serves, its answers, options of mechanisms."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from sasl.registry import Mechanism
    from sasl.steps import Question


class Checks(Protocol):
    """A verifier that says which questions it serves.

    It may also say in `hashes` for which hashes it has the SCRAM keys of every user, and have a method `options(row)`,
    which returns by name what the server script of a row is told: SCRAM of its decoy, a plug-in of whatever it takes.
    """

    @property
    def answers(self) -> Collection[type[Question]]:
        """The types of question that it serves."""
        ...

    def __call__(self, question: Question, /) -> Any:
        """Answer a question, or return an awaitable of the answer."""
        ...


def options_for(verifier: Checks, row: Mechanism) -> Mapping[str, Any]:
    """Return what a verifier wants the server script of a row to be told; nothing where it does not say."""
    options = getattr(verifier, "options", None)
    told: Mapping[str, Any] = {} if options is None else options(row)
    return told


def hashes_of(verifier: Checks) -> Collection[str] | None:
    """Return the hashes that a verifier has the SCRAM keys of every user for; None, for any, where it does not say."""
    hashes: Collection[str] | None = getattr(verifier, "hashes", None)
    return hashes


def known_options(row: Mechanism) -> frozenset[str]:
    """Return the names of the options that the server script of a row knows."""
    parameters = inspect.signature(row.script("server")).parameters.values()
    return frozenset(parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY)
