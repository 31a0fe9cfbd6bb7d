"""What FETCH may ask for is read strictly, and answered under the name that clients look for."""

from __future__ import annotations

import time
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sasl.adapters.reference.mail import fetch, grammar
from sasl.adapters.reference.mail.grammar import BadArguments, Word

from .messages import message, octets

RAW = b"Subject: hi\r\nFrom: a@b\r\nMessage-ID: <1@x>\r\n\r\nbody\r\n"

pieces = st.lists(
    st.sampled_from([
        "BODY", ".PEEK", "[", "]", "1", ".", "0", "TEXT", "HEADER", ".FIELDS", ".NOT", " (", "a", '"b"', ")",
        "<0.1>", "<", "MIME", "ALL", "(",
    ])
).map("".join)  # fmt: skip


def items(written: str, *, uid: bool = False, gmail: bool = False) -> tuple[fetch.Item, ...]:
    (word,) = grammar.words(written.encode())
    return fetch.parse_items(word, uid=uid, gmail=gmail)


def answer(written: str, raw: bytes = RAW, *flags: str, uid: bool = False, gmail: bool = False) -> bytes:
    return fetch.render(3, message(raw, *flags), items(written, uid=uid, gmail=gmail))


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("FLAGS", b"FLAGS (\\Answered \\Seen)"),
        ("(UID FLAGS)", b"UID 7 FLAGS (\\Answered \\Seen)"),
        ("(FLAGS FLAGS)", b"FLAGS (\\Answered \\Seen)"),
        ("fast", b'FLAGS (\\Answered \\Seen) INTERNALDATE "01-Feb-2026 12:00:00 +0000" RFC822.SIZE 51'),
        ("RFC822.SIZE", b"RFC822.SIZE 51"),
        ("(MODSEQ)", b"MODSEQ (3)"),
        ("RFC822", b"RFC822 {51}\r\n" + RAW),
        ("RFC822.TEXT", b"RFC822.TEXT {6}\r\nbody\r\n"),
        ("RFC822.HEADER", b"RFC822.HEADER {45}\r\n" + RAW[:45]),
        ("body.peek[]", b"BODY[] {51}\r\n" + RAW),
        ("BODY[text]", b"BODY[TEXT] {6}\r\nbody\r\n"),
        ("BODY[]<9.2>", b"BODY[]<9> {2}\r\nhi"),
        ("BODY[1]<4.100>", b"BODY[1]<4> {2}\r\n\r\n"),
        ("BODY[]<100.1>", b"BODY[]<100> {0}\r\n"),
        ("BODY[1.MIME]", b"BODY[1.MIME] {45}\r\n" + RAW[:45]),
        ("BODY[2.TEXT]", b'BODY[2.TEXT] ""'),
        ("BODY[HEADER.FIELDS (subject X)]", b"BODY[HEADER.FIELDS (SUBJECT X)] {15}\r\nSubject: hi\r\n\r\n"),
        (
            'body.peek[header.fields.not ("From" {7}\r\nSubject)]<0.5>',
            b"BODY[HEADER.FIELDS.NOT (FROM SUBJECT)]<0> {5}\r\nMessa",
        ),
        ("BODY", b'BODY ("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 6 1)'),
    ],
)
def test_each_item_is_answered_under_its_name(written: str, told: bytes) -> None:
    assert answer(written, RAW, "\\Seen", "\\Answered") == b"3 FETCH (" + told + b")"


def test_all_and_full_are_short_for_others() -> None:
    names = [item.name for item in items("FULL")]
    assert names == ["FLAGS", "INTERNALDATE", "RFC822.SIZE", "ENVELOPE", "BODY"]
    assert items("ALL") == items("FULL")[:-1]


def test_uid_fetch_tells_the_uid_once() -> None:
    assert answer("FLAGS", uid=True) == b"3 FETCH (UID 7 FLAGS ())"
    assert answer("(FLAGS UID)", uid=True) == b"3 FETCH (UID 7 FLAGS ())"


@pytest.mark.parametrize(
    ("written", "is_read"),
    [
        ("BODY[]", True), ("BODY.PEEK[]", False), ("RFC822", True), ("RFC822.HEADER", False), ("RFC822.TEXT", True),
        ("BODY[HEADER]", True), ("BODY", False), ("FULL", False), ("(UID BODY.PEEK[] BODY[1]<0.1>)", True),
    ],
)  # fmt: skip
def test_only_to_ask_for_text_without_peek_marks_a_message_as_read(written: str, is_read: bool) -> None:
    assert fetch.sets_seen(items(written)) is is_read


