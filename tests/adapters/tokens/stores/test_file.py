"""Grants in files: for their owner only, durable, whole whatever happens to whoever writes them."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sasl.adapters.documents import replace_file
from sasl.adapters.tokens.record import parse_record
from sasl.adapters.tokens.stores import FileStore
from sasl.adapters.tokens.stores.names import name_of
from sasl.errors import TokenError, UsageError
from sasl.value import replace

from ....support.leaks import seen, shown
from ....support.stores import ACCESS, CLIENT, KEY, REFRESH, a_record, refused, same, taken

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="modes and signals are POSIX's")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state" / "tokens"


@pytest.fixture
def store(folder: Path) -> FileStore:
    return FileStore(folder)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_folder_and_files_are_for_their_owner_only(store: FileStore, folder: Path) -> None:
    before = os.umask(0)
    try:
        store.put(a_record())
        with store.locked(KEY, 0):
            pass
    finally:
        os.umask(before)
    assert mode(folder) == 0o700
    assert mode(folder.parent) == 0o700  # who may write there could put a folder of his own in its place
    assert {path.name: mode(path) for path in folder.iterdir()} == {
        name_of(KEY): 0o600,
        name_of(KEY) + ".lock": 0o600,
        name_of(KEY) + ".put.lock": 0o600,
    }
    assert same(parse_record((folder / name_of(KEY)).read_bytes()), store.load(KEY))


def test_it_is_where_the_programs_of_a_user_find_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    FileStore().put(a_record())
    assert (tmp_path / "saslkit" / "tokens" / name_of(KEY)).is_file()


def test_without_a_place_one_has_to_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.delenv("LOCALAPPDATA", raising=False)
    with pytest.raises(UsageError, match="name a folder"):
        FileStore()


@pytest.mark.parametrize("others", [0o640, 0o604, 0o620, 0o660, 0o777])
def test_a_file_that_others_can_read_is_refused_until_a_new_sign_in(
    others: int, store: FileStore, folder: Path
) -> None:
    store.put(a_record())
    (folder / name_of(KEY)).chmod(others)
    error = refused("bad_record", store.load, KEY)
    assert "can be read by others" in str(error)
    assert "chmod 600" in error.hint
    put = store.put(a_record())
    assert same(store.load(KEY), put)


def test_a_folder_into_which_others_may_write_is_refused(store: FileStore, folder: Path) -> None:
    store.put(a_record())
    folder.chmod(0o777)
    assert "chmod 700" in refused("bad_record", store.put, a_record()).hint
    folder.chmod(0o755)
    store.put(a_record())


def test_what_is_no_file_is_refused_and_makes_nobody_wait(store: FileStore, folder: Path) -> None:
    folder.mkdir(parents=True, mode=0o700)
    os.mkfifo(folder / name_of(KEY), 0o600)
    assert "no regular file" in str(refused("bad_record", store.load, KEY))
    assert store.put(a_record()).fence == 1
    (folder / name_of("folder")).mkdir()
    assert "no regular file" in str(refused("bad_record", store.load, "folder"))
    refused("not_stored", store.put, a_record("folder"))
    refused("not_stored", store.delete, "folder")


def test_a_record_under_the_name_of_another_account_is_refused(store: FileStore, folder: Path) -> None:
    store.put(a_record())
    (folder / name_of(KEY)).rename(folder / name_of("mallory"))
    assert "of another account" in str(refused("bad_record", store.load, "mallory"))


def test_an_empty_key_is_none(store: FileStore) -> None:
    assert store.load("") is None
    store.delete("")
    for call in (lambda: store.put(a_record("")), lambda: store.locked("", 0).__enter__()):
        with pytest.raises(UsageError, match="is not empty"):
            call()


def test_files_of_others_are_no_keys(store: FileStore, folder: Path) -> None:
    long = "k" * 300
    for key in (KEY, long):
        store.put(a_record(key))
    for name in ("notes", "Notes.json", ".json", "sha256=" + "0" * 64 + ".json"):
        (folder / name).write_bytes(b"{}")
    replace_file(folder / ("sha256=" + "1" * 64 + ".json"), a_record("somebody").encode())
    assert store.keys() == sorted([KEY, long])


def test_reading_takes_no_lock_and_needs_no_filelock(store: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    put = store.put(a_record())
    with store.locked(KEY, 0):
        monkeypatch.setitem(sys.modules, "filelock", None)
        assert same(store.load(KEY), put)
        assert store.keys() == [KEY]
        refused("missing_extra", store.put, put)


# --- on the disk


def test_a_record_and_its_name_are_on_the_disk_when_save_returns(
    store: FileStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = store.put(a_record())
    done: list[str] = []
    really_sync, really_replace = os.fsync, Path.replace

    def sync(descriptor: int) -> None:
        done.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        really_sync(descriptor)

    def rename(self: Path, target: Path) -> Path:
        done.append("rename")
        return really_replace(self, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(Path, "replace", rename)
    with store.locked(KEY, 0) as lease:
        store.save(put, lease)
    assert done == ["file", "rename", "folder"]
    store.put(put)
    assert done[3:] == ["file", "rename", "folder"]
    store.delete(KEY)
    assert done[6:] == ["folder"]


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP])
def test_a_file_system_that_cannot_sync_a_folder_is_no_failure(
    number: int, store: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_to_sync_folders(monkeypatch, number)
    put = store.put(a_record())
    assert same(store.load(KEY), put)


def test_a_disk_that_fails_at_the_last_is_told(store: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_to_sync_folders(monkeypatch, errno.EIO)
    error = refused("not_stored", store.put, a_record())
    assert "Input/output error" in str(error)


def fail_to_sync_folders(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    really = os.fsync

    def sync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))
        really(descriptor)

    monkeypatch.setattr(os, "fsync", sync)


def test_a_disk_that_is_full_leaves_the_old_record(
    store: FileStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = store.put(a_record())

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with store.locked(KEY, 0) as lease:
        monkeypatch.setattr(os, "fsync", full)
        error = refused("not_stored", store.save, replace(put, scope="new"), lease)
        monkeypatch.undo()
        assert "No space left" in str(error)
        assert same(store.load(KEY), put)
        assert not list(folder.glob(".new-*"))
        store.save(put, lease)


def test_an_interruption_in_the_middle_of_writing_shows_no_secret(
    store: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt) as caught:
        store.put(a_record())
    assert seen(shown(caught.value), REFRESH, ACCESS, CLIENT) == []


LIMITED = """
import resource, signal, sys
from sasl.adapters.tokens.stores import FileStore
from sasl.errors import TokenError
from sasl.secret import Secret
from sasl.value import replace
store = FileStore(sys.argv[1])
record = store.load(sys.argv[2])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
with store.locked(record.key, 0) as lease:
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, 2_000))
    try:
        store.save(replace(record, refresh_token=Secret("x" * 4_000)), lease)
    except TokenError as error:
        print(error.code, error)
