"""Files of providers that a user writes: which counts, what is said of a broken one; and what ours give."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

import sasl
from sasl.adapters import providers
from sasl.adapters.cli.token import foreign
from sasl.adapters.providers import Server, load, oauth, profile, provider, scopes, session_limit
from sasl.adapters.refusals import classify
from sasl.adapters.tokens import google
from sasl.adapters.wire.pop import grammar as pop
from sasl.adapters.wire.smtp import grammar as smtp

DAY = 86_400.0
OWN: dict[str, Any] = {
    "name": "Example Corporation",
    "hosts": ["mail.example.com"],
    "addresses": ["example.com"],
    "servers": {"imap": {"host": "mail.example.com", "port": 993, "tls": "implicit"}},
    "oauth": {
        "issuer": "https://id.example.com",
        "token_endpoint": "https://id.example.com/token",
        "scopes": {"imap": ["mail"], "common": ["offline_access"]},
    },
    "session_limits": {"imap": {"password": 60, "token": 30}},
}


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of the user's own files, which is there."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("APPDATA", str(tmp_path / "config"))
    monkeypatch.delenv("SASLKIT_PROVIDERS", raising=False)
    folder = tmp_path / "config" / "saslkit" / "providers"
    folder.mkdir(parents=True)
    providers.profiles.cache_clear()
    yield folder
    monkeypatch.undo()
    providers.profiles.cache_clear()


def write(folder: Path, stem: str, /, **members: Any) -> Path:
    path = folder / f"{stem}.json"
    path.write_text(json.dumps({**OWN, **members}), "utf-8")
    return path


def test_a_provider_of_the_users_own_is_found_by_name_host_and_address(own: Path) -> None:
    write(own, "Corp")
    for word in ("corp", "CORP", "example corporation", "mail.example.com", "me@example.com", "me@dept.example.com."):
        found = provider(word)
        assert found is not None, word
        assert (found.id, found.servers["imap"]) == ("corp", Server("mail.example.com", 993, "implicit"))
    assert provider("example.com") is None  # that is no host of it
    assert session_limit("MAIL.example.com", "imap", token=True) == 30.0
    assert session_limit("mail.example.com", "imap", token=False) == 60.0
    assert session_limit("mail.example.com", "smtp", token=False) is None


def test_a_file_of_the_users_own_wins_over_ours(own: Path) -> None:
    write(own, "gmail", name="My Gmail")
    assert provider("gmail").name == "My Gmail"
    assert profile("imap.gmail.com") is None
    write(own, "aaa", hosts=["gmail.com"], addresses=["outlook.com"])
    assert provider("me@gmail.com").id == "aaa"
    assert provider("me@outlook.com").id == "aaa"


def test_the_folder_that_is_named_wins_over_the_usual_one(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(own, "corp")
    other = tmp_path / "other"
    other.mkdir()
    write(other, "corp", name="Named")
    monkeypatch.setenv("SASLKIT_PROVIDERS", str(other))
    assert provider("corp").name == "Named"


def test_without_folders_there_are_ours(own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SASLKIT_PROVIDERS", str(tmp_path / "nothing"))
    own.rmdir()
    assert provider("gmail").name == "Gmail"
    assert provider("") is None
    assert provider("me@") is None


def test_a_broken_file_of_the_users_own_is_an_error_where_somebody_asks_and_stops_no_login(
    own: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(own, "corp", colour="red")
    with pytest.raises(sasl.UsageError) as caught:
        provider("gmail")
    assert str(path) in str(caught.value)
    assert "colour" in str(caught.value)
    with caplog.at_level(logging.WARNING, "sasl"):
        assert session_limit("imap.gmail.com", "imap", token=False) == DAY
    assert [str(path) in record.getMessage() for record in caplog.records] == [True]


@pytest.mark.parametrize(
    ("members", "says"),
    [
        ({"name": ""}, "no name"),
        ({"name": "two\nlines"}, "no name"),
        ({"hosts": "example.com"}, "no hosts that is a list"),
        ({"hosts": ["Example.com"]}, "hosts[0]"),
        ({"servers": {"nntp": {}}}, "servers.nntp"),
        ({"servers": {"imap": {"host": "a", "port": 993}}}, "lacks servers.imap.tls"),
        ({"servers": {"imap": {"host": "a", "port": True, "tls": "implicit"}}}, "servers.imap.port"),
        ({"servers": {"imap": {"host": "a", "port": 0, "tls": "implicit"}}}, "servers.imap.port"),
        ({"servers": {"imap": {"host": "a", "port": 1, "tls": "none"}}}, "servers.imap.tls"),
        ({"oauth": []}, "no oauth that is an object"),
        ({"oauth": {"token_endpoint": "http://example.com/token"}}, "oauth.token_endpoint"),
        ({"oauth": {"token_endpoint": "https://u:p@example.com/"}}, "oauth.token_endpoint"),
        ({"oauth": {"token_endpoint": "https://example.com/a b"}}, "oauth.token_endpoint"),
        ({"oauth": {"scopes": {"imap": ["a b"]}}}, "oauth.scopes.imap[0]"),
        ({"oauth": {"rotation": "sometimes"}}, "oauth.rotation"),
        ({"oauth": {"device": 1}}, "oauth.device"),
        ({"session_limits": {"imap": {"token": "hour"}}}, "session_limits.imap.token"),
        ({"session_limits": {"imap": {"password": "token"}}}, "session_limits.imap.password"),
        ({"session_limits": {"imap": {"password": -1}}}, "session_limits.imap.password"),
        ({"initial_response": {"imap": "no"}}, "initial_response.imap"),
        ({"password": "secret"}, "password"),
        ({"refusals": [{"id": "x"}]}, "refusals[0].kind"),
        ({"begin_with": {"imap": 1}}, "begin_with.imap"),
    ],
)
def test_an_error_names_the_file_and_the_member(tmp_path: Path, members: dict[str, Any], says: str) -> None:
    path = write(tmp_path, "corp", **members)
    with pytest.raises(sasl.UsageError) as caught:
        load(path)
    assert str(path) in str(caught.value)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"{", b"\xff", b'{"name": NaN}', b"[" * 100_000, b'{"name": "a", "name": "b"}', b"{}", b" " * 300_000],
    ids=["empty", "list", "half", "latin", "nan", "deep", "twice", "nothing", "long"],
)
def test_what_is_no_file_of_a_provider_is_an_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(sasl.UsageError, match=r"x\.json"):
        load(path)


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(sasl.UsageError, match="cannot be read: No such file"):
        load(tmp_path / "none.json")


def test_the_limits_of_gmail_are_those_of_its_page() -> None:
    for token in (False, True):  # with a token its own end comes before that
        assert session_limit("imap.gmail.com", "imap", token=token) == DAY
        assert session_limit("pop.gmail.com", "pop", token=token) == 7 * DAY
        assert session_limit("smtp.gmail.com", "smtp", token=token) is None
    assert session_limit("outlook.office365.com", "imap", token=True) is None
    assert session_limit("mail.example.org", "imap", token=True) is None


def test_a_scope_is_that_of_the_services_each_once() -> None:
    assert scopes(provider("gmail"), ("imap", "smtp")) == "https://mail.google.com/"
    assert scopes(provider("microsoft365"), ("pop", "smtp")).split() == [
        "https://outlook.office.com/POP.AccessAsUser.All",
        "https://outlook.office.com/SMTP.Send",
        "offline_access",
    ]
    for name, service in (("gmail", "common"), ("gmail", "nntp"), ("icloud", "imap"), ("thundermail", "pop")):
        with pytest.raises(sasl.UsageError, match=service):
            scopes(provider(name), (service,))


@pytest.mark.parametrize("found", providers.profiles(), ids=lambda found: found.id)
def test_the_hosts_of_a_provider_are_its_own(found: providers.Profile) -> None:
    assert {profile(server.host).id for server in found.servers.values()} <= {found.id}
    assert all((server.tls == "starttls") == (server.port == 587) for server in found.servers.values())


def test_what_code_says_of_a_provider_too_is_what_its_file_says() -> None:
    """Where no file may be read, or another program's ways are meant: whichever changes, the other has to."""
    assert {each for services in provider("gmail").oauth.scopes.values() for each in services} == {google.MAIL}
    for name, endpoint in foreign._PROVIDERS.values():
        assert oauth.provider(name).metadata.token_endpoint == endpoint


