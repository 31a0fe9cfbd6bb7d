"""Bad inputs on the client's side of PLAIN, XOAUTH2 and OAUTHBEARER: class, type and octets of every result."""

from __future__ import annotations

import socket
import sys

import pytest

import sasl
import sasl.spec

SENDING = [*sasl.spec.cases("plain_client"), *sasl.spec.cases("xoauth2_client"), *sasl.spec.cases("oauthbearer_client")]
CHALLENGED = [*sasl.spec.cases("xoauth2_client_challenge"), *sasl.spec.cases("oauthbearer_client_challenge")]
ANSWER = {"XOAUTH2": b"", "OAUTHBEARER": b"\x01"}
TOKEN = "ya29.S3cr3t-T0ken"

_watched: list[str] = []


def _watch(event, arguments):
    if event.startswith(("socket.", "urllib.", "subprocess.", "os.exec", "os.posix_spawn", "webbrowser.")):
        _watched.append(event)


sys.addaudithook(_watch)


def test_the_watch_sees_who_follows_a_challenge():
    _watched.clear()
    with socket.socket():
        pass
    assert _watched == ["socket.__new__"]


def client(case, **replaced):
    given = {**case.inputs, **replaced}
    if case.mechanism == "PLAIN":
        credentials = sasl.Password(given["authcid"], given["password"], authzid=given["authzid"])
        return sasl.client("PLAIN", credentials)
    port = int(given["port"]) if "port" in given else None
    channel = sasl.Channel(tls=True, host=given.get("host"), port=port)
    user = given["authzid"] if "authzid" in given else given["user"]
    return sasl.client(case.mechanism, sasl.Bearer(user, given["token"]), channel=channel)


def secrets(case):
    return [case.inputs[name] for name in ("password", "token") if case.inputs.get(name)]


@pytest.mark.parametrize("case", SENDING, ids=str)
def test_what_cannot_be_sent_is_refused_before_anything_is(case, shows_no_secret):
    exchange = client(case)
    if case.expect == "send":
        message = exchange.start()
        assert case.output is None or message == case.output
        for secret in secrets(case):
            assert secret.encode() in message
        shows_no_secret(exchange, *secrets(case))
        return
    if case.expect == "refuse_local":
        with pytest.raises(sasl.UsageError) as refused:
            exchange.start()
        assert type(refused.value) is sasl.UsageError
        assert exchange.state is sasl.State.FAILED
        assert "the mechanism" not in str(refused.value)  # refused on purpose, not by a crash
        shows_no_secret(refused.value, *secrets(case))
        return
    credential = exchange.start()
    exchange.defer()
    *steps, last = case.steps
    assert exchange.respond(steps[0].data) == credential
    if case.expect == "state":
        exchange.succeed(steps[1].data)
        expected = sasl.UsageError
    else:
        expected = sasl.ProtocolError
    with pytest.raises(expected) as caught:
        exchange.succeed(last.data) if last.sender == "server-success" else exchange.respond(last.data)
    assert type(caught.value) is expected
    assert exchange.state is (sasl.State.DONE if case.expect == "state" else sasl.State.FAILED)
    shows_no_secret(caught.value, credential)


@pytest.mark.parametrize("case", CHALLENGED, ids=str)
def test_an_error_challenge_is_answered_once_and_never_followed(case, shows_no_secret):
    exchange = client(case, token=TOKEN)
    assert TOKEN.encode() in exchange.start()
    _watched.clear()
    caught = conclude(exchange, case)
    assert _watched == []
    if case.expect == "fail":
        assert type(caught) is sasl.AuthenticationFailed
        assert caught.detail == {key: value.decode() for key, value in case.values.items()}
    elif case.expect == "limit":
        assert type(caught) is sasl.LimitExceeded
    elif case.family == "error-then-success":
        assert type(caught) is sasl.ServerNotProven
    else:
        assert case.expect == "abort"
        assert type(caught) is sasl.ProtocolError
    assert exchange.state is sasl.State.FAILED
    shows_no_secret(caught, TOKEN)
    shows_no_secret(exchange, TOKEN)


def conclude(exchange, case):
    """Play the server's steps; return what is raised, or what there is to raise after a no."""
    answers = []
    for step in case.steps:
        try:
            if step.sender == "server":
                answers.append(exchange.respond(step.data))
                continue
            assert answers == [ANSWER[case.mechanism] if case.output is None else case.output]
            if step.sender != "server-success":
                return exchange.fail((step.data or b"").decode())
            exchange.succeed(step.data)
        except sasl.SASLError as error:
            return error
    pytest.fail("nothing was raised")


@pytest.mark.parametrize("case", [case for case in CHALLENGED if case.family == "loop"], ids=str)
def test_a_token_that_was_sent_late_is_not_sent_again(case):
    exchange = client(case)
    message = exchange.start()
    exchange.defer()
    sent = []
    with pytest.raises(sasl.ProtocolError):
        for step in case.steps:
            sent.append(exchange.respond(step.data))
    assert sent[0] == message
    assert message not in sent[1:]
    assert len(sent) <= 2
