"""`sasl login --account`: the user and the token are those of an account of `sasl token`."""

from __future__ import annotations

import time
from argparse import Namespace
from typing import TYPE_CHECKING

import pytest

from sasl import Secret
from sasl.adapters.cli import login
from sasl.adapters.cli.url import Target
from sasl.adapters.reference import running, token_endpoint

from .accounts import ACCOUNT, grant, keep
from .conftest import at

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sasl.adapters.reference import Servers
    from sasl.adapters.reference.token_endpoint import Fault, TokenEndpoint

    from .conftest import Run

protocols = pytest.mark.parametrize("protocol", ["imap", "pop", "smtp"])


@pytest.fixture(scope="module")
def _running() -> Iterator[tuple[Servers, TokenEndpoint]]:
    with token_endpoint.running() as endpoint, running(checks=endpoint.checks) as servers:
        yield servers, endpoint


@pytest.fixture
def servers(_running: tuple[Servers, TokenEndpoint]) -> Servers:
    return _running[0]


@pytest.fixture
def endpoint(_running: tuple[Servers, TokenEndpoint]) -> TokenEndpoint:
    endpoint = _running[1]
    endpoint.requests.clear()
    endpoint.faults.clear()
    return endpoint


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "tokens"
    monkeypatch.setenv("SASLKIT_TOKENS", str(folder))
    return folder


def nameless(servers: Servers, protocol: str) -> list[str]:
    """The arguments to log in where the URL names no user."""
    verb, url, *rest = at(servers, protocol)
    return [verb, url.replace("alice@", ""), *rest]


@protocols
def test_the_token_and_the_user_come_from_the_store(
    run: Run, servers: Servers, endpoint: TokenEndpoint, folder: Path, protocol: str
) -> None:
    record = grant(endpoint)
    keep(folder, record)
    assert record.refresh_token is not None
    arguments = [*nameless(servers, protocol), "--account", ACCOUNT, "--json"]
    results = [run(*arguments, secret=record.refresh_token.reveal()) for _ in range(2)]
    assert [(result.code, result.err) for result in results] == [(0, ""), (0, "")]
    assert {(result.report()["user"], result.report()["mechanism"]) for result in results} == {("alice", "OAUTHBEARER")}
    assert len(endpoint.requests) == 1


def test_the_user_in_the_url_comes_first(run: Run, servers: Servers, endpoint: TokenEndpoint, folder: Path) -> None:
    keep(folder, grant(endpoint))
    result = run(*at(servers, "imap", "bob"), "--account", ACCOUNT, "--json")
    assert (result.code, result.report()["user"]) == (77, "bob")


def test_the_folder_can_be_named(run: Run, servers: Servers, endpoint: TokenEndpoint, tmp_path: Path) -> None:
    keep(tmp_path / "elsewhere", grant(endpoint))
    assert run(*at(servers, "imap"), "--account", ACCOUNT, "--store", str(tmp_path / "elsewhere")).code == 0


@protocols
def test_a_token_that_the_server_refuses_is_renewed_once_for_a_second_login(
    run: Run, servers: Servers, endpoint: TokenEndpoint, folder: Path, protocol: str
) -> None:
    token = endpoint.issue("alice")
    endpoint.revoke(token)
    keep(folder, grant(endpoint, access_token=Secret(token), expires_at=time.time() + 3600))
    result = run(*nameless(servers, protocol), "--account", ACCOUNT, secret=token)
    assert (result.code, "the first was refused" in result.out) == (0, True)
    assert [asked.outcome for asked in endpoint.requests] == ["granted"]


@pytest.mark.parametrize(
    ("fault", "code", "kind", "says"),
    [
        ("invalid_grant", 77, "invalid_grant", f"`sasl token authorize {ACCOUNT}` signs in again"),
        ("503", 75, "http_503", "Try again later"),
        ("garbage", 78, "bad_response", f"`sasl token status {ACCOUNT}` shows"),
    ],
)
def test_without_a_token_the_reason_and_the_command_that_helps_are_told(
    run: Run, servers: Servers, endpoint: TokenEndpoint, folder: Path, *, fault: Fault, code: int, kind: str, says: str
) -> None:
    keep(folder, grant(endpoint))
    endpoint.faults.append(fault)
    result = run(*nameless(servers, "imap"), "--account", ACCOUNT, "--json")
    error = result.error()
    assert (result.code, error["type"], error["kind"]) == (code, "TokenError", kind)
    assert says in error["advice"]
    assert not servers.imap.sessions[-1].attempts


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (["imaps://a@b", "--account", "nobody@example.org"], 77, "sasl token authorize nobody@example.org"),
        (["--account", ACCOUNT], 64, "name the server in the URL"),
        (["smtps://", "--account", ACCOUNT], 64, "name the server in the URL"),
        (["imaps://a@b", "--store", "x"], 64, "--store wants the --account"),
        (["imaps://a@b", "--account", ACCOUNT, "--token-env", "SECRET"], 64, "not allowed with"),
        (["imaps://a@b", "--account", ACCOUNT, "--authzid", "bob"], 64, "--authzid"),
        (["smtps://"], 64, "names no host"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_makes_no_sense_is_told(
    run: Run, endpoint: TokenEndpoint, folder: Path, *, options: list[str], code: int, says: str
) -> None:
    keep(folder, grant(endpoint))
    result = run("login", *options)
    assert (result.code, says in result.err) == (code, True), result


@pytest.mark.parametrize(
    ("url", "target"),
    [
        (None, Target("imap", True, "alice", "imap.gmail.com", 993)),
        ("smtp://", Target("smtp", False, "alice", "smtp.gmail.com", 587)),
        ("pops://", Target("pop", True, "alice", "pop.gmail.com", 995)),
        ("imaps://bob@imap.example.org", Target("imap", True, "bob", "imap.example.org", 993)),
    ],
    ids=str,
)
def test_the_host_is_that_of_the_accounts_provider(
    endpoint: TokenEndpoint, folder: Path, url: str | None, target: Target
) -> None:
    keep(folder, grant(endpoint, provider="gmail"))
    assert login._target(Namespace(url=url, account=ACCOUNT, store=None)) == target
