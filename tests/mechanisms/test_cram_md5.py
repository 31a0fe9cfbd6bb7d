"""CRAM-MD5 (RFC 2195): its vectors, its bad inputs, and where they leave something to say."""

from __future__ import annotations

import hashlib
import hmac
import re
import time

import pytest

import sasl
import sasl.spec
from sasl.mechanisms import cram_md5

from ..support.exchanges import knowing, prompt

VECTORS = sasl.spec.vectors("cram-md5")
CASES = sasl.spec.cases("cram_md5")
CHALLENGE = b"<1896.697170952@postoffice.reston.mci.net>"
SECRET = "S3cr3t pa55word"


def by_hand(key, message):
    """HMAC-MD5 as RFC 2104 section 2 writes it, without the hmac module."""
    key = (hashlib.md5(key).digest() if len(key) > 64 else key).ljust(64, b"\0")
    inner = hashlib.md5(bytes(octet ^ 0x36 for octet in key) + message).digest()
    return hashlib.md5(bytes(octet ^ 0x5C for octet in key) + inner).hexdigest().encode()


def started(authcid="tim", password=SECRET, *, authzid=None, **options):
    exchange = sasl.client("CRAM-MD5", sasl.Password(authcid, password, authzid=authzid), **options)
    assert exchange.start() is None
    return exchange


def asked(response, **options):
    """The server's event after the response."""
    exchange = sasl.server("CRAM-MD5", challenge=CHALLENGE, **options)
    assert prompt(exchange.start()) == CHALLENGE
    return exchange, exchange.receive(response)


# --- the data


def messages(vector):
    challenge, response = vector.messages
    assert (challenge.sender, response.sender) == ("server", "client")
    return challenge.data, response.data


@pytest.mark.parametrize("vector", [vector for vector in VECTORS if "client" in vector.sides], ids=str)
def test_a_client_answers_what_the_vector_says(vector, shows_no_secret):
    challenge, response = messages(vector)
    exchange = started(vector.credentials["authcid"], vector.credentials["password"])
    assert exchange.respond(challenge) == response
    shows_no_secret(exchange, vector.credentials["password"], response)
    exchange.succeed()
    assert exchange.state is sasl.State.DONE


@pytest.mark.parametrize("vector", [vector for vector in VECTORS if "server" in vector.sides], ids=str)
def test_a_server_concludes_what_the_vector_says(vector, shows_no_secret):
    challenge, response = messages(vector)
    known = vector.credentials
    users = knowing({known["authcid"]: known["password"]})
    exchange = sasl.server("CRAM-MD5", challenge=challenge)
    assert prompt(exchange.start()) == challenge
    event = sasl.settle(exchange, exchange.receive(response), users)
    shows_no_secret(event, response.rpartition(b" ")[2])
    if vector.expected["outcome"] == "success":
        authcid = vector.expected["authcid"]
        assert event == sasl.Success(identity=authcid, authcid=authcid)
        assert users.asked == [sasl.FindSecret(authcid, "CRAM-MD5", None)]
    else:
        assert (type(event), event.kind) == (sasl.Failure, vector.expected["error"])
        assert users.asked == []


@pytest.mark.parametrize("case", [case for case in CASES if case.role == "server"], ids=str)
def test_a_server_takes_or_refuses_what_the_corpus_says(case, shows_no_secret):
    users = knowing(case.params["users"])
    (response,) = (step.data for step in case.steps)
    exchange = sasl.server("CRAM-MD5", challenge=case.params["challenge"].encode())
    exchange.start()
    event = sasl.settle(exchange, exchange.receive(response), users)
    shows_no_secret(event, response)
    if case.expect == "accept":
        assert event == sasl.Success(identity="tim", authcid="tim")
        return
    kind = {"malformed": "malformed", "reject": "credentials"}[case.expect]
    assert (type(event), event.kind) == (sasl.Failure, kind)
    assert "the mechanism failed" not in event.reason
    assert len(users.asked) == (case.expect == "reject")


@pytest.mark.parametrize("case", [case for case in CASES if case.role == "client"], ids=str)
def test_a_client_answers_or_refuses_what_the_corpus_says(case, shows_no_secret):
    user, password = case.inputs["user"], case.inputs["password"]
    (challenge,) = (step.data for step in case.steps)
    exchange = started(user, password)
    if case.expect == "send":
        assert exchange.respond(challenge) == user.encode() + b" " + by_hand(password.encode(), challenge)
        exchange.succeed()
        return
    expected = {"protocol": sasl.ProtocolError, "limit": sasl.LimitExceeded}[case.expect]
    with pytest.raises(expected) as refused:
        exchange.respond(challenge)
    assert type(refused.value) is expected
    shows_no_secret(refused.value, password)


