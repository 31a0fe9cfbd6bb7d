"""Bad inputs on the server's side of PLAIN, XOAUTH2 and OAUTHBEARER: class, kind and values of every result."""

from __future__ import annotations

import json
import re

import pytest

import sasl
import sasl.spec

from ..support.exchanges import Verifier

CASES = [*sasl.spec.cases("plain_server"), *sasl.spec.cases("xoauth2_server"), *sasl.spec.cases("oauthbearer_server")]
KIND = {"malformed": "malformed", "limit": "limit", "reject": "credentials"}


def answer(question):
    """Accept everything but the token "expired"."""
    if isinstance(question, sasl.CheckPassword):
        return sasl.Accepted(question.authcid)
    return sasl.Rejected("too old") if question.token == "expired" else sasl.Accepted("user@example.com")


def server(case):
    known = case.params
    channel = sasl.Channel(tls=True, host=known.get("server_host"), port=known.get("server_port"))
    return sasl.server(case.mechanism, channel=channel)


def handed_over(verifier, authorize):
    """What a verifier was told, under the names of the corpus, in octets."""
    (question,) = verifier.asked
    if isinstance(question, sasl.CheckPassword):
        told = {"authzid": authorize, "authcid": question.authcid, "password": question.password.reveal()}
    else:
        told = {"token": question.token.reveal(), "user": question.username, "authzid": question.username}
        told |= {"host": question.host, "port": None if question.port is None else str(question.port)}
    return {name: None if value is None else value.encode() for name, value in told.items()}


def secrets(case):
    """What must not be shown of the octets: the whole message, what is behind the last NUL, every token."""
    for step in case.steps:
        if step.data:
            yield step.data
            yield step.data.rpartition(b"\0")[2]
            yield from re.findall(rb"(?i)auth=bearer ([^\x01]{4,})", step.data)


def play(exchange, case, verifier, *, two_step):
    """Play the client's steps; return the last event and the authzid that was to be authorized."""
    authorize = None

    def verify(question):
        nonlocal authorize
        if isinstance(question, sasl.Authorize):
            authorize = question.authzid
        return verifier(question)

    first, *rest = case.steps
    if two_step:
        assert exchange.start() == sasl.Challenge(b"")
        event = exchange.receive(first.data)
    else:
        event = exchange.start(first.data)
    event = sasl.settle(exchange, event, verify)
    if isinstance(event, sasl.Challenge) and first.data is not None:
        assert json.loads(event.data)["status"] in ("401", "invalid_token", "invalid_request")
        event = exchange.receive(rest.pop(0).data if rest else b"\x01")
    return event, authorize


@pytest.mark.parametrize("two_step", [False, True], ids=["initial", "two-step"])
@pytest.mark.parametrize("case", [case for case in CASES if case.expect in KIND], ids=str)
def test_what_is_wrong_with_a_message_ends_in_a_failure_of_its_kind(case, two_step, shows_no_secret):
    exchange, verifier = server(case), Verifier(answer)
    event, _ = play(exchange, case, verifier, two_step=two_step)
    assert type(event) is sasl.Failure
    assert event.kind == KIND[case.expect]
    assert "the mechanism failed" not in event.reason  # refused on purpose, not by a crash
    assert exchange.state is sasl.State.FAILED
    if not case.family.startswith("error-flow"):
        assert verifier.asked == []
    shows_no_secret(event, *secrets(case))
    shows_no_secret(exchange, *secrets(case))


@pytest.mark.parametrize("two_step", [False, True], ids=["initial", "two-step"])
@pytest.mark.parametrize("case", [case for case in CASES if case.expect == "accept"], ids=str)
def test_a_good_message_reaches_the_verifier_as_it_is(case, two_step):
    exchange, verifier = server(case), Verifier(answer)
    event, authorize = play(exchange, case, verifier, two_step=two_step)
    told = handed_over(verifier, authorize)
    assert {name: told[name] for name in case.values} == case.values
    acts_as = case.values.get("authzid", case.values.get("user"))
    itself = told.get("authcid", b"user@example.com")
    if acts_as in (None, itself):
        assert event == sasl.Success(identity=itself.decode(), authcid=itself.decode())
    else:  # nobody may act as another user unless a verifier says so
        assert type(event) is sasl.Failure
        assert event.kind == "authorization"


@pytest.mark.parametrize("case", [case for case in CASES if case.expect == "challenge"], ids=str)
def test_no_initial_response_is_answered_by_a_challenge(case):
    verifier = Verifier(answer)
    event, _ = play(server(case), case, verifier, two_step=False)
    assert event == sasl.Challenge(case.output)
    assert verifier.asked == []


@pytest.mark.parametrize("case", [case for case in CASES if case.expect == "state"], ids=str)
def test_what_comes_after_the_end_changes_nothing(case, shows_no_secret):
    exchange, verifier = server(case), Verifier(answer)
    event, _ = play(exchange, case, verifier, two_step=False)
    assert event == sasl.Success(identity="u", authcid="u")
    with pytest.raises(sasl.UsageError) as refused:
        exchange.receive(case.steps[1].data)
    assert exchange.state is sasl.State.DONE
    assert len(verifier.asked) == 1
    # A wrong call: the frames hold the caller's own argument, as the caller's frame does.
    shows_no_secret(refused.value.with_traceback(None), *secrets(case))


def test_every_case_is_one_of_these():
    assert {case.expect for case in CASES} == {*KIND, "accept", "challenge", "state"}