@pytest.mark.parametrize("found", providers.profiles(), ids=lambda found: found.id)
def test_a_login_that_reads_no_file_keeps_to_the_limits_of_a_provider(found: providers.Profile) -> None:
    """A wire sends no longer command than its protocol allows: no provider allows less, or it needs an index here."""
    longest = {"smtp": smtp.LONGEST_COMMAND, "pop": pop.LONGEST_COMMAND}
    assert all(limit >= longest[service] for service, limit in found.line_limits.items())
    assert set(found.initial_response) <= {"pop"}  # where no token fits anyway


BUSY = [
    (service, text)
    for found in providers.profiles()
    for service, texts in found.busy.items()
    for text in texts
    if text != "[THROTTLED]"  # that stands in an OK
]


@pytest.mark.parametrize(("service", "text"), BUSY)
def test_what_a_provider_says_when_it_is_busy_refuses_no_credential(service: str, text: str) -> None:
    codes = {"smtp": "454 4.7.0", "imap": None, "pop": None}
    assert classify(service, text=text, code=codes[service], phase="after").kind == "unavailable"


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("me@company.onmicrosoft.com", "microsoft365"),
        ("me@outlook.com", "outlook"),
        ("me@hotmail.com", "outlook"),
        ("me@fastmail.fm", "fastmail"),
        ("me@qq.com", "qq"),
    ],
)
def test_an_address_is_that_of_its_provider(address: str, name: str) -> None:
    assert provider(address).id == name
