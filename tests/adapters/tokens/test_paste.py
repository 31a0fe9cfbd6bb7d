"""A sign-in whose answer a person carries over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

import sasl
from sasl.adapters.tokens import paste

from .conftest import found_in, reply
from .signing_in import CLIENT, GRANTED, SCOPE, all_of, fields_of, form_of, metadata, redirect

if TYPE_CHECKING:
    from collections.abc import Callable

    from sasl.adapters.tokens.messages import Answer

CODE = "CoDe-0123456789-CoDe"


class Person:
    """Carries addresses: each answer is made of the URL that was shown.

    Attributes:
        url: what was shown.
        problems: what was said of each answer before.
    """

    def __init__(self, *answers: Callable[[str], str]) -> None:
        self.url = ""
        self.problems: list[str] = []
        self._answers = list(answers)

    def show(self, url: str) -> None:
        assert not self.url
        self.url = url

    def read(self, problem: str) -> str:
        self.problems.append(problem)
        return self._answers.pop(0)(self.url)


def right(url: str) -> str:
    return redirect(url, code=CODE)


def sign_in(server: Any, person: Person, **settings: Any) -> Answer:
    known = metadata(token_endpoint=server.url)
    return paste.authorize(known, CLIENT, SCOPE, show=person.show, read=person.read, **settings)


def failure(server: Any, person: Person, **settings: Any) -> sasl.TokenError:
    with pytest.raises(sasl.TokenError) as caught:
        sign_in(server, person, **settings)
    return caught.value


def test_the_address_that_was_pasted_gives_a_grant(scripted: Callable[..., Any]) -> None:
    server, person = scripted(reply(GRANTED)), Person(lambda url: f"  {right(url)}#_=_\r\n")
    answer = sign_in(server, person)
    asked, form = fields_of(person.url), form_of(server.requests[0])
    assert (answer.refresh_token, answer.scope) == (GRANTED["refresh_token"], SCOPE)
    assert (form["code"], form["redirect_uri"]) == (CODE, asked["redirect_uri"])
    assert person.problems == [""]
    home = urlsplit(asked["redirect_uri"])
    assert (home.scheme, home.hostname, home.path, 49_152 <= (home.port or 0) < 65_536) == (
        "http",
        "127.0.0.1",
        "/",
        True,
    )


@pytest.mark.parametrize("uri", ["https://127.0.0.1", "http://localhost", "https://mail.example/done"])
def test_the_redirect_uri_is_as_it_was_registered(scripted: Callable[..., Any], uri: str) -> None:
    person = Person(right)
    sign_in(scripted(reply(GRANTED)), person, redirect_uri=uri)
    assert fields_of(person.url)["redirect_uri"] == uri


def test_a_browser_may_write_a_slash_behind_the_host_or_small_letters(scripted: Callable[..., Any]) -> None:
    person = Person(lambda url: right(url).replace("https://Mail.example?", "https://mail.example/?"))
    sign_in(scripted(reply(GRANTED)), person, redirect_uri="https://Mail.example")


def test_a_code_alone_is_not_taken_and_told_why(scripted: Callable[..., Any]) -> None:
    server, person = scripted(reply(GRANTED)), Person(lambda _url: CODE, right)
    sign_in(server, person)
    assert "the whole address" in person.problems[1]


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        (lambda _url: "", "whole"),
        (lambda _url: CODE, "whole"),
        (lambda url: right(url).partition("?")[2], "whole"),
        (lambda url: right(url).partition("?")[0], "whole"),
        (lambda url: f"look: {right(url)}", "whole"),
        (lambda url: right(url) + "\x1b", "whole"),
        (lambda url: right(url) + "&x=" + "x" * 40_000, "whole"),
        (lambda _url: "http://[x/?code=c", "whole"),
        (lambda url: right(url).replace("http:", "https:"), "another"),
        (lambda url: right(url).replace("127.0.0.1", "evil.example"), "another"),
        (lambda url: right(url).replace("/?", "/x?"), "another"),
        (lambda url: url, "another"),
        (lambda url: redirect(url, code="evil", state="guessed"), "no answer"),
        (lambda url: redirect(url, code="evil", state=""), "no answer"),
        (lambda url: right(url) + "&code=twice", "no answer"),
    ],
)
def test_what_is_no_answer_is_asked_for_again_three_times(
    scripted: Callable[..., Any], wrong: Callable[[str], str], word: str
) -> None:
    server = scripted(reply(GRANTED))
    person = Person(wrong, wrong, right)
    sign_in(server, person)
    assert [word in problem for problem in person.problems] == [False, True, True]
    person = Person(wrong, wrong, wrong, right)
    error = failure(server, person)
    assert (error.code, error.needs_user, word in error.hint) == ("no_answer", True, True)
    assert len(server.requests) == 1
    assert found_in(all_of(error), [CODE, fields_of(person.url)["state"]]) == []


def test_a_no_ends_it(scripted: Callable[..., Any]) -> None:
    error = failure(scripted(reply(GRANTED)), Person(lambda url: redirect(url, error="access_denied")))
    assert (error.code, error.needs_user) == ("access_denied", True)


def test_an_answer_by_another_issuer_ends_it(scripted: Callable[..., Any]) -> None:
    error = failure(scripted(reply(GRANTED)), Person(lambda url: redirect(url, code=CODE, iss="https://evil.example")))
    assert error.code == "wrong_issuer"


def test_a_redirect_uri_that_shows_the_code_to_the_network_is_refused(scripted: Callable[..., Any]) -> None:
    server = scripted(reply(GRANTED))
    assert failure(server, Person(), redirect_uri="http://mail.example/").code == "bad_endpoint"
    with pytest.raises(sasl.UsageError):
        sign_in(server, Person(), redirect_uri="https://mail.example/?x=y")


def test_a_failure_shows_no_secret(scripted: Callable[..., Any]) -> None:
    server = scripted(reply({"error": "invalid_grant", "error_description": CODE}, 400))
    person = Person(right)
    error = failure(server, person)
    secrets = [CODE, fields_of(person.url)["state"], form_of(server.requests[0])["code_verifier"]]
    assert (error.code, found_in(all_of(error), secrets)) == ("invalid_grant", [])


def test_an_interruption_shows_no_secret(scripted: Callable[..., Any]) -> None:
    def interrupt(_url: str) -> str:
        raise KeyboardInterrupt

    person = Person(interrupt)
    with pytest.raises(KeyboardInterrupt) as caught:
        sign_in(scripted(reply(GRANTED)), person)
    assert found_in(all_of(caught.value), [fields_of(person.url)["state"]]) == []
