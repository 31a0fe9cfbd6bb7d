"""Each bound of the mechanisms is met exactly: what fits by one octet, and what does not by one."""

from __future__ import annotations

import base64
import re

import pytest

import sasl
from sasl.mechanisms import _scram_messages as scram_messages
from sasl.mechanisms.scram import KeyCache

SECRET = "pencil"


def kind(event):
    """What became of a message: the kind of a failure, or that there was none."""
    return event.kind if isinstance(event, sasl.Failure) else type(event).__name__


def sent(name, credentials=None, **channel):
    """The first message of a client, None where it is refused."""
    credentials = credentials or sasl.Bearer("u", "t")
    try:
        return sasl.client(name, credentials, channel=sasl.Channel(**channel)).start()
    except sasl.UsageError:
        return None


# --- ANONYMOUS


@pytest.mark.parametrize(("length", "fits"), [(1, True), (255, True), (256, False)])
def test_a_trace_has_255_characters_at_most(length, fits):
    trace = "x" * length
    assert (sent("ANONYMOUS", sasl.Anonymous(trace)) is not None) is fits
    assert kind(sasl.server("ANONYMOUS").start(trace.encode())) == ("CheckAnonymous" if fits else "limit")


@pytest.mark.parametrize(
    ("trace", "fits"),
    [
        ("a@b", True),
        ("a.b.c@d", True),
        ("a@b.c.d", True),
        ('""@b', True),
        ('"x y"@b', True),
        (r'"\""@b', True),
        ("a@[]", True),
        ("a@[1.2.3.4]", True),
        ("@b", False),
        ("a@", False),
        ("a.@b", False),
        (".a@b", False),
        ("a..b@c", False),
        ("a@b.", False),
        ('"@b', False),
        ("a@[", False),
        ("a@b@c", False),
    ],
)
def test_a_trace_with_an_at_sign_is_an_address_without_an_empty_part(trace, fits):
    assert (sent("ANONYMOUS", sasl.Anonymous(trace)) is not None) is fits
    assert kind(sasl.server("ANONYMOUS").start(trace.encode())) == ("CheckAnonymous" if fits else "malformed")


# --- CRAM-MD5


@pytest.mark.parametrize(("length", "is_named"), [(1, True), (255, True), (256, False)])
def test_a_host_of_255_characters_stands_in_a_challenge(length, is_named):
    challenge = sasl.server("CRAM-MD5", channel=sasl.Channel(host="h" * length)).start().data
    assert re.fullmatch(rb"<[0-9]+\.[0-9]+@%s>" % (b"h" * length if is_named else b"localhost"), challenge)


@pytest.mark.parametrize(("digits", "expected"), [(31, "malformed"), (32, "FindSecret"), (33, "malformed")])
def test_a_digest_has_32_digits(digits, expected):
    server = sasl.server("CRAM-MD5", challenge=b"<1@x>")
    server.start()
    assert kind(server.receive(b"tim " + b"0" * digits)) == expected


@pytest.mark.parametrize(("challenge", "fits"), [(b"", False), (b" ", True), (b"~", True), (b"\x7f", False)])
def test_a_challenge_is_one_printable_character_or_more(challenge, fits):
    client = sasl.client("CRAM-MD5", sasl.Password("tim", SECRET))
    client.start()
    if fits:
        assert client.respond(challenge).startswith(b"tim ")
    else:
        with pytest.raises(sasl.ProtocolError):
            client.respond(challenge)
    assert kind(sasl.server("CRAM-MD5", challenge=challenge).start()) == ("Challenge" if fits else "unavailable")


# --- DIGEST-MD5

CHALLENGE = b'realm="r",nonce="n",qop="auth",charset=utf-8,algorithm=md5-sess'
RESPONSE = {
    b"username": b'"u"',
    b"realm": b'"r"',
    b"nonce": b'"n"',
    b"cnonce": b'"c"',
    b"nc": b"00000001",
    b"digest-uri": b'"imap/h"',
    b"response": b"0" * 32,
    b"qop": b"auth",
}


