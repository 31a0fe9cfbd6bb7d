"""Objects of JSON that others wrote, and files that are written whole or not at all."""

from __future__ import annotations

import errno
import os
import sys
import time
from pathlib import Path

import pytest

from sasl.adapters.documents import parse_object, replace_file, sync_folder


@pytest.mark.parametrize("text", [b"", b"[1]", b'"x"', b"null", b"{", b'{"a": \xff}', b"[" * 100_000])
def test_what_is_no_object_of_json_is_none(text: bytes) -> None:
    assert parse_object(text) is None


@pytest.mark.parametrize("text", [b'{"a": 1, "a": 2}', b'{"b": {"a": 1, "a": 2}}'])
def test_a_member_that_is_named_twice_is_refused_where_that_is_wanted(text: bytes) -> None:
    assert parse_object(text, unique=True) is None
    assert parse_object(text) in ({"a": 2}, {"b": {"a": 2}})


def test_a_file_takes_the_place_of_a_link(tmp_path: Path) -> None:
    other, path = tmp_path / "other", tmp_path / "file"
    other.write_bytes(b"other")
    path.symlink_to(other)
    replace_file(path, b"new", mode=0o640)
    assert (path.is_symlink(), path.read_bytes(), path.stat().st_mode & 0o777) == (False, b"new", 0o640)
    assert other.read_bytes() == b"other"


def test_a_file_that_cannot_be_replaced_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()
    with pytest.raises(OSError):
        replace_file(tmp_path / "file", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_write_that_fails_leaves_what_stood_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / ("n" * 250)
    path.write_bytes(b"old")

    def fail(_descriptor: int) -> None:
        for file in tmp_path.glob(".new-*"):
            file.unlink()  # somebody tidies up meanwhile
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        replace_file(path, b"new")
    monkeypatch.undo()
    assert (list(tmp_path.iterdir()), path.read_bytes()) == ([path], b"old")
    replace_file(path, b"new")
    assert path.read_bytes() == b"new"


def test_a_folder_that_nobody_may_look_into_is_written_to_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = os.open

    def refuse(path: object, flags: int, *arguments: int, **named: int) -> int:
        if flags & os.O_DIRECTORY:
            raise PermissionError(errno.EACCES, "Permission denied")
        return really(path, flags, *arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", refuse)
    replace_file(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new"


def test_on_windows_a_folder_is_not_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    sync_folder(tmp_path / "is not there")


@pytest.mark.parametrize("refusals", [1, 5])
def test_on_windows_a_reader_delays_a_replacement(
    refusals: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, slept = tmp_path / "file", []
    path.write_bytes(b"old")
    really = Path.replace

    def replace(self: Path, target: Path) -> Path:
        if len(slept) < refusals:
            raise PermissionError(errno.EACCES, "The process cannot access the file")
        return really(self, target)

    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(time, "sleep", slept.append)
    monkeypatch.setattr(Path, "replace", replace)
    replace_file(path, b"new")
    assert (path.read_bytes(), len(slept)) == (b"new", refusals)


def test_on_windows_a_reader_that_never_ends_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []

    def replace(self: Path, _target: Path) -> Path:
        raise PermissionError(errno.EACCES, "The process cannot access the file")

    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(time, "sleep", slept.append)
    monkeypatch.setattr(Path, "replace", replace)
    with pytest.raises(PermissionError):
        replace_file(tmp_path / "file", b"new")
    assert (list(tmp_path.iterdir()), sum(slept) < 1) == ([], True)
