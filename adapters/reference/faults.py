"""What goes wrong on purpose: the faults that wait to strike, and those that have names.

    servers.imap.on("FETCH", nth=2).reply("NO [THROTTLED] Later")
    servers.faults.add("imap:FETCH nth=2 reply NO [THROTTLED] Later")
    servers.faults.add("endless-challenges")

Faults are combined: those that strike at one event do so in the order in which they were added, and the effects of each
in theirs. `rules` has what a rule is, `effects` what it does, `strike` how.
"""

from __future__ import annotations

import random
import re
import threading
from typing import TYPE_CHECKING, Any, Final, final

from sasl.errors import UsageError
from sasl.value import replace, value

from . import effects as does
from .rules import CAPABILITIES, MAIL, PROTOCOLS, Rule

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from .effects import Effect

__all__ = ["PRESETS", "Fault", "Faults", "Place", "Rule", "parse"]

_PRESET: Final = re.compile(r"(?:([a-z*]+):)?([a-z0-9-]+)")
_MOST_FAULTS: Final = 10_000
_STARTTLS: Final = {"pop": ("STLS", "-ERR Unknown command"), "imap": ("STARTTLS", "BAD Unknown command")}
_NO_STARTTLS: Final = ("STARTTLS", "502 5.5.1 Not implemented")


@final
@value
class Place:
    """Where an event is: a protocol, who is logged in, and the number of the session; 0 for none."""

    protocol: str
    user: str | None = None
    session: int = 0


@final
class Fault:
    """A fault that waits to strike, or has struck: one rule, or some that belong together.

    Each of the methods that are named after an effect adds it to the last rule and returns the fault:
    `servers.imap.on("FETCH").delay(2).reply("NO Later").close()`.
    """

    def __init__(self, faults: Faults, rules: tuple[Rule, ...]) -> None:
        self._faults = faults
        self._waiting = tuple(map(_Waiting, rules))

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The rules."""
        return tuple(waiting.rule for waiting in self._waiting)

    @property
    def rule(self) -> Rule:
        """The last rule."""
        return self._waiting[-1].rule

    @property
    def hits(self) -> int:
        """How often it has struck."""
        return sum(waiting.hits for waiting in self._waiting)

    def __repr__(self) -> str:
        return f"<Fault {'; '.join(map(str, self.rules))}: {self.hits} hits>"

    def remove(self) -> None:
        """Let it strike no more."""
        self._faults.remove(self)

    def due(self, place: Place, events: Collection[str]) -> list[Effect]:
        """Return what it does now, and count it."""
        return [
            effect for waiting in self._waiting if waiting.strikes(place, events) for effect in waiting.rule.effects
        ]

    def advertise(self, place: Place, names: list[str]) -> list[str]:
        """Return the capabilities that are told instead of these; where they differ it has struck."""
        for waiting in self._waiting:
            names = waiting.advertise(place, names)
        return names

    # --- what it does

    def after(self, count: int) -> Fault:
        """Let so many such events pass before it strikes."""
        return self._change(nth=count + 1)

    def then(self, effects: str) -> Fault:
        """Do this too, as it is written on a command line: "delay 2; close"."""
        return self._add(*does.from_text(effects))

    def reply(self, text: str) -> Fault:
        """Say this instead of the answer; IMAP's tag is put in, unless the line begins with "*" or "+"."""
        return self._add(does.Reply(text))

    def refuse(self, kind: str) -> Fault:
        """Say what the persona of the servers says to a refusal of that kind: "throttled", "quota", "app_password"."""
        return self._add(does.Refuse(kind))

    def raw(self, octets: bytes) -> Fault:
        """Send these octets instead of the answer."""
        return self._add(does.Raw(octets))

    def challenge(self, text: str = "", *, raw: str | bytes | None = None, count: int | None = 1) -> Fault:
        """Send a challenge that no mechanism has, and wait for the client's line, before the answer.

        `text` is put in base64; `raw` is sent as it is. `count` is how many of them; None for as long as the client
        answers. A client that answers by "*" has cancelled the login.
        """
        sent = raw.encode("utf-8") if isinstance(raw, str) else raw
        return self._add(does.Challenge(text, sent, count))

    def accept(self) -> Fault:
        """Say that the login succeeded. It has not: the client is no more logged in than before."""
        return self._add(does.ACCEPT)

    def say_first(self, text: str) -> Fault:
        """Say this before the answer, as it stands: "* NO Disk full"."""
        return self._add(does.SayFirst(text))

    def delay(self, seconds: float) -> Fault:
        """Wait so many seconds of real time; the client's deadline is put off by as many."""
        return self._add(does.Delay(seconds))

    def split(self, octets: int, pause: float = 0.0) -> Fault:
        """Send what follows in pieces of so many octets, with a pause in seconds between two."""
        return self._add(does.Split(octets, pause))

    def truncate(self, octets: int) -> Fault:
        """Send no more than so many octets of what follows, then close the connection."""
        return self._add(does.Truncate(octets))

    def answer(self) -> Fault:
        """Do what should happen, before the effects that follow. Without it that comes last, if nothing replaced it."""
        return self._add(does.ANSWER)

    def close(self, text: str = "") -> Fault:
        """Say goodbye, in these words or in the protocol's, and close the connection."""
        return self._add(does.Close(text))

    def drop(self) -> Fault:
        """Close the connection without a word."""
        return self._add(does.DROP)

    def reset(self) -> Fault:
        """Reset the connection: the client reads an error, not an end."""
        return self._add(does.RESET)

    def hang(self) -> Fault:
        """Say nothing more, until the client goes away or the server stops."""
        return self._add(does.HANG)

    def status(self, code: int, json: Mapping[str, Any] | None = None) -> Fault:
        """Answer a request to the authority with this HTTP status, and this document."""
        return self._add(does.Status(code, json))

    def fail(self, fault: str) -> Fault:
        """Answer a request to the authority by one of its own faults, a member of `token_endpoint.FAULTS`."""
        return self._add(does.Fail(fault))

    def _add(self, *effects: Effect) -> Fault:
        return self._change(effects=(*self.rule.effects, *effects))

    def _change(self, **changes: Any) -> Fault:
        last = self._waiting[-1]
        last.rule = replace(last.rule, **changes)
        return self


