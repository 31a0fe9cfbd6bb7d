"""What SEARCH may ask for is read strictly, and finds what the RFCs say; nothing else comes out of it."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sasl.adapters.reference.mail import grammar, search
from sasl.adapters.reference.mail.grammar import BadArguments, String
from sasl.adapters.reference.mail.search import BadCharset
from sasl.adapters.reference.mail.store import Message

from .messages import NOW, Within, message, octets

KEYS = (
    "ALL", "NOT", "OR", "(", ")", "SEEN", "KEYWORD", "x", "HEADER", "FROM", "BODY", "TEXT", '"a"', "1", "*", "1:*",
    "UID", "SENTON", "1-Feb-2026", "YOUNGER", "MODSEQ", "CHARSET", "UTF-8", "RETURN", "LARGER", "0", "SUBJECT",
)  # fmt: skip
pieces = st.lists(st.sampled_from(KEYS)).map(" ".join).map(lambda text: text.replace("( ", "(").replace(" )", ")"))

RAW = """\
From: "J. Doe" <john@example.org>
To: us: =?utf-8?q?J=C3=BCrgen?= <j@x>;
Subject: =?utf-8?b?w4RwZmVs?=
 =?utf-8?q?_und?= Birnen
Date: Sat, 31 Jan 2026 23:30:00 -0500
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary=b

preamble
--b
Content-Type: text/plain; charset=iso-8859-1
Content-Transfer-Encoding: quoted-printable

Gr=FC=
=DFe
--b
Content-Type: text/html
Content-Transfer-Encoding: base64

PGI+Zm9vPC9iPg==
--b
Content-Type: image/png; name=hidden

