"""How a conversation speaks: the texts of its persona, filled in, and what a login comes to there."""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import TYPE_CHECKING, Final, final

from sasl.steps import Failure, Success

from ..wire.line import Line, plain_line
from .personas import DEFAULT, LIKE, Refusal, fields, load

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from sasl.steps import Rejected

    from ..wire.server import Server
    from .conversation import Conversation
    from .outbox import Sent
    from .personas import Persona

_MINUTE: Final = timedelta(minutes=1)
_DAY: Final = timedelta(days=1)
_WHY: Final = {"limit": "session", "disabled": "revoked"}
"""What a persona calls the reasons for the end of a session, where it is another name."""


@final
class Manner:
    """What a persona makes of one conversation.

    Attributes:
        persona: whose texts they are; that of the RFCs for a protocol that the provider does not have.
        sending: whether a message is being sent.
        half: why the last login, which was told yes, opens nothing; "" after any other.
    """

    def __init__(self, persona: Persona, conversation: Conversation) -> None:
        self.persona = persona if conversation.service in persona.services else load(DEFAULT)
        self.half = ""
        self._conversation = conversation
        self._service = conversation.service
        self._id = secrets.token_hex(8)
        self.sending = False
        self._halves = 0
        self._crowded = False

    def fields(self, **names: str) -> Mapping[str, str]:
        """Return what texts name: what holds for the conversation, and `names`."""
        conversation = self._conversation
        here = {"id": self._id, "ip": conversation.connection.peer, "user": conversation.identity or ""}
        return fields(now=conversation.backend.clock(), **{**here, **names})

    def greeting(self, capabilities: Iterable[str] = ()) -> list[str]:
        """Return the lines to begin with."""
        return self.persona.greeting(self._service, self.fields(), capabilities)

    def lines(self, name: str, *default: str, **names: str) -> list[str]:
        """Return the lines of a text by its name in the persona's file; `default` where it has none of its own."""
        return self.persona.replies(self._service, name, self.fields(**names)) or list(default)

    def told(self, served: Collection[str], further: Collection[str] = ()) -> list[str]:
        """Return what is told as capabilities, of what is served here and now (`Persona.capabilities`)."""
        conversation = self._conversation
        return self.persona.capabilities(
            self._service,
            tls=conversation.connection.tls,
            authenticated=conversation.identity is not None or bool(self.half),
            served=served,
            further=further,
            mechanisms=conversation.offered,
        )

    def mechanisms(self, offered: Sequence[str]) -> list[str]:
        """Return which of the mechanisms that may be offered are."""
        return self.persona.mechanisms(self._service, offered, tls=self._conversation.connection.tls)

    # --- a login

    def against(self, line: bytes, *, initial: bool) -> Failure | None:
        """Return what the provider has against a login whose command line is that, before it looks into it; or None."""
        limit = self.persona.line_limit(self._service)
        if limit is not None and len(line) > limit:
            return Failure("limit", f"a line of more than {limit} octets")
        if initial and not self.persona.initial_response(self._service):
            return Failure("unexpected_ir", "no initial response is taken here")
        return None

    def challenge(self, said: Line) -> Line:
        """Return a challenge as the provider writes it."""
        empty = self.persona.prompt(self._service)
        return plain_line(empty) if empty and said.octets == b"+ \r\n" else said

    def explain(self, mechanism: str) -> Callable[[Rejected], Mapping[str, str] | None]:
        """Return what says of a refused token what the error challenge of a mechanism holds; None: there is none."""
        return lambda rejected: self.persona.challenge(mechanism, self._finer(rejected.kind))

    def outcome(
        self, wire: Server, said: Line, command: str, capabilities: Iterable[str]
    ) -> tuple[list[str | Line], bool]:
        """Return what is said to what a login came to, and whether the connection ends; `said` is what the wire says.

        `command` is that of the login. `capabilities` are those to tell after a yes.
        """
        result = wire.result
        names = self.fields(tag=said.shown.partition(" ")[0], command=command)
        if isinstance(result, Success):
            return [*self.persona.accepted(self._service, names, capabilities)] or [said], False
        if not isinstance(result, Failure) or wire.must_close:
            return [said], wire.must_close
        kind = "encryption" if result.kind == "policy" and wire.exchange is None else self._finer(result.kind)
        if self.persona.half(self._service, kind, names) is not None:
            self.half = kind
            return [*self.persona.accepted(self._service, names, capabilities)] or [said], False
        refusal = self.persona.refusal(self._service, kind, names)
        return ([said], False) if refusal is None else ([*refusal.lines], refusal.close)

    def turns_away(self, identity: str) -> Failure | None:
        """Return why somebody who may log in is not let in: the account has as many sessions as it may; or None."""
        limit = self.persona.limit(self._service, "connections")
        among = self._conversation.backend.open
        there = sum(each.identity == identity and each.service == self._service for each in among)
        self._crowded = limit is not None and there >= limit
        return Failure("unavailable", f"{there} sessions of the account are open") if self._crowded else None

    def refuse(self, kind: str, replies: Mapping[str, str], *, tag: str, command: str) -> Refusal:
        """Return what is said to a refusal of a kind; what stands in `replies` where the persona has no text for it."""
        said = self.persona.refusal(self._service, kind, self.fields(tag=tag, command=command))
        return said or Refusal((f"{tag} {replies[LIKE.get(kind, kind)]}".lstrip(),))

    # --- after it

    def sends(self) -> Refusal | None:
        """Begin a message; return what is said where the account sends as many at once, or has sent, as it may."""
        for kind, (limit, count) in self._counts.items():
            most = self.persona.limit(self._service, limit)
            refusal = None if most is None else self.persona.refusal(self._service, kind, self.fields())
            if most is not None and refusal is not None and count() >= most:
                return refusal
        self.sending = True
        return None

    @property
    def _counts(self) -> Mapping[str, tuple[str, Callable[[], int]]]:
        """What an account may only have so many of: by the kind of refusal the name of the limit, and what counts."""
        return {
            "connections": ("senders", self._senders),
            "throttled": ("messages_a_minute", lambda: len(self._sent(_MINUTE))),
            "quota": ("recipients_a_day", lambda: sum(len(each.recipients) for each in self._sent(_DAY))),
        }

    def _senders(self) -> int:
        conversation = self._conversation
        open_ = conversation.backend.open
        return sum(each.manner.sending and each.identity == conversation.identity for each in open_)

    def _sent(self, within: timedelta) -> list[Sent]:
        """Return what the account has sent not longer ago than that."""
        backend, user = self._conversation.backend, self._conversation.identity
        since = backend.clock.now() - within
        return [each for each in backend.outbox.messages(self._service) if each.user == user and each.when > since]

    def login_first(self, *default: str, **names: str) -> Refusal:
        """Return what a command is told that needs somebody who is logged in; `default` where nothing else is said."""
        half = self.persona.half(self._service, self.half, self.fields(**names))
        if half is None:
            return Refusal(tuple(self.lines("login_first", *default, **names)))
        said = half.further if self._halves else half.first
        self._halves += 1
        return said

    def goodbye(self, why: str) -> tuple[list[str], bool] | None:
        """Return what is said when the session ends, and whether at once; None for what servers say in general."""
        late = "idle" if self._conversation.identity is not None else "late"
        found = self.persona.goodbye(self._service, late if why == "late" else _WHY.get(why, why), self.fields())
        return None if found is None else ([*found.lines], found.at_once)

    def _finer(self, kind: str) -> str:
        if self._crowded and kind == "unavailable":
            return "connections"
        misfit = self._conversation.misfit
        return misfit if misfit and kind == "authorization" else kind
