"""Whatever either side sends: both sides of a mechanism agree, and nothing but the library's own errors leaves."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

import sasl
from sasl.prep import saslprep

from ..support.properties import (
    called_by_a_client,
    called_by_a_server,
    calls_of_a_client,
    calls_of_a_server,
    changed,
    names,
)

SECRET = "S3cr3t.t0ken/of-20+="

tokens = st.one_of(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=20), names)
hosts = st.one_of(st.none(), st.from_regex(r"[a-zA-Z0-9.:\[\]-]{0,20}", fullmatch=True), names)
ports = st.one_of(st.none(), st.integers(-1, 70_000))
mechanisms = st.sampled_from(["PLAIN", "XOAUTH2", "OAUTHBEARER"])


def started(name, credentials, **options):
    """The client's message; None if it refused its own caller, which is all that may go wrong here."""
    exchange = sasl.client(name, credentials, **options)
    with contextlib.suppress(sasl.UsageError):
        return exchange.start()
    return None


def asked(exchange, message):
    """What the server asks first, then what it wants authorized."""
    check = exchange.start(message)
    assert isinstance(check, sasl.CheckPassword | sasl.CheckToken), check
    return check, exchange.answer(sasl.Accepted("whoever"))


def prepared_or_typed(password):
    try:
        return saslprep(password)
    except sasl.UsageError:
        return password


# --- both sides agree


@given(authzid=st.one_of(st.none(), names), authcid=names, password=names)
@example(authzid="", authcid="a", password="b")
@example(authzid=None, authcid="\u2168", password="\u00aa")
def test_what_a_plain_client_sends_its_server_hands_on_prepared(authzid, authcid, password):
    message = started("PLAIN", sasl.Password(authcid, password, authzid=authzid))
    if message is None:
        return
    check, authorize = asked(sasl.server("PLAIN"), message)
    assert (check.authcid, check.password.reveal()) == (saslprep(authcid), prepared_or_typed(password))
    assert check.password == password
    assert authorize == sasl.Authorize("whoever", saslprep(authzid or "") or None, saslprep(authcid))


@given(authzid=st.one_of(st.none(), names), authcid=names, password=names)
@example(authzid=None, authcid="a", password="\r\n\a")
def test_what_a_plain_client_sends_its_server_hands_on_unprepared_if_told_so(authzid, authcid, password):
    message = started("PLAIN", sasl.Password(authcid, password, authzid=authzid), prepare=False)
    if message is None:
        return
    check, authorize = asked(sasl.server("PLAIN", prepare=False), message)
    assert (check.authcid, check.password.reveal()) == (authcid, password)
    assert authorize == sasl.Authorize("whoever", authzid or None, authcid)


@given(user=names, token=tokens)
def test_what_an_xoauth2_client_sends_its_server_hands_on(user, token):
    message = started("XOAUTH2", sasl.Bearer(user, token))
    if message is None:
        return
    check, authorize = asked(sasl.server("XOAUTH2"), message)
    assert check == sasl.CheckToken(user, sasl.Secret(token), None, None)
    assert authorize == sasl.Authorize("whoever", user)


@given(user=names, token=tokens, host=hosts, port=ports)
@example(user="a,b=c=2C", token="t", host="h", port=65_535)
def test_what_an_oauthbearer_client_sends_its_server_hands_on(user, token, host, port):
    channel = sasl.Channel(host=host, port=port)
    message = started("OAUTHBEARER", sasl.Bearer(user, token), channel=channel)
    if message is None:
        return
    check, authorize = asked(sasl.server("OAUTHBEARER", channel=channel), message)
    assert check == sasl.CheckToken(user, sasl.Secret(token), host or None, port)
    assert authorize == sasl.Authorize("whoever", user)


@given(mechanism=mechanisms, name=st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1))
def test_a_credential_of_plain_ascii_is_always_sent(mechanism, name):
    assume("," not in name and name.strip("="))  # OAUTHBEARER's two rules for a token
    credentials = sasl.Password(name, name) if mechanism == "PLAIN" else sasl.Bearer(name, name)
    assert started(mechanism, credentials) is not None


# --- a message that was changed on its way says what its octets say, or nothing


def reading(mechanism, message):
    """What the octets say, read by split and partition alone; None if they say nothing without doubt."""
    if mechanism == "PLAIN":
        parts = message.split(b"\0")
        return None if len(parts) != 3 else [part.decode("utf-8", "replace") for part in parts]
    gs2, _, pairs = message.partition(b"\x01") if mechanism == "OAUTHBEARER" else (b"", b"", message)
    fields = [pair.partition(b"=") for pair in pairs.split(b"\x01")]
    found = {key: value for key, _, value in fields}
    if len([key for key, _, _ in fields if key]) != len(found) - (b"" in found):
        return None
    user = found.get(b"user")
    if mechanism == "OAUTHBEARER":
        user = gs2[4:-1].replace(b"=2C", b",").replace(b"=3D", b"=") if b",a=" in gs2 else None
    told = [user, found.get(b"auth", b"").partition(b" ")[2]]
    if mechanism == "OAUTHBEARER":
        told += [found.get(b"host"), found.get(b"port")]
    return [None if value is None else value.decode("utf-8", "replace") for value in told]