@pytest.mark.parametrize(
    "written",
    [
        "()", "(ALL)", "(FLAGS FAST)", "X", "((FLAGS))", '"FLAGS"', "BODY.PEEK", "BODY[MIME]", "BODY[0]",
        "BODY[1.0]", "BODY[1.]", "BODY[.1]", "BODY[TEXT.1]", "BODY[1TEXT]", "BODY[1..2]", "BODY[HEADER.FIELDS]",
        "BODY[HEADER.FIELDS ()]", "BODY[HEADER.FIELDS (())]", "BODY[HEADER.FIELDS (a) (b)]",
        "BODY[HEADER.FIELDS (a]", "BODY[]<0.0>", "BODY[]<1>", "BODY[]<1.2>x", "BODYSTRUCTURE[1]", "BINARY[1]",
        "BODY[FOO]", "X-GM-MSGID", "BODY[", "BODY[" + "1." * 2_000 + "1]", "BODY[99999999999]", "[]", "BODY[1 TEXT]",
    ],
)  # fmt: skip
def test_what_is_no_item_is_refused_in_words(written: str) -> None:
    with pytest.raises(BadArguments, match=r"\A[A-Z][A-Za-z ]+\Z"):
        items(written)


@settings(max_examples=50)
@given(st.one_of(pieces, st.text(max_size=20)), octets)
def test_any_item_is_refused_or_answered_about_any_message(written: str, raw: bytes) -> None:
    try:
        word, *_ = [*grammar.words(written.encode()), b""]
        told = fetch.render(3, message(raw), fetch.parse_items(word, uid=True))
    except BadArguments:
        return
    assert told.startswith(b"3 FETCH (")
    assert told.endswith(b")")


@given(st.lists(st.integers(1, 4), max_size=4), st.sampled_from(["", "HEADER", "TEXT", "MIME"]), octets)
def test_each_section_of_any_message_is_a_slice_of_its_octets(numbers: list[int], what: str, raw: bytes) -> None:
    section = ".".join([*map(str, numbers), *([what] if what else [])])
    if what == "MIME" and not numbers:
        return
    told = answer(f"BODY[{section}]", raw)
    start = f"3 FETCH (BODY[{section}] ".encode()
    found: Word = grammar.words(told.removeprefix(start).removesuffix(b")"))[0]
    assert isinstance(found, bytes)
    assert found in raw


def test_what_only_gmail_has_is_the_same_for_the_same_message_and_thread() -> None:
    reply = b"References: <1@x> <2@x>\r\nMessage-ID: <3@x>\r\n\r\n"
    asked = "(X-GM-MSGID X-GM-THRID X-GM-LABELS)"
    _, _, id1, _, thread1, _, labels = answer(asked, gmail=True)[3:].split()[-7:]
    _, _, id2, _, thread2, _, _ = answer(asked, reply, gmail=True)[3:].split()[-7:]
    assert id1 == answer(asked, gmail=True).split()[3]
    assert id1 != id2
    assert thread1 == thread2
    assert 0 < int(id1) < 2**63
    assert labels == b"())"


def test_the_date_is_told_with_its_time_zone() -> None:
    date = datetime(987, 12, 3, 4, 5, 6, tzinfo=timezone(-timedelta(hours=3, minutes=30)))
    assert fetch.internal_date(date) == b'"03-Dec-0987 04:05:06 -0330"'


def test_500_messages_have_structures_and_envelopes_in_a_moment() -> None:
    raw = (
        b"From: Alice <alice@example.org>\r\nTo: bob@example.org, Carol <carol@example.org>\r\nSubject: hi\r\n"
        b"Date: Sun, 1 Feb 2026 12:00:00 +0000\r\nMessage-ID: <1@x>\r\nMIME-Version: 1.0\r\n"
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
        b"--b\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nhi\r\n"
        b"--b\r\nContent-Type: application/pdf\r\nContent-Disposition: attachment; filename=x.pdf\r\n"
        b"Content-Transfer-Encoding: base64\r\n\r\n" + b"AAAA" * 2_000 + b"\r\n--b--\r\n"
    )
    asked = items("(ENVELOPE BODYSTRUCTURE)")
    messages = [message(raw) for _ in range(500)]
    times = []
    for _ in range(2):
        start = time.process_time()
        for number, each in enumerate(messages, 1):
            fetch.render(number, each, asked)
        times.append(time.process_time() - start)
    assert times[0] < 1
    assert times[1] < times[0] / 5
