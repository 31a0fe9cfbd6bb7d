"""Addresses and MIME values that are broken are told as Dovecot 2.3 told them, whom the tables were asked of."""

from __future__ import annotations

import pytest

from sasl.adapters.reference.mail.message import Part
from sasl.adapters.reference.mail.structure import envelope, structure

ADDRESSES = {
    "foo": '(NIL NIL "foo" "MISSING_DOMAIN")',
    "foo bar": '("foo bar" NIL "MISSING_MAILBOX" "MISSING_DOMAIN")',
    '"foo"': '("foo" NIL "MISSING_MAILBOX" "MISSING_DOMAIN")',
    '"foo bar" baz': '("foo bar baz" NIL "MISSING_MAILBOX" "MISSING_DOMAIN")',
    "foo bar <a": '("foo bar" NIL "a" "SYNTAX_ERROR")',
    "foo@": '(NIL NIL "foo" "MISSING_DOMAIN")',
    "foo bar, baz": '("foo bar" NIL "MISSING_MAILBOX" "MISSING_DOMAIN")(NIL NIL "baz" "MISSING_DOMAIN")',
    "foo <>": '("foo" NIL "MISSING_MAILBOX" "MISSING_DOMAIN")',
    "<@x>": '(NIL "INVALID_ROUTE" "MISSING_MAILBOX" "MISSING_DOMAIN")',
    "<@r a@b>": '(NIL "INVALID_ROUTE" "a" "b")',
    "<@r,,@s:a@b>": '(NIL "@r,@s" "a" "b")',
    ".foo@bar": '(NIL NIL ".foo" "bar")',
    "foo@bar.": '(NIL NIL "foo" "MISSING_DOMAIN")',
    "@b": '(NIL NIL "MISSING_MAILBOX" "b")',
    "undisclosed-recipients:;": '(NIL NIL "undisclosed-recipients" NIL)(NIL NIL NIL NIL)',
    "g: a@b c@d;": '(NIL NIL "g" NIL)(NIL NIL "a" "b")(NIL NIL NIL NIL)',
    "a@b,, c@d": '(NIL NIL "a" "b")(NIL NIL "MISSING_MAILBOX" "MISSING_DOMAIN")(NIL NIL "c" "d")',
    "a@b (c) (d\\))": '("d)" NIL "a" "b")',
    "(x) a@b": '(NIL NIL "a" "b")',
    '"foo bar"@x': '(NIL NIL "foo bar" "x")',
    "a@[1.2.3.4]": '(NIL NIL "a" "[1.2.3.4]")',
    "a@[1.2.3.4": '(NIL NIL "a" "MISSING_DOMAIN")',
    "J. Doe <j@x>": '("J. Doe" NIL "j" "x")',
    '"unclosed <a@b>': '(NIL NIL "MISSING_MAILBOX" "MISSING_DOMAIN")',
    "foo <a@b> bar": '("foo" NIL "a" "b")',
    "a@b@c": '(NIL NIL "a" "b")',
}
TYPES = {
    "text/plain; charset": '"text" "plain" ("charset" "us-ascii")',
    "TEXT /(c) Html ; a=b c; d=e": '"TEXT" "Html" ("a" "b" "d" "e" "charset" "us-ascii")',
    'x/y; a="b\\"c"; =d; e==?utf-8?b?eA==?=': '"x" "y" ("a" "b\\"c" "" "d" "e" "=?utf-8?b?eA==?=")',
    "x/y; b*1=2; c=3; b*0=1": '"x" "y" ("c" "3" "b" "12")',
    "x/y; a*0*=%20; a*1=%": '"x" "y" ("a*" "%20%25")',
    "x/y; a*1=x; a*2*=y": '"x" "y" ("a*1" "x" "a*2*" "y")',
    "x/y; a*=utf-8''x": '"x" "y" ("a*" "utf-8\'\'x")',
}


@pytest.mark.parametrize("written", ADDRESSES)
def test_an_address_is_told_as_far_as_it_can_be_read(written: str) -> None:
    told = envelope(Part(b"To: %b\r\n\r\n" % written.encode()))
    assert told == f"(NIL NIL NIL NIL NIL ({ADDRESSES[written]}) NIL NIL NIL NIL)".encode()


def test_white_space_may_stand_around_the_dots_of_an_address() -> None:
    """RFC 5322 section 4.4; Dovecot takes what is before the @ for a name then."""
    assert b'(NIL NIL "foo.bar" "x.y")' in envelope(Part(b"To: foo . bar @ x . y\r\n\r\n"))


@pytest.mark.parametrize("written", TYPES)
def test_a_type_is_told_as_far_as_it_can_be_read(written: str) -> None:
    told = structure(Part(b"Content-Type: %b\r\n\r\n" % written.encode()), extended=False)
    assert told.startswith(f"({TYPES[written]} NIL NIL ".encode())


@pytest.mark.parametrize("written", ["", "text", "/", "text/", "/plain", "(text/html", "<p>"])
def test_what_is_no_type_is_plain_text(written: str) -> None:
    told = structure(Part(b"Content-Type: %b; name=x\r\n\r\n" % written.encode()), extended=False)
    assert told == b'("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 0 0)'


def test_other_fields_that_cannot_be_read_are_not_there() -> None:
    broken = b"Content-Disposition: (\r\nContent-Transfer-Encoding: x y\r\nContent-Language: ,\r\n"
    told = structure(Part(b"MIME-Version: 1.0\r\n%b\r\n" % broken), extended=True)
    assert told == b'("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 0 0 NIL NIL NIL NIL)'
    unclosed = structure(Part(b"MIME-Version: 1.0\r\nContent-Transfer-Encoding: (\r\n\r\n"), extended=True)
    assert b'"7bit"' in unclosed


def test_a_part_does_not_show_its_octets() -> None:
    assert repr(Part(b"Subject: secret\r\n\r\n")) == "Part(19 octets)"
