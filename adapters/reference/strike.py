"""How a fault strikes: its effects, carried out at an event of a mail server or at a request to the authority."""

from __future__ import annotations

import asyncio
import contextlib
import re
from typing import TYPE_CHECKING, ClassVar, Final, final

from sasl import base64
from sasl.text import printable

from ..wire.line import Line, plain_line, without_end
from . import effects as does
from .http import Answer, encode, json_answer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from .connection import Connection
    from .conversation import Conversation
    from .effects import Effect

_AT_ONCE: Final = 65_536
_MOST_TOLD: Final = 200
_FOLLOWING: Final = re.compile(rb"(?:.*\{([0-9]{1,10})\+\}|(?i:BDAT) ([0-9]{1,10})(?: (?i:LAST))?)\r?\n", re.DOTALL)
_REFUSAL: Final = re.compile(r"NO \[AUTHENTICATIONFAILED\]|-ERR \[AUTH\]|535[ -]")
"""How a reply begins that refuses a credential for good."""


class Cut(Exception):
    """No more octets may leave: the connection ends."""


@final
class Shape:
    """How octets leave: in pieces, or only some of them."""

    def __init__(self) -> None:
        self.octets = 0  # in a piece; 0 for all at once
        self.pause = 0.0
        self.left: int | None = None  # that may leave still

    async def write(self, connection: Connection, octets: bytes) -> None:
        """Send octets. Raises Cut when all that may leave have left."""
        if self.left is not None:
            octets = octets[: self.left]
            self.left -= len(octets)
        size = self.octets or len(octets) or 1
        for start in range(0, len(octets), size):
            if start:
                await asyncio.sleep(self.pause)
            connection.write(octets[start : start + size])
            await connection.drain()
        if self.left == 0:
            raise Cut

    def change(self, effect: does.Split | does.Truncate) -> None:
        """Take an effect."""
        if isinstance(effect, does.Split):
            self.octets, self.pause = effect.octets, effect.pause
        else:
            self.left = effect.octets


async def hang(connection: Connection) -> None:
    """Take whatever comes until the client is gone."""
    while await connection.read(_AT_ONCE):
        pass


# --- mail servers


@final
class Strike:
    """A strike at a conversation. `act` does what should happen, `line` is the client's that it answers."""

    def __init__(self, conversation: Conversation, act: Callable[[], Awaitable[None]], line: bytes) -> None:
        self._conversation = conversation
        self._act = act
        self._line = line
        self._acted = False
        self._replaced = False
        self._ended = False

    async def run(self, effects: Sequence[Effect]) -> bool:
        """Carry out the effects; return whether what should happen has happened."""
        outer, self._conversation.shape = self._conversation.shape, Shape()
        try:
            for effect in effects:
                if not self._ended:
                    await self._how[does.name_of(effect)](self, effect)
            if not self._acted and not self._replaced and not self._ended:
                await self._answer(does.ANSWER)
            if self._conversation.shape.left is not None:
                self._end()
        except Cut:
            self._end()
        finally:
            self._conversation.shape = outer
        return self._acted

    async def _answer(self, _effect: Effect) -> None:
        if not self._acted:  # it can be done once, whatever several faults want
            self._acted = True
            await self._act()

    async def _reply(self, effect: does.Reply) -> None:
        await self._replace()
        lines = effect.text.splitlines()
        self._conversation.struck_out = _REFUSAL.match(lines[-1]) is not None
        await self._conversation.say(*(self._tagged(line) for line in lines))

    async def _refuse(self, effect: does.Refuse) -> None:
        await self._replace()
        conversation, record = self._conversation, self._conversation.record
        replies = conversation.wire([]).replies
        said = conversation.manner.refuse(effect.kind, replies, tag=record.tag, command=record.name)
        shown = conversation.manner.refuse(effect.kind, replies, tag=record.shown_tag, command=record.name)
        conversation.struck_out = _REFUSAL.search(said.lines[-1]) is not None
        pairs = zip(said.lines, shown.lines, strict=True)
        await conversation.say(*(Line(f"{line}\r\n".encode(), veiled) for line, veiled in pairs))
        if said.close:
            self._end()

    async def _raw(self, effect: does.Raw) -> None:
        await self._replace()
        await self._conversation.say(Line(effect.octets, _told(effect.octets)))

    async def _accept(self, _effect: Effect) -> None:
        await self._replace()
        await self._conversation.say(self._tagged(self._conversation.wire([]).replies["accepted"]))

    async def _challenge(self, effect: does.Challenge) -> None:
        """Send challenges; a client that answers one by "*" has cancelled the login."""
        self._note()
        payload = effect.text.encode("utf-8")
        text = base64.encode(payload) if effect.raw is None else effect.raw
        prompt = self._conversation.wire([]).prompt
        sent = 0
        while effect.count is None or sent < effect.count:
            sent += 1
            await self._conversation.say(Line(prompt + text + b"\r\n", _told(prompt + text)))
            self._conversation.record.judge.challenge(payload)
            line = await self._conversation.read_response()
            if not line:
                self._end()
                return
            if without_end(line) == b"*":
                self._replaced = self._ended = True
                await self._conversation.say(self._tagged(self._conversation.wire([]).replies["cancelled"]))
                return

    async def _say_first(self, effect: does.SayFirst) -> None:
        self._note()
        await self._conversation.say(effect.text)

    async def _delay(self, effect: does.Delay) -> None:
        self._conversation.put_off(effect.seconds)
        await asyncio.sleep(effect.seconds)

    async def _shape(self, effect: does.Split | does.Truncate) -> None:
        assert self._conversation.shape is not None  # noqa: S101 -- of `run`
        self._conversation.shape.change(effect)

    async def _close(self, effect: does.Close) -> None:
        await self._replace()
        self._conversation.bid_farewell(effect.text)
        self._ended = True

    async def _drop(self, _effect: Effect) -> None:
        self._note()
        self._end()

    async def _reset(self, _effect: Effect) -> None:
        self._note()
        self._conversation.connection.reset()
        self._end()

    async def _hang(self, _effect: Effect) -> None:
        self._note()
        self._conversation.put_off(None)
        await hang(self._conversation.connection)
        self._end()

    # --- helpers

    def _end(self) -> None:
        self._conversation.over = self._ended = True

    def _note(self) -> None:
        """Note what the client sent, before what is said to it."""
        if self._line and not self._acted:
            self._conversation.note_early(self._line)

    async def _replace(self) -> None:
        """Take it that something else is said; what the client sends without being asked belongs to the command."""
        self._note()
        if self._acted or self._replaced:
            return
        self._replaced = True
        while self._line and (match := _FOLLOWING.fullmatch(self._line)) is not None:
            left = int(match[1] or match[2])
            while left and (octets := await self._conversation.connection.read(min(left, _AT_ONCE))):
                left -= len(octets)
            self._line = await self._conversation.read() if match[1] else b""

    def _tagged(self, text: str) -> Line:
        record = self._conversation.record
        if not record.tag or text.startswith(("* ", "+")):
            return plain_line(text)
        return Line(f"{record.tag} {text}\r\n".encode(), f"{record.shown_tag} {text}")

    _how: ClassVar[Mapping[str, Callable[..., Awaitable[None]]]] = {
        "answer": _answer,
        "reply": _reply,
        "refuse": _refuse,
        "raw": _raw,
        "accept": _accept,
        "challenge": _challenge,
        "say_first": _say_first,
        "delay": _delay,
        "split": _shape,
        "truncate": _shape,
        "close": _close,
        "drop": _drop,
        "reset": _reset,
        "hang": _hang,
    }