def test_every_case_is_run():
    assert {case.role for case in CASES} == {"client", "server"}
    assert {case.mechanism for case in CASES} == {"CRAM-MD5"}


# --- the client


@pytest.mark.parametrize("challenge", [b"", b"<1@x>\r\n", b"<1@\x00>", b"<1@x>\n", "<1@\u00e4>".encode(), b"\x7f"])
def test_a_client_hashes_printable_text_only(challenge, shows_no_secret):
    exchange = started()
    with pytest.raises(sasl.ProtocolError, match="printable ASCII") as refused:
        exchange.respond(challenge)
    assert type(refused.value) is sasl.ProtocolError
    shows_no_secret(refused.value, SECRET)


@pytest.mark.parametrize("challenge", [b"~", b" ", b"<1@x> and more", b"nonce=abc"])
def test_a_challenge_that_is_no_msg_id_is_answered_too(challenge):
    assert started().respond(challenge) == b"tim " + by_hand(SECRET.encode(), challenge)


def test_a_yes_without_a_challenge_is_no_login():
    with pytest.raises(sasl.ServerNotProven):
        started().succeed()


@pytest.mark.parametrize("second", [b"", CHALLENGE])
def test_a_second_challenge_is_not_answered(second):
    exchange = started()
    exchange.respond(CHALLENGE)
    with pytest.raises(sasl.ProtocolError) as refused:
        exchange.respond(second)
    assert type(refused.value) is sasl.ProtocolError


def test_a_client_prepares_the_user_name_and_the_password_unless_told_so():
    user, key = "\u2168", "p\u00aass"
    assert started(user, key).respond(CHALLENGE) == b"IX " + by_hand(b"pass", CHALLENGE)
    raw = started(user, key, prepare=False).respond(CHALLENGE)
    assert raw == user.encode() + b" " + by_hand(key.encode(), CHALLENGE)


@pytest.mark.parametrize("prepare", [True, False])
@pytest.mark.parametrize("text", ["", "a\0b", "a\ud800b"], ids=ascii)
@pytest.mark.parametrize("place", ["authcid", "password"])
def test_a_client_refuses_what_has_no_form_before_anything_is_sent(text, place, prepare, shows_no_secret):
    names = {"authcid": "tim", "password": SECRET, place: text}
    exchange = sasl.client("CRAM-MD5", sasl.Password(**names), prepare=prepare)
    with pytest.raises(sasl.UsageError, match=r"empty|NUL|control|prohibits|UTF-8") as refused:
        exchange.start()
    assert type(refused.value) is sasl.UsageError
    shows_no_secret(refused.value, names["password"])


@pytest.mark.parametrize("prepare", [True, False])
@pytest.mark.parametrize("authcid", ["tim ", "a\r\nb", "a\tb", "\x7f", "a\x85"], ids=ascii)
def test_a_client_refuses_a_user_name_that_its_message_cannot_carry(authcid, prepare):
    with pytest.raises(sasl.UsageError, match=r"no control character|prohibits"):
        sasl.client("CRAM-MD5", sasl.Password(authcid, SECRET), prepare=prepare).start()


@pytest.mark.parametrize("text", ["\u00ad", "\ue000", "\u00fc" * 1025], ids=["nothing-left", "private", "long"])
@pytest.mark.parametrize("place", ["authcid", "password"])
def test_a_client_refuses_what_cannot_be_prepared_unless_told_so(text, place, shows_no_secret):
    names = {"authcid": "tim", "password": SECRET, place: text}
    with pytest.raises(sasl.UsageError) as refused:
        sasl.client("CRAM-MD5", sasl.Password(**names)).start()
    assert type(refused.value) is sasl.UsageError
    shows_no_secret(refused.value, names["password"])
    user, key = names["authcid"].encode(), names["password"].encode()
    assert started(**names, prepare=False).respond(CHALLENGE) == user + b" " + by_hand(key, CHALLENGE)


def test_a_client_cannot_act_as_another_user():
    with pytest.raises(sasl.UsageError, match="act as"):
        sasl.client("CRAM-MD5", sasl.Password("tim", SECRET, authzid="tim")).start()
    assert started(authzid="").respond(CHALLENGE).startswith(b"tim ")


# --- the server


