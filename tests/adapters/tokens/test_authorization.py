"""The authorization URL and the answer to it: RFC 6749 section 4.1, RFC 7636, RFC 9207."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlencode

import pytest

import sasl
from sasl.adapters.tokens._authorization import Attempt, challenge, check_address
from sasl.adapters.tokens.messages import Client

from .signing_in import CLIENT, ISSUER, SCOPE, fields_of, metadata

HERE = "http://127.0.0.1:5000/"


def attempt(**changes: Any) -> Attempt:
    return Attempt(metadata(**changes), CLIENT, SCOPE, HERE)


def state_of(attempt: Attempt) -> str:
    return fields_of(attempt.url())["state"]


def failure(attempt: Attempt, **answer: str) -> sasl.TokenError:
    with pytest.raises(sasl.TokenError) as caught:
        attempt.code(urlencode({"state": state_of(attempt)} | answer))
    return caught.value


def test_the_challenge_is_that_of_the_rfc() -> None:
    verifier = sasl.Secret("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk")  # RFC 7636 appendix B
    assert challenge(verifier) == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


def test_the_url_asks_for_a_code_with_pkce() -> None:
    made = Attempt(metadata(), CLIENT, SCOPE, HERE, login_hint="a@b.example", parameters={"prompt": "consent"})
    asked = fields_of(made.url())
    assert made.url().startswith(f"{ISSUER}/authorize?")
    assert len(asked.pop("state")) >= 43
    assert asked.pop("code_challenge") == challenge(made._verifier)
    assert asked == {
        "response_type": "code",
        "client_id": "the-client",
        "redirect_uri": HERE,
        "code_challenge_method": "S256",
        "scope": SCOPE,
        "login_hint": "a@b.example",
        "prompt": "consent",
    }


def test_the_verifier_is_as_long_as_the_rfc_wants_and_new_each_time() -> None:
    one, two = attempt(), attempt()
    assert re.fullmatch(r"[A-Za-z0-9._~-]{43,128}", one._verifier.reveal())
    assert one._verifier != two._verifier
    assert one._state != two._state
    assert one._state != one._verifier


def test_a_query_of_the_endpoint_stays() -> None:
    made = attempt(authorization_endpoint=f"{ISSUER}/authorize?p=mail")
    assert fields_of(made.url())["p"] == "mail"


@pytest.mark.parametrize("name", ["state", "code_challenge", "redirect_uri", "response_mode", "client_id", "scope"])
def test_what_the_answer_is_checked_against_is_not_the_callers_to_set(name: str) -> None:
    with pytest.raises(sasl.UsageError, match=name):
        Attempt(metadata(), CLIENT, SCOPE, HERE, parameters={name: "mine"})


def test_a_server_that_says_it_cannot_do_s256_is_not_asked() -> None:
    with pytest.raises(sasl.TokenError) as caught:
        attempt(code_challenge_methods_supported=("plain",))
    assert caught.value.code == "no_pkce"


@pytest.mark.parametrize("methods", [None, (), ("plain", "S256")])
def test_a_server_that_does_not_say_is_sent_a_challenge(methods: Any) -> None:
    assert "code_challenge" in fields_of(attempt(code_challenge_methods_supported=methods).url())


@pytest.mark.parametrize(
    "url",
    [
        *("http://issuer.example/", "ftp://issuer.example/", "https://", "https://a@issuer.example/", "https://x/#y"),
        *("https://x/ y", "javascript:alert(1)", "file:///etc/passwd", "https://[x/", "http://localhost.example/", ""),
    ],
)
def test_nobody_is_sent_to_a_url_without_tls(url: str) -> None:
    with pytest.raises(sasl.TokenError, match="the page"):
        check_address(url, "the page")
    if url:
        with pytest.raises(sasl.TokenError):
            attempt(authorization_endpoint=url).url()


@pytest.mark.parametrize(
    "url", ["https://x", "HTTPS://x/y?z", "http://127.0.0.1:1/", "http://[::1]/", "http://localhost"]
)
def test_a_url_under_tls_or_of_this_machine_is_fine(url: str) -> None:
    check_address(url, "the page")


def test_a_server_without_a_page_is_none_for_a_browser() -> None:
    with pytest.raises(sasl.TokenError) as caught:
        attempt(authorization_endpoint=None).url()
    assert caught.value.code == "not_offered"


# --- the answer


def test_the_answer_holds_the_code() -> None:
    made = attempt()
    assert made.code(urlencode({"code": "C/ode+1", "state": state_of(made), "session_state": "x"})) == "C/ode+1"


def test_an_answer_to_something_else_is_none() -> None:
    made = attempt()
    state = state_of(made)
    strange = [
        "",
        "code=c",
        "code=c&state=",
        f"code=c&state={state}x",
        f"code=c&state={state[:-1]}",
        "state",
        "&",
        "%ff",
    ]
    strange += [f"code=c&state={state}&code=d", f"code=c&state={state}&state={state}", f"code=%ff&state={state}"]
    strange += [f"state={state}&code=" + "x" * 20_000, f"state={state}&" + "&".join(f"p{n}=1" for n in range(40))]
    strange += [f"error=access_denied&state={state_of(attempt())}", "error=access_denied"]
    assert [query for query in strange if made.code(query) is not None] == []


@pytest.mark.parametrize("code", ["", "a\nb", "a\x7f", "ü"])
def test_a_code_that_can_be_none_is_refused(code: str) -> None:
    assert failure(attempt(), code=code).code == "bad_response"


def test_a_promised_issuer_has_to_be_there() -> None:
    made = attempt(authorization_response_iss_parameter_supported=True)
    assert failure(made, code="c").code == "wrong_issuer"
    assert made.code(urlencode({"code": "c", "state": state_of(made), "iss": ISSUER})) == "c"


@pytest.mark.parametrize("issuer", [f"{ISSUER}/", "https://ISSUER.example", "https://evil.example", ""])
@pytest.mark.parametrize("promised", [True, False])
@pytest.mark.parametrize("answer", [{"code": "c"}, {"error": "access_denied"}])
def test_another_issuer_is_refused(issuer: str, answer: dict[str, str], *, promised: bool) -> None:
    made = attempt(authorization_response_iss_parameter_supported=promised)
    error = failure(made, **answer, iss=issuer)
    assert (error.code, error.retryable, bool(error.hint)) == ("wrong_issuer", False, True)


def test_an_issuer_says_nothing_where_none_is_known() -> None:
    made = attempt(issuer=None)
    assert made.code(urlencode({"code": "c", "state": state_of(made), "iss": "https://some.example"})) == "c"


def test_a_no_is_told_with_what_to_do() -> None:
    error = failure(attempt(), error="access_denied", error_description="you \x1bsaid no")
    assert (error.code, error.needs_user) == ("access_denied", True)
    assert str(error) == "the authorization server says no: access_denied: you \\x1bsaid no"
    assert "consent" in error.hint


def test_a_server_that_cannot_tell_now_is_one_to_ask_again() -> None:
    error = failure(attempt(), error="temporarily_unavailable")
    assert (error.retryable, error.needs_user) == (True, False)


def test_a_no_without_a_reason_that_can_be_one_is_told() -> None:
    error = failure(attempt(), error="<script>")
    assert (error.code, "script" in str(error)) == ("bad_response", False)


def test_a_no_that_says_the_state_back_does_not_show_it() -> None:
    made = attempt()
    state = state_of(made)
    assert state not in str(failure(made, error="access_denied", error_description=f"state {state} is over"))


def test_a_yes_beside_a_no_is_a_no() -> None:
    assert failure(attempt(), code="c", error="access_denied").code == "access_denied"


def test_an_attempt_shows_nothing() -> None:
    made = Attempt(metadata(), Client("id", secret="very-secret"), SCOPE, HERE)
    assert "Attempt object" in repr(made)