def _told(octets: bytes) -> str:
    return printable(octets[:_MOST_TOLD].decode("utf-8", "replace").rstrip("\r\n"), limit=_MOST_TOLD, instead="?")


# --- the authority


async def strike_request(
    effects: Sequence[Effect],
    connection: Connection,
    *,
    act: Callable[[], Awaitable[Answer | None]],
    fail: Callable[[str], Awaitable[Answer | None]],
    note: Callable[[str], None],
) -> None:
    """Carry out the effects at a request to the authority.

    `act` does what should happen and returns the answer, `fail` does one of the authority's own faults, `note` is told
    the name of what is said instead.
    """
    with contextlib.suppress(Cut):
        await _carry_out(effects, connection, act=act, fail=fail, note=note)


async def _carry_out(
    effects: Sequence[Effect],
    connection: Connection,
    *,
    act: Callable[[], Awaitable[Answer | None]],
    fail: Callable[[str], Awaitable[Answer | None]],
    note: Callable[[str], None],
) -> None:
    shape, answered, acted = Shape(), False, False
    for effect in effects:
        if isinstance(effect, does.Delay):
            await asyncio.sleep(effect.seconds)
        elif isinstance(effect, does.Split | does.Truncate):
            shape.change(effect)
        elif isinstance(effect, does.Fail):
            answered = True
            await _send(shape, connection, await fail(effect.fault))
        elif effect == does.ANSWER:
            if not acted:
                answered = acted = True
                await _send(shape, connection, await act())
        else:
            answered = True
            note(does.name_of(effect))
            await _send(shape, connection, await _instead(effect, connection))
    if not answered:
        await _send(shape, connection, await act())


async def _instead(effect: Effect, connection: Connection) -> Answer | bytes | None:
    """Return what is said to a request instead of an answer."""
    match effect:
        case does.Status(code, document):
            return Answer(code, b"") if document is None else json_answer(document, code)
        case does.Raw(octets):
            return octets
        case does.Do("reset"):
            connection.reset()
        case does.Do("hang"):
            await hang(connection)
    return None  # and the connection is closed, without a word


async def _send(shape: Shape, connection: Connection, said: Answer | bytes | None) -> None:
    if said is not None:
        await shape.write(connection, said if isinstance(said, bytes) else encode(said))
