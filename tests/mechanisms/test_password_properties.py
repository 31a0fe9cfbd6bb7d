"""Whatever either side of LOGIN, CRAM-MD5, EXTERNAL and ANONYMOUS sends: both agree, and only our own errors leave."""

from __future__ import annotations

import contextlib
import hmac

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

SECRET = "S3cr3t.pa55word/of-20+="
CHALLENGE = b"<1896.697170952@postoffice.reston.mci.net>"

visible = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=64)
mechanisms = st.sampled_from(["LOGIN", "CRAM-MD5", "EXTERNAL", "ANONYMOUS"])


def client(mechanism, name="user", password=SECRET, **options):
    credentials = {"EXTERNAL": sasl.External, "ANONYMOUS": sasl.Anonymous}.get(mechanism)
    return sasl.client(mechanism, credentials(name) if credentials else sasl.Password(name, password), **options)


def server(mechanism, **options):
    if mechanism == "CRAM-MD5":
        options["challenge"] = CHALLENGE
    return sasl.server(mechanism, **options)


def met(mechanism, name, password=SECRET, **options):
    """Let both sides talk: the server's exchange and its question; None if the client refused its own caller."""
    ours, theirs = client(mechanism, name, password, **options), server(mechanism, **options)
    with contextlib.suppress(sasl.UsageError):
        event = theirs.start(ours.start())
        while isinstance(event, sasl.Challenge):
            event = theirs.receive(ours.respond(event.data))
        ours.succeed()  # the client has nothing more to send
        return theirs, event
    return None


# --- both sides agree


@given(authcid=names, password=names, prepare=st.booleans())
@example(authcid="\u2168", password="\u00aa", prepare=True)
@example(authcid="\u2168", password="\u00ad", prepare=False)
def test_what_a_login_client_sends_its_server_hands_on(authcid, password, prepare):
    if meeting := met("LOGIN", authcid, password, prepare=prepare):
        form = saslprep if prepare else str
        assert meeting[1] == sasl.CheckPassword(form(authcid), sasl.Secret(password))


@given(authcid=names, password=names, prepare=st.booleans())
@example(authcid="\u2168 a", password="\u00aa", prepare=True)
@example(authcid=" \u2168", password="\u00ad", prepare=False)
def test_a_cram_md5_client_with_the_right_password_is_let_in(authcid, password, prepare):
    if meeting := met("CRAM-MD5", authcid, password, prepare=prepare):
        exchange, question = meeting
        name = saslprep(authcid) if prepare else authcid
        assert question == sasl.FindSecret(name, "CRAM-MD5", None)
        event = exchange.answer(sasl.Record("whoever", password))
        assert event == sasl.Authorize("whoever", None, name)


@given(password=names, kept=st.one_of(names, st.none()), prepare=st.booleans())
@example(password="p", kept="p\0", prepare=False)
@example(password="p", kept="", prepare=False)
def test_a_cram_md5_client_with_another_password_is_not_let_in(password, kept, prepare):
    if meeting := met("CRAM-MD5", "user", password, prepare=prepare):
        with contextlib.suppress(sasl.UsageError):
            assume(kept is None or kept != password)
            assume(not prepare or kept is None or saslprep(kept) != saslprep(password))
        event = meeting[0].answer(None if kept is None else sasl.Record("user", kept))
        assert isinstance(event, sasl.Failure)
        assert event.kind in ("credentials", "unavailable")


@given(authzid=st.one_of(st.none(), names), prepare=st.booleans())
@example(authzid="\u2168\u00ad", prepare=True)
def test_what_an_external_client_sends_its_server_hands_on_or_cannot_prepare(authzid, prepare):
    with contextlib.suppress(sasl.UsageError):
        message = client("EXTERNAL", authzid).start()
        exchange = server("EXTERNAL", certificate=b"DER", prepare=prepare)
        event = exchange.start(message)
        if isinstance(event, sasl.Failure):
            assert (prepare, event.kind) == (True, "credentials")
            return
        wanted = (saslprep(authzid or "") if prepare else authzid) or None
        assert event == sasl.CheckCertificate(b"DER", wanted)
        assert exchange.answer(sasl.Accepted("whoever")) == sasl.Authorize("whoever", wanted)


@given(trace=names)
@example(trace="")
@example(trace="user@example.com")
def test_what_an_anonymous_client_sends_its_server_hands_on(trace):
    if meeting := met("ANONYMOUS", trace):
        assert meeting[1] == sasl.CheckAnonymous(trace)


@given(mechanism=mechanisms, name=visible)
def test_names_of_plain_ascii_are_always_sent(mechanism, name):
    assume(mechanism != "ANONYMOUS" or "@" not in name)  # a mail address has a form
    meeting = met(mechanism, name, name)
    assert meeting is not None
    assert isinstance(meeting[1], sasl.Question)


