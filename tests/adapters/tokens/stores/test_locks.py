"""Locks of files: one holder among all threads and processes, free as soon as it is gone."""

from __future__ import annotations

import os
import signal
import sys
import threading
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING

import filelock
import pytest

from sasl.adapters.tokens.stores.locks import hold
from sasl.errors import TokenError

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

HOLDER = """
import pathlib, sys
from sasl.adapters.tokens.stores.locks import hold
with hold(pathlib.Path(sys.argv[1]), 5):
    print("held", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.json.lock"


def refuses(path: Path, seconds: float) -> TokenError | None:
    """How a thread that asks for a lock is refused; None if it gets it."""
    refused: list[TokenError] = []

    def ask() -> None:
        try:
            with hold(path, seconds):
                pass
        except TokenError as error:
            refused.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join(10)
    return refused[0] if refused else None


@pytest.mark.parametrize("seconds", [0, 0.03])
def test_a_second_thread_waits_no_longer_than_it_says(path: Path, seconds: float) -> None:
    with hold(path, 0):
        refused = refuses(path, seconds)
    assert refused is not None
    assert (refused.code, refused.retryable, refused.needs_user) == ("locked", True, False)
    assert refuses(path, 0) is None


def test_who_holds_it_does_not_get_it_again(path: Path) -> None:
    with hold(path, 0), pytest.raises(TokenError, match="somebody else is renewing") as caught, hold(path, 0):
        pass
    assert caught.value.__context__ is None


def test_it_is_held_for_ever_and_then_no_longer(path: Path) -> None:
    with hold(path, 0) as lease:
        assert (lease.fence, lease.left()) == (0, inf)
    assert lease.left() == 0


def test_an_exception_gives_it_back(path: Path) -> None:
    with pytest.raises(ZeroDivisionError), hold(path, 0) as lease:
        raise ZeroDivisionError
    assert lease.left() == 0
    assert refuses(path, 0) is None


def test_a_thread_that_waits_gets_it_when_it_is_given_back(path: Path) -> None:
    got = threading.Event()

    def wait() -> None:
        with hold(path, 10):
            got.set()

    thread = threading.Thread(target=wait)
    with hold(path, 0):
        thread.start()
        assert not got.is_set()
    thread.join(10)
    assert got.is_set()


def test_the_way_to_the_file_makes_no_difference(path: Path) -> None:
    other = path.with_name("link")
    other.symlink_to(path.parent, target_is_directory=True)
    with hold(path, 0):
        assert refuses(other / path.name, 0) is not None


def test_the_file_stays_and_is_for_its_owner_only(path: Path) -> None:
    with hold(path, 0):
        before = path.stat()
    with hold(path, 0):
        pass
    assert path.stat().st_ino == before.st_ino
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_process_that_is_killed_gives_it_back(path: Path, beside: Callable[..., subprocess.Popen[str]]) -> None:
    other = beside(HOLDER, path)
    assert other.stdout.readline() == "held\n"  # type: ignore[union-attr]
    assert refuses(path, 0) is not None
    other.send_signal(signal.SIGKILL)
    other.wait()
    assert refuses(path, 0) is None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_process_holds_nothing_and_takes_nothing_away(path: Path) -> None:
    with hold(path, 0) as lease:
        child = os.fork()
        if child == 0:
            told = b"still held" if lease.left() else b""
            told += b"not refused" if refuses(path, 0) is None else b""
            os._exit(len(told))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert (lease.left(), refuses(path, 0) is None) == (inf, False)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_what_a_process_held_is_free_when_it_dies_although_its_child_lives(path: Path) -> None:
    reading, writing = os.pipe()
    with hold(path, 0):
        child = os.fork()
        if child == 0:
            os.close(writing)
            os._exit(len(os.read(reading, 1)))
    assert refuses(path, 0) is None
    os.close(writing)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    os.close(reading)


def test_a_folder_that_is_not_to_be_written_is_told(own_folder: Path) -> None:
    own_folder.chmod(0o500)
    with pytest.raises(TokenError, match="Permission denied") as caught, hold(own_folder / "lock", 0):
        pass
    assert (caught.value.code, caught.value.__context__) == ("not_stored", None)


def test_a_lock_that_fails_to_close_its_file_is_no_failure_of_what_was_done(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = filelock.FileLock.release

    def release(self: filelock.BaseFileLock, **how: bool) -> None:
        really(self, **how)
        if not how:  # when it is forgotten, old versions give it back again
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(filelock.FileLock, "release", release)
    with hold(path, 0):
        pass
    assert refuses(path, 0) is None


def test_without_filelock_the_extra_is_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "filelock", None)
    with pytest.raises(TokenError, match=r"pip install 'saslkit\[tokens\]'") as caught, hold(path, 0):
        pass
    assert caught.value.code == "missing_extra"
    monkeypatch.undo()
    assert refuses(path, 0) is None
