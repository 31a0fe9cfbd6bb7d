"""PLAIN (RFC 4616), where the data leaves something to say."""

from __future__ import annotations

import pytest

import sasl


def test_names_go_out_as_they_are_and_are_prepared_by_the_server():
    message = sasl.client("PLAIN", sasl.Password("\u2168", "p\u00aass")).start()
    assert message == "\0\u2168\0p\u00aass".encode()
    question = sasl.server("PLAIN").start(message)
    assert (question.authcid, question.password.reveal()) == ("IX", "pass")
    assert question.password.typed == "p\u00aass"


@pytest.mark.parametrize("password", ["\ue000", "\u0627a", "p\U0001f511word", "p" * 1500], ids=ascii)
def test_a_password_that_saslprep_refuses_or_need_not_see_goes_through_as_it_was_typed(password):
    message = sasl.client("PLAIN", sasl.Password("tim", password)).start()
    assert message == b"\0tim\0" + password.encode()
    assert sasl.server("PLAIN").start(message) == sasl.CheckPassword("tim", sasl.Secret(password))


@pytest.mark.parametrize(
    ("message", "kind", "why"),
    [
        (b"\0tim\0", "credentials", "the password is empty"),
        (b"\0\0pw", "credentials", "the user name is empty"),
        (b"\0tim\0w\xf6nd", "credentials", "the password is not UTF-8: a client that sends ISO 8859-1?"),
        (b"\0t\xefm\0pw", "credentials", "the user name is not UTF-8: a client that sends ISO 8859-1?"),
        (b"\xff\0tim\0pw", "credentials", "the authzid is not UTF-8: a client that sends ISO 8859-1?"),
        (b"\0tim\0pw\n", "credentials", "the password holds a control character"),
        (b"\0tim\0\xc2\xad", "credentials", "a password of which SASLprep leaves nothing (RFC 4013)"),
        (b"", "malformed", "not a PLAIN message (RFC 4616 section 2): nothing at all"),
        (b"tim\0pw", "malformed", "not a PLAIN message (RFC 4616 section 2): 1 NULs where two belong"),
        (b"\0tim\0pw\0", "malformed", "not a PLAIN message (RFC 4616 section 2): 3 NULs where two belong"),
    ],
)
def test_each_cause_has_a_reason_of_its_own(message, kind, why):
    assert sasl.server("PLAIN").start(message) == sasl.Failure(kind, why)


def test_a_client_refuses_what_no_server_can_prepare(shows_no_secret):
    exchange = sasl.client("PLAIN", sasl.Password("user", "s3cret\a"))
    with pytest.raises(sasl.UsageError) as refused:
        exchange.start()
    shows_no_secret(refused.value, "s3cret\a")


@pytest.mark.parametrize("place", ["authzid", "authcid", "password"])
def test_a_client_refuses_a_name_of_which_preparation_leaves_nothing(place):
    names = {"authzid": "a", "authcid": "b", "password": "c", place: "\u00ad"}
    with pytest.raises(sasl.UsageError, match="leaves nothing"):
        sasl.client("PLAIN", sasl.Password(**names)).start()


def test_a_name_that_is_too_long_to_prepare_is_the_callers_mistake():
    with pytest.raises(sasl.UsageError) as refused:
        sasl.client("PLAIN", sasl.Password("\u00fc" * 1025, "p")).start()
    assert type(refused.value) is sasl.UsageError


@pytest.mark.parametrize("text", ["a\r\nb", "\u00ad", "\a", "\ue000", "u" * 1025], ids=ascii)
def test_without_preparation_both_sides_take_any_text(text):
    message = sasl.client("PLAIN", sasl.Password("user", text), prepare=False).start()
    question = sasl.server("PLAIN", prepare=False).start(message)
    assert question.password.reveal() == text


@pytest.mark.parametrize("text", ["a\0b", "", "\ud800"], ids=ascii)
def test_without_preparation_what_has_no_form_is_refused_all_the_same(text, shows_no_secret):
    with pytest.raises(sasl.UsageError, match=r"NUL|not empty|UTF-8") as refused:
        sasl.client("PLAIN", sasl.Password("user", text), prepare=False).start()
    shows_no_secret(refused.value, *([text] if text else []))


def test_a_name_that_cannot_be_prepared_fails_as_a_wrong_password_does():
    failure = sasl.server("PLAIN").start(b"\0ti\am\0pw")
    assert (failure.kind, failure.detail) == ("credentials", None)


def test_a_name_that_is_too_long_to_prepare_is_a_limit():
    assert sasl.server("PLAIN").start(b"\0u\0" + b"\xc3\xbc" * 1025).kind == "limit"
    long = "\0user\0p\u00e4ssw".encode()
    assert sasl.server("PLAIN", limits=sasl.Limits(prep_characters=4)).start(long).kind == "limit"


def test_an_empty_authzid_is_none():
    exchange = sasl.server("PLAIN")
    exchange.start(b"\0tim\0pw")
    assert exchange.answer(sasl.Accepted("tim")) == sasl.Authorize("tim", None, "tim")


def test_who_acts_as_another_user_has_to_be_authorized():
    exchange = sasl.server("PLAIN")
    exchange.start(b"ursel\0kurt\0pw")
    assert exchange.answer(sasl.Accepted("kurt")) == sasl.Authorize("kurt", "ursel", "kurt")
    assert exchange.answer(sasl.Accepted("ursel")) == sasl.Success(identity="ursel", authcid="kurt")


def test_a_password_that_is_refused_gets_no_explanation():
    exchange = sasl.server("PLAIN")
    exchange.start(b"\0tim\0pw")
    rejected = exchange.answer(sasl.Rejected("too old", "expired", {"status": "told to nobody"}))
    assert rejected == sasl.Failure("expired", "too old", {"status": "told to nobody"})


def test_an_option_that_plain_does_not_have_is_refused():
    with pytest.raises(sasl.UsageError):
        sasl.client("PLAIN", sasl.Password("u", "p"), encoding="latin-1")
    with pytest.raises(sasl.UsageError):
        sasl.server("PLAIN", encoding="latin-1")