def digest_client(message, **channel):
    """The answer to a challenge, or the error."""
    channel = {"service": "imap", "host": "h", **channel}
    client = sasl.client("DIGEST-MD5", sasl.Password("u", SECRET), channel=sasl.Channel(**channel))
    try:
        client.start()
        return client.respond(message)
    except sasl.SASLError as error:
        return error


def digest_server(**changed):
    """What becomes of a response with one directive changed."""
    server = sasl.server("DIGEST-MD5", realm="r", nonce=b"n", channel=sasl.Channel(service="imap", host="h"))
    server.start()
    directives = {**RESPONSE, **{name.replace("_", "-").encode(): text for name, text in changed.items()}}
    return kind(server.receive(b",".join(b"%s=%s" % each for each in directives.items() if each[1] is not None)))


@pytest.mark.parametrize(
    ("number", "fits"),
    [
        (b"16", False),
        (b"17", True),
        (b"16777215", True),
        (b"16777216", False),
        (b"0000000017", True),
        (b"00000000017", False),
        (b'""', False),
    ],
)
def test_maxbuf_is_above_16_and_below_2_24_in_ten_digits(number, fits):
    assert isinstance(digest_client(CHALLENGE + b",maxbuf=" + number), bytes) is fits
    assert digest_server(maxbuf=number) == ("FindSecret" if fits else "malformed")


@pytest.mark.parametrize(("digits", "expected"), [(7, "malformed"), (8, "FindSecret"), (9, "malformed")])
def test_a_nonce_count_has_8_digits(digits, expected):
    assert digest_server(nc=b"1".zfill(digits)) == expected


@pytest.mark.parametrize(("digits", "expected"), [(31, "malformed"), (32, "FindSecret"), (33, "malformed")])
def test_a_response_value_has_32_digits(digits, expected):
    assert digest_server(response=b"0" * digits) == expected


@pytest.mark.parametrize("name", ["username", "nonce", "cnonce", "digest_uri"])
def test_what_has_to_be_there_is_not_empty(name):
    assert digest_server(**{name: b'""'}) == "malformed"


def test_a_realm_may_be_empty():
    assert isinstance(digest_client(CHALLENGE.replace(b'realm="r"', b'realm=""')), bytes)
    assert isinstance(digest_client(CHALLENGE.replace(b'nonce="n"', b'nonce=""')), sasl.ProtocolError)


@pytest.mark.parametrize("qop", [b'""', b'"  "', b'"auth"', b'"auth-int,auth"'])
def test_a_quality_of_protection_is_named(qop):
    assert isinstance(digest_client(CHALLENGE.replace(b'"auth"', qop)), bytes) is (b"auth" in qop)


@pytest.mark.parametrize("directive", [b"=x", b'="x"', b"x=", b"x", b"nonce2="])
def test_a_directive_that_nobody_knows_has_a_name_and_a_value_too(directive):
    assert isinstance(digest_client(CHALLENGE + b"," + directive), sasl.ProtocolError)


@pytest.mark.parametrize("spaces", [b"", b" ", b"\t ", b"\r\n ", b"\r\n\t \r\n "])
def test_spaces_between_directives_may_be_none_or_many(spaces):
    message = CHALLENGE.replace(b",", spaces + b"," + spaces).replace(b"=", spaces + b"=" + spaces)
    assert isinstance(digest_client(spaces + message + spaces), bytes)


@pytest.mark.parametrize(
    ("service", "host", "fits"),
    [
        ("s", "h", True),
        ("s" * 64, "h", True),
        ("s" * 65, "h", False),
        ("", "h", False),
        ("s", "h" * 255, True),
        ("s", "h" * 256, False),
    ],
)
def test_a_digest_uri_has_names_of_so_many_characters(service, host, fits):
    client = digest_client(CHALLENGE, service=service, host=host)
    assert isinstance(client, bytes) is fits
    uri = f'"{service}/{host}"'.encode()
    options = {"channel": sasl.Channel(service=service or "imap", host=host), "realm": "r", "nonce": b"n"}
    server = sasl.server("DIGEST-MD5", **options)
    server.start()
    message = b",".join(b"%s=%s" % each for each in {**RESPONSE, b"digest-uri": uri}.items())
    assert kind(server.receive(message)) == ("FindSecret" if fits else "malformed")


