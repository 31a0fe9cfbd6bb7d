"""The rule of a fault: where it strikes, how often, and what it does. The same in Python, as text and as JSON.

Rule("imap", "FETCH", (Reply("NO [THROTTLED] Later"),), nth=2)
Rule.parse("imap:FETCH nth=2 reply NO [THROTTLED] Later")
Rule.from_json({"protocol": "imap", "on": "FETCH", "nth": 2, "do": {"reply": "NO [THROTTLED] Later"}})
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, final

from sasl.errors import UsageError
from sasl.value import value

from . import effects as does

if TYPE_CHECKING:
    from .effects import Effect

MAIL: Final = ("imap", "pop", "smtp", "lmtp")
PROTOCOLS: Final = (*MAIL, "oauth", "*")
"""Where a rule holds; "*" is each of the mail servers."""

CAPABILITIES: Final = "CAPABILITIES"
_ADVERTISED: Final = (does.Hide, does.Offer)
_OAUTH_ALONE: Final = ("status", "fail")
_OAUTH: Final = (*_OAUTH_ALONE, "raw", "delay", "split", "truncate", "answer", "drop", "reset", "hang")

_EVENT: Final = re.compile(r"\*|(?:(?i:UID) )?[A-Za-z0-9.:*-]+")
_LONGEST_EVENT: Final = 64
_LONGEST_TEXT: Final = 1_200_000  # characters: the longest effect with each octet escaped, and some more
_TEXT: Final = re.compile(
    r"([a-z]+|\*):((?:(?i:UID) )?[^ ]+)((?: (?:nth|times|user|session|probability|seed)=[^ ]*)*)(?: (.*))?", re.DOTALL
)
_WHOLE: Final = re.compile(r"-?[0-9]{1,12}")
_SHARE: Final = re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,20})?(?:e-[0-9]{1,3})?")
_MOST: Final = 10**12
_OPTIONS: Final = ("nth", "times", "user", "session", "probability", "seed")


@final
@value
class Rule:
    """Where a fault strikes, how often, and what it does.

    Attributes:
        protocol: "imap", "pop", "smtp", "lmtp", "oauth", or "*" for all mail servers.
        on: the event: "*", "greeting", a command ("FETCH" is "UID FETCH" too; "AUTH" and "AUTHENTICATE" are one),
            "AUTHENTICATE:continuation" for each further line of a login, "AUTHENTICATE:end" for what it comes to,
            "DATA:end" for a message that has come, "capabilities", and for the authority "token", "authorize" and so
            on, by the last part of the path. Without regard to case.
        effects: what happens then, in this order.
        nth: the first of these events that it strikes, counted from 1 over all connections.
        times: how many of them, one after the other; None for all that follow.
        user: only where this user is logged in; None for anybody, and for nobody.
        session: only in the session of this number; None for any.
        probability: of striking an event that it could strike, above 0 up to 1.
        seed: what the random numbers come of. Needed where the probability is less than 1: a test that fails has to
            fail again.

    Raises UsageError for what is none of these, and for effects that the event cannot have.
    """

    protocol: str
    on: str
    effects: tuple[Effect, ...] = ()
    nth: int = 1
    times: int | None = 1
    user: str | None = None
    session: int | None = None
    probability: float = 1.0
    seed: int | None = None

    def __post_init__(self) -> None:
        if self.protocol not in PROTOCOLS:
            raise UsageError(f"protocol is one of {', '.join(PROTOCOLS)}")
        if not isinstance(self.on, str) or len(self.on) > _LONGEST_EVENT or not _EVENT.fullmatch(self.on):
            raise UsageError("on is the name of an event")
        object.__setattr__(self, "effects", tuple(self.effects))
        if len(self.effects) > does.MOST_EFFECTS:
            raise UsageError(f"at most {does.MOST_EFFECTS} effects")
        self._check_counts()
        for effect in self.effects:
            self._check_effect(effect)

    def _check_counts(self) -> None:
        _check_whole("nth", self.nth)
        for name in ("times", "session"):
            if getattr(self, name) is not None:
                _check_whole(name, getattr(self, name))
        if self.seed is not None and (type(self.seed) is not int or abs(self.seed) >= _MOST):
            raise UsageError(f"seed is a whole number below {_MOST}, or none")
        if self.protocol == "oauth" and (self.user, self.session) != (None, None):
            raise UsageError("the authority has no users that are logged in, and no sessions")
        if self.user is not None and not isinstance(self.user, str):
            raise UsageError("user is a name, or none")
        if type(self.probability) not in (int, float) or not 0 < self.probability <= 1:
            raise UsageError("probability is above 0 up to 1")
        if self.probability < 1 and self.seed is None:
            raise UsageError("a probability needs a seed: a test that fails has to fail again")

    def _check_effect(self, effect: Effect) -> None:
        does.check(effect)
        if (self.on.upper() == CAPABILITIES) != isinstance(effect, _ADVERTISED):
            raise UsageError('hide and offer go with "capabilities", and nothing else does')
        name = does.name_of(effect)
        if (name not in _OAUTH) if self.protocol == "oauth" else (name in _OAUTH_ALONE):
            raise UsageError(f"{name} is no effect of {self.protocol}")

    @classmethod
    def parse(cls, text: str) -> Rule:
        """Return the rule that a text of the command line stands for; see `str`. Raises UsageError for anything else.

        imap:AUTHENTICATE drop
        imap:FETCH nth=2 times=* user=alice delay 2; reply NO [THROTTLED] Later; close
        """
        if len(text) > _LONGEST_TEXT:
            raise UsageError(f"a rule has at most {_LONGEST_TEXT} characters")
        match = _TEXT.fullmatch(text)
        if match is None:
            raise UsageError("a rule is PROTOCOL:EVENT, options such as nth=2, and effects, each behind a blank")
        protocol, on, options, effects = match.groups()
        given: dict[str, Any] = {}
        for option in options.split(" ")[1:]:
            name, _, word = option.partition("=")
            if name in given:
                raise UsageError(f"{name} stands there twice")
            given[name] = does.unescape(word) if name == "user" else _number(name, word)
        return cls(protocol, on, does.from_text(effects) if effects else (), **given)

    def __str__(self) -> str:
        """Return the text that `parse` takes."""
        options = [f"{name}={_word(given)}" for name, given in self._options().items()]
        return " ".join([f"{self.protocol}:{self.on}", *options, *filter(None, [does.to_text(self.effects)])])

    @classmethod
    def from_json(cls, document: object) -> Rule:
        """Return the rule that an object of JSON stands for. Raises UsageError for anything but a rule.

        `do` is its first effect, `then` another one, or a list of more.
        """
        if not isinstance(document, dict):
            raise UsageError("a rule is an object")
        members = dict(document)
        first, more = members.pop("do", None), members.pop("then", [])
        if unknown := set(members) - {"protocol", "on", *_OPTIONS}:
            raise UsageError(f"a rule has no {', '.join(map(repr, sorted(map(str, unknown))))}")
        if missing := {"protocol", "on"} - set(members):
            raise UsageError(f"a rule lacks its {' and '.join(sorted(missing))}")
        if first is None:
            raise UsageError("a rule lacks what to do")
        effects = [first, *(more if isinstance(more, list) else [more])]
        return cls(members.pop("protocol"), members.pop("on"), tuple(map(does.from_json, effects)), **members)

    def to_json(self) -> dict[str, Any]:
        """Return the object that `from_json` takes."""
        first, *more = map(does.to_json, self.effects) if self.effects else [None]
        said = {"do": first} if first else {}
        following = {"then": more} if more else {}
        return {"protocol": self.protocol, "on": self.on, **self._options(), **said, **following}

    def _options(self) -> dict[str, Any]:
        """Return what is not as it is by default."""
        plain = Rule(self.protocol, self.on)
        return {name: getattr(self, name) for name in _OPTIONS if getattr(self, name) != getattr(plain, name)}


def _check_whole(name: str, number: object) -> None:
    if type(number) is not int or not 1 <= number < _MOST:
        raise UsageError(f"{name} is a whole number from 1 on, below {_MOST}")


def _word(option: object) -> str:
    """Return how an option stands in a text."""
    if option is None:
        return "*"
    return does.escape(option, blank=True) if isinstance(option, str) else repr(option)


def _number(name: str, word: str) -> float | int | None:
    """Return what an option of a text stands for."""
    if word == "*" and name in ("times", "session", "seed"):
        return None
    kind, form = (float, _SHARE) if name == "probability" else (int, _WHOLE)
    if form.fullmatch(word):
        return kind(word)
    raise UsageError(f"{name} is a number, not {word!r}")