@final
class _Waiting:
    """A rule, and how much of it has happened."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.hits = 0
        self._seen = 0
        self._random = random.Random(rule.seed)  # noqa: S311 -- it has to come out the same again

    def strikes(self, place: Place, events: Collection[str]) -> bool:
        """Whether it strikes now, which is counted."""
        if not self.rule.effects or not self._may_strike(place, events):
            return False
        self.hits += 1
        return True

    def advertise(self, place: Place, names: list[str]) -> list[str]:
        """Return what is told instead of these capabilities."""
        if not self._may_strike(place, (CAPABILITIES,)):
            return names
        told = names
        for effect in self.rule.effects:
            told = _without(told, effect.capability) if isinstance(effect, does.Hide) else told
            told = _with(told, effect.capability) if isinstance(effect, does.Offer) else told
        self.hits += told != names
        return told

    def _may_strike(self, place: Place, events: Collection[str]) -> bool:
        rule = self.rule
        if rule.protocol not in (place.protocol, "*") or (rule.protocol == "*" and place.protocol not in MAIL):
            return False
        if rule.user not in (None, place.user) or rule.session not in (None, place.session):
            return False
        if rule.on.upper() not in events:
            return False
        self._seen += 1
        if self._seen < rule.nth or (rule.times is not None and self.hits >= rule.times):
            return False
        return rule.probability == 1 or self._random.random() < rule.probability


@final
class Faults:
    """The faults that wait to strike. They may be added and removed in any thread; they strike in the event loop."""

    def __init__(self) -> None:
        self._standing: tuple[Fault, ...] = ()
        self._lock = threading.Lock()

    @property
    def standing(self) -> tuple[Fault, ...]:
        """All that have been added and not removed, in this order."""
        return self._standing

    @property
    def unused(self) -> tuple[Fault, ...]:
        """Those that never struck: a test that means to see them has not."""
        return tuple(fault for fault in self._standing if not fault.hits)

    def add(self, *rules: Rule | str) -> Fault:
        """Add one fault, of rules or of texts that `parse` takes, and return it. Raises UsageError for what is none."""
        made = [each for rule in rules for each in ((rule,) if isinstance(rule, Rule) else parse(rule))]
        if not made:
            raise UsageError("a fault needs a rule")
        fault = Fault(self, tuple(made))
        with self._lock:
            if len(self._standing) >= _MOST_FAULTS:
                raise UsageError(f"there are {_MOST_FAULTS} faults already")
            self._standing = (*self._standing, fault)
        return fault

    def on(self, protocol: str, event: str, **options: Any) -> Fault:
        """Add a fault that does nothing yet; its methods say what. `options` are those of a `Rule`, by name."""
        return self.add(Rule(protocol, event, **options))

    def hide(self, protocol: str, capability: str) -> Fault:
        """Leave a capability out of what is told: its name or first word, "AUTH=X" for one mechanism."""
        return self.add(Rule(protocol, CAPABILITIES, (does.Hide(capability),), times=None))

    def offer(self, protocol: str, capability: str) -> Fault:
        """Tell of a capability that the server has not."""
        return self.add(Rule(protocol, CAPABILITIES, (does.Offer(capability),), times=None))

    def strip_starttls(self, protocol: str) -> Fault:
        """Do what an attacker in between does: hide STARTTLS, and refuse it."""
        return self.add(*_strip_starttls(protocol))

    def remove(self, fault: Fault) -> None:
        """Let a fault strike no more."""
        with self._lock:
            self._standing = tuple(standing for standing in self._standing if standing is not fault)

    def clear(self) -> None:
        """Let none strike any more."""
        with self._lock:
            self._standing = ()

    def strike(self, place: Place, events: Collection[str]) -> list[Effect]:
        """Return what happens at an event besides or instead of what should; each fault that strikes counts it.

        `events` are all names of the event, in capitals.
        """
        return [effect for fault in self._standing for effect in fault.due(place, events)]

    def advertise(self, place: Place, names: Iterable[str]) -> list[str]:
        """Return the capabilities that are told instead of these."""
        told = list(names)
        for fault in self._standing:
            told = fault.advertise(place, told)
        return told


def parse(text: str) -> tuple[Rule, ...]:
    """Return the rules that an argument of the command line stands for.

    That is a rule (`Rule.parse`), the name of a preset, or "imap:hang" for a preset at one server. Raises UsageError.
    """
    match = _PRESET.fullmatch(text)
    if match is None:
        return (Rule.parse(text),)
    protocol, name = match.groups()
    if name not in PRESETS:
        raise UsageError(f"no fault is called {name!r}; there are {', '.join(PRESETS)}, and rules: imap:FETCH drop")
    rules = PRESETS[name]
    if protocol is None:
        return rules
    here = tuple(_at(protocol, rule) for rule in rules if rule.protocol in (protocol, "*"))
    if protocol not in PROTOCOLS or not here:
        raise UsageError(f"{name} is no fault of {protocol}")
    return here


def _at(protocol: str, rule: Rule) -> Rule:
    """Return a rule at one server alone; the authority has requests for tokens where the others have logins."""
    on = "token" if protocol == "oauth" and rule.on == "AUTH" else rule.on
    return replace(rule, protocol=protocol, on=on)


def _strip_starttls(protocol: str) -> tuple[Rule, ...]:
    verb, refusal = _STARTTLS.get(protocol, _NO_STARTTLS)
    return (
        Rule(protocol, CAPABILITIES, (does.Hide(verb),), times=None),
        Rule(protocol, verb, (does.Reply(refusal),), times=None),
    )


def _always(event: str, *effects: Effect, protocol: str = "*") -> tuple[Rule, ...]:
    return (Rule(protocol, event, effects, times=None),)


PRESETS: Final[Mapping[str, tuple[Rule, ...]]] = {
    "malformed-base64": _always("AUTH", does.Challenge(raw=b"!!! this is no base64")),
    "endless-challenges": _always("AUTH", does.Challenge("and now?", count=None)),
    "early-yes": _always("AUTH", does.ACCEPT),
    "late-yes": _always("AUTH:end", does.Challenge()),
    "long-line": _always("AUTH", does.Challenge(raw=b"A" * 100_000)),
    "hang": _always("AUTH", does.HANG),
    "untagged-no": _always("*", does.SayFirst("* NO Disk full"), protocol="imap"),
    "drop": _always("AUTH", does.DROP),
    "reset": _always("AUTH", does.RESET),
    "slow": _always("*", does.Delay(1.0)),
    "octets": _always("*", does.Split(1)),
    "strip-starttls": tuple(rule for protocol in ("imap", "pop", "smtp") for rule in _strip_starttls(protocol)),
    "no-initial-response": _always(CAPABILITIES.lower(), does.Hide("SASL-IR"), protocol="imap"),
}
"""Faults with names. Unless they say otherwise they strike at each login, of each mail server.

"late-yes" has one challenge more than the mechanism before the verdict, "untagged-no" a `* NO` before each answer,
"slow" a second before it; "octets" sends each octet for itself.
"""


def _without(names: list[str], capability: str) -> list[str]:
    """Return capabilities without one: a name, the first word of several, or a mechanism."""
    wanted = capability.upper()
    kept = [name for name in names if wanted not in (name.upper(), re.split("[ =]", name.upper())[0])]
    mechanism = wanted.removeprefix("AUTH=")
    if mechanism == wanted:
        return kept
    return [_without_mechanism(name, mechanism) for name in kept]


def _without_mechanism(line: str, mechanism: str) -> str:
    """Return a line of POP or SMTP without a mechanism: "SASL PLAIN LOGIN", "AUTH PLAIN LOGIN"."""
    first, *mechanisms = line.split(" ")
    if first.upper() not in ("AUTH", "SASL"):
        return line
    return " ".join([first, *(name for name in mechanisms if name.upper() != mechanism)])


def _with(names: list[str], capability: str) -> list[str]:
    """Return capabilities with one more, unless it is there."""
    return names if capability in names else [*names, capability]