@pytest.mark.parametrize(("name", "fits"), [("", True), ("/x", True), ("/" + "x" * 255, True), ("/", False)])
def test_a_digest_uri_may_name_the_service_too(name, fits):
    assert digest_server(digest_uri=f'"imap/h{name}"'.encode()) == ("FindSecret" if fits else "malformed")


def test_a_digest_uri_with_too_long_a_name_of_the_service_is_none():
    assert digest_server(digest_uri=b'"imap/h/' + b"x" * 256 + b'"') == "malformed"


# --- OAUTHBEARER


@pytest.mark.parametrize(("port", "fits"), [(0, False), (1, True), (65_535, True), (65_536, False)])
def test_a_port_goes_from_1_to_65535(port, fits):
    assert (sent("OAUTHBEARER", port=port) is not None) is fits
    message = b"n,a=u,\x01port=%d\x01auth=Bearer t\x01\x01" % port
    assert kind(sasl.server("OAUTHBEARER").start(message)) == ("CheckToken" if fits else "malformed")


@pytest.mark.parametrize(("port", "fits"), [(b"9", True), (b"99", True), (b"01", False), (b"", False)])
def test_a_port_is_a_number_without_zeros_before_it(port, fits):
    message = b"n,a=u,\x01port=%s\x01auth=Bearer t\x01\x01" % port
    assert kind(sasl.server("OAUTHBEARER").start(message)) == ("CheckToken" if fits else "malformed")


@pytest.mark.parametrize(("length", "fits"), [(0, False), (1, True), (255, True), (256, False)])
def test_a_host_has_1_to_255_octets(length, fits):
    message = b"n,a=u,\x01host=%s\x01auth=Bearer t\x01\x01" % (b"h" * length)
    assert kind(sasl.server("OAUTHBEARER").start(message)) == ("CheckToken" if fits else "malformed")
    if length:
        assert (sent("OAUTHBEARER", host="h" * length) is not None) is fits


@pytest.mark.parametrize("space", [b"\t", b"\n", b"\r", b" "], ids=ascii)
def test_no_space_of_any_kind_stands_in_a_token(space):
    message = b"n,a=u,\x01auth=Bearer a%sb\x01\x01" % space
    assert kind(sasl.server("OAUTHBEARER").start(message)) == "malformed"


@pytest.mark.parametrize(("depth", "kept"), [(2, True), (16, True), (17, False)])
def test_an_error_challenge_nests_so_deep(depth, kept):
    client = sasl.client("OAUTHBEARER", sasl.Bearer("u", "t"))
    client.start()
    client.respond(b'{"status":"400","x":' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}")
    assert bool(client.fail().detail) is kept


# --- SCRAM

NAME, NONCE = "SCRAM-SHA-256", "r" * 24


def first(message):
    """What a server makes of a client's first message."""
    return kind(sasl.server(NAME).start(message))


def nonce(parse, message):
    """The nonce that is read in a message; None if the message is refused."""
    try:
        return parse(message).nonce
    except sasl.ProtocolError:
        return None


@pytest.mark.parametrize(
    ("message", "fits"),
    [
        (b"n,,n=u,r=n", True),
        (b"n,,n=,r=n", False),
        (b"n,,n=u,r=", False),
        (b"n,,n=u,r=n,x=y", True),
        (b"n,,n=u,r=n,x=y,z=y", True),
        (b"n,,n=u,r=n,x=", False),
        (b"n,,n=u,r=n,", False),
    ],
)
def test_no_part_of_a_first_message_is_empty(message, fits):
    assert first(message) == ("FindKeys" if fits else "malformed")


