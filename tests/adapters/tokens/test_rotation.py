"""A new refresh token: stored before anybody has the access token, by one process at a time, and never half."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import sasl
from sasl.adapters.tokens import _google_file
from sasl.adapters.tokens import google as tokens

from .test_google import outcomes, pass_time, refused, user_credentials, value

if TYPE_CHECKING:
    from sasl.adapters.reference.token_endpoint import TokenEndpoint


def content(path: Path) -> dict[str, Any]:
    found = json.loads(path.read_text())
    assert isinstance(found, dict)
    return found


def change(path: Path, **members: Any) -> None:
    path.write_text(json.dumps(content(path) | members))


def beside(path: Path) -> list[str]:
    """What is in a file's folder besides the file and its lock, which stays."""
    return sorted({found.name for found in path.parent.iterdir()} - {path.name, f"{path.name}.lock"})


@pytest.fixture(autouse=True)
def _rotates(endpoint: TokenEndpoint) -> None:
    endpoint.rotates = True


def test_a_new_refresh_token_is_in_the_file_when_the_access_token_is_there(
    endpoint: TokenEndpoint, user_file: Path
) -> None:
    """policy_and_state-0029."""
    before = content(user_file)
    source = tokens.from_file(user_file)
    first = value(source)
    after = content(user_file)
    assert after["refresh_token"] != before["refresh_token"]
    assert {**after, "refresh_token": ""} == {**before, "refresh_token": ""}
    assert value(source, stale=first) != first
    assert outcomes(endpoint) == ["granted", "granted"]


def test_the_next_process_goes_on_with_the_new_one(endpoint: TokenEndpoint, user_file: Path) -> None:
    value(tokens.from_file(user_file))
    assert endpoint.state(value(tokens.from_file(user_file))) == "good"


def test_the_file_is_for_its_owner_only_and_nothing_is_left_beside_it(user_file: Path) -> None:
    user_file.chmod(0o644)
    value(tokens.from_file(user_file))
    assert user_file.stat().st_mode & 0o777 == 0o600
    assert beside(user_file) == []


@pytest.mark.parametrize(("mode", "warned"), [(0o600, False), (0o640, False), (0o644, True), (0o604, True)])
def test_a_file_that_everybody_can_read_is_told_of_once(
    user_file: Path, caplog: pytest.LogCaptureFixture, *, mode: int, warned: bool
) -> None:
    user_file.chmod(mode)
    value(tokens.from_file(user_file))
    told = [record.getMessage() for record in caplog.records if record.name == "sasl"]
    assert told == [f"everybody here can read {user_file}, which holds a secret of Google's"] * warned


def test_a_file_that_is_gone_has_no_readers(user_file: Path, caplog: pytest.LogCaptureFixture) -> None:
    user_file.unlink()
    tokens._warn_of_readers(user_file)
    assert caplog.records == []


def test_a_link_stays_a_link(user_file: Path, tmp_path: Path) -> None:
    link = tmp_path / "folder" / "link.json"
    link.parent.mkdir()
    link.symlink_to(user_file)
    before = content(user_file)
    value(tokens.from_file(link))
    assert link.is_symlink()
    assert content(user_file) != before


def test_a_file_without_rotation_is_not_touched(endpoint: TokenEndpoint, user_file: Path) -> None:
    endpoint.rotates = False
    before = (user_file.read_bytes(), user_file.stat().st_mtime_ns, user_file.stat().st_ino)
    value(tokens.from_file(user_file))
    assert (user_file.read_bytes(), user_file.stat().st_mtime_ns, user_file.stat().st_ino) == before


def test_a_file_that_keeps_the_access_token_is_kept_up_to_date(endpoint: TokenEndpoint, user_file: Path) -> None:
    endpoint.rotates = False
    change(user_file, token="old", expiry="2020-01-01T00:00:00.123456Z")
    token = value(tokens.from_file(user_file))
    assert content(user_file)["token"] == token
    assert value(tokens.from_file(user_file)) == token
    assert google_reads(user_file) == token
    assert outcomes(endpoint) == ["granted"]


