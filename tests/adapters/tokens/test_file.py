"""A token in a file that another program keeps."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any

import pytest

import sasl
from sasl.adapters.tokens.file import FileTokens

from .test_environment import SECRET, refused

NOW = 1_800_000_000.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "token"
    write(found, "first\n")
    return found


def write(path: Path, content: str, mode: int = 0o600) -> None:
    path.write_text(content)
    path.chmod(mode)


def replace(path: Path, content: str) -> None:
    new = path.with_name("new")
    write(new, content)
    new.replace(path)


def value(source: FileTokens, **arguments: Any) -> str:
    return source.token(**arguments).value.reveal()


def test_the_first_line_is_the_token(path: Path) -> None:
    assert FileTokens(str(path)).token() == sasl.AccessToken("first")


def test_a_file_that_was_replaced_is_read_again(path: Path) -> None:
    source = FileTokens(path)
    assert value(source) == "first"
    replace(path, "other\n")  # as long as the first
    assert value(source) == "other"


def test_a_file_that_looks_the_same_is_not_read_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = FileTokens(path)
    value(source)
    monkeypatch.setattr(os, "open", pytest.fail)
    assert value(source) == "first"


def test_a_file_that_looks_the_same_is_read_when_its_token_was_refused(path: Path) -> None:
    source = FileTokens(path)
    value(source)
    before = path.stat()
    write(path, "other\n")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert value(source) == "first"
    assert value(source, stale="first") == "other"


def test_a_link_that_is_turned_round_leads_to_the_new_file(tmp_path: Path) -> None:
    """As Kubernetes mounts a secret: token -> ..data/token, ..data -> ..2027_01_15."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write(tmp_path / name / "token", name)
    (tmp_path / "..data").symlink_to("one")
    (tmp_path / "token").symlink_to("..data/token")
    source = FileTokens(tmp_path / "token")
    assert value(source) == "one"
    (tmp_path / "..new").symlink_to("two")
    (tmp_path / "..new").rename(tmp_path / "..data")
    assert value(source) == "two"


@pytest.mark.parametrize("content", [SECRET, json.dumps({"access_token": SECRET, "expires_at": NOW})])
def test_a_token_that_is_over_may_be_renewed_soon(path: Path, content: str) -> None:
    write(path, content)
    source = FileTokens(path, clock=lambda: NOW)
    failure = refused(source, stale=SECRET)
    assert (failure.code, failure.retryable, failure.needs_user) == ("stale_token", True, False)
    assert failure.hint
    replace(path, "new")
    assert value(source, stale=SECRET) == "new"


def test_a_token_ends_when_the_file_says_so(path: Path) -> None:
    write(path, json.dumps({"access_token": "tok", "expires_at": NOW + 1, "expires_in": 7}))
    now = [NOW]
    source = FileTokens(path, clock=lambda: now[0])
    end = source.token().expires_at
    assert end is not None
    assert end.timestamp() == NOW + 1
    now[0] += 1
    assert refused(source).code == "stale_token"


@pytest.mark.parametrize(("mode", "warned"), [(0o600, 0), (0o640, 0), (0o644, 1), (0o604, 1)])
def test_a_file_that_everybody_can_read_is_told_of_once(
    path: Path, caplog: pytest.LogCaptureFixture, *, mode: int, warned: int
) -> None:
    caplog.set_level(logging.WARNING)
    path.chmod(mode)
    source = FileTokens(path)
    value(source)
    value(source, stale="old")
    assert [record.getMessage() for record in caplog.records] == [
        f"everybody here can read {path}, which holds an access token"
    ] * warned


def test_a_file_that_is_not_there_may_come(path: Path) -> None:
    source = FileTokens(path)
    value(source)
    path.unlink()
    failure = refused(source)
    assert (failure.code, failure.retryable) == ("bad_file", True)
    write(path, "second")
    assert value(source) == "second"


@pytest.mark.parametrize("kind", ["folder", "pipe"])
def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path, kind: str) -> None:
    path = tmp_path / kind
    path.mkdir() if kind == "folder" else os.mkfifo(path)
    failure = refused(FileTokens(path))
    assert (failure.code, failure.retryable) == ("bad_file", False)


def test_a_file_that_may_not_be_read_says_why(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_arguments: Any) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", denied)
    failure = refused(FileTokens(path))
    assert (failure.code, failure.retryable) == ("bad_file", False)
    assert "Permission denied" in str(failure)


@pytest.mark.parametrize("content", ["", "two words", SECRET + "a" * 65_536])
def test_a_file_that_holds_something_else_is_told_without_its_content(path: Path, content: str) -> None:
    write(path, content)
    assert refused(FileTokens(path)).code == "no_token"


def test_a_relative_path_stays_where_it_was(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    source = FileTokens(path.name)
    monkeypatch.chdir("/")
    assert value(source) == "first"
    assert repr(source) == f"FileTokens({str(path)!r})"