@pytest.mark.parametrize(
    ("message", "fits"),
    [
        (b"r=n,s=AAAA,i=1", True),
        (b"r=n,s=AAA=,i=1", True),
        (b"r=n,s=AA==,i=1", True),
        (b"r=n,s=A===,i=1", False),
        (b"r=n,s==,i=1", False),
        (b"r=n,s=,i=1", False),
        (b"r=,s=AAAA,i=1", False),
        (b"r=n,s=AAAA,i=", False),
        (b"r=n,s=AAAA,i=0", False),
        (b"r=n,s=AAAA,i=" + b"9" * 20, True),  # a number; that there are too many iterations is said later
        (b"r=n,s=AAAA,i=" + b"9" * 21, False),
        (b"r=n,s=AAAA,i=1,x=y", True),
        (b"r=n,s=AAAA,i=1,x=", False),
    ],
)
def test_no_part_of_a_servers_first_message_is_empty_or_endless(message, fits):
    assert nonce(scram_messages.parse_server_first, message) == (b"n" if fits else None)


@pytest.mark.parametrize(
    ("message", "fits"),
    [
        (b"c=biws,r=n,p=AAAA", True),
        (b"c=biws,r=n,p=AA==", True),
        (b"c=biws,r=n,p=A===", False),
        (b"c=biws,r=n,p=", False),
        (b"c=,r=n,p=AAAA", False),
        (b"c=biws,r=,p=AAAA", False),
        (b"c=biws,r=n,x=y,p=AAAA", True),
        (b"c=biws,r=n,x=,p=AAAA", False),
    ],
)
def test_no_part_of_a_last_message_is_empty(message, fits):
    assert nonce(scram_messages.parse_client_final, message) == (b"n" if fits else None)


@pytest.mark.parametrize(
    ("message", "fits"),
    [(b"v=AAAA", True), (b"v=AA==", True), (b"v=", False), (b"e=x", True), (b"e=", False), (b"e=x,y=z", True)],
)
def test_no_part_of_a_servers_last_message_is_empty(message, fits):
    if fits:
        assert scram_messages.parse_server_final(message)
    else:
        with pytest.raises(sasl.ProtocolError):
            scram_messages.parse_server_final(message)


def test_a_nonce_has_18_random_octets():
    message = sasl.client(NAME, sasl.Password("u", SECRET)).start()
    assert len(base64.b64decode(message.rpartition(b"r=")[2], validate=True)) == 18


@pytest.mark.parametrize(
    ("decoy", "fits"),
    [
        ((bytes(15), 1), False),
        ((bytes(16), 1), True),
        ((bytes(16), 0), False),
        ((bytes(16), 2**31 - 1), True),
        ((bytes(16), 2**31), False),
        ((bytes(16), 1, 0), False),
        ((bytes(16), 1, 1), True),
        ((bytes(16), 1, 4_096), True),
        ((bytes(16), 1, 4_097), False),
    ],
)
def test_a_decoy_has_bounds_of_its_own(decoy, fits):
    server = sasl.server(NAME, decoy=decoy) if fits else None
    if server is None:
        with pytest.raises(sasl.UsageError, match="decoy"):
            sasl.server(NAME, decoy=decoy)
    else:
        assert kind(server.start(b"n,,n=u,r=" + NONCE.encode())) == "FindKeys"


@pytest.mark.parametrize(("user", "password"), [("", SECRET), ("u", "")])
def test_a_name_and_a_password_that_are_not_prepared_are_not_empty_either(user, password):
    with pytest.raises(sasl.UsageError, match="not empty"):
        sasl.client(NAME, sasl.Password(user, password), prepare=False).start()


def test_a_cache_of_keys_keeps_1024_logins_or_what_it_is_told():
    assert KeyCache().bound == 1_024
    assert KeyCache(0).bound == 0
    with pytest.raises(sasl.UsageError):
        KeyCache(-1)


def test_an_unknown_user_has_4096_iterations_and_16_octets_of_salt():
    server = sasl.server(NAME)
    server.start(b"n,,n=u,r=" + NONCE.encode())
    first_answer = scram_messages.parse_server_first(server.answer(None).data)
    assert (first_answer.iterations, len(first_answer.salt)) == (4_096, 16)