def google_reads(path: Path) -> str:
    """The token that google-auth itself finds good in a file."""
    import google.oauth2.credentials

    credentials = google.oauth2.credentials.Credentials.from_authorized_user_file(str(path))
    assert credentials.valid
    found: str = credentials.token
    return found


@pytest.mark.parametrize(
    "members",
    [
        {"token": "old"},
        {"token": "old", "expiry": None},
        {"token": "old", "expiry": "soon"},
        {"token": "old", "expiry": 7},
        {"token": "old", "expiry": "0001-01-01T00:00:00+05:00"},
        {"token": 7, "expiry": "2999-01-01T00:00:00Z"},
        {"token": "", "expiry": "2999-01-01T00:00:00Z"},
    ],
    ids=str,
)
def test_a_token_of_the_file_that_may_be_over_is_renewed(
    endpoint: TokenEndpoint, user_file: Path, members: dict[str, Any]
) -> None:
    change(user_file, **members)
    assert endpoint.state(value(tokens.from_file(user_file))) == "good"


def test_a_token_of_the_file_that_was_refused_is_renewed(endpoint: TokenEndpoint, user_file: Path) -> None:
    change(user_file, token="revoked", expiry="2999-01-01T00:00:00Z")
    source = tokens.from_file(user_file)
    assert value(source) == "revoked"
    assert endpoint.state(value(source, stale="revoked")) == "good"


def test_a_refused_token_that_another_process_has_replaced_costs_no_request(
    endpoint: TokenEndpoint, user_file: Path
) -> None:
    change(user_file, token="revoked", expiry="2999-01-01T00:00:00Z")
    source = tokens.from_file(user_file)
    value(source)
    change(user_file, token="newer")
    assert value(source, stale="revoked") == "newer"
    assert outcomes(endpoint) == []


def test_a_user_who_signed_in_again_needs_no_restart(endpoint: TokenEndpoint, user_file: Path) -> None:
    source = tokens.from_file(user_file)
    endpoint.revoke(content(user_file)["refresh_token"])
    assert refused(source).needs_user
    user_file.write_text(json.dumps(endpoint.authorized_user("alice")))
    assert endpoint.state(value(source)) == "good"


# --- several at once


def test_two_sources_of_one_file_never_use_a_refresh_token_twice(endpoint: TokenEndpoint, user_file: Path) -> None:
    one, other = tokens.from_file(user_file), tokens.from_file(user_file)
    held = [value(one), value(other)]
    for _ in range(3):
        held = [value(source, stale=token) for source, token in zip((one, other), held, strict=True)]
    assert [endpoint.state(token) for token in held] == ["good", "good"]
    assert set(outcomes(endpoint)) == {"granted"}


PROCESS = """
import sys, sasl
from sasl.adapters.tokens import google
sys.stdin.readline()
print(google.from_file(sys.argv[1]).token().value.reveal())
"""