"""


def test_a_record_for_which_there_is_no_room_is_not_half_written(
    store: FileStore, folder: Path, beside: Callable[..., subprocess.Popen[str]]
) -> None:
    put = store.put(a_record())
    told, _ = beside(LIMITED, folder, KEY).communicate()
    assert told == "not_stored a record cannot be written: File too large\n"
    assert same(store.load(KEY), put)
    assert not list(folder.glob(".new-*"))


def test_a_folder_only_for_reading_is_told_before_anything_is_sent(own_folder: Path) -> None:
    folder = own_folder / "tokens"
    store = FileStore(folder)
    put = store.put(a_record())
    with store.locked(KEY, 0) as lease:
        folder.chmod(0o500)
        refused("not_stored", store.save, put, lease)
    assert same(store.load(KEY), put)
    refused("not_stored", store.delete, KEY)
    refused("not_stored", FileStore(folder / "new").put, a_record())
    with pytest.raises(TokenError, match="Permission denied"), store.locked("of a new account", 0):
        pass
    folder.chmod(0o000)
    error = refused("store_unreachable", store.load, KEY)
    assert error.retryable
    refused("store_unreachable", store.keys)
    folder.chmod(0o700)
    assert same(store.load(KEY), put)


# --- processes


KILLED = """
import os, signal, sys
from pathlib import Path
from sasl.adapters.tokens.stores import FileStore
from sasl.value import replace
store = FileStore(sys.argv[1])
record = store.load(sys.argv[2])
def die(*arguments):
    os.kill(os.getpid(), signal.SIGKILL)
