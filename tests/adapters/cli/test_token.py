"""`sasl token get`, `list`, `status` and `revoke`, at a token endpoint on loopback, with a store of files."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from sasl import Secret
from sasl.adapters import cli
from sasl.adapters.cli import token
from sasl.adapters.reference import token_endpoint
from sasl.adapters.tokens.record import Pending, Refused
from sasl.adapters.tokens.stores.names import name_of
from sasl.value import replace

from .accounts import ACCOUNT, grant, keep
from .conftest import script

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sasl.adapters.reference.token_endpoint import Fault, TokenEndpoint

    from .conftest import Run

TOKEN = "ya29.stored"


@pytest.fixture(scope="module")
def _running() -> Iterator[TokenEndpoint]:
    with token_endpoint.running() as endpoint:
        yield endpoint


@pytest.fixture
def endpoint(_running: TokenEndpoint) -> TokenEndpoint:
    _running.requests.clear()
    _running.faults.clear()
    return _running


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "tokens"
    monkeypatch.setenv("SASLKIT_TOKENS", str(folder))
    return folder


# --- help


@pytest.mark.parametrize("verb", token.VERBS)
def test_each_verb_has_help_with_an_example(run: Run, verb: str) -> None:
    result = run("token", verb, "--help")
    assert (result.code, result.err) == (0, "")
    assert f"usage: sasl token {verb}" in result.out
    assert "\nexample" in result.out
    assert f"sasl token {verb} " in result.out or f"sasl token {verb}\n" in result.out
    assert max(map(len, result.out.splitlines())) <= 120


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "VERB"),
        (["hunter2"], "invalid choice"),
        (["get"], "ACCOUNT"),
        (["get", "a", "--hunter2"], "unknown"),
        (["import", "-", "--format", "hunter2"], "invalid choice"),
    ],
    ids=" ".join,
)
def test_a_wrong_call_is_64_and_says_nothing_back(run: Run, arguments: list[str], says: str) -> None:
    result = run("token", *arguments)
    assert (result.code, result.out) == (64, "")
    assert says in result.err
    assert arguments[-1:] != ["hunter2"] or "hunter2" not in result.err


def test_the_command_line_names_the_verb() -> None:
    assert "token" in cli.VERBS


# --- get


def test_a_token_that_is_over_is_renewed_once_and_then_printed_as_it_is(endpoint: TokenEndpoint, folder: Path) -> None:
    record = grant(endpoint, access_token=Secret(TOKEN), expires_at=time.time() - 1)
    keep(folder, record)
    assert record.refresh_token is not None
    results = [script("token", "get", ACCOUNT, secret=record.refresh_token.reveal()) for _ in range(2)]
    assert [(result.code, result.err) for result in results] == [(0, ""), (0, "")]
    printed = {result.out for result in results}
    assert len(printed) == 1
    assert endpoint.state(printed.pop().removesuffix("\n")) == "good"
    assert len(endpoint.requests) == 1


def test_a_new_one_is_had_by_asking_for_it(run: Run, endpoint: TokenEndpoint, folder: Path) -> None:
    keep(folder, grant(endpoint, access_token=Secret(TOKEN), expires_at=time.time() + 3600))
    assert run("token", "get", ACCOUNT, secret="r3fr3sh").out == TOKEN + "\n"
    assert not endpoint.requests
    result = run("token", "get", ACCOUNT, "--renew", secret=TOKEN)
    assert result.code == 0
    assert endpoint.state(result.out.removesuffix("\n")) == "good"


@pytest.mark.parametrize(
    ("fault", "code", "says"),
    [("invalid_grant", 77, "invalid_grant"), ("503", 75, "503"), ("garbage", 78, "the token endpoint")],
)
def test_without_a_token_the_exit_code_says_whether_to_try_again(
    run: Run, endpoint: TokenEndpoint, folder: Path, *, fault: Fault, code: int, says: str
) -> None:
    keep(folder, grant(endpoint))
    endpoint.faults.append(fault)
    result = run("token", "get", ACCOUNT)
    assert (result.code, result.out, result.err.count("\n")) == (code, "", 1)
    assert says in result.err
    assert result.err.startswith("sasl: ")


def test_a_token_that_is_alive_is_printed_where_none_can_be_had(
    run: Run, endpoint: TokenEndpoint, folder: Path
) -> None:
    keep(folder, grant(endpoint, access_token=Secret(TOKEN), expires_at=time.time() + 60))
    endpoint.faults.append("503")
    result = run("token", "get", ACCOUNT, secret="r3fr3sh")
    assert (result.code, result.out) == (0, TOKEN + "\n")
    assert len(endpoint.requests) == 1


@pytest.mark.parametrize("verb", ["get", "status", "revoke"])
def test_an_account_that_is_not_there_wants_a_sign_in(run: Run, folder: Path, verb: str) -> None:
    result = run("token", verb, "nobody@example.org")
    assert (result.code, result.out) == (77, "")
    assert "uthorize" in result.err


def test_it_gives_up_after_ten_seconds_in_all(
    run: Run, endpoint: TokenEndpoint, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token.get, "LONGEST_WAIT", 0.3)
    keep(folder, grant(endpoint))
    endpoint.faults.append("hang")
    result = run("token", "get", ACCOUNT)
    assert (result.code, result.out) == (75, "")
    assert "in time" in result.err


def test_a_file_that_others_can_read_is_not_used(run: Run, endpoint: TokenEndpoint, folder: Path) -> None:
    keep(folder, grant(endpoint, access_token=Secret(TOKEN), expires_at=time.time() + 3600))
    (folder / name_of(ACCOUNT)).chmod(0o644)
    result = run("token", "get", ACCOUNT, secret=TOKEN)
    assert (result.code, result.out) == (78, "")


# --- list and status


def test_a_list_has_a_line_for_each_account(run: Run, endpoint: TokenEndpoint, folder: Path) -> None:
    for name in ("zoe@example.org", "Me \x1b[31m", ACCOUNT):
        keep(folder, replace(grant(endpoint), key=name))
    assert run("token", "list").out == f"Me \\x1b[31m\n{ACCOUNT}\nzoe@example.org\n"
    assert run("token", "list", "--json").report() == {"accounts": ["Me \x1b[31m", ACCOUNT, "zoe@example.org"]}


def test_an_empty_list_is_empty(run: Run, folder: Path) -> None:
    assert (run("token", "list").out, run("token", "status").out) == ("", "")
    assert run("token", "status", "--json").report() == {"accounts": []}


NOW = 1_800_000_000.0
_NO = Refused("invalid_grant", "the token endpoint says no", "Sign in again.", True, NOW, "")
STATES: dict[str, tuple[dict[str, Any], int]] = {
    "good": ({"access_token": Secret(TOKEN), "expires_at": NOW + 10**9}, 0),
    "expired": ({"access_token": Secret(TOKEN), "expires_at": NOW - 10**8}, 0),
    "no token": ({}, 0),
    "interrupted": ({"pending": Pending("x", 1.0, 2.0)}, 0),
    "refused": ({"refused": _NO}, 77),
}


@pytest.mark.parametrize("state", STATES)
def test_the_status_tells_the_state_and_no_secret(run: Run, endpoint: TokenEndpoint, folder: Path, state: str) -> None:
    changes, code = STATES[state]
    record = grant(endpoint, **changes)
    if record.refused is not None:
        record = replace(record, refused=replace(record.refused, grant=record.grant()))
    keep(folder, record)
    assert record.refresh_token is not None
    assert record.client_secret is not None
    for secret in (record.refresh_token, record.client_secret, record.access_token or Secret("no")):
        shown = run("token", "status", ACCOUNT, secret=secret.reveal() if secret != "no" else "hunter2")
        found = run("token", "status", ACCOUNT, "--json", secret=secret.reveal() if secret != "no" else "hunter2")
    assert (shown.code, found.code) == (code, code)
    assert f"state       {state}" in shown.out
    report = found.report()
    assert (report["account"], report["state"], report["user"]) == (ACCOUNT, state, "alice")
    assert report["refresh_token"] is True
    assert run("token", "status", "--json").report() == {"accounts": [report]}
    if state == "refused":
        assert report["refused"]["needs_user"] is True
        assert report["refused"]["at"] == "2027-01-15T08:00:00+00:00"
        assert "Sign in again." in shown.out


def test_what_was_refused_before_the_last_sign_in_is_not_told(run: Run, endpoint: TokenEndpoint, folder: Path) -> None:
    keep(folder, grant(endpoint, refused=replace(_NO, grant="another")))
    report = run("token", "status", ACCOUNT, "--json").report()
    assert (report["state"], report["refused"]) == ("no token", None)


def test_a_broken_record_is_told_among_others(run: Run, endpoint: TokenEndpoint, folder: Path) -> None:
    keep(folder, grant(endpoint))
    broken = folder / name_of("broken@example.org")
    broken.touch(0o600)
    broken.write_text("{")
    result = run("token", "status", "--json")
    assert result.code == 78
    assert [(row["account"], row["state"]) for row in result.report()["accounts"]] == [
        ("broken@example.org", "unreadable"),
        (ACCOUNT, "no token"),
    ]
    assert "unreadable" in run("token", "status").out


# --- revoke


def test_an_account_that_the_provider_cannot_be_told_of_is_forgotten_here(
    run: Run, endpoint: TokenEndpoint, folder: Path
) -> None:
    store = keep(folder, grant(endpoint))
    result = run("token", "revoke", ACCOUNT)
    assert (result.code, store.keys()) == (0, [])
    assert "deleted here. The server cannot be told" in result.out


def test_nothing_is_forgotten_while_the_provider_cannot_be_reached(
    run: Run, endpoint: TokenEndpoint, folder: Path, unused_port: int
) -> None:
    store = keep(folder, grant(endpoint, revocation_endpoint=f"http://127.0.0.1:{unused_port}/revoke"))
    assert run("token", "revoke", ACCOUNT).code == 75
    assert store.keys() == [ACCOUNT]
    assert run("token", "revoke", ACCOUNT, "--forget").code == 0
    assert store.keys() == []
