"""The URL of a login: what it names, and that what is refused is never shown."""

from __future__ import annotations

import pytest

from sasl.adapters.cli.exits import Undecodable
from sasl.adapters.cli.url import Target, parse
from sasl.errors import UsageError


@pytest.mark.parametrize(
    ("scheme", "protocol", "implicit_tls", "port"),
    [
        ("imap", "imap", False, 143),
        ("imaps", "imap", True, 993),
        ("pop", "pop", False, 110),
        ("pop3", "pop", False, 110),
        ("pops", "pop", True, 995),
        ("pop3s", "pop", True, 995),
        ("smtp", "smtp", False, 587),
        ("smtps", "smtp", True, 465),
        ("IMAPS", "imap", True, 993),
    ],
)
def test_a_scheme_says_protocol_tls_and_port(scheme: str, protocol: str, *, implicit_tls: bool, port: int) -> None:
    assert parse(f"{scheme}://alice@mx.example") == Target(protocol, implicit_tls, "alice", "mx.example", port)
    assert parse(f"{scheme}://alice@mx.example:2525").port == 2525


def test_an_empty_path_is_none() -> None:
    assert parse("imaps://alice@mx.example/") == parse("imaps://alice@mx.example")
    assert parse("imaps://alice@mx.example:99/") == parse("imaps://alice@mx.example:99")


@pytest.mark.parametrize(
    ("text", "user"),
    [
        ("alice", "alice"),
        ("alice%40example.org", "alice@example.org"),
        ("first.last+tag", "first.last+tag"),
        ("a%3Ab%2Fc%3Fd%23e%25f%3Bg%20h", "a:b/c?d#e%f;g h"),
        ("j%C3%B6rg", "j\u00f6rg"),
        ("j%c3%b6rg", "j\u00f6rg"),
        ("j\u00f6rg", "j\u00f6rg"),
        ("100%25", "100%"),
    ],
)
def test_a_user_name_is_percent_decoded(text: str, user: str) -> None:
    assert parse(f"imaps://{text}@mx.example").user == user


def test_a_url_may_name_no_user() -> None:
    assert parse("imaps://mx.example").user is None


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("mx", "mx"),
        ("MX.Example.ORG", "MX.Example.ORG"),
        ("mx_1.my-host.example", "mx_1.my-host.example"),
        ("127.0.0.1", "127.0.0.1"),
        ("[::1]", "::1"),
        ("[2001:DB8::0:1]", "2001:db8::1"),
        ("[fe80::1%25eth0]", "fe80::1%eth0"),
        ("b\u00fccher.example", "xn--bcher-kva.example"),
    ],
)
def test_a_host_is_a_name_or_an_address(text: str, host: str) -> None:
    assert parse(f"imaps://alice@{text}").host == host
    assert (parse(f"imaps://alice@{text}:99").host, parse(f"imaps://alice@{text}:99").port) == (host, 99)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("", "begins with one of"),
        ("alice@mx.example", "begins with one of"),
        ("imap:alice@mx.example", "begins with one of"),
        ("http://alice@mx.example", "begins with one of"),
        ("\u0131map://alice@mx.example", "begins with one of"),
        (" imap://alice@mx.example", "begins with one of"),
        ("imaps://alice:hunter2@mx.example", "a password does not belong in the URL"),
        ("imaps://alice:@mx.example", "a password does not belong in the URL"),
        ("imaps://:hunter2@mx.example", "a password does not belong in the URL"),
        ("imaps://alice:hun/ter2@mx.example", "a password does not belong in the URL"),
        ("imaps://alice:hun@ter2@mx.example", "a password does not belong in the URL"),
        ("imaps://alice@example.org@mx.example", "%40"),
        ("imaps://alice@mx.example//", "no path"),
        ("imaps://alice@mx.example/INBOX", "no path"),
        ("imaps://alice@mx.example?hunter2", "no path"),
        ("imaps://alice@mx.example#hunter2", "no path"),
        ("imaps://alice@mx.example:993/INBOX", "no path"),
        ("imaps://@mx.example", "the user name in the URL is empty"),
        ("imaps://al ice@mx.example", "percent-encoded"),
        ("imaps://alice;AUTH=PLAIN@mx.example", "percent-encoded"),
        ("imaps://100%@mx.example", "percent-encoded"),
        ("imaps://a%4@mx.example", "percent-encoded"),
        ("imaps://a%zz@mx.example", "percent-encoded"),
        ("imaps://a<b>@mx.example", "percent-encoded"),
        ("imaps://a%00b@mx.example", "control characters"),
        ("imaps://a%0D%0Ab@mx.example", "control characters"),
        ("imaps://a%7Fb@mx.example", "control characters"),
        ("imaps://a%C2%85b@mx.example", "control characters"),
        ("imaps://alice@", "names no host"),
        ("imaps://", "names no host"),
        ("imaps://alice@:993", "names no host"),
        ("imaps://alice@::1", "names no host"),
        ("imaps://alice@mx..example", "names no host"),
        ("imaps://alice@.example", "names no host"),
        ("imaps://alice@-mx.example", "names no host"),
        ("imaps://alice@mx-.example", "names no host"),
        ("imaps://alice@mx%2eexample", "names no host"),
        ("imaps://alice@mx example", "names no host"),
        ("imaps://alice@mx\r\n.example", "names no host"),
        (f"imaps://alice@{'x' * 64}.example", "names no host"),
        (f"imaps://alice@{'.'.join(['x' * 60] * 5)}", "names no host"),
        ("imaps://alice@\u00fc..example", "names no host"),
        (f"imaps://alice@{chr(0xFC) * 70}.example", "names no host"),
        ("imaps://alice@[::1", "names no host"),
        ("imaps://alice@[::1]x", "names no host"),
        ("imaps://alice@[[::1]]", "names no host"),
        ("imaps://alice@[]", "not an IPv6 address"),
        ("imaps://alice@[127.0.0.1]", "not an IPv6 address"),
        ("imaps://alice@[::hunter2]", "not an IPv6 address"),
        ("imaps://alice@mx.example:", "a number from 1 to 65535"),
        ("imaps://alice@mx.example:0", "a number from 1 to 65535"),
        ("imaps://alice@mx.example:0993", "a number from 1 to 65535"),
        ("imaps://alice@mx.example:65536", "a number from 1 to 65535"),
        ("imaps://alice@mx.example:-1", "a number from 1 to 65535"),
        ("imaps://alice@mx.example:9 9", "a number from 1 to 65535"),
        ("imaps://alice@mx.example:\u0663", "a number from 1 to 65535"),
        ("imaps://alice@mx.example:hunter2", "a number from 1 to 65535"),
        ("imaps://alice@[::1]:993:993", "a number from 1 to 65535"),
    ],
)
def test_what_is_no_such_url_is_refused_and_not_shown(url: str, why: str) -> None:
    with pytest.raises(UsageError, match=why) as caught:
        parse(url)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is caught.value.__context__ is None


@pytest.mark.parametrize("user", ["a%FF", "%C0%80", "a%ED%A0%80", "a\udcff"])
def test_a_user_name_that_is_not_utf8_is_undecodable(user: str) -> None:
    with pytest.raises(Undecodable, match="not UTF-8") as caught:
        parse(f"imaps://{user}@mx.example")
    assert caught.value.__context__ is None


def test_the_highest_port_is_one() -> None:
    assert parse("imaps://alice@mx.example:65535").port == 65535
