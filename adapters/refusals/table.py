"""A row of the table of refusals: what it matches, what follows, and which one counts of several that match."""

from __future__ import annotations

from sasl.typed import TYPE_CHECKING, final
from sasl.value import KW_ONLY, value

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any, Final, Literal, TypeAlias

    from sasl.errors import Kind

    Phase: TypeAlias = Literal["greeting", "before", "after"]
else:
    Phase = str  # the words are for type checkers

PHASES: Final[tuple[Phase, ...]] = ("greeting", "before", "after")
"""How far a login was: "before" means that nothing which shows or proves the credential has left."""

NO_CODE: Final = ("-",)
"""The code of rows that are for a kind alone: no server says it."""
_OF_WHAT_WAS_SENT: Final = frozenset({"credentials", "malformed", "unexpected_ir", "limit", "cancelled"})
"""Kinds of a no that judge what was sent: before the credential has left there is nothing to judge."""
_AT_A_GREETING: Final = frozenset({"unavailable", "policy", "disabled", None})

_OF_A_CREDENTIAL: Final = ("password", "credential", "user name", "username")
"""Words that tell that a credential was judged."""


@final
@value
class Row:
    """One cause of a refusal; what is left out matches everything.

    Attributes:
        id: its name, which stays the same for pages and programs that refer to it.
        kind: the kind of the error; None for what is no refusal: an end of the connection, a broken protocol.
        advice: what happened and what to do, for a person. "{argument}" stands for the URL that came with the response
            code, "{host}" for the host in it, else for the server's.
        bearer_advice: the same where the credential was a token; "" if it makes no difference.
        protocol: "imap", "pop", "smtp" or "sieve".
        codes: any of these has to be the code. Each is one or several words, which the code has to hold: "535",
            "5.7.139", "535 5.7.8", "4xx"; "SYS/TEMP" is also "SYS/TEMP/FUTURE" (RFC 2449 section 8); "status=403" and
            "error=no-resources" are what an error challenge said.
        says: any of these stands in the text, in whatever case; "*" stands for anything in between.
        phase: one of `PHASES`.
        provider: whose own it is; "" for a general one.
        vague: whether its code says no more than "wrong": what the provider of the host knows may say more.
        decides: whether its code tells the kind, whatever words of other causes come with it.
        source: where it was seen, for a provider's.
    """

    id: str
    kind: Kind | None
    advice: str
    _: KW_ONLY
    bearer_advice: str = ""
    protocol: str = ""
    codes: tuple[str, ...] = ()
    says: tuple[str, ...] = ()
    phase: str = ""
    provider: str = ""
    source: str = ""
    vague: bool = False
    decides: bool = False

    @property
    def is_general(self) -> bool:
        """Whether it knows no more than a code and a phase, and so nothing that only one server would say."""
        return not self.says

    def rank(self, protocol: str, text: str, code: str, phase: str) -> tuple[int, ...]:
        """Return how closely it matches, the closer the larger; () if it does not. `text` is in lower case."""
        if self.protocol not in ("", protocol) or self.phase not in ("", phase):
            return ()
        if (phase == "before" and self.kind in _OF_WHAT_WAS_SENT) or (
            phase == "greeting" and self.kind not in _AT_A_GREETING
        ):
            return ()
        words = max((_words_in(each, code) for each in self.codes), default=0)
        said = max((len(each) for each in self.says if _stands_in(each, text)), default=0)
        if (self.codes and not words) or (self.says and not said):
            return ()
        return bool(said), words, bool(self.phase), bool(self.protocol), said


def choose(rows: Iterable[Row], protocol: str, *, text: str, code: str | None, phase: str, kind: Kind | None) -> Row:
    """Return the row that matches most closely, the first one of several; else the one that tells the kind alone."""
    text, code = text.lower(), code or ""
    candidates = [each for each in rows if kind in (None, each.kind)]
    ranked = [(each.rank(protocol, text, code, phase), each) for each in candidates]
    rank, found = max(ranked, key=lambda pair: pair[0])
    if rank:
        coded = [(rank, each) for rank, each in ranked if rank and each.codes and not each.says]
        by_code = max(coded, key=lambda pair: pair[0], default=(rank, found))[1]
        return by_code if _overrules(by_code, found, text, phase) else found
    kind = kind or ("unsupported" if phase == "before" else "credentials")  # of a protocol that nobody knows
    return next(each for each in candidates if each.kind == kind and each.codes == NO_CODE)


def _overrules(by_code: Row, found: Row, text: str, phase: str) -> bool:
    """Whether a reply's code counts for more than words in it that any server might say."""
    if not found.says or found.provider or by_code.kind == found.kind:
        return False
    if by_code.decides:
        return True
    if not by_code.vague or phase != "after":
        return False
    # The credential was judged: words about a mechanism, or about trying again, do not undo that.
    return found.kind == "unsupported" or (
        found.kind == "unavailable" and any(word in text for word in _OF_A_CREDENTIAL)
    )


def row_of(data: Mapping[str, Any], *, provider: str) -> Row:
    """Return a row of a provider's file; what stands there as an example is for tests."""
    lists = {name: tuple(data.get(name, ())) for name in ("codes", "says")}
    fields = {name: of for name, of in data.items() if name != "example"}
    return Row(**{**fields, **lists, "provider": provider})


def _words_in(wanted: str, code: str) -> int:
    """Return how much of a code is wanted, the more the larger; 0 unless all that is wanted is there."""
    there = code.split()
    found = [max((_likeness(word, each) for each in there), default=0) for word in wanted.split()]
    return sum(found) if all(found) else 0


def _likeness(wanted: str, word: str) -> int:
    """Return 0 if a word of a code is not wanted, 2 if it is, 1 if only its class is."""
    if "=" in wanted:
        return 2 * (word == wanted)
    word = word.upper()
    if word == wanted or word.startswith(f"{wanted}/"):
        return 2
    return int(wanted[1:] == "xx" and word[:1] == wanted[:1])


def _stands_in(phrase: str, text: str) -> bool:
    """Whether a phrase stands in a text, its parts in order."""
    at = 0
    for part in phrase.split("*"):
        at = text.find(part, at)
        if at < 0:
            return False
        at += len(part)
    return True
