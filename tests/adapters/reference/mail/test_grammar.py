"""What clients send becomes words, sets of numbers and names of mailboxes, or a refusal; never anything else."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sasl.adapters.reference.mail import grammar
from sasl.adapters.reference.mail.grammar import BadArguments, String

from .messages import Within

pieces = st.lists(
    st.sampled_from(
        [b"(", b")", b" ", b'"', b"\\", b"{3}\r\n", b"a", b"BODY[", b"]", b"<0.1>", b"*", b"\xc3", b"\x00", b"~"]
    )
).map(b"".join)


@pytest.mark.parametrize(
    ("octets", "words"),
    [
        (b"", []),
        (b"1:* FLAGS", [b"1:*", b"FLAGS"]),
        (b'INBOX (\\Seen x) " 1-Feb-2026 10:00:00 +0100" {3}\r\na b', [
            b"INBOX", [b"\\Seen", b"x"], b" 1-Feb-2026 10:00:00 +0100", b"a b",
        ]),
        (b'"a\\"b\\\\c"', [b'a"b\\c']),
        (b"{0}\r\n {2+}\r\n)( ~{1}\r\n\x00", [b"", b")(", b"\x00"]),
        (b"()", [[]]),
        (b"(()) ((a) b)", [[[]], [[b"a"], b"b"]]),
        (b'1 (BODY.PEEK[HEADER.FIELDS (FROM "To" {2}\r\n]])]<0.10> UID)', [
            b"1", [b'BODY.PEEK[HEADER.FIELDS (FROM "To" {2}\r\n]])]<0.10>', b"UID"],
        ]),
        (b"body[] BODY[1.MIME]", [b"body[]", b"BODY[1.MIME]"]),
        (b"[Gmail]/Trash *", [b"[Gmail]/Trash", b"*"]),
    ],
)  # fmt: skip
def test_arguments_become_words(octets: bytes, words: list[Any]) -> None:
    assert grammar.words(octets) == words


@pytest.mark.parametrize(
    "octets",
    [b"(", b")", b"a)", b"(a", b"a  b", b" a", b"a ", b'a "b" ', b'"', b'"a', b'"a"b', b"a(b)", b"(a)(b)", b"{3}\r\nab",
     b"{1}", b"{1}\r\nab", b'"\\a"', b"a\x00", b"a\r\nb", b"BODY[", b"BODY[a", b"BODY[]<0>x y(", b'BODY["]',
     b"(" * 51 + b")" * 51],
)  # fmt: skip
def test_what_is_no_arguments_is_refused_in_words(octets: bytes) -> None:
    with pytest.raises(BadArguments, match=r"\A[A-Z][a-z ]+\Z"):
        grammar.words(octets)


def test_a_string_is_told_from_an_atom() -> None:
    atom, quoted, literal = grammar.words(b'NIL "NIL" {3}\r\nNIL')
    assert [isinstance(word, String) for word in (atom, quoted, literal)] == [False, True, True]
    assert atom == quoted == literal


@given(st.one_of(st.binary(max_size=40), pieces))
def test_any_octets_are_words_or_refused(octets: bytes) -> None:
    try:
        words = grammar.words(octets)
    except BadArguments:
        return
    assert isinstance(words, list)


@pytest.mark.parametrize(
    "octets",
    [b"(" * 200_000, b"()" * 100_000, b"a " * 100_000, b'"' * 200_000, b'"\\' * 100_000, b"BODY[" * 40_000,
     b"BODY[(" * 40_000, b'BODY["' * 40_000, b"{0}\r\n" * 40_000, b"(a) " * 50_000, b"(" * 50 + b"a " * 100_000],
)  # fmt: skip
def test_long_arguments_take_time_that_grows_with_their_length(octets: bytes) -> None:
    with Within(1):
        refused(grammar.words, octets)


@pytest.mark.parametrize(
    ("written", "chosen"),
    [
        ("1", [1]),
        ("2:4", [2, 3, 4]),
        ("4:2", [2, 3, 4]),
        ("1,3,5", [1, 3, 5]),
        ("*", [9]),
        ("7:*", [7, 9]),
        ("*:7", [7, 9]),
        ("100:*", [9]),
        ("6", []),
        ("1:2,2:3,3", [1, 2, 3]),
        ("1:4294967295", [1, 2, 3, 4, 5, 7, 9]),
    ],
)
def test_a_set_chooses_among_the_numbers_that_there_are(written: str, chosen: list[int]) -> None:
    numbers = [1, 2, 3, 4, 5, 7, 9]
    found = grammar.sequence(written.encode())
    assert found.choose(numbers) == chosen
    assert [number for number in numbers if found.contains(number, 9)] == chosen
    assert found.choose([]) == []


@pytest.mark.parametrize(
    "written", ["", "0", "a", "1:", ":1", "1,,2", "1,", "-1", "1:2:3", "4294967296", "$", "1 2", "**", "\u0661"]
)
def test_what_is_no_set_is_refused(written: str) -> None:
    with pytest.raises(BadArguments):
        grammar.sequence(written.encode())
    with pytest.raises(BadArguments):
        grammar.sequence(String(b"1"))


def test_a_set_of_many_ranges_is_chosen_from_in_no_time_and_of_more_is_refused() -> None:
    numbers = range(1, 100_001)
    with Within(1):
        found = grammar.sequence(b",".join(b"%d:%d" % (number, 100_000 - number) for number in range(1, 10_001)))
        assert len(found.choose(numbers)) == 99_999
        assert sum(found.contains(number, 100_000) for number in numbers) == 99_999
        refused(grammar.sequence, b"1," * 1_000_000 + b"1")


@given(st.lists(st.integers(1, 60), unique=True).map(sorted))
def test_numbers_are_told_in_short_and_read_again(numbers: list[int]) -> None:
    told = grammar.compact(numbers)
    assert grammar.sequence(told).choose(numbers) == numbers if numbers else told == b""
    assert grammar.compact([1, 2, 3, 5, 7, 8]) == b"1:3,5,7:8"


@pytest.mark.parametrize(
    ("content", "sent"),
    [
        (None, b"NIL"),
        ("", b'""'),
        ("a", b'"a"'),
        (b'a"\\', b'"a\\"\\\\"'),
        (b'"""""', b'{5}\r\n"""""'),
        ("\u00e9", b"{2}\r\n\xc3\xa9"),
        (b"a\r\n", b"{3}\r\na\r\n"),
    ],
)
def test_a_string_is_quoted_if_it_can_be(content: Any, sent: bytes) -> None:
    assert grammar.quoted(content) == sent


@pytest.mark.parametrize(
    ("content", "sent"), [("a", b"a"), ("nil", b'"nil"'), ("a b", b'"a b"'), ("", b'""'), ("a*", b'"a*"')]
)
def test_an_astring_is_an_atom_if_it_can_be(content: str, sent: bytes) -> None:
    assert grammar.astring(content) == sent


@given(st.binary())
def test_what_is_sent_is_read_again(octets: bytes) -> None:
    assert grammar.words(b"(%b %b)" % (grammar.quoted(octets), grammar.astring(octets))) == [[octets, octets]]


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        ("INBOX", b"INBOX"),
        ("R&D", b"R&-D"),
        ("~peter/mail/\u53f0\u5317/\u65e5\u672c\u8a9e", b"~peter/mail/&U,BTFw-/&ZeVnLIqe-"),  # RFC 3501 section 5.1.3
        ("Entw\u00fcrfe", b"Entw&APw-rfe"),
        ("\U0001f600", b"&2D3eAA-"),
        ("", b'""'),
        ("[Gmail]/Sent Mail", b'"[Gmail]/Sent Mail"'),
    ],
)
def test_names_of_mailboxes_are_sent_in_modified_utf_7(name: str, sent: bytes) -> None:
    assert grammar.encode_mailbox_name(name) == sent
    assert grammar.mailbox_name(grammar.words(sent)[0]) == name


@given(st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"])))
def test_any_name_of_a_mailbox_comes_back(name: str) -> None:
    for utf8 in (False, True):
        sent = grammar.encode_mailbox_name(name, utf8=utf8)
        assert grammar.mailbox_name(grammar.words(sent)[0], utf8=utf8) == name


@pytest.mark.parametrize(
    "octets",
    [b"&", b"a&b", b"&AGE-", b"&APw", b"&A-", b"&APw-&APw-", b"&2D0-", b"\xc3\xbc", b"a\x00", b"&AAA-",
     b"&=-", b"&APw=-"]
)  # fmt: skip
def test_a_name_in_broken_utf_7_is_refused(octets: bytes) -> None:
    with pytest.raises(BadArguments):
        grammar.mailbox_name(String(octets))


def test_names_in_utf_8_are_read_where_the_client_has_enabled_them() -> None:
    assert grammar.mailbox_name(String(b"\xc3\xbc &-"), utf8=True) == "\u00fc &-"
    with pytest.raises(BadArguments):
        grammar.mailbox_name(String(b"\xff"), utf8=True)


@given(st.binary(max_size=20))
def test_any_octets_are_a_name_or_refused(octets: bytes) -> None:
    for utf8 in (False, True):
        refused(grammar.mailbox_name, String(octets), utf8=utf8)


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*", ["INBOX", "Sent", "Work", "Work/2026", "Work/2026/May"]),
        ("%", ["INBOX", "Sent", "Work"]),
        ("Work/%", ["Work/2026"]),
        ("Work/*", ["Work/2026", "Work/2026/May"]),
        ("Work*", ["Work", "Work/2026", "Work/2026/May"]),
        ("%/%", ["Work/2026"]),
        ("*/%/*", ["Work/2026/May"]),
        ("*ay", ["Work/2026/May"]),
        ("inbox", ["INBOX"]),
        ("sent", []),
        ("S%%t", ["Sent"]),
        ("%e*", ["Sent"]),
        ("", []),
    ],
)
def test_patterns_choose_mailboxes(pattern: str, names: list[str]) -> None:
    assert [
        name for name in ("INBOX", "Sent", "Work", "Work/2026", "Work/2026/May") if grammar.matches(pattern, name)
    ] == names


@given(st.text("ab/*%", max_size=8), st.text("ab/", max_size=8))
def test_a_pattern_means_what_a_regular_expression_means(pattern: str, name: str) -> None:
    meant = "".join({"*": ".*", "%": "[^/]*"}.get(letter, letter) for letter in pattern)
    assert grammar.matches(pattern, name) is bool(re.fullmatch(meant, name))


def test_a_pattern_of_wildcards_takes_no_time() -> None:
    with Within(1):
        for _ in range(5):
            assert not grammar.matches("*%a" * 333 + "b", "a" * 1_000)
            assert not grammar.matches("%/" * 499 + "%b", "a/" * 500)
            assert grammar.matches("*%" * 50_000, "a/" * 500)


@pytest.mark.parametrize(
    ("written", "date"),
    [
        (" 1-Feb-2026 10:00:00 +0100", datetime(2026, 2, 1, 10, tzinfo=timezone(timedelta(hours=1)))),
        ("01-feb-2026 10:00:00 -0000", datetime(2026, 2, 1, 10, tzinfo=UTC)),
    ],
)
def test_the_date_of_a_message_is_read(written: str, date: datetime) -> None:
    assert grammar.date_time(String(written.encode())) == date


@pytest.mark.parametrize(
    "written",
    ["", "1-Feb-2026", "31-Feb-2026 10:00:00 +0000", " 1-Foo-2026 10:00:00 +0000", "01-Feb-2026 25:00:00 +0000",
     "01-Feb-2026 10:00:00", "01-Feb-0000 10:00:00 +0000", "01-Feb-2026 10:00:00 +9999"],
)  # fmt: skip
def test_what_is_no_date_is_refused(written: str) -> None:
    with pytest.raises(BadArguments):
        grammar.date_time(String(written.encode()))


def test_single_words_are_what_they_have_to_be() -> None:
    (listed,) = grammar.words(b"(\\Seen $Forwarded NonJunk)")
    assert grammar.flags(listed) == ("\\Seen", "$Forwarded", "NonJunk")
    assert grammar.flags(b"\\Deleted") == ("\\Deleted",)
    assert grammar.atom(b"uid") == "UID"
    assert grammar.number(b"12") == 12
    assert grammar.text(String(b"\xc3\xbc")) == "\u00fc"
    for call, word in (
        (grammar.flags, String(b"a")), (grammar.flags, [[]]), (grammar.flags, b"\\"), (grammar.flags, b"a*"),
        (grammar.flags, b"\xc3\xbc"), (grammar.atom, String(b"UID")), (grammar.atom, []), (grammar.atom, b"\xff"),
        (grammar.number, b"x"), (grammar.number, b"99999999999"), (grammar.number, []), (grammar.text, []),
    ):  # fmt: skip
        with pytest.raises(BadArguments):
            call(word)  # type: ignore[operator]


def refused(call: Any, *arguments: Any, **options: Any) -> None:
    """Nothing but a refusal comes out of a call."""
    try:
        call(*arguments, **options)
    except BadArguments:
        pass
