"""A sign-in by a browser on this machine, at an authorization server that a test writes."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

import sasl
from sasl.adapters.tokens import browser
from sasl.adapters.tokens._authorization import challenge
from sasl.adapters.tokens.messages import Client

from .conftest import found_in, reply
from .signing_in import CLIENT, GRANTED, ISSUER, SCOPE, all_of, fields_of, form_of, get, metadata, redirect

if TYPE_CHECKING:
    from collections.abc import Callable

    from sasl.adapters.tokens.messages import Answer

CODE = "CoDe-0123456789-CoDe"


class Person:
    """Opens URLs, and answers as told.

    Attributes:
        url: the last one.
        pages: what the browser has shown, with its status.
    """

    def __init__(self, **answer: str) -> None:
        self.url = ""
        self.pages: list[tuple[int, str]] = []
        self.done = threading.Event()
        self._answer = answer or {"code": CODE}

    def __call__(self, url: str) -> bool:
        self.url = url
        self.pages.append(get(redirect(url, **self._answer)))
        self.done.set()
        return True

    def page(self) -> tuple[int, str]:
        assert self.done.wait(10)
        return self.pages[-1]


def sign_in(server: Any, person: Callable[[str], object], *, client: Client = CLIENT, **settings: Any) -> Answer:
    known = settings.pop("known", {})
    return browser.authorize(
        metadata(token_endpoint=server.url, **known), client, SCOPE, open=person, timeout=20.0, **settings
    )


def failure(server: Any, person: Callable[[str], object], **settings: Any) -> sasl.TokenError:
    with pytest.raises(sasl.TokenError) as caught:
        sign_in(server, person, **settings)
    return caught.value


def test_a_person_who_signs_in_gives_a_grant(scripted: Callable[..., Any]) -> None:
    server, person = scripted(reply(GRANTED)), Person()
    answer = sign_in(server, person)
    asked, form = fields_of(person.url), form_of(server.requests[0])
    assert asked["redirect_uri"].startswith("http://127.0.0.1:")
    assert challenge(sasl.Secret(form.pop("code_verifier"))) == asked["code_challenge"]
    assert form == {
        "grant_type": "authorization_code",
        "code": CODE,
        "redirect_uri": asked["redirect_uri"],
        "client_id": "the-client",
    }
    assert (answer.access_token, answer.refresh_token) == (GRANTED["access_token"], GRANTED["refresh_token"])
    assert (answer.expires_in, answer.scope) == (3600.0, SCOPE)
    status, page = person.page()
    assert (status, "Signed in" in page) == (200, True)
    assert found_in(page, [CODE, asked["state"], *map(str, GRANTED.values())]) == []


def test_the_page_says_that_it_is_done_once_it_is(scripted: Callable[..., Any]) -> None:
    """The browser waits until the code is redeemed: what it shows then is true."""
    person = Person()
    error = failure(scripted(reply({"error": "invalid_grant"}, 400)), person)
    status, page = person.page()
    assert (error.code, status) == ("invalid_grant", 200)
    assert "Not signed in" in page
    assert error.hint in page


def test_a_narrower_scope_is_kept(scripted: Callable[..., Any]) -> None:
    assert sign_in(scripted(reply(GRANTED | {"scope": "less"})), Person()).scope == "less"


def test_a_grant_without_a_refresh_token_is_none(scripted: Callable[..., Any]) -> None:
    error = failure(scripted(reply({"access_token": "once-0123456789"})), Person())
    assert (error.code, error.needs_user) == ("no_refresh_token", True)
    assert all(each in error.hint for each in ("access_type", "consent", "offline_access"))


def test_a_no_at_the_page_is_told_there_and_here(scripted: Callable[..., Any]) -> None:
    server = scripted(reply(GRANTED))
    person = Person(error="access_denied", error_description="<b>no</b> & never")
    error = failure(server, person)
    assert (error.code, error.needs_user, server.requests) == ("access_denied", True, [])
    _, page = person.page()
    assert "&lt;b&gt;no&lt;/b&gt; &amp; never" in page


def test_a_code_by_another_issuer_is_not_redeemed(scripted: Callable[..., Any]) -> None:
    server = scripted(reply(GRANTED))
    assert failure(server, Person(code=CODE, iss="https://evil.example")).code == "wrong_issuer"
    known = {"authorization_response_iss_parameter_supported": True}
    assert failure(server, Person(), known=known).code == "wrong_issuer"
    assert server.requests == []
    assert sign_in(server, Person(code=CODE, iss=ISSUER), known=known).refresh_token


def test_answers_to_other_questions_do_not_end_the_wait(scripted: Callable[..., Any]) -> None:
    seen = []

    def distracted(url: str) -> bool:
        home = fields_of(url)["redirect_uri"]
        seen.append(get(redirect(url, code="evil", state="guessed")))
        seen.append(get(home + "favicon.ico"))
        seen.append(get(home))
        seen.append(get(redirect(url, code="evil"), {"Host": "rebound.example"}))
        seen.append(get(redirect(url, code=CODE)))
        return True

    server = scripted(reply(GRANTED))
    sign_in(server, distracted)
    assert form_of(server.requests[0])["code"] == CODE
    assert [status for status, _ in seen[:4]] == [400, 404, 400, 400]


def test_the_redirect_uri_is_as_it_was_registered(scripted: Callable[..., Any]) -> None:
    person = Person()
    sign_in(scripted(reply(GRANTED)), person, redirect_uri="http://localhost")
    home = urlsplit(fields_of(person.url)["redirect_uri"])
    assert (home.scheme, home.hostname, home.path) == ("http", "localhost", "")


def test_a_port_that_is_taken_is_told(scripted: Callable[..., Any]) -> None:
    server = scripted(reply(GRANTED))
    error = failure(server, Person(), port=urlsplit(server.url).port)
    assert (error.code, error.hint) == ("no_listener", "Choose another port.")


def test_a_person_who_does_nothing_is_not_waited_for_for_ever(scripted: Callable[..., Any]) -> None:
    with pytest.raises(sasl.TokenError) as caught:
        browser.authorize(metadata(), CLIENT, SCOPE, open=lambda _url: True, timeout=0.02)
    assert (caught.value.code, caught.value.needs_user, caught.value.retryable) == ("timeout", True, False)


# --- who opens it


@pytest.mark.parametrize("problem", ["no", "error"])
def test_a_url_that_no_browser_opens_is_shown(scripted: Callable[..., Any], problem: str) -> None:
    def fail(_url: str) -> bool:
        if problem == "error":
            raise OSError("no browser")
        return False

    person = Person()
    phone = []

    def show(url: str) -> None:
        phone.append(threading.Thread(target=person, args=(url,)))
        phone[0].start()

    assert sign_in(scripted(reply(GRANTED)), fail, show=show).refresh_token
    phone[0].join()


def test_a_url_that_nothing_opens_or_shows_is_an_error_at_once(scripted: Callable[..., Any]) -> None:
    error = failure(scripted(reply(GRANTED)), lambda _url: False)
    assert (error.code, bool(error.hint)) == ("no_browser", True)


def test_without_an_opener_the_url_is_shown(scripted: Callable[..., Any]) -> None:
    person = Person()
    server = scripted(reply(GRANTED))
    threads = []

    def show(url: str) -> None:
        threads.append(threading.Thread(target=person, args=(url,)))
        threads[0].start()

    assert browser.authorize(metadata(token_endpoint=server.url), CLIENT, SCOPE, open=None, show=show).refresh_token
    threads[0].join()
    with pytest.raises(sasl.UsageError):
        browser.authorize(metadata(), CLIENT, SCOPE, open=None)


def test_a_browser_that_has_the_terminal_until_it_is_left_does_not_keep_the_answer_out(
    scripted: Callable[..., Any],
) -> None:
    left = threading.Event()
    person = Person()

    def links(url: str) -> bool:
        person(url)
        return left.wait(10)

    assert sign_in(scripted(reply(GRANTED)), links).refresh_token
    left.set()


def test_the_standard_library_opens_the_url(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    monkeypatch.setattr("webbrowser.open", lambda url: opened.append(url) or True)
    assert browser.open_browser("https://issuer.example/?state=x")
    assert opened == ["https://issuer.example/?state=x"]


# --- what nobody sees


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (reply({"error": "invalid_grant", "error_description": f"the code {CODE} is over"}, 400), "invalid_grant"),
        (reply({"access_token": "AcCeSs-0123456789", "refresh_token": 5}), "bad_response"),
        (reply({"access_token": "AcCeSs-0123456789"}), "no_refresh_token"),
        (reply(b"nonsense " + CODE.encode()), "bad_response"),
        (b"", "unreachable"),
    ],
)
def test_a_failure_shows_no_secret(
    scripted: Callable[..., Any],
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    answer: bytes,
    code: str,
) -> None:
    caplog.set_level(logging.DEBUG)
    server, person = scripted(answer), Person()
    error = failure(server, person, client=Client("id", secret="cLiEnT-sEcReT-0123456789"))
    asked, form = fields_of(person.url), form_of(server.requests[0])
    assert error.code == code
    secrets = [CODE, asked["state"], form["code_verifier"], "cLiEnT-sEcReT-0123456789", "AcCeSs-0123456789"]
    seen = [all_of(error), caplog.text, person.page()[1], *capfd.readouterr()]
    assert found_in("\n".join(seen), secrets) == []


def test_an_interruption_shows_no_secret() -> None:
    person = Person()

    def interrupt(url: str, **_settings: object) -> Any:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        browser.authorize(metadata(), CLIENT, SCOPE, open=person, request=interrupt)
    assert found_in(all_of(caught.value), [CODE, fields_of(person.url)["state"]]) == []


def test_a_grant_shows_no_secret(scripted: Callable[..., Any]) -> None:
    assert found_in(repr(sign_in(scripted(reply(GRANTED)), Person())), list(map(str, GRANTED.values()))[:2]) == []
