"""Which scopes a token needs to open a mailbox."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Final

from sasl.steps import Rejected

from .verifier import SCOPE

if TYPE_CHECKING:
    from .checks import Standing

MAIL: Final = "https://mail.google.com/"
"""The scope of tokens that say none."""

_ANY: Final = frozenset({SCOPE, MAIL})
_APPLICATIONS: Final = "https://outlook.office365.com/.default"  # Microsoft's, for programs that act for themselves
_PEOPLE: Final = frozenset({"openid", "email", "profile", "offline_access"})  # who somebody is, not what may be done


def fits(scope: str, service: str) -> bool:
    """Whether a token of a scope is for a service: by a word that is here for mail, or by one that a provider has."""
    words = set(scope.split())
    return not words.isdisjoint(_ANY) or not words.isdisjoint(_of_providers(service))


def refuse(standing: Standing | None, service: str) -> Rejected | None:
    """Return the refusal of a token that is good, but not for a service; None for all others, known or not."""
    if standing is None or standing.state != "good" or standing.scope is None or fits(standing.scope, service):
        return None
    return Rejected("the token is for other things", "authorization", {"scope": MAIL})


@cache
def _of_providers(service: str) -> frozenset[str]:
    """Return the scopes that the providers' files name for a service; that of submission is for LMTP too."""
    from ..providers import profiles

    named = "smtp" if service == "lmtp" else service
    known = (profile.oauth.scopes.get(named, ()) for profile in profiles() if profile.oauth is not None)
    return frozenset({_APPLICATIONS}.union(*known) - _PEOPLE)
