"""What clients have sent by SMTP and LMTP: the messages with their envelopes, in memory and bounded."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future
from typing import TYPE_CHECKING, Final, final

from sasl.value import value

from .mail.store import email_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime
    from email.message import EmailMessage

_MOST_MESSAGES: Final = 10_000
_MOST_OCTETS: Final = 134_217_728
_SHOWN: Final = 10  # messages, in what is told of those that came


@final
@value
class Sent:
    """One message that a client has sent, with its envelope.

    Attributes:
        sender: the address of MAIL; "" for the empty one.
        recipients: the addresses of RCPT that were accepted, in order.
        raw: its octets as they were sent, without the dots that DATA puts in front of dots.
        user: who was logged in; None for nobody.
        options: the parameters of MAIL, as they were sent, by their names in capitals; "" for one without a value.
        recipient_options: the same of each RCPT, in the order of `recipients`.
        tls: whether it came over TLS.
        when: when it came, by the servers' clock.
        protocol: "smtp" or "lmtp".
    """

    sender: str
    recipients: tuple[str, ...]
    raw: bytes
    user: str | None
    options: Mapping[str, str]
    recipient_options: tuple[Mapping[str, str], ...]
    tls: bool
    when: datetime
    protocol: str

    def __repr__(self) -> str:
        return f"Sent({self.summary}, {len(self.raw)} octets)"

    @property
    def summary(self) -> str:
        """From whom and to whom it is."""
        first, further = self.recipients[:1], len(self.recipients) - 1
        return f"from {self.sender!r} to {', '.join(map(repr, first))}" + (
            f" and {further} more" if further > 0 else ""
        )

    @property
    def email(self) -> EmailMessage:
        """The message, parsed anew; its lines end with LF, as in those that Python makes."""
        return email_of(self.raw)

    def is_for(self, to: str) -> bool:
        """Whether an address, or the part before the "@" of one, is among the recipients."""
        return any(to in (recipient, local_part(recipient)) for recipient in self.recipients)


@final
class Outbox:
    """The messages that were sent, the newest last. Whoever uses it stays in the servers' event loop.

    At most 10,000 are kept, and at most 128 MB; the oldest go first. To refuse new ones instead would end a long run
    of tests for what the first of them have sent. Messages that clients are still sending have 128 MB together.
    """

    def __init__(self, *, most_messages: int = _MOST_MESSAGES, most_octets: int = _MOST_OCTETS) -> None:
        self._most_messages = most_messages
        self._most_octets = most_octets
        self._sent: deque[Sent] = deque()
        self._octets = 0
        self._gone = 0  # how many were there before those that are kept
        self._room = most_octets  # for messages that have begun
        self._expected: dict[Future[Sent], _Expected] = {}
        self._watchers: list[Callable[[Sent], object]] = []

    def add(self, sent: Sent) -> None:
        """Keep a message, and tell whoever waits for it."""
        self._sent.append(sent)
        self._octets += len(sent.raw)
        while len(self._sent) > self._most_messages or (self._octets > self._most_octets and len(self._sent) > 1):
            self._octets -= len(self._sent.popleft().raw)
            self._gone += 1
        for future in list(self._expected):
            self._fulfil(future, sent)
        for told in list(self._watchers):
            told(sent)

    def reserve(self, octets: int) -> bool:
        """Take room for what clients are sending; return False if all of them are sending too much already."""
        if octets > self._room:
            return False
        self._room -= octets
        return True

    def release(self, octets: int) -> None:
        """Give room back."""
        self._room += octets

    def messages(self, protocol: str = "", to: str | None = None) -> tuple[Sent, ...]:
        """Return those that came by a protocol and are for somebody ("" and None: any), the oldest first."""
        return tuple(sent for sent in self._sent if _matches(sent, protocol, to))

    def numbered(self) -> dict[int, Sent]:
        """Return all that are kept, by numbers that stay: counted from 1 over all that ever came."""
        return dict(enumerate(self._sent, self._gone + 1))

    def clear(self) -> None:
        """Forget all messages."""
        self._gone += len(self._sent)
        self._sent.clear()
        self._octets = 0

    def watch(self, told: Callable[[Sent], object]) -> Callable[[], None]:
        """Have a function called with each message that comes; return what ends that."""
        self._watchers.append(told)
        return lambda: self._watchers.remove(told)

    def expect(self, count: int, protocol: str = "", to: str | None = None) -> Future[Sent]:
        """Return what becomes the message of that number, from 1, among `messages`; any thread may wait for it.

        Whoever gives up calls `forget`.
        """
        future: Future[Sent] = Future()
        found = self.messages(protocol, to)
        if len(found) >= count:
            future.set_result(found[count - 1])
        else:
            self._expected[future] = _Expected(count - len(found), protocol, to)
        return future

    def forget(self, future: Future[Sent]) -> None:
        """Expect a message no longer."""
        self._expected.pop(future, None)

    def _fulfil(self, future: Future[Sent], sent: Sent) -> None:
        expected = self._expected[future]
        if not _matches(sent, expected.protocol, expected.to):
            return
        expected.missing -= 1
        if expected.missing:
            return
        del self._expected[future]
        if future.set_running_or_notify_cancel():
            future.set_result(sent)


@final
class _Expected:
    """How many messages of a kind somebody waits for still."""

    def __init__(self, missing: int, protocol: str, to: str | None) -> None:
        self.missing = missing
        self.protocol = protocol
        self.to = to


def _matches(sent: Sent, protocol: str, to: str | None) -> bool:
    return protocol in ("", sent.protocol) and (to is None or sent.is_for(to))


def tell(messages: Sequence[Sent]) -> str:
    """Return what came, in words: the last of the messages, by their envelopes."""
    if not messages:
        return "nothing came"
    last = "; ".join(sent.summary for sent in messages[-_SHOWN:])
    return f"{len(messages)} came{'' if len(messages) <= _SHOWN else ', at last'}: {last}"


def local_part(address: str) -> str:
    """Return what an address has before its "@"; all of it where there is none."""
    return address.rpartition("@")[0] or address
