"""Parts of a message are slices of its octets, whatever those are; ENVELOPE and BODYSTRUCTURE tell what they are."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

import pytest
from hypothesis import given

from sasl.adapters.reference.mail.headers import parse_addresses, parse_content_type, parse_languages
from sasl.adapters.reference.mail.message import MOST_LEVELS, MOST_PARTS, Fields, Part
from sasl.adapters.reference.mail.structure import envelope, structure

from .messages import Within, octets

if TYPE_CHECKING:
    from collections.abc import Iterator

PLAIN = b"Subject: hi\r\nTo: a@b\r\n\r\nbody\r\n"
MIXED = b"""\
From: alice@example.org\r
Content-Type: multipart/mixed; boundary="x.y*"\r
\r
preamble\r
--x.y*\r
\r
one\r
--x.y* \r
Content-Type: message/rfc822\r
\r
Subject: inner\r
Content-Type: multipart/alternative; boundary=z\r
\r
--z\r
Content-Type: text/html\r
\r
<p>\r
--z--\r
\r
--x.y*--\r
epilogue\r
"""


@pytest.mark.parametrize(
    ("numbers", "what", "found"),
    [
        ((), "", MIXED),
        ((), "HEADER", MIXED[: MIXED.index(b"preamble")]),
        ((), "TEXT", MIXED[MIXED.index(b"preamble") :]),
        ((1,), "", b"one"),
        ((1,), "MIME", b"\r\n"),
        ((1,), "HEADER", None),
        ((2,), "MIME", b"Content-Type: message/rfc822\r\n\r\n"),
        ((2,), "HEADER", b"Subject: inner\r\nContent-Type: multipart/alternative; boundary=z\r\n\r\n"),
        ((2,), "TEXT", b"--z\r\nContent-Type: text/html\r\n\r\n<p>\r\n--z--\r\n"),
        ((2, 1), "", b"<p>"),
        ((2, 1), "MIME", b"Content-Type: text/html\r\n\r\n"),
        ((2, 2), "", None),
        ((3,), "", None),
        ((2,), Fields(frozenset({b"subject"})), b"Subject: inner\r\n\r\n"),
        (
            (2,),
            Fields(frozenset({b"subject"}), without=True),
            b"Content-Type: multipart/alternative; boundary=z\r\n\r\n",
        ),
        ((), Fields(frozenset({b"x"})), b"\r\n"),
    ],
)
def test_each_section_is_what_stands_in_the_message(
    numbers: tuple[int, ...], what: str | Fields, found: bytes | None
) -> None:
    assert Part(MIXED).section(numbers, what) == found


def test_a_message_without_parts_is_its_own_part_1() -> None:
    part = Part(PLAIN)
    assert part.section((1,)) == b"body\r\n"
    assert part.section((1,), "MIME") == b"Subject: hi\r\nTo: a@b\r\n\r\n"
    assert part.section((2,)) is part.section((1, 1)) is None


@pytest.mark.parametrize(
    ("raw", "header", "body"),
    [
        (b"", b"", b""),
        (b"\r\n", b"\r\n", b""),
        (b"\r\nbody", b"\r\n", b"body"),
        (b"A: b", b"A: b", b""),
        (b"A: b\r\n", b"A: b\r\n", b""),
        (b"A: b\n\nbody", b"A: b\n\n", b"body"),
    ],
)
def test_the_header_ends_with_the_first_empty_line(raw: bytes, header: bytes, body: bytes) -> None:
    assert (Part(raw).header, Part(raw).body) == (header, body)


def test_a_boundary_is_no_regular_expression_and_the_longest_one_wins() -> None:
    start = b'Content-Type: multipart/mixed; boundary="(a|.*)+"\r\n\r\n'
    raw = start + b"--xx\r\n\r\nno\r\n--(a|.*)+\r\n\r\nyes\r\n--(a|.*)+--"
    assert [part.body for part in Part(raw).parts] == [b"yes"]
    nested = (
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: multipart/mixed; boundary=bb\r\n\r\n"
        b"--bb\r\n\r\ninner\r\n--bb--\r\n--b\r\n\r\nouter\r\n--b--"
    )
    inner, outer = Part(nested).parts
    assert [part.body for part in inner.parts] == [b"inner"]
    assert outer.body == b"outer"


def test_the_boundary_of_an_outer_part_ends_the_inner_ones() -> None:
    raw = (
        b"Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
        b"--b\r\nX: cut off\r\n--a\r\n\r\nnext\r\n--b\r\nno part any more\r\n--a--"
    )
    first, second = Part(raw).parts
    assert [part.raw for part in first.parts] == [b"X: cut off"]
    assert second.raw == b"\r\nnext\r\n--b\r\nno part any more"


@given(octets)
def test_every_section_of_any_octets_is_a_slice_of_them(raw: bytes) -> None:
    for part in all_of(Part(raw)):
        assert part.header + part.body == part.raw
        assert part.raw in raw
        within = [each.raw for each in part.parts] + ([part.embedded.raw] if part.embedded else [])
        assert sum(map(len, within)) <= part.size
        assert all(each in part.body for each in within)


@given(octets)
def test_any_octets_have_a_structure_and_an_envelope(raw: bytes) -> None:
    part = Part(raw)
    for told in (envelope(part), structure(part, extended=True), structure(part, extended=False)):
        assert told[:1] + told[-1:] == b"()"


@given(octets)
def test_any_octets_are_read_as_a_field(content: bytes) -> None:
    for address in parse_addresses(content):
        assert (address.mailbox is None) <= (address.domain is None)
    assert b"/" in parse_content_type(content).value
    assert all(parse_languages(content))


@pytest.mark.parametrize(
    ("raw", "parts", "levels"),
    [
        (b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n" * 10_000, None, MOST_LEVELS),
        (b"".join(b"Content-Type: multipart/mixed; boundary=%d-\r\n\r\n--%d-\r\n" % (n, n) for n in range(10_000)),
         None, MOST_LEVELS),
        (b"Content-Type: message/rfc822\r\n\r\n" * 10_000, None, MOST_LEVELS),
        (b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\n\r\n\r\n" * 100_000, MOST_PARTS, 2),
        (b"Content-Type: multipart/digest; boundary=b\r\n\r\n" + b"--b\r\n\r\n\r\n" * 100_000, MOST_PARTS, 3),
        (b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--c\r\n" * 500_000, 1, 1),
        (b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\nA: b\r\n" * 100_000, MOST_PARTS, 2),
        (b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n" + b"x" * 5_000_000, 2, 2),
        (b"Content-Type: multipart/mixed; boundary=\"" + b"b" * 100_000 + b"\"\r\n\r\n" + b"--b\r\n" * 100_000, 1, 1),
        (b"A: b\r\n" * 500_000, 1, 1),
        (b"\r\n " * 1_000_000, 1, 1),
    ],
    ids=["one boundary", "many boundaries", "messages in messages", "many parts", "a digest", "no boundary at all",
         "parts without bodies", "a long line", "a long boundary", "many fields", "one field"],
)  # fmt: skip
def test_parts_are_looked_for_in_bounds(raw: bytes, parts: int | None, levels: int) -> None:
    with Within(4):
        part = Part(raw)
        found = sum(1 for _ in islice(all_of(part), MOST_PARTS + 1))
        assert found <= MOST_PARTS + 1
        assert parts is None or found in (parts, parts + 1)
        assert depth(part) <= levels + 1
        assert len(structure(part, extended=True)) < 10 * len(raw) + 1_000


@pytest.mark.parametrize(
    "content",
    [b"(" * 40_000, b"a(" * 20_000, b"()" * 20_000, b'"' * 40_001, b'"\\' * 20_000, b"a," * 20_000, b"<" * 40_000,
     b"g:" * 20_000, b"a " * 20_000, b"a." * 20_000, b"a@" * 20_000, b"<@a," * 10_000, b"[" * 40_000, b";" * 40_000,
     b"text/plain" + b";" * 40_000, b"text/plain" + b'; a="' * 20_000, b"text/plain; a" + b"*0" * 20_000,
     b"text/plain" + b"".join(b"; a*%d=x" % n for n in range(20_000)), b"x/y" + b"; a(" * 10_000],
)  # fmt: skip
def test_fields_are_read_in_time_that_grows_with_their_length(content: bytes) -> None:
    with Within(1):
        parse_addresses(content)
        parse_content_type(content)
        parse_languages(content)


def test_the_envelope_tells_names_groups_and_routes() -> None:
    part = Part(
        b'From: "A. \\"B\\"" <a@b>\r\nTo: g: c@d, e;, f (F)\r\nCc: <@x,@y:z@z>\r\nBcc: =?utf-8?q?=C3=BC?= <u@u>\r\n'
        b"Subject: two \r\n  lines\r\nDate: Mon,  1 Feb 2026\r\nIn-Reply-To: <1@x>\r\n\t<2@x>\r\n\r\n"
    )
    assert envelope(part) == (
        b'("Mon,  1 Feb 2026" "two lines" (("A. \\"B\\"" NIL "a" "b")) (("A. \\"B\\"" NIL "a" "b"))'
        b' (("A. \\"B\\"" NIL "a" "b"))'
        b' ((NIL NIL "g" NIL)(NIL NIL "c" "d")(NIL NIL "e" "MISSING_DOMAIN")(NIL NIL NIL NIL)'
        b'("F" NIL "f" "MISSING_DOMAIN"))'
        b' ((NIL "@x,@y" "z" "z")) (("=?utf-8?q?=C3=BC?=" NIL "u" "u")) "<1@x> <2@x>" NIL)'
    )


def test_the_structure_tells_all_that_mime_says() -> None:
    raw = (
        b"Content-Type: Application/PDF; name=\"a b\"; x*0=1; x*1=2; y*=utf-8''%20\r\nContent-ID: <1@x>\r\n"
        b"Content-Description: d\r\nContent-Transfer-Encoding: Base64 (really)\r\nContent-MD5: m\r\n"
        b"Content-Disposition: attachment; filename=f\r\nContent-Language: de, en\r\nContent-Location: l\r\n"
        b"\r\nAA==\r\n"
    )
    assert structure(Part(raw), extended=True) == (
        b'("Application" "PDF" ("name" "a b" "x" "12" "y*" "utf-8\'\'%20") "<1@x>" "d" "Base64" 6'
        b' "m" ("attachment" ("filename" "f")) ("de" "en") "l")'
    )
    assert structure(Part(PLAIN), extended=False) == b'("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 6 1)'


def test_without_a_mime_version_and_a_type_nothing_of_content_means_anything() -> None:
    assert b"base64" not in structure(Part(b"Content-Transfer-Encoding: base64\r\n\r\n"), extended=True)
    assert b"base64" in structure(
        Part(b"MIME-Version: 1.0\r\nContent-Transfer-Encoding: base64\r\n\r\n"), extended=True
    )


def test_an_answer_is_made_once() -> None:
    part = Part(MIXED)
    assert structure(part, extended=True) is structure(part, extended=True)
    assert envelope(part) is envelope(part)


def all_of(part: Part) -> Iterator[Part]:
    waiting = [part]
    while waiting:
        part = waiting.pop()
        yield part
        waiting += part.parts
        if part.embedded is not None:
            waiting.append(part.embedded)


def depth(part: Part) -> int:
    level, deepest = [part], 0
    while level:
        level = [each for part in level for each in (*part.parts, *([part.embedded] if part.embedded else []))]
        deepest += 1
    return deepest