# --- a message that was changed on its way says what its octets say, or nothing

PIECES = [b"", b"\0", b"\n", b" ", b"@", b"0", b"a", b"A", b"\xc3", b"\xc2\x85", b"\xcc\x81"]


def is_refusal(event):
    return isinstance(event, sasl.Failure) and event.kind in ("malformed", "credentials", "limit")


@given(user=changed(b"the user", PIECES), password=changed(b"the password", PIECES))
def test_a_login_server_hands_on_the_octets_that_it_got_or_none(user, password):
    exchange = server("LOGIN", prepare=False)
    event = exchange.start(user)
    if isinstance(event, sasl.Challenge):
        event = exchange.receive(password)
    if not is_refusal(event):
        assert (event.authcid.encode(), event.password.reveal().encode()) == (user, password)


RESPONSE = b"the user " + hmac.digest(SECRET.encode(), CHALLENGE, "md5").hex().encode()


@given(changed(RESPONSE, PIECES))
def test_a_cram_md5_response_that_was_changed_lets_nobody_in_but_whom_it_names_with_the_right_hash(response):
    exchange = server("CRAM-MD5", prepare=False)
    exchange.start()
    event = exchange.receive(response)
    if is_refusal(event):
        return
    assert event.authcid.encode() == response.rpartition(b" ")[0]
    event = exchange.answer(sasl.Record(event.authcid, SECRET))
    if response.rpartition(b" ")[2] == RESPONSE.rpartition(b" ")[2]:
        assert isinstance(event, sasl.Authorize)  # the hash does not cover the name
    else:
        assert event == sasl.Failure("credentials", "wrong password")


@given(changed(CHALLENGE, PIECES))
def test_an_answer_to_a_challenge_that_was_changed_lets_nobody_in(challenge):
    exchange, ours = server("CRAM-MD5"), client("CRAM-MD5")
    exchange.start()
    ours.start()
    with contextlib.suppress(sasl.ProtocolError):
        exchange.receive(ours.respond(challenge))
        event = exchange.answer(sasl.Record("user", SECRET))
        assert isinstance(event, sasl.Authorize if challenge == CHALLENGE else sasl.Failure)


@given(changed(b"user@example.com", PIECES))
def test_an_external_or_anonymous_server_hands_on_the_octets_that_it_got_or_none(message):
    for mechanism, options in (("EXTERNAL", {"prepare": False}), ("ANONYMOUS", {})):
        event = server(mechanism, **options).start(message)
        if not is_refusal(event):
            told = event.authzid or "" if mechanism == "EXTERNAL" else event.trace
            assert told.encode() == message


# --- any octets at any step

octets = st.one_of(
    st.binary(max_size=40),
    st.sampled_from([b"", b"*", b"=", b"user", b"Username:", b"Password:", CHALLENGE, bytes(70_000), b"a" * 2_000]),
    st.just(b"user " + RESPONSE.rpartition(b" ")[2]),
)


@given(mechanism=mechanisms, calls=calls_of_a_client(octets))
@example(mechanism="LOGIN", calls=[("respond", b"")] * 4)
@example(mechanism="CRAM-MD5", calls=[("respond", CHALLENGE)] * 2)
def test_nothing_but_sasl_errors_leaves_a_client_and_none_shows_the_secret(mechanism, calls, shows_no_secret):
    sent, _ = called_by_a_client(client(mechanism), calls, lambda thing: shows_no_secret(thing, SECRET))
    assert sum(SECRET.encode() in message for message in sent) <= (mechanism == "LOGIN")


ASKED = {
    "LOGIN": sasl.CheckPassword,
    "CRAM-MD5": sasl.FindSecret,
    "EXTERNAL": sasl.CheckCertificate,
    "ANONYMOUS": sasl.CheckAnonymous,
}
YES = [
    *(sasl.Accepted(name) for name in ("user", "x")),
    *(sasl.Record("user", value) for value in (SECRET, sasl.Secret(SECRET), "x", None)),
]


@given(mechanism=mechanisms, first=st.one_of(st.none(), octets), calls=calls_of_a_server(octets, YES))
@example(
    mechanism="CRAM-MD5",
    first=None,
    calls=[
        ("receive", b"user " + RESPONSE.rpartition(b" ")[2]),
        ("answer", sasl.Record("user", SECRET)),
        ("answer", NotImplemented),
    ],
)
def test_a_server_answers_any_octets_by_events_and_says_yes_only_after_two_of_its_verifier(mechanism, first, calls):
    succeeded, accepted = called_by_a_server(server(mechanism), first, calls)
    if succeeded:
        assert accepted == [ASKED[mechanism], sasl.Authorize]