really = os.fsync
if sys.argv[3] == "before writing":
    os.fsync = die
elif sys.argv[3] == "before renaming":
    Path.replace = die
else:
    os.fsync = lambda descriptor: die() if os.path.isdir(f"/proc/self/fd/{descriptor}") else really(descriptor)
with store.locked(record.key, 0) as lease:
    store.save(replace(record, scope="new"), lease)
"""


@pytest.mark.parametrize(("moment", "scope"), [("before writing", None), ("before renaming", None), ("after", "new")])
def test_a_writer_that_is_killed_leaves_an_old_record_or_a_new_one_and_no_lock(
    moment: str, scope: str | None, store: FileStore, folder: Path, beside: Callable[..., subprocess.Popen[str]]
) -> None:
    store.put(a_record())
    assert beside(KILLED, folder, KEY, moment).wait() == -signal.SIGKILL
    record = store.load(KEY)
    assert record is not None
    assert (record.scope, store.keys()) == (scope, [KEY])
    left = list(folder.glob(".new-*"))
    assert len(left) == (moment != "after")
    store.put(record)
    assert list(folder.glob(".new-*")) == left, "somebody may be writing it"
    for path in left:
        os.utime(path, (time.time() - 61,) * 2)
    FileStore(folder).put(record)
    assert not list(folder.glob(".new-*"))


def test_a_sign_out_takes_away_what_a_killed_writer_left(store: FileStore, folder: Path) -> None:
    store.put(a_record())
    (folder / ".new-x").write_bytes(a_record().encode())
    os.utime(folder / ".new-x", (0, 0))
    store.delete(KEY)
    assert not [path for path in folder.iterdir() if path.suffix != ".lock"]


def test_what_somebody_else_takes_away_meanwhile_is_no_failure(store: FileStore, folder: Path) -> None:
    store.put(a_record())
    (folder / ".new-x").symlink_to("nowhere")
    put = FileStore(folder).put(a_record())
    assert same(store.load(KEY), put)
    replace_file(folder / ("sha256=" + "0" * 64 + ".json"), b"{")
    assert store.keys() == [KEY]


HOLDER = """
import sys
from sasl.adapters.tokens.stores import FileStore
with FileStore(sys.argv[1]).locked(sys.argv[2], 5):
    print("held", flush=True)
    sys.stdin.readline()
"""


def test_a_holder_that_is_killed_keeps_nobody_waiting_and_no_sign_in_waits_for_one_that_lives(
    store: FileStore, folder: Path, beside: Callable[..., subprocess.Popen[str]]
) -> None:
    holder = beside(HOLDER, folder, KEY)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    assert taken(store) is not None
    put = store.put(a_record())
    assert same(store.load(KEY), put)
    holder.kill()
    holder.wait()
    assert taken(store) is None


COUNTER = """
import sys
from sasl.adapters.tokens.stores import FileStore
from sasl.value import replace
store = FileStore(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
for _ in range(int(sys.argv[3])):
    with store.locked(sys.argv[2], 60) as lease:
        record = store.load(sys.argv[2])
        store.save(replace(record, failures=record.failures + 1), lease)
"""


def test_two_processes_lose_nothing_of_what_they_count(
    store: FileStore, folder: Path, beside: Callable[..., subprocess.Popen[str]]
) -> None:
    first = store.put(a_record())
    counters = [beside(COUNTER, folder, KEY, 100) for _ in range(2)]
    for counter in counters:
        assert counter.stdout is not None
        assert counter.stdout.readline() == "ready\n"
    for counter in counters:
        assert counter.stdin is not None
        counter.stdin.write("go\n")
        counter.stdin.flush()
    assert [counter.wait() for counter in counters] == [0, 0]
    last = store.load(KEY)
    assert last is not None
    assert (last.failures, last.version) == (200, first.version + 200)