secret
--b--
""".replace("\n", "\r\n").encode()
ONE = message(RAW, "\\Seen", "$Junk")


def search_for(written: str, **options: Any) -> search.Search:
    return search.parse_search(grammar.words(written.encode()), **{"now": NOW, "last": 9, "last_uid": 90, **options})


def finds(written: str, found: Message = ONE, number: int = 3, **options: Any) -> bool:
    return search.matches(search_for(written, **options), number, found)


@pytest.mark.parametrize(
    "written",
    [
        "ALL", "all", "SEEN", "UNFLAGGED", "OLD", "NOT NEW", "NOT RECENT", "KEYWORD $junk", "UNKEYWORD x",
        "FROM john@example.org", 'FROM "j. doe"', "FROM Doe", 'TO "j\u00fcrgen"', 'TO "J\u00dcRGEN <j@"',
        'SUBJECT "\u00e4pfel und birnen"', 'HEADER Subject ""', "HEADER MIME-Version 1", "BODY gr\u00fc\u00dfe",
        "BODY GR\u00dcSSE", "BODY <b>foo", 'TEXT "image/png; name=hidden"', 'TEXT "Subject: \u00c4pfel"',
        "TEXT gr\u00fc", 'BODY ""', "LARGER 500", "SMALLER 5000", "ON 1-Feb-2026", "SINCE 1-Feb-2026",
        "BEFORE 2-Feb-2026", 'SENTON "31-jan-2026"', "SENTBEFORE 1-Feb-2026", "SENTSINCE 31-Jan-2026", "YOUNGER 1",
        "OLDER 0100", "3", "1:5", "9:1", "1,3", "UID 7", "UID 1:*", "UID *:5", "NOT 4", "MODSEQ 3",
        'MODSEQ "/flags/\\\\seen" all 2', "OR NEW SEEN", "OR (NEW) (SEEN ALL)", "OR OR NEW NEW SEEN",
        "OR NEW OR NEW SEEN", "NOT NOT SEEN", "NOT OR NEW RECENT", "(SEEN (OLD))", "SEEN OLD 3",
        "CHARSET UTF-8 SEEN", "CHARSET us-ascii ALL", "RETURN (MIN) CHARSET UTF-8 ALL",
    ],
)  # fmt: skip
def test_a_message_is_found_by_what_it_is(written: str) -> None:
    options = {"now": NOW + timedelta(seconds=100)} if "OLDER" in written else {}
    assert finds(written, **options)


@pytest.mark.parametrize(
    "written",
    [
        "NOT ALL", "UNSEEN", "NEW", "RECENT", "DELETED", "KEYWORD junk", "UNKEYWORD $Junk", "FROM mary", "CC john",
        "SUBJECT =?utf", "HEADER X-Nope \"\"", "BODY secret", "BODY preamble", "BODY hidden", "BODY subject",
        "TEXT nothing", "LARGER 50000", "ON 31-Jan-2026", "BEFORE 1-Feb-2026", "SENTON 1-Feb-2026", "OLDER 1", "4",
        "*", "4:*", "UID 3", "UID *", "MODSEQ 4", "OR NEW NEW", "SEEN NEW", "NOT SEEN",
    ],
)  # fmt: skip
def test_a_message_is_not_found_by_what_it_is_not(written: str) -> None:
    assert not finds(written)


@pytest.mark.parametrize(
    "written",
    [
        "", "X", "NOT", "OR", "OR ALL", "()", "(NOT)", '"ALL"', "FROM", "FROM (a)", "HEADER a", "LARGER x",
        "LARGER -1", "ON 32-Jan-2026", "ON 1-Foo-2026", "ON x", "ON 1-Feb-26", "0", "1:x", "UID x", "UID ALL",
        "KEYWORD", "KEYWORD (a)", "YOUNGER 0", "YOUNGER 99999999999", "MODSEQ x", 'MODSEQ "/flags/a" foo 1',
        "MODSEQ 9223372036854775808", "CHARSET", "CHARSET UTF-8", "RETURN ALL", "RETURN", "RETURN (FOO) ALL",
        "RETURN (()) ALL", "RETURN ()", "ALL CHARSET UTF-8", "ALL)",
    ],
)  # fmt: skip
def test_what_is_no_key_is_refused_in_words(written: str) -> None:
    with pytest.raises(BadArguments, match=r"\A[A-Z0-9][A-Za-z0-9, =]+\Z"):
        search_for(written)


def test_an_unknown_charset_and_text_in_none_are_refused() -> None:
    with pytest.raises(BadCharset):
        search_for("CHARSET ISO-8859-1 ALL")
    with pytest.raises(BadArguments):
        search.parse_search([b"FROM", String(b"\xff")], now=NOW)
    with pytest.raises(BadArguments):
        search_for("CHARSET UTF-8 ALL", utf8=True)


def test_where_only_whole_words_are_found_half_of_one_is_not() -> None:
    assert finds("SUBJECT Birnen", whole_words=True)
    assert finds('BODY "<b>foo</b>"', whole_words=True)
    assert not finds("SUBJECT Birne", whole_words=True)
    assert finds("SUBJECT Birne")


def test_days_are_those_of_the_message_whatever_its_time_zone() -> None:
    late = message(RAW, date=datetime(2026, 2, 1, 23, 59, tzinfo=timezone(timedelta(hours=-11))))
    assert finds("ON 1-Feb-2026", late)


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"Date: \r\n",
        b"Date: x\r\n",
        b"Date: 99 Feb 2026\r\n",
        b"Date: 31 Feb 2026 10:00:00 +0000\r\n",
        b"Date: Mon, 1 Foo 2026 99:99\r\n",
        b"Date: \xff\r\n",
    ],
)
def test_a_message_without_a_date_is_older_than_mail(header: bytes) -> None:
    undated = message(header + b"\r\n")
    assert finds("SENTBEFORE 2-Jan-1970", undated)
    assert not finds("SENTSINCE 2-Jan-1970", undated)


def test_a_letter_is_found_however_it_is_composed() -> None:
    assert finds("BODY gru\u0308", message("\r\nGr\u00fc\u00df".encode()))


@pytest.mark.parametrize(
    ("written", "uid", "told"),
    [
        ("ALL", False, b"SEARCH 1 2 3 5"),
        ("ALL", True, b"SEARCH 11 12 13 15"),
        ("MODSEQ 1", False, b"SEARCH 1 2 3 5 (MODSEQ 6)"),
        ("RETURN () ALL", False, b'ESEARCH (TAG "a1") ALL 1:3,5'),
        ("RETURN (MIN MAX COUNT) ALL", True, b'ESEARCH (TAG "a1") UID MIN 11 MAX 15 COUNT 4'),
        ("RETURN (MIN) MODSEQ 1", False, b'ESEARCH (TAG "a1") MIN 1 MODSEQ 2'),
        ("RETURN (COUNT all) MODSEQ 1", False, b'ESEARCH (TAG "a1") ALL 1:3,5 COUNT 4 MODSEQ 6'),
    ],
)
def test_the_answer_is_in_the_form_that_was_asked_for(written: str, uid: bool, told: bytes) -> None:
    found = [(number, message(RAW, uid=number + 10, modseq=number + 1)) for number in (1, 2, 3, 5)]
    assert search.answer(search_for(written), found, uid=uid, tag="a1") == told


def test_the_answer_says_also_that_nothing_is_found() -> None:
    assert search.answer(search_for("ALL"), [], uid=False, tag="a") == b"SEARCH"
    assert search.answer(search_for("MODSEQ 5"), [], uid=False, tag="a") == b"SEARCH"
    assert (
        search.answer(search_for("RETURN (MIN COUNT) ALL"), [], uid=True, tag="a") == b'ESEARCH (TAG "a") UID COUNT 0'
    )


@given(st.one_of(pieces, st.text(max_size=20)), octets)
def test_any_search_in_any_message_is_refused_or_says_yes_or_no(written: str, raw: bytes) -> None:
    try:
        assert finds(written, message(raw)) in (True, False)
    except (BadArguments, BadCharset):
        pass


@given(octets)
def test_the_text_of_any_message_can_be_searched(raw: bytes) -> None:
    assert finds('TEXT "" BODY "" OR FROM "x" NOT FROM "x" OR SENTON 1-Jan-2026 ALL', message(raw))


@pytest.mark.parametrize(
    ("written", "is_taken"),
    [
        ("OR NEW " * 10_000 + "SEEN", True),
        ("OR " * 10_000 + "NEW " * 10_000 + "SEEN", True),
        ("NOT " * 10_000 + "SEEN", True),
        ("SEEN " * 10_000 + "ALL", True),
        ("1 " * 10_000 + "ALL", True),
        ("NOT OR NEW " * 10_000 + "SEEN", False),
        ("(" * 10_000 + "ALL" + ")" * 10_000, False),
        ("(" * 50 + "ALL" + ")" * 50, True),
        ("NOT (OR NEW (" * 14 + "ALL" + "))" * 14, True),
        ("(ALL) " * 10_000 + "ALL", True),
    ],
)
def test_many_keys_are_taken_and_deep_ones_refused(written: str, is_taken: bool) -> None:
    with Within(2):
        try:
            finds(written)
        except BadArguments:
            assert not is_taken
        else:
            assert is_taken


@pytest.mark.parametrize(
    "raw",
    [
        b"Subject: " + b"=?a?q?" * 100_000, b"Subject: " + b"=?" * 200_000, b"Subject: " + b"=?a?b?YQ==?= " * 30_000,
        b"Subject: " + b"=?utf-8?q?" + b"=" * 200_000 + b"?=",
        b"Content-Type: text/plain; charset=punycode\r\n\r\n" + b"a" * 200_000,
        b"Content-Transfer-Encoding: base64\r\nContent-Type: text/plain\r\n\r\n" + b"=A" * 200_000,
        b"A: b\r\n" * 100_000, b"Date: " + b"(" * 200_000, b"Date: " + b"1 " * 100_000,
    ],
)  # fmt: skip
def test_text_is_decoded_in_time_that_grows_with_its_length(raw: bytes) -> None:
    with Within(2):
        finds("SUBJECT x", message(raw))
        finds("TEXT x", message(raw))
        finds("SENTON 1-Jan-2026", message(raw))
