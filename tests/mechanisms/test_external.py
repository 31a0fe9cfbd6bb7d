"""EXTERNAL (RFC 4422 appendix A): its vectors, its bad inputs, and where they leave something to say."""

from __future__ import annotations

import pytest

import sasl
import sasl.spec

from ..support.exchanges import Verifier, served, two_steps

VECTORS = sasl.spec.vectors("external")
CASES = sasl.spec.cases("external_server")
CERTIFICATE = b"\x30\x82 a certificate in DER"


def named(identity):
    """A verifier that knows whom the certificate names."""
    return Verifier(lambda _: sasl.Rejected("no certificate") if identity is None else sasl.Accepted(identity))


# --- the data


def authzid_of(vector):
    return vector.credentials.get("authzid")


@pytest.mark.parametrize("deferred", [False, True], ids=["initial", "deferred"])
@pytest.mark.parametrize("vector", [vector for vector in VECTORS if "client" in vector.sides], ids=str)
def test_a_client_sends_and_concludes_what_the_vector_says(vector, deferred):
    (message,) = (message.data for message in vector.messages)
    exchange = sasl.client("EXTERNAL", sasl.External(authzid_of(vector)))
    assert exchange.start() == message
    if deferred:
        exchange.defer()
        assert exchange.respond(b"") == message
    if vector.expected["outcome"] == "success":
        exchange.succeed()
        assert exchange.state is sasl.State.DONE
    else:
        assert type(exchange.fail(kind=vector.expected["error"])) is sasl.AuthorizationFailed


@two_steps
@pytest.mark.parametrize("vector", [vector for vector in VECTORS if "server" in vector.sides], ids=str)
def test_a_server_concludes_what_the_vector_says(vector, two_step):
    (message,) = (message.data for message in vector.messages)
    tls = named(vector.credentials["external_identity"])
    exchange, event = served("EXTERNAL", message, two_step=two_step, certificate=CERTIFICATE)
    event = sasl.settle(exchange, event, tls)
    if vector.expected["outcome"] == "success":
        assert event == sasl.Success(identity=vector.expected["authcid"], authcid=vector.expected["authcid"])
    else:
        assert (type(event), event.kind) == (sasl.Failure, vector.expected["error"])
    if vector.expected.get("error") == "malformed":
        assert tls.asked == []
    else:
        assert tls.asked == [sasl.CheckCertificate(CERTIFICATE, authzid_of(vector))]


@two_steps
@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_server_takes_or_refuses_what_the_corpus_says(case, two_step):
    assert (case.role, case.mechanism) == ("server", "EXTERNAL")
    (message,) = (step.data for step in case.steps)
    identity = case.params["external_identity"]
    tls = named(identity)
    exchange, event = served("EXTERNAL", message, two_step=two_step)
    event = sasl.settle(exchange, event, tls)
    if case.expect == "accept":
        assert event == sasl.Success(identity=identity, authcid=identity)
        return
    kind = {"malformed": "malformed", "reject": "credentials", "reject_authz": "authorization"}[case.expect]
    assert (type(event), event.kind) == (sasl.Failure, kind)
    assert "the mechanism failed" not in event.reason
    assert len(tls.asked) == (case.expect != "malformed")


# --- the client


@pytest.mark.parametrize("authzid", [None, ""])
def test_no_authzid_is_an_empty_message_not_an_absent_one(authzid):
    assert sasl.client("EXTERNAL", sasl.External(authzid)).start() == b""
    assert sasl.client("EXTERNAL", sasl.External()).start() == b""


def test_an_authzid_goes_out_as_it_is():
    assert sasl.client("EXTERNAL", sasl.External("\u2168 \u00e9,=\u200d")).start() == "\u2168 \u00e9,=\u200d".encode()


@pytest.mark.parametrize("authzid", ["\0", "a\0b", "a\r\nb", "\t", "\x7f", "\x85", "\ud800"], ids=ascii)
def test_a_client_refuses_an_authzid_that_has_no_form(authzid):
    exchange = sasl.client("EXTERNAL", sasl.External(authzid))
    with pytest.raises(sasl.UsageError, match=r"no control character|UTF-8") as refused:
        exchange.start()
    assert type(refused.value) is sasl.UsageError
    assert refused.value.__context__ is None


@pytest.mark.parametrize("challenge", [b"", b"more"])
def test_nothing_follows_the_authzid(challenge):
    exchange = sasl.client("EXTERNAL", sasl.External("tim"))
    exchange.start()
    with pytest.raises(sasl.ProtocolError) as refused:
        exchange.respond(challenge)
    assert type(refused.value) is sasl.ProtocolError


# --- the server


def test_a_verifier_is_given_the_certificate_and_nothing_of_it_is_shown(shows_no_secret):
    _, question = served("EXTERNAL", b"", certificate=CERTIFICATE)
    assert question == sasl.CheckCertificate(CERTIFICATE, None)
    shows_no_secret(question, CERTIFICATE)


def test_without_a_certificate_the_verifier_is_asked_all_the_same():
    exchange, question = served("EXTERNAL", b"tim")
    assert question == sasl.CheckCertificate(None, "tim")
    assert exchange.answer(sasl.Rejected("no certificate")) == sasl.Failure("credentials", "no certificate")


def test_a_server_whose_verifier_knows_no_certificates_is_unavailable():
    exchange, question = served("EXTERNAL", b"tim")
    assert sasl.settle(exchange, question, lambda _: NotImplemented).kind == "unavailable"


def test_who_acts_as_another_user_has_to_be_authorized():
    exchange, _ = served("EXTERNAL", b"root", certificate=CERTIFICATE)
    assert exchange.answer(sasl.Accepted("tim")) == sasl.Authorize("tim", "root")
    assert exchange.answer(sasl.Accepted("root")) == sasl.Success(identity="root", authcid="tim")


def test_the_authzid_is_prepared_unless_told_so():
    message = "\u2168\u00ad".encode()
    for options, authzid in (({}, "IX"), ({"prepare": False}, "\u2168\u00ad")):
        exchange, question = served("EXTERNAL", message, **options)
        assert question == sasl.CheckCertificate(None, authzid)
        assert exchange.answer(sasl.Accepted("tim")) == sasl.Authorize("tim", authzid)


@pytest.mark.parametrize("authzid", ["\u00ad", "\ue000"], ids=ascii)
def test_an_authzid_that_cannot_be_prepared_is_nobody_and_not_oneself(authzid):
    _, event = served("EXTERNAL", authzid.encode())
    assert (type(event), event.kind) == (sasl.Failure, "credentials")


def test_an_authzid_that_is_too_long_to_prepare_is_a_limit():
    assert served("EXTERNAL", b"\xc3\xbc" * 1025)[1].kind == "limit"


@pytest.mark.parametrize("message", [b"\0", b"\t", b"a\nb", b"\x7f", b"\xc2\x85", b"\xc0\x80", b"\xed\xa0\x80"])
def test_a_server_refuses_what_is_no_authzid_whether_it_prepares_or_not(message):
    for options in ({}, {"prepare": False}):
        _, event = served("EXTERNAL", message, **options)
        assert (type(event), event.kind) == (sasl.Failure, "malformed")


def test_an_option_that_external_does_not_have_is_refused():
    with pytest.raises(sasl.UsageError):
        sasl.client("EXTERNAL", sasl.External(), certificate=CERTIFICATE)
    with pytest.raises(sasl.UsageError):
        sasl.server("EXTERNAL", identity="tim")
