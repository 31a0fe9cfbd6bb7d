"""What the reference servers want of a verifier: which questions it serves, its answers, options of mechanisms."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, final

from sasl.registry import known_mechanisms, lookup
from sasl.value import value

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from sasl.registry import Mechanism
    from sasl.steps import Question


@final
@value
class Standing:
    """How it stands with a token.

    Attributes:
        state: "good", "expired" or "revoked".
        left: the seconds until a good one expires.
        scope: what it is for; None for whatever there is.
    """

    state: str
    left: float
    scope: str | None = None


class Checks(Protocol):
    """A verifier that says which questions it serves.

    It may also say in `hashes` for which hashes it has the SCRAM keys of every user, and have a method `options(row)`,
    which returns by name what the server script of a row is told: SCRAM of its decoy, a plug-in of whatever it takes.
    With a method `standing(hashed)`, which returns a `Standing` for a token by its hash or None, sessions end with the
    tokens that they rest on; with `watch(told)` at the moment when that calls `told`, from any thread.
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


def standing_of(verifier: Checks, hashed: bytes) -> Standing | None:
    """Return how it stands with a token by its hash; None where the verifier does not know it, or does not say."""
    standing = getattr(verifier, "standing", None)
    found: Standing | None = None if standing is None else standing(hashed)
    return found


def known_options(row: Mechanism) -> frozenset[str]:
    """Return the names of the options that the server script of a row knows."""
    parameters = inspect.signature(row.script("server")).parameters.values()
    return frozenset(parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY)


def options_here(
    verifier: Checks, row: Mechanism, hosts: str | Collection[str], **given: object
) -> Mapping[str, object]:
    """Return what the script of a row is told: what it knows of this server and of `given`, and the verifier's own."""
    realm = hosts if isinstance(hosts, str) else next(iter(hosts), "")  # curl puts it where a host belongs
    ours = {"hosts": hosts, "realm": realm, **given}
    known = known_options(row)
    return {name: told for name, told in ours.items() if name in known} | dict(options_for(verifier, row))


@final
class OptionsByName(Mapping[str, Mapping[str, Any]]):
    """The options of mechanisms by name, made where a wire asks for them: it runs one mechanism and knows them all."""

    def __init__(self, options: Callable[[Mechanism], Mapping[str, Any]]) -> None:
        self._options = options

    def __getitem__(self, name: str) -> Mapping[str, Any]:
        return self._options(lookup(name))

    def __iter__(self) -> Iterator[str]:
        return (row.name for row in known_mechanisms())

    def __len__(self) -> int:
        return len(known_mechanisms())
