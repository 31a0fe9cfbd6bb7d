"""Connections of the standard library that tell what was said on them before the login: greeting, capabilities, TLS.

They are the drop-in classes, with what the libraries let a subclass override. What is said during a login is told by
the binding, which knows what has to be hidden; so a `Hearing` listens only where it is told to.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from ..binding import limit_time
from ..wire.text import one_line, text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_log: Final = logging.getLogger("sasl")


class Hearing:
    """What is heard of a connection while it listens.

    Attributes:
        first: the server's first line; b"" if there is none yet.
        greeting: the lines of the server's greeting, as they may be shown: all before anything was said to it.
    """

    def __init__(self) -> None:
        self.first = b""
        self.greeting: list[str] = []
        self._listens = False
        self._spoke = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Listen, in the body."""
        self._listens = True
        try:
            yield
        finally:
            self._listens = False

    def sent(self, octets: bytes | str) -> None:
        """Take what is sent."""
        if not self._listens:
            return
        self._spoke = True
        _log.debug("C: %s", one_line(octets if isinstance(octets, str) else text_of(octets)))

    def came(self, line: bytes) -> None:
        """Take a line that came."""
        if not self._listens or not line:
            return
        text = one_line(text_of(line))
        self.first = self.first or line
        if not self._spoke:
            self.greeting.append(text)
        _log.debug("S: %s", text)


def watched_classes(protocol: str, hearing: Hearing) -> tuple[type, type]:
    """Return the classes for a connection in the clear and for one under TLS, which tell what is said on them."""
    return _CLASSES[protocol](hearing)


def _imap(hearing: Hearing) -> tuple[type, type]:
    from .. import imaplib

    class IMAP4(imaplib.IMAP4):
        def send(self, data: Any) -> None:
            hearing.sent(data)
            super().send(data)

        def readline(self) -> bytes:
            line = super().readline()
            hearing.came(line)
            return line

    class IMAP4_SSL(IMAP4, imaplib.IMAP4_SSL):  # noqa: N801 -- the library's name
        pass

    return IMAP4, IMAP4_SSL


def _pop(hearing: Hearing) -> tuple[type, type]:
    from .. import poplib

    class POP3(poplib.POP3):
        said: Mapping[str, list[str]] | None = None

        def capa(self) -> Any:
            self.said = super().capa()
            return self.said

        def _putline(self, line: bytes) -> None:
            hearing.sent(line)
            super()._putline(line)  # type: ignore[misc]  # poplib has no public way

        def _getline(self) -> Any:
            line, size = super()._getline()  # type: ignore[misc]
            hearing.came(line)
            return line, size

    class POP3_SSL(POP3, poplib.POP3_SSL):  # type: ignore[misc]  # noqa: N801 -- stls() differs; the library's name
        pass

    return POP3, POP3_SSL


def _smtp(hearing: Hearing) -> tuple[type, type]:
    from .. import smtplib

    class SMTP(smtplib.SMTP):
        def send(self, s: Any) -> None:
            hearing.sent(s)
            super().send(s)

        def getreply(self) -> Any:
            with limit_time(self, None) as allowance:
                code, text = super().getreply()
                last = allowance.last  # smtplib keeps nothing of a line that does not begin with a number
            for line in text.split(b"\n")[:-1]:
                hearing.came(b"%d-%b" % (code, line))
            hearing.came(last)
            return code, text

    class SMTP_SSL(SMTP, smtplib.SMTP_SSL):  # noqa: N801 -- the library's name
        pass

    return SMTP, SMTP_SSL


_CLASSES: Final[Mapping[str, Callable[[Hearing], tuple[type, type]]]] = {"imap": _imap, "pop": _pop, "smtp": _smtp}