def test_a_challenge_is_a_msg_id_of_the_host_that_never_comes_again():
    channel = sasl.Channel(host="mail.example.com")
    challenges = [prompt(sasl.server("CRAM-MD5", channel=channel).start()) for _ in range(1_000)]
    matches = [re.fullmatch(rb"<([0-9]{30,39})\.([0-9]+)@mail\.example\.com>", challenge) for challenge in challenges]
    assert all(abs(int(match.group(2)) - time.time()) < 60 for match in matches)
    assert len({match.group(1) for match in matches}) == 1_000


@pytest.mark.parametrize("host", [None, "", "m\u00e4il", "a>b", "a@b", "a b", "x" * 256])
def test_a_host_that_has_no_place_in_a_msg_id_is_left_out(host):
    challenge = prompt(sasl.server("CRAM-MD5", channel=sasl.Channel(host=host)).start())
    assert re.fullmatch(rb"<[0-9]+\.[0-9]+@localhost>", challenge)


def test_a_client_and_a_server_agree_without_a_given_challenge():
    client, server = started(), sasl.server("CRAM-MD5")
    response = client.respond(prompt(server.start()))
    event = sasl.settle(server, server.receive(response), knowing({"tim": SECRET}))
    assert event == sasl.Success(identity="tim", authcid="tim")


def test_an_answer_to_another_challenge_is_a_wrong_one():
    response = started().respond(prompt(sasl.server("CRAM-MD5").start()))
    exchange = sasl.server("CRAM-MD5")
    exchange.start()
    event = sasl.settle(exchange, exchange.receive(response), knowing({"tim": SECRET}))
    assert event == sasl.Failure("credentials", "wrong password")


def test_there_is_no_initial_response():
    assert sasl.server("CRAM-MD5").start(b"tim " + b"0" * 32).kind == "unexpected_ir"


@pytest.mark.parametrize("challenge", [b"", b"\r\n", b"\0", "<1@\u00e4>".encode(), "<1@x>"])
def test_a_challenge_that_no_client_may_answer_is_not_given(challenge):
    event = sasl.server("CRAM-MD5", challenge=challenge).start()
    assert (type(event), event.kind) == (sasl.Failure, "unavailable")


@pytest.mark.parametrize(
    "response",
    [
        pytest.param(b" " + b"0" * 32, id="no-name"),
        pytest.param(b"tim " + b"0" * 31, id="short"),
        pytest.param(b"tim " + b"0" * 33, id="long"),
        pytest.param(b"tim " + b"0" * 31 + b"g", id="no-digit"),
        pytest.param(b"tim " + b"0" * 32 + b"\n", id="line"),
        pytest.param(b"tim " + b"0" * 32 + b" ", id="space-behind"),
        pytest.param(b"tim " + "\u0660".encode() * 32, id="other-digits"),
        pytest.param(b"a\0b " + b"0" * 32, id="nul"),
        pytest.param(b"a\r\nb " + b"0" * 32, id="crlf"),
        pytest.param(b"a\xc2\x85b " + b"0" * 32, id="c1"),
        pytest.param(b"\xc0\x80 " + b"0" * 32, id="overlong"),
    ],
)
def test_a_server_refuses_what_is_no_response_whether_it_prepares_or_not(response):
    for options in ({}, {"prepare": False}):
        _, event = asked(response, **options)
        assert (type(event), event.kind) == (sasl.Failure, "malformed")


def test_a_server_looks_for_the_prepared_name_and_hashes_the_prepared_password_unless_told_so():
    passwords = {"IX": "p\u00aass", "\u2168": "p\u00aass"}
    for options, key in (({}, b"pass"), ({"prepare": False}, "p\u00aass".encode())):
        exchange, question = asked("\u2168 ".encode() + by_hand(key, CHALLENGE), **options)
        authcid = "\u2168" if options else "IX"
        assert question == sasl.FindSecret(authcid, "CRAM-MD5", None)
        event = sasl.settle(exchange, question, knowing(passwords))
        assert event == sasl.Success(identity=authcid, authcid=authcid)


@pytest.mark.parametrize("kind", [str, sasl.Secret])
def test_a_record_holds_the_password_as_text_or_secret(kind):
    exchange, _ = asked(b"tim " + by_hand(SECRET.encode(), CHALLENGE))
    assert exchange.answer(sasl.Record("timothy", kind(SECRET))) == sasl.Authorize("timothy", None, "tim")


def test_the_secret_of_a_record_keeps_its_prepared_form():
    secret = sasl.Secret("p\u00aass")
    for _ in range(2):
        exchange, _ = asked(b"tim " + by_hand(b"pass", CHALLENGE))
        exchange.answer(sasl.Record("tim", secret))
        assert secret.prepared == "pass"


