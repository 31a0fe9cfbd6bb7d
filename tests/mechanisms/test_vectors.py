"""The mechanism vectors, from each side that speaks like them."""

from __future__ import annotations

import json

import pytest

import sasl
import sasl.spec
from sasl.prep import saslprep

from ..support.exchanges import said

VECTORS = [*sasl.spec.vectors("plain"), *sasl.spec.vectors("xoauth2"), *sasl.spec.vectors("oauthbearer")]


def side(name):
    chosen = [vector for vector in VECTORS if name in vector.sides]
    return pytest.mark.parametrize("vector", chosen, ids=lambda vector: f"{vector.mechanism}-{vector}")


def secret_of(vector):
    """The password or token; what comes with it where that is a name, too, or so short that it stands anywhere."""
    known = vector.credentials
    secret = known.get("password") or known.get("token")
    if secret and secret not in (known.get("authcid"), "expired"):
        return secret
    return said(vector, "client")[0]


def client(vector):
    known = vector.credentials
    channel = sasl.Channel(tls=True, host=known.get("host"), port=known.get("port"))
    if vector.mechanism == "PLAIN":
        credentials = sasl.Password(known["authcid"], known["password"], authzid=known["authzid"])
    else:
        credentials = sasl.Bearer(known.get("authzid") or known["authcid"], known["token"])
    return sasl.client(vector.mechanism, credentials, channel=channel, **vector.options)


@pytest.mark.parametrize("deferred", [False, True], ids=["initial", "deferred"])
@side("client")
def test_a_client_sends_and_concludes_what_the_vector_says(vector, deferred, shows_no_secret):
    exchange = client(vector)
    first, *answers = said(vector, "client")
    assert exchange.start() == first
    if deferred:
        exchange.defer()
        assert exchange.respond(b"Go ahead") == first
    for challenge, answer in zip(said(vector, "server"), answers, strict=True):
        assert exchange.respond(challenge) == answer
    shows_no_secret(exchange, secret_of(vector))
    if vector.expected["outcome"] == "success":
        exchange.succeed()
        assert exchange.state is sasl.State.DONE
        return
    if vector.expected["error"] == "authorization":
        error = exchange.fail("no", kind="authorization")
        assert type(error) is sasl.AuthorizationFailed
    else:
        error = exchange.fail("no")
        assert type(error) is sasl.AuthenticationFailed
    assert error.detail.get("status") == vector.expected.get("server_status")
    assert vector.expected.get("server_scope") in (None, error.detail.get("scope"))
    if vector.expected.get("token_rejected"):
        assert error.new_token_may_help
    shows_no_secret(error, secret_of(vector))


class Verifier:
    """Checks what the vector's credentials and outcome say, and keeps what it was asked."""

    def __init__(self, vector):
        self.vector = vector
        self.asked = []

    def __call__(self, question):
        known, expected = self.vector.credentials, self.vector.expected
        if isinstance(question, sasl.Authorize):
            allowed = expected["outcome"] == "success" and question.authzid == expected["authzid"]
            return sasl.Accepted(question.authzid or question.identity) if allowed else NotImplemented
        self.asked.append(question)
        if isinstance(question, sasl.CheckPassword):
            prepare = self.vector.options.get("prepare", True)
            password = saslprep(known["password"]) if prepare else known["password"]
            assert question.authcid == known["authcid"]
            return sasl.Accepted(question.authcid) if question.password == password else sasl.Rejected("wrong password")
        assert question.username == (known.get("authzid") or known["authcid"])
        assert question.token == known["token"]
        assert (question.host, question.port) == (known.get("host"), known.get("port"))
        if expected["outcome"] == "success":
            return sasl.Accepted(expected["authcid"])
        return sasl.Rejected("no longer valid", detail=json.loads(said(self.vector, "server")[0]))


def server(vector):
    known, options = vector.credentials, dict(vector.options)
    if known.get("token") == "":  # the client asks for the scope: nobody but the server itself can tell
        options["scope"] = vector.expected.get("server_scope", "example_scope")
        options["openid_configuration"] = json.loads(said(vector, "server")[0])["openid-configuration"]
    host, port = (known.get(f"server_{what}", known.get(what)) for what in ("host", "port"))
    return sasl.server(vector.mechanism, channel=sasl.Channel(tls=True, host=host, port=port), **options)


@pytest.mark.parametrize("two_step", [False, True], ids=["initial", "two-step"])
@side("server")
def test_a_server_answers_and_concludes_what_the_vector_says(vector, two_step, shows_no_secret):
    exchange, verifier = server(vector), Verifier(vector)
    first, *answers = said(vector, "client")
    if two_step:
        assert exchange.start() == sasl.Challenge(b"")
    event = sasl.settle(exchange, exchange.receive(first) if two_step else exchange.start(first), verifier)
    error = vector.expected.get("error", "")
    if error.startswith("malformed") or (vector.mechanism == "PLAIN" and "why" in vector.expected):
        assert event.kind == error.partition("-")[0]
        assert verifier.asked == []
        shows_no_secret(event, first)
        return
    if said(vector, "server"):
        assert json.loads(event.data) == json.loads(said(vector, "server")[0])
        event = exchange.receive(answers[0]) if answers else exchange.cancel()
    if vector.expected["outcome"] == "success":
        identity = saslprep(vector.expected["authcid"])
        assert event == sasl.Success(identity=vector.expected["authzid"] or identity, authcid=identity)
    else:  # the client's "*" behind an error challenge does not make another verdict of it
        assert event.kind == ("authorization" if error == "authorization" else "credentials")
    shows_no_secret(event, secret_of(vector))
    shows_no_secret(exchange, secret_of(vector))
