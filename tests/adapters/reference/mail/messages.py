"""Octets of messages to draw, and what they are made into."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from hypothesis import strategies as st

from sasl.adapters.reference.mail.store import Message

if TYPE_CHECKING:
    from types import TracebackType

NOW = datetime(2026, 2, 1, 12, tzinfo=UTC)

PIECES = (
    b"Content-Type: multipart/mixed; boundary=b\r\n", b"Content-Type: multipart/digest; boundary=\"b b\"\r\n",
    b"Content-Type: message/rfc822\r\n", b"Content-Type: text/html; charset=utf-7\r\n", b"Content-Type: text\r\n",
    b"Content-Transfer-Encoding: base64\r\n", b"Content-Transfer-Encoding: quoted-printable\r\n", b"From: a (b",
    b"To: g: <@a:b@c>, \"x\" y; ,\r\n", b"Subject: =?x?b?====?= =?utf-8?q?=ff=?=\r\n", b"Date: Mon, 99 Foo 20 x\r\n",
    b"Content-Disposition: x; a*0*=''; a*9=1; b=\"\r\n", b"--b\r\n", b"--b--\r\n", b"--b b\r\n", b"\r\n", b"\n", b"\r",
    b" \t", b":", b"x", b"\xff", b"\x00", b"(", b"\\", b"=", b"\"",
)  # fmt: skip

octets = st.one_of(st.binary(max_size=60), st.lists(st.sampled_from(PIECES), max_size=14).map(b"".join))


def message(raw: bytes, *flags: str, uid: int = 7, date: datetime = NOW, modseq: int = 3) -> Message:
    return Message(uid, raw, date, frozenset(flags), modseq)


class Within:
    """Fails if what is done in it takes more seconds of the processor."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __enter__(self) -> None:
        self.start = time.process_time()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if error is None:
            assert time.process_time() - self.start < self.seconds