@pytest.mark.parametrize("rotates", [True, False])
@pytest.mark.parametrize("keeps_token", [True, False])
def test_processes_that_ask_at_once_do_so_one_after_the_other(
    endpoint: TokenEndpoint, user_file: Path, *, keeps_token: bool, rotates: bool
) -> None:
    endpoint.rotates = rotates
    if keeps_token:
        change(user_file, token=None, expiry=None)
    processes = [
        subprocess.Popen(
            [sys.executable, "-I", "-c", PROCESS, str(user_file)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    given = [process.communicate(timeout=30)[0].strip() for process in processes]
    assert [endpoint.state(token) for token in given] == ["good"] * 4
    assert outcomes(endpoint) == ["granted"] * (1 if keeps_token else 4)


def test_a_program_that_knows_no_lock_costs_one_more_request_and_no_login(
    endpoint: TokenEndpoint, user_file: Path
) -> None:
    """Between our reading of the file and our request somebody else uses the refresh token, and stores the new one."""
    send = tokens.Request()
    asked = []

    def request(*arguments: Any, **named: Any) -> Any:
        asked.append(named["url"])
        if len(asked) == 1:
            endpoint.revoke(content(user_file)["refresh_token"])
            user_file.write_text(json.dumps(endpoint.authorized_user("alice")))
        return send(*arguments, **named)

    assert endpoint.state(value(tokens.from_file(user_file, request=request))) == "good"
    assert outcomes(endpoint) == ["invalid_grant", "granted"]


def test_a_consent_that_is_gone_is_asked_for_once(endpoint: TokenEndpoint, user_file: Path) -> None:
    """policy_and_state-0027."""
    endpoint.revoke(content(user_file)["refresh_token"])
    assert refused(tokens.from_file(user_file)).needs_user
    assert outcomes(endpoint) == ["invalid_grant"]


@pytest.mark.parametrize("timeout", [0.1, 0.0, lambda: 0.1], ids=["a moment", "none", "what is left"])
def test_a_process_that_keeps_the_lock_for_ever_is_told_within_the_time_of_a_request(
    endpoint: TokenEndpoint, user_file: Path, timeout: Any
) -> None:
    source = tokens.from_file(user_file, request=tokens.Request(timeout=timeout))
    begun = time.monotonic()
    with _google_file.lock(user_file, 0):
        failure = refused(source)
    assert (failure.code, failure.retryable) == ("locked", True)
    assert time.monotonic() - begun < 30
    source = tokens.from_file(user_file)
    assert value(source)
    assert outcomes(endpoint) == ["granted"]


def test_who_waits_for_the_lock_reads_the_file_that_is_there_then(endpoint: TokenEndpoint, user_file: Path) -> None:
    source = tokens.from_file(user_file)
    waiting = threading.Thread(target=source.token)
    with _google_file.lock(user_file, 0):
        waiting.start()
        old = content(user_file)["refresh_token"]
        _google_file.replace(user_file, endpoint.authorized_user("alice"))
        endpoint.revoke(old)
    waiting.join(10)
    assert outcomes(endpoint) == ["granted"]


def test_the_lock_is_a_file_of_its_own_that_is_never_replaced(user_file: Path, tmp_path: Path) -> None:
    link = tmp_path / "folder" / "link.json"
    link.parent.mkdir()
    link.symlink_to(user_file)
    value(tokens.from_file(user_file))
    lock = user_file.with_name("token.json.lock")
    before = lock.stat()
    value(tokens.from_file(link))
    assert (lock.stat().st_ino, lock.stat().st_mode & 0o077) == (before.st_ino, 0)
    assert list(link.parent.iterdir()) == [link]  # all links to one file share its lock


def test_a_token_that_is_alive_goes_on_while_another_process_renews_it(
    endpoint: TokenEndpoint, user_file: Path
) -> None:
    source = tokens.from_file(user_file)
    first = value(source)
    pass_time(source, 3400)
    with _google_file.lock(user_file, 0):
        assert value(source) == first
    assert outcomes(endpoint) == ["granted"]


def test_a_folder_that_is_only_for_reading_has_no_lock_and_needs_none(
    endpoint: TokenEndpoint, user_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever cannot make a lock's file there cannot store anything either. This goes for root too, as in CI."""
    endpoint.rotates = False

    def read_only(*_arguments: Any, **_options: Any) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr("filelock.FileLock.acquire", read_only)
    assert endpoint.state(value(tokens.from_file(user_file))) == "good"


def test_without_filelock_the_extra_is_named(user_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "filelock", None)
    failure = refused(tokens.from_file(user_file))
    assert (failure.code, "filelock" in str(failure)) == ("missing_extra", True)


def test_a_file_that_is_gone_is_told(user_file: Path) -> None:
    source = tokens.from_file(user_file)
    user_file.unlink()
    assert refused(source).code == "bad_file"


# --- what cannot be stored


def full(*_arguments: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_new_refresh_token_that_cannot_be_stored_is_told_kept_and_stored_later(
    endpoint: TokenEndpoint, user_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = user_file.read_bytes()
    source = tokens.from_file(user_file)
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        for _ in range(3):  # nobody gets the access token that came with it, and no other one is asked for
            failure = refused(source)
            assert (failure.code, failure.retryable, failure.needs_user) == ("not_stored", False, False)
            assert "No space left" in str(failure)
        assert refused(source, stale="another").code == "not_stored"
    assert outcomes(endpoint) == ["granted"]
    assert user_file.read_bytes() == before
    assert beside(user_file) == []
    assert endpoint.state(value(source)) == "good"
    assert user_file.read_bytes() != before
    assert endpoint.state(value(tokens.from_file(user_file))) == "good"
    assert set(outcomes(endpoint)) == {"granted"}


def test_the_access_token_that_came_with_it_is_given_once_both_are_in_the_file(
    endpoint: TokenEndpoint, user_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(user_file, token=None, expiry=None)
    source = tokens.from_file(user_file)
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        refused(source)
    assert value(source) == content(user_file)["token"]
    assert outcomes(endpoint) == ["granted"]


def test_a_token_that_is_good_for_a_minute_more_is_no_way_round_the_store(
    endpoint: TokenEndpoint, user_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old one goes on while it is alive; the one that came with what is not stored is given to nobody."""
    source = tokens.from_file(user_file)
    first = value(source)
    pass_time(source, 3400)
    monkeypatch.setattr(os, "fsync", full)
    assert value(source) == first
    pass_time(source, 201)
    assert [refused(source).code, refused(source).code] == ["not_stored", "not_stored"]
    assert outcomes(endpoint) == ["granted", "granted"]


def test_a_user_who_signed_in_again_meanwhile_is_not_undone_by_what_is_stored_later(
    endpoint: TokenEndpoint, user_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tokens.from_file(user_file)
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        refused(source)
    again = endpoint.authorized_user("bob")
    user_file.write_text(json.dumps(again))
    value(source)
    assert endpoint.requests[-1].user == "bob"
    assert content(user_file)["refresh_token"] != again["refresh_token"]
    assert set(outcomes(endpoint)) == {"granted"}


def test_an_interruption_leaves_the_old_file_or_the_new_one(user_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = user_file.read_bytes()

    def interrupted(*_arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        tokens.from_file(user_file).token()
    assert user_file.read_bytes() == before
    assert beside(user_file) == []


def test_an_access_token_that_cannot_be_stored_is_given_all_the_same(
    endpoint: TokenEndpoint, user_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint.rotates = False
    change(user_file, token="old", expiry="2020-01-01T00:00:00Z")
    monkeypatch.setattr(os, "fsync", full)
    assert endpoint.state(value(tokens.from_file(user_file))) == "good"
    assert content(user_file)["token"] == "old"


# --- without a file


def test_a_callback_is_given_each_new_refresh_token(endpoint: TokenEndpoint) -> None:
    stored: list[str] = []
    credentials = user_credentials(endpoint)
    source = tokens.GoogleTokens(credentials, on_rotate=stored.append)
    first = value(source)
    assert stored == [credentials.refresh_token]
    value(source)
    value(source, stale=first)
    assert len(set(stored)) == 2
    assert stored[-1] == credentials.refresh_token


def test_a_callback_that_fails_is_told_and_asked_again(endpoint: TokenEndpoint) -> None:
    stored: list[str] = []

    def store(token: str) -> None:
        stored.append(token)
        if len(stored) < 3:
            raise OSError(token)

    credentials = user_credentials(endpoint)
    source = tokens.GoogleTokens(credentials, on_rotate=store)
    for _ in range(2):
        failure = refused(source)
        assert (failure.code, stored[0] in str(failure)) == ("not_stored", False)
    assert value(source) == credentials.token
    assert stored == [credentials.refresh_token] * 3
    assert outcomes(endpoint) == ["granted"]
    value(source, stale=value(source))
    assert len(set(stored)) == 2


def test_without_a_callback_the_new_refresh_token_is_used_all_the_same(endpoint: TokenEndpoint) -> None:
    source = tokens.GoogleTokens(user_credentials(endpoint))
    value(source, stale=value(source))
    assert set(outcomes(endpoint)) == {"granted"}


def test_without_rotation_the_callback_is_not_called(endpoint: TokenEndpoint) -> None:
    endpoint.rotates = False

    def store(_token: str) -> None:
        pytest.fail("there is nothing to store")

    assert isinstance(tokens.GoogleTokens(user_credentials(endpoint), on_rotate=store).token(), sasl.AccessToken)