ORIGINAL = {
    "PLAIN": b"root\0user\0another password",
    "XOAUTH2": b"user=u@example.com\x01auth=Bearer another.token\x01\x01",
    "OAUTHBEARER": b"n,a=u=2C@example.com,\x01host=h.example\x01port=993\x01auth=Bearer another.token\x01\x01",
}


PIECES = [b"", b"\0", b"\x01", b"=", b",", b" ", b"a=", b"\xc3", b"auth="]
mutated = mechanisms.flatmap(lambda name: st.tuples(st.just(name), changed(ORIGINAL[name], PIECES)))


@given(mutated)
def test_a_changed_message_never_says_anything_but_its_octets(mutated):
    mechanism, message = mutated
    exchange = sasl.server(mechanism, prepare=False) if mechanism == "PLAIN" else sasl.server(mechanism)
    event = exchange.start(message)
    if isinstance(event, sasl.CheckPassword):
        authorize = exchange.answer(sasl.Accepted("whoever"))
        assert [authorize.authzid or "", event.authcid, event.password.reveal()] == reading(mechanism, message)
    elif isinstance(event, sasl.CheckToken):
        told = [event.username, event.token.reveal()]
        if mechanism == "OAUTHBEARER":
            told += [event.host, None if event.port is None else str(event.port)]
        assert told == reading(mechanism, message)
    elif isinstance(event, sasl.Failure):
        assert event.kind in ("malformed", "credentials", "limit")
    else:  # the empty auth value of somebody who asks for the scope
        assert reading(mechanism, message)[1] == ""


def test_a_message_that_is_not_changed_is_read_alike():
    for mechanism, message in ORIGINAL.items():
        assert (
            reading(mechanism, message)
            == {
                "PLAIN": ["root", "user", "another password"],
                "XOAUTH2": ["u@example.com", "another.token"],
                "OAUTHBEARER": ["u,@example.com", "another.token", "h.example", "993"],
            }[mechanism]
        )


# --- any octets at any step


octets = st.one_of(
    st.binary(max_size=40),
    st.sampled_from(
        [b"", b"\x01", b"*", b"=", b"{}", b'{"status":"401"}', b"\0a\0b", b"n,,\x01auth=\x01\x01", bytes(70_000)]
    ),
    st.sampled_from(list(ORIGINAL.values())),
)


@given(mechanism=mechanisms, calls=calls_of_a_client(octets))
def test_nothing_but_sasl_errors_leaves_a_client_and_none_shows_the_secret(mechanism, calls, shows_no_secret):
    credentials = sasl.Password("user", SECRET) if mechanism == "PLAIN" else sasl.Bearer("user", SECRET)
    exchange = sasl.client(mechanism, credentials)
    sent, deferred = called_by_a_client(exchange, calls, lambda thing: shows_no_secret(thing, SECRET))
    assert sum(SECRET.encode() in message for message in sent) == (2 if deferred and len(sent) > 1 else 1)


YES = [sasl.Accepted("user"), sasl.Accepted("x")]


@given(mechanism=mechanisms, first=st.one_of(st.none(), octets), calls=calls_of_a_server(octets, YES))
def test_a_server_answers_any_octets_by_events_and_says_yes_only_after_two_of_its_verifier(mechanism, first, calls):
    succeeded, accepted = called_by_a_server(sasl.server(mechanism), first, calls)
    if succeeded:
        assert accepted in ([sasl.CheckPassword, sasl.Authorize], [sasl.CheckToken, sasl.Authorize])


# --- error challenges


values = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(st.characters(), max_size=10))
trees = st.recursive(
    values, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
)
members = st.dictionaries(st.sampled_from(["status", "scope", "schemes", "openid-configuration", "x"]), trees)


@given(mechanism=st.sampled_from(["XOAUTH2", "OAUTHBEARER"]), members=members, ascii_only=st.booleans())
def test_an_error_challenge_gives_printable_text_under_known_names(mechanism, members, ascii_only):
    challenge = json.dumps(members, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    exchange = sasl.client(mechanism, sasl.Bearer("user", SECRET))
    exchange.start()
    exchange.respond(challenge)
    detail = exchange.fail().detail
    assert set(detail) <= set(members) - {"x"}
    assert all(value.isprintable() for value in detail.values())
    for key, value in detail.items():
        assert isinstance(members[key], str | int)
        assert value == str(members[key]) or not str(members[key]).isprintable()


@pytest.mark.parametrize("mechanism", ["XOAUTH2", "OAUTHBEARER"])
@given(challenge=st.binary(min_size=1, max_size=60))
@example(challenge=b"\xff\xfe{\0")
@example(challenge=b"\0\0\xfe\xff")
def test_an_error_challenge_of_any_octets_is_a_refusal(mechanism, challenge):
    exchange = sasl.client(mechanism, sasl.Bearer("user", SECRET))
    exchange.start()
    assert exchange.respond(challenge) in (b"", b"\x01")
    assert type(exchange.fail()) is sasl.AuthenticationFailed
