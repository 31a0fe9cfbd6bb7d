"""`sasl token authorize`: what is found is shown, agreed to and kept; at an authorization server on loopback."""

from __future__ import annotations

import io
import sys
import threading
from contextlib import suppress
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from sasl.adapters.tokens import device
from sasl.adapters.tokens.stores import FileStore

from ..tokens.conftest import Scripted, reply
from ..tokens.signing_in import GRANTED, fields_of, form_of, get, redirect

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sasl.adapters.tokens.record import Record

    from .conftest import Result, Run

USER, CODE, SECRET = "me@example.org", "CoDe-0123456789-CoDe", "cLiEnT-0123456789"
MAIL = "urn:ietf:params:oauth:scope:mail"


class Authority:
    """An authorization server that says what it is, and then grants something; and a person at a browser.

    Attributes:
        issuer: its identifier.
        opened: the URLs that were opened in the browser.
    """

    def __init__(self) -> None:
        self.server = Scripted([b""], None)
        self.issuer = f"http://localhost:{urlsplit(self.server.url).port}"
        self.opened: list[str] = []
        self.says(GRANTED)

    def says(self, *answers: dict[str, Any], **metadata: Any) -> None:
        """Set the metadata, and what comes after it."""
        known = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "device_authorization_endpoint": f"{self.issuer}/device",
            "scopes_supported": [MAIL, "offline_access", "contacts"],
            "code_challenge_methods_supported": ["S256"],
        }
        self.server._answers[:] = map(reply, ({**known, **metadata}, *answers))

    def open(self, url: str) -> bool:
        """Do what a person does who says yes."""
        self.opened.append(url)
        get(redirect(url, code=CODE))
        return True


@pytest.fixture
def authority(monkeypatch: pytest.MonkeyPatch) -> Iterator[Authority]:
    authority = Authority()
    monkeypatch.setattr("webbrowser.open", authority.open)
    yield authority
    authority.server.stop()


class Authorize:
    """Runs the verb, and looks for secrets in what it says."""

    def __init__(self, run: Run, folder: Path) -> None:
        self._run = run
        self.store = FileStore(folder)

    def __call__(self, *arguments: str, secret: str = GRANTED["refresh_token"]) -> Result:
        result = self._run("token", "authorize", *arguments, secret=secret)
        assert result.out == ""
        return result

    def record(self, account: str = USER) -> Record:
        record = self.store.load(account)
        assert record is not None
        return record


