"""Grants in a keyring: whatever it cannot do is told, and shows no secret."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import keyring
import pytest
from keyring.backends import fail
from keyring.errors import KeyringLocked, PasswordDeleteError, PasswordSetError

from sasl.adapters.tokens.stores import KeyringStore
from sasl.adapters.tokens.stores.names import name_of
from sasl.errors import UsageError

from ....support.leaks import seen
from ....support.stores import ACCESS, CLIENT, KEY, REFRESH, a_record, refused, same
from .rings import Ring

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def ring() -> Iterator[Ring]:
    ring = Ring()
    keyring.set_keyring(ring)
    yield ring
    keyring.set_keyring(fail.Keyring())


@pytest.fixture
def store(ring: Ring, tmp_path: Path) -> KeyringStore:
    return KeyringStore("service", lock_folder=tmp_path)


def test_the_record_is_in_the_keyring_and_no_secret_in_the_folder(
    store: KeyringStore, ring: Ring, tmp_path: Path
) -> None:
    store.put(a_record())
    ((service, name),) = ring.entries
    assert (service, name + ".json") == ("service", name_of(KEY))
    files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert files
    assert seen(files, REFRESH, ACCESS, CLIENT) == []


def test_services_do_not_see_each_other(store: KeyringStore, tmp_path: Path) -> None:
    other = KeyringStore("another", lock_folder=tmp_path)
    put = store.put(a_record())
    assert (other.load(KEY), other.keys()) == (None, [])
    other.put(a_record("somebody"))
    with other.locked(KEY, 0), store.locked(KEY, 0):
        pass
    assert (store.keys(), other.keys()) == ([KEY], ["somebody"])
    assert same(store.load(KEY), put)


def test_what_a_user_deletes_in_the_keyring_is_gone(store: KeyringStore, ring: Ring) -> None:
    store.put(a_record())
    ring.entries.clear()
    assert (store.load(KEY), store.keys()) == (None, [])


def test_what_is_in_the_folder_and_no_key_is_passed_over(store: KeyringStore, tmp_path: Path) -> None:
    store.put(a_record())
    for name in ("Notes.json", "sha256=" + "0" * 64 + ".json"):
        (tmp_path / "service" / name).write_bytes(b"{")
    assert store.keys() == [KEY]


def test_by_default_locks_are_beside_the_files_of_the_other_store(
    ring: Ring, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    KeyringStore().put(a_record())
    assert (tmp_path / "saslkit" / "keyring" / "saslkit" / (name_of(KEY) + ".put.lock")).is_file()


def test_a_system_without_a_keyring_says_so(store: KeyringStore) -> None:
    keyring.set_keyring(fail.Keyring())
    for call in (store.load, store.delete):
        error = refused("no_keyring", call, KEY)
        assert (error.retryable, "FileStore" in error.hint) == (False, True)
    refused("no_keyring", store.put, a_record())
    assert store.keys() == []


@pytest.mark.parametrize(
    ("raised", "reading", "writing"),
    [
        (KeyringLocked, "keyring_locked", "keyring_locked"),
        (PasswordSetError, "store_unreachable", "not_stored"),
        (PasswordDeleteError, "store_unreachable", "not_stored"),
        (OSError, "store_unreachable", "not_stored"),
    ],
)
def test_a_keyring_that_fails_shows_no_secret(
    raised: type[Exception], reading: str, writing: str, store: KeyringStore, ring: Ring
) -> None:
    put = store.put(a_record())
    ring.fails_to_write = raised
    with store.locked(KEY, 0) as lease:
        refused(writing, store.save, put, lease)
    refused(writing, store.put, a_record())
    refused(writing, store.delete, KEY)
    ring.fails_to_read = raised
    refused(reading, store.load, KEY)
    refused(reading, store.keys)
    refused(reading, store.put, a_record())
    ring.fails_to_read = ring.fails_to_write = None
    assert same(store.load(KEY), put)


def test_a_folder_only_for_reading_is_told(ring: Ring, own_folder: Path) -> None:
    own_folder.chmod(0o500)
    store = KeyringStore(lock_folder=own_folder / "new")
    refused("not_stored", store.put, a_record())
    assert not ring.entries


def test_a_list_of_keys_that_cannot_be_kept_is_told(ring: Ring, own_folder: Path) -> None:
    store = KeyringStore("service", lock_folder=own_folder)
    folder = own_folder / "service"
    with store._locks.writing(KEY):
        folder.chmod(0o500)
    refused("not_stored", store.put, a_record())
    assert not ring.entries
    folder.chmod(0o700)
    long = "k" * 300
    store.put(a_record(long))
    (folder / name_of(long)).chmod(0o000)
    assert refused("store_unreachable", store.keys).retryable


def test_an_entry_of_another_account_is_refused(store: KeyringStore, ring: Ring) -> None:
    store.put(a_record())
    ring.entries["service", "mallory"] = ring.entries.popitem()[1]
    assert "of another account" in str(refused("bad_record", store.load, "mallory"))


def test_what_is_deleted_twice_at_once_is_deleted_once(store: KeyringStore, ring: Ring) -> None:
    store.put(a_record())
    really, asked = ring.get_password, []

    def get(service: str, username: str) -> str | None:
        asked.append(username)
        if len(asked) == 2:
            ring.entries.clear()
        return really(service, username)

    ring.get_password = get  # type: ignore[method-assign]
    store.delete(KEY)
    assert len(asked) == 2
    assert store.keys() == []


def test_an_empty_key_is_none(store: KeyringStore) -> None:
    assert store.load("") is None
    store.delete("")
    with pytest.raises(UsageError, match="is not empty"):
        store.put(a_record(""))


def test_without_keyring_the_extra_is_named(store: KeyringStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)
    assert "saslkit[keyring]" in str(refused("missing_extra", store.load, KEY))
