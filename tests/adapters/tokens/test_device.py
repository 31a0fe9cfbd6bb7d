"""A sign-in by a code that a person types elsewhere (RFC 8628), at a server that a test writes."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest

import sasl
from sasl.adapters.tokens import device
from sasl.adapters.tokens.messages import Client

from .conftest import found_in, reply
from .signing_in import CLIENT, GRANTED, SCOPE, all_of, form_of, metadata

if TYPE_CHECKING:
    from collections.abc import Callable

    from sasl.adapters.tokens.device import DeviceCode
    from sasl.adapters.tokens.messages import Answer

DEVICE_CODE = "DeViCe-0123456789"
ASKED = {
    "device_code": DEVICE_CODE,
    "user_code": "WDJB-MJHT",
    "verification_uri": "https://issuer.example/device",
    "expires_in": 900,
    "interval": 5,
}
GOOD = reply(GRANTED)


def no(error: str, status: int = 400, **more: Any) -> bytes:
    return reply({"error": error} | more, status)


class SignIn:
    """A sign-in at a server, in a time of its own.

    Attributes:
        slept: the seconds between two questions.
        shown: the codes.
    """

    def __init__(self, scripted: Callable[..., Any], *answers: bytes, asked: Any = ASKED) -> None:
        self.server = scripted(reply(asked), *answers)
        self.slept: list[float] = []
        self.shown: list[DeviceCode] = []
        self.now = 1000.0

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def run(self, client: Client = CLIENT, **settings: Any) -> Answer:
        url = self.server.url
        known = metadata(token_endpoint=url, device_authorization_endpoint=url)
        settings = {"show": self.shown.append, "sleep": self.sleep, "clock": lambda: self.now} | settings
        return device.authorize(known, client, SCOPE, **settings)

    def failure(self, **settings: Any) -> sasl.TokenError:
        with pytest.raises(sasl.TokenError) as caught:
            self.run(**settings)
        return caught.value


@pytest.fixture
def sign_in(scripted: Callable[..., Any]) -> Callable[..., SignIn]:
    return lambda *answers, **settings: SignIn(scripted, *answers, **settings)


def test_a_person_who_signs_in_gives_a_grant(sign_in: Callable[..., SignIn]) -> None:
    one = sign_in(no("authorization_pending"), no("authorization_pending"), GOOD)
    answer = one.run()
    assert (answer.refresh_token, answer.scope) == (GRANTED["refresh_token"], SCOPE)
    assert one.slept == [5.0, 5.0, 5.0]
    first, *rest = map(form_of, one.server.requests)
    assert first == {"client_id": "the-client", "scope": SCOPE}
    grant = "urn:ietf:params:oauth:grant-type:device_code"
    assert rest == [{"grant_type": grant, "device_code": DEVICE_CODE, "client_id": "the-client"}] * 3
    (code,) = one.shown
    assert (code.user_code, code.verification_uri) == ("WDJB-MJHT", "https://issuer.example/device")
    assert (code.verification_uri_complete, code.message, code.expires_in) == (None, "", 900.0)


def test_a_confidential_client_proves_itself_each_time(sign_in: Callable[..., SignIn]) -> None:
    one = sign_in(GOOD)
    one.run(Client("the-client", secret="very-secret"))
    assert [form_of(each)["client_secret"] for each in one.server.requests] == ["very-secret", "very-secret"]


def test_what_the_server_says_for_the_person_is_shown(sign_in: Callable[..., SignIn]) -> None:
    complete = "https://issuer.example/device?user_code=WDJB-MJHT"
    one = sign_in(GOOD, asked=ASKED | {"message": "Open \x1b[2J\nthe page", "verification_uri_complete": complete})
    one.run()
    assert (one.shown[0].message, one.shown[0].verification_uri_complete) == ("Open  [2J the page", complete)


def test_googles_name_of_the_address_is_known(sign_in: Callable[..., SignIn]) -> None:
    asked = {name: content for name, content in ASKED.items() if name != "verification_uri"}
    one = sign_in(GOOD, asked=asked | {"verification_url": "https://google.example/device"})
    one.run()
    assert one.shown[0].verification_uri == "https://google.example/device"


# --- how often it asks


def test_the_interval_is_five_seconds_unless_the_server_says_so(sign_in: Callable[..., SignIn]) -> None:
    one = sign_in(GOOD, asked={name: content for name, content in ASKED.items() if name != "interval"})
    one.run()
    assert one.slept == [5.0]


@pytest.mark.parametrize(("interval", "slept"), [(0, 1.0), (0.5, 1.0), (2.5, 2.5), (30, 30.0)])
def test_the_interval_is_the_servers(sign_in: Callable[..., SignIn], interval: float, slept: float) -> None:
    one = sign_in(GOOD, asked=ASKED | {"interval": interval})
    one.run()
    assert one.slept == [slept]


def test_slow_down_is_for_all_further_questions(sign_in: Callable[..., SignIn]) -> None:
    one = sign_in(no("slow_down"), no("authorization_pending"), no("slow_down", 429), no("authorization_pending"), GOOD)
    one.run()
    assert one.slept == [5.0, 10.0, 10.0, 15.0, 15.0]


def test_a_server_that_cannot_be_reached_is_asked_less_and_less(sign_in: Callable[..., SignIn]) -> None:
    one = sign_in(b"", no("server_error", 500), no("authorization_pending"), GOOD)
    one.run()
    assert one.slept == [5.0, 10.0, 20.0, 20.0]


def test_retry_after_is_kept_once(sign_in: Callable[..., SignIn]) -> None:
    busy = b"HTTP/1.1 503 Busy\r\nRetry-After: 60\r\nContent-Length: 0\r\n\r\n"
    one = sign_in(busy, no("authorization_pending"), GOOD)
    one.run()
    assert one.slept == [5.0, 60.0, 10.0]


# --- how it ends


@pytest.mark.parametrize(
    ("error", "word"),
    [
        ("access_denied", "consent"),
        ("authorization_declined", "consent"),
        ("expired_token", "start again"),
        ("bad_verification_code", "start again"),
        ("invalid_grant", "Sign in"),
    ],
)
def test_a_no_ends_it_in_either_spelling(sign_in: Callable[..., SignIn], error: str, word: str) -> None:
    one = sign_in(no("authorization_pending"), no(error), GOOD)
    failure = one.failure()
    assert (failure.code, failure.needs_user, word in failure.hint) == (error, True, True)
    assert len(one.server.requests) == 3


def test_a_client_that_may_not_is_told_so(sign_in: Callable[..., SignIn]) -> None:
    failure = sign_in(no("invalid_client", 401, error_description="AADSTS7000218: ...")).failure()
    assert (failure.code, failure.needs_user) == ("invalid_client", False)
    assert "secret" in failure.hint


@pytest.mark.parametrize("expires_in", [900, 900.0, 899])
def test_it_ends_with_the_code(sign_in: Callable[..., SignIn], expires_in: float) -> None:
    one = sign_in(no("authorization_pending"), asked=ASKED | {"expires_in": expires_in})
    failure = one.failure()
    assert (failure.code, failure.needs_user) == ("expired_token", True)
    assert sum(one.slept) == 895


def test_a_code_that_lives_for_ever_does_not(sign_in: Callable[..., SignIn]) -> None:
    one = sign_in(no("authorization_pending"), asked=ASKED | {"expires_in": 1e9, "interval": 600})
    assert one.failure().code == "expired_token"
    assert one.shown[0].expires_in == 3_600.0
    assert sum(one.slept) == 3_000


def test_a_server_that_stays_away_is_what_is_told(sign_in: Callable[..., SignIn]) -> None:
    one = sign_in(no("authorization_pending"), b"")
    failure = one.failure()
    assert (failure.code, failure.retryable) == ("unreachable", True)
    assert len(one.slept) < 10


def test_a_grant_without_a_refresh_token_is_none(sign_in: Callable[..., SignIn]) -> None:
    assert sign_in(reply({"access_token": "once-0123456789"})).failure().code == "no_refresh_token"


def test_a_server_that_gives_no_device_codes_is_not_asked() -> None:
    with pytest.raises(sasl.TokenError) as caught:
        device.authorize(metadata(device_authorization_endpoint=None), CLIENT, SCOPE, show=print)
    assert caught.value.code == "not_offered"


@pytest.mark.parametrize(
    "change",
    [
        {"device_code": None},
        {"device_code": ""},
        {"user_code": 5},
        {"user_code": ""},
        {"user_code": "A" * 65},
        {"user_code": "A\x1b[2J"},
        {"verification_uri": "http://issuer.example/device"},
        {"verification_uri": "javascript:alert(1)"},
        {"verification_uri": None},
        {"verification_uri_complete": "http://issuer.example/device"},
        {"verification_uri_complete": None},
        {"message": 5},
        {"expires_in": None},
        {"expires_in": "900"},
        {"expires_in": -1},
        {"expires_in": True},
        {"interval": "5"},
        {"interval": 1e10},
    ],
)
def test_an_answer_that_is_none_is_refused_and_not_shown(
    sign_in: Callable[..., SignIn], change: dict[str, Any]
) -> None:
    one = sign_in(GOOD, asked=ASKED | change)
    failure = one.failure()
    assert failure.code in ("bad_response", "bad_endpoint")
    assert (one.shown, one.slept) == ([], [])
    assert found_in(all_of(failure), [DEVICE_CODE]) == []


# --- what nobody sees


def test_neither_a_failure_nor_what_is_shown_has_the_device_code(
    sign_in: Callable[..., SignIn], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    one = sign_in(no("expired_token", error_description=f"{DEVICE_CODE} is over"))
    failure = one.failure()
    assert found_in(all_of(failure) + repr(one.shown) + caplog.text, [DEVICE_CODE]) == []


def test_an_interruption_of_the_wait_shows_no_device_code(sign_in: Callable[..., SignIn]) -> None:
    def interrupt(_seconds: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        sign_in(GOOD).run(sleep=interrupt)
    assert found_in(all_of(caught.value), [DEVICE_CODE]) == []