@pytest.mark.parametrize(
    "value",
    [None, b"bytes", 7, sasl.ScramKeys.derive(SECRET), "", "\u00ad", "\ue000", "p\0", "a\ud800", "\u00fc" * 1025],
    ids=lambda value: ascii(value)[:20],
)
def test_a_record_that_holds_no_password_is_no_refusal_of_the_user(value, shows_no_secret):
    exchange, _ = asked(b"tim " + by_hand(SECRET.encode(), CHALLENGE))
    event = exchange.answer(sasl.Record("tim", value))
    assert (type(event), event.kind) == (sasl.Failure, "unavailable")
    assert "the mechanism failed" not in event.reason
    shows_no_secret(event, *([value] if isinstance(value, str) else []))


def test_a_name_that_cannot_be_prepared_fails_as_a_wrong_password_does():
    for name in ("\ue000", "\u00ad"):
        _, event = asked(f"{name} ".encode() + b"0" * 32)
        assert (type(event), event.kind) == (sasl.Failure, "credentials")


def test_a_name_that_is_too_long_to_prepare_is_a_limit():
    assert asked(b"\xc3\xbc" * 1025 + b" " + b"0" * 32)[1].kind == "limit"


# --- who is not known


def test_an_unknown_user_fails_like_a_known_one_with_a_wrong_password():
    outcomes = []
    for answer in (sasl.Record("tim", SECRET), None, sasl.Rejected("no password of this user is kept")):
        exchange, question = asked(b"tim " + b"0" * 32)
        event = exchange.answer(answer)
        outcomes.append((type(question), type(event), event.kind, event.detail))
    assert set(outcomes) == {(sasl.FindSecret, sasl.Failure, "credentials", None)}


def test_an_unknown_user_costs_one_hash_and_one_comparison_as_a_known_one_does(monkeypatch):
    digest, compare = hmac.digest, hmac.compare_digest
    done = []
    monkeypatch.setattr(hmac, "digest", lambda key, *rest: (done.append("hash"), digest(key, *rest))[1])
    monkeypatch.setattr(hmac, "compare_digest", lambda *both: (done.append("compare"), compare(*both))[1])
    seen = []
    for answer in (sasl.Record("tim", SECRET), None):
        exchange, _ = asked(b"tim " + b"0" * 32)
        done.clear()
        exchange.answer(answer)
        seen.append(list(done))
    assert seen == [["hash", "compare"]] * 2


def test_even_the_right_hash_of_the_decoy_lets_nobody_in():
    response = b"nobody " + by_hand(cram_md5._DECOY, CHALLENGE)
    exchange, question = asked(response)
    assert sasl.settle(exchange, question, knowing({})) == sasl.Failure("credentials", "not found")


def test_a_user_whose_record_cannot_be_had_is_told_to_come_again():
    exchange, _ = asked(b"tim " + b"0" * 32)
    assert exchange.answer(sasl.Unavailable("no database")) == sasl.Failure("unavailable", "no database")


def test_the_kind_of_a_refusal_stays_until_the_end():
    exchange, _ = asked(b"tim " + b"0" * 32)
    assert exchange.answer(sasl.Rejected("locked", "disabled")) == sasl.Failure("disabled", "locked")


# --- without MD5


@pytest.fixture
def without_md5(monkeypatch):
    def refuse(*_):
        raise ValueError("[digital envelope routines] unsupported")

    monkeypatch.setattr(hmac, "digest", refuse)
    cram_md5._has_md5.cache_clear()  # a process finds out once
    yield
    cram_md5._has_md5.cache_clear()


@pytest.mark.usefixtures("without_md5")
def test_a_client_says_that_it_has_no_md5_before_anything_is_sent(shows_no_secret):
    exchange = sasl.client("CRAM-MD5", sasl.Password("tim", SECRET))
    with pytest.raises(sasl.UsageError, match="MD5, which is switched off") as refused:
        exchange.start()
    shows_no_secret(refused.value, SECRET)


@pytest.mark.usefixtures("without_md5")
def test_a_server_without_md5_gives_no_challenge():
    event = sasl.server("CRAM-MD5").start()
    assert (type(event), event.kind) == (sasl.Failure, "unavailable")
    assert "MD5" in event.reason


def test_an_option_that_cram_md5_does_not_have_is_refused():
    with pytest.raises(sasl.UsageError):
        sasl.client("CRAM-MD5", sasl.Password("u", "p"), challenge=CHALLENGE)
    with pytest.raises(sasl.UsageError):
        sasl.server("CRAM-MD5", nonce=b"n")