@pytest.fixture
def authorize(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Authorize:
    monkeypatch.setenv("SASLKIT_TOKENS", str(tmp_path / "tokens"))
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    return Authorize(run, tmp_path / "tokens")


def typed(monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
    """Let somebody sit at a terminal."""
    waiting = list(lines)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr("builtins.input", lambda *_: waiting.pop(0))


def test_an_issuer_is_asked_shown_and_signed_in_at(authorize: Authorize, authority: Authority) -> None:
    result = authorize(authority.issuer, "--user", USER, "--client-id", "the-client", "--yes")
    assert (result.code, len(authority.opened)) == (0, 1), result
    for shown in (authority.issuer, USER, f"{MAIL} offline_access", f"sasl login URL --account {USER}"):
        assert shown in result.err
    asked = fields_of(authority.opened[0])
    assert (asked["client_id"], asked["scope"], asked["login_hint"]) == ("the-client", f"{MAIL} offline_access", USER)
    record = authorize.record()
    assert (record.user, record.issuer, record.client_id) == (USER, authority.issuer, "the-client")
    assert (record.refresh_token, record.access_token) == (GRANTED["refresh_token"], GRANTED["access_token"])
    assert record.token_endpoint == f"{authority.issuer}/token"


def test_a_token_is_had_from_then_on(authorize: Authorize, authority: Authority, run: Run) -> None:
    assert authorize(authority.issuer, "--user", USER, "--client-id", "c", "--account", "mine", "--yes").code == 0
    assert run("token", "get", "mine").out == GRANTED["access_token"] + "\n"


@pytest.mark.parametrize(("answer", "code"), [("y", 0), ("YES", 0), ("n", 64), ("", 64), ("yess", 64)])
def test_what_was_found_is_agreed_to_before_a_browser_opens(
    authorize: Authorize, authority: Authority, monkeypatch: pytest.MonkeyPatch, answer: str, code: int
) -> None:
    typed(monkeypatch, answer)
    assert authorize(authority.issuer, "--user", USER, "--client-id", "c").code == code
    assert len(authority.opened) == (code == 0)


def test_without_a_terminal_nobody_agrees(authorize: Authorize, authority: Authority) -> None:
    result = authorize(authority.issuer, "--user", USER, "--client-id", "c")
    assert (result.code, "--yes" in result.err, authority.opened) == (64, True, [])


def test_a_secret_of_the_client_comes_from_a_variable(authorize: Authorize, authority: Authority) -> None:
    arguments = [authority.issuer, "--user", USER, "--client-id", "c", "--client-secret-env", "SECRET", "--yes"]
    assert authorize(*arguments, secret=SECRET).code == 0
    assert form_of(authority.server.requests[1])["client_secret"] == SECRET
    assert authorize.record().client_secret == SECRET


def test_a_code_is_shown_for_another_device(
    authorize: Authorize, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        device.authorize.__wrapped__,
        "__kwdefaults__",
        {**device.authorize.__wrapped__.__kwdefaults__, "sleep": lambda _: None},
    )
    code = {"device_code": "DeViCe-0123456789", "user_code": "WDJB-MJHT", "expires_in": 900}
    authority.says({**code, "verification_uri": f"{authority.issuer}/device"}, GRANTED)
    result = authorize(authority.issuer, "--user", USER, "--client-id", "c", "--device", "--yes")
    assert (result.code, authority.opened) == (0, [])
    assert f"open {authority.issuer}/device and type the code WDJB-MJHT" in result.err
    assert authorize.record().refresh_token == GRANTED["refresh_token"]


def test_an_address_is_pasted_after_a_wrong_one(
    authorize: Authorize, authority: Authority, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = ["CoDe-alone\n"]

    def read() -> str:
        if lines:
            return lines.pop()
        url = capsys.readouterr().err.partition("open this in a browser:\n")[2].partition("\n")[0]
        return redirect(url, code=CODE) + "\n"

    monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: False, readline=read))
    result = authorize(authority.issuer, "--user", USER, "--client-id", "c", "--paste", "--yes", secret=CODE)
    assert (result.code, authority.opened) == (0, []), result
    assert authorize.record().refresh_token == GRANTED["refresh_token"]


def test_less_than_what_was_asked_for_is_told(authorize: Authorize, authority: Authority) -> None:
    authority.says({**GRANTED, "scope": MAIL})
    result = authorize(
        authority.issuer, "--user", USER, "--client-id", "c", "--scope", f"{MAIL} contacts offline_access", "--yes"
    )
    assert (result.code, "not granted: contacts" in result.err) == (0, True)
    assert authorize.record().granted_scope == MAIL


def test_a_person_who_says_no_leaves_what_was_there(
    authorize: Authorize, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert authorize(authority.issuer, "--user", USER, "--client-id", "c", "--yes").code == 0
    before = authorize.record()
    authority.says(GRANTED)
    done: list[threading.Thread] = []

    def refuse(url: str) -> bool:
        done.append(threading.current_thread())
        with suppress(OSError):
            get(redirect(url, error="access_denied"))
        return True

    monkeypatch.setattr("webbrowser.open", refuse)
    result = authorize(authority.issuer, "--user", USER, "--client-id", "c", "--yes")
    done[0].join(10)
    assert (result.code, "access_denied" in result.err) == (77, True)
    assert authorize.record() == before


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["gmail"], 64, "--user"),
        (["nobody-knows", "--user", USER], 64, "gmail, microsoft365"),
        (["gmail", "--user", USER], 78, "console.cloud.google.com"),
        (["me@gmail.com"], 78, "--client-id"),
        (["microsoft365", "--user", USER, "--tenant", "a/b"], 64, "tenant"),
        (["gmail", "--user", USER, "--tenant", "example.org"], 64, "tenant"),
        (["gmail", "--user", USER, "--client-id", "c", "--device"], 64, "no device codes for mail"),
        (["http://example.org", "--user", USER], 64, "under https"),
        (["https://u@example.org", "--user", USER], 64, "an issuer is"),
        (["gmail", "--user", USER, "--for", "imap,nntp"], 64, "imap,pop,smtp"),
        (["gmail", "--user", USER, "--redirect-port", "0"], 64, "65535"),
        (["gmail", "--user", USER, "--device", "--paste"], 64, "not allowed with"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_makes_no_sense_is_told_before_anything_is_sent(
    authorize: Authorize, authority: Authority, *, arguments: list[str], code: int, says: str
) -> None:
    result = authorize(*arguments)
    assert (result.code, says in result.err) == (code, True), result
    assert (authority.server.requests, authority.opened) == ([], [])


def test_a_server_that_names_no_scope_wants_one(authorize: Authorize, authority: Authority) -> None:
    authority.says(GRANTED, scopes_supported=["openid"])
    result = authorize(authority.issuer, "--user", USER, "--client-id", "c", "--yes")
    assert (result.code, "--scope" in result.err, authority.opened) == (64, True, [])


def test_a_place_that_cannot_be_written_to_is_told_before_anybody_signs_in(
    authorize: Authorize, authority: Authority, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    result = authorize(authority.issuer, "--user", USER, "--client-id", "c", "--store", str(tmp_path / "file/x"))
    assert result.code == 78
    assert (authority.server.requests, authority.opened) == ([], [])


def test_a_client_is_registered_once_where_the_issuer_does_that(authorize: Authorize, authority: Authority) -> None:
    endpoint = f"{authority.issuer}/register"
    authority.says({"client_id": "new-client"}, GRANTED, registration_endpoint=endpoint)
    assert authorize(authority.issuer, "--user", USER, "--yes").code == 0
    authority.says(GRANTED, registration_endpoint=endpoint)
    assert authorize(authority.issuer, "--user", "you@example.org", "--yes").code == 0
    assert [record.client_id for record in map(authorize.record, (USER, "you@example.org"))] == ["new-client"] * 2
    assert [request.split()[1] for request in authority.server.requests].count(b"/register") == 1
    assert authorize.store.keys() == [USER, "you@example.org"]


def test_nobody_is_registered_before_somebody_agrees(
    authorize: Authorize, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority.says({"client_id": "new-client"}, GRANTED, registration_endpoint=f"{authority.issuer}/register")
    typed(monkeypatch, "n")
    assert authorize(authority.issuer, "--user", USER).code == 64
    assert len(authority.server.requests) == 1
