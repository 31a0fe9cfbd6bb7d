"""Objects of JSON that others wrote, and files that are written whole or not at all."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from sasl.adapters.documents import parse_object, replace_file

if TYPE_CHECKING:
    from pathlib import Path


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
