"""Encryption at rest: what is stored shows nothing, opens with the right key only, and only in its own place."""

from __future__ import annotations

import base64
import os
from typing import TYPE_CHECKING

import pytest

from sasl.adapters.tokens.store import MemoryStore
from sasl.adapters.tokens.stores import FileStore, Sealed
from sasl.adapters.tokens.stores.names import name_of
from sasl.errors import TokenError, UsageError
from sasl.value import replace

from ....support.leaks import seen, shown
from ....support.stores import ACCESS, CLIENT, KEY, REFRESH, a_record, refused, same

if TYPE_CHECKING:
    from pathlib import Path

FIRST, SECOND = b"the first key of thirty-two octs", b"another key of thirty-two octets"


def test_what_is_stored_shows_no_secret(tmp_path: Path) -> None:
    Sealed(FileStore(tmp_path), FIRST).put(a_record(unknown={"later": "a secret of a later version"}))
    stored = (tmp_path / name_of(KEY)).read_bytes()
    assert seen([stored], REFRESH, ACCESS, CLIENT, "a secret of a later version", FIRST) == []
    assert b"alice@example.org" in stored


def test_the_same_record_never_looks_the_same() -> None:
    inner = MemoryStore()
    store = Sealed(inner, FIRST)
    texts = set()
    for _ in range(20):
        store.put(a_record())
        record = inner.load(KEY)
        assert record is not None
        texts.add(record.unknown["sealed"])
    assert len({text[:16] for text in texts}) == 20


def test_another_key_opens_nothing() -> None:
    inner = MemoryStore()
    Sealed(inner, FIRST).put(a_record())
    error = refused("bad_record", Sealed(inner, SECOND).load, KEY)
    assert (error.hint, error.__context__) == ("Sign in again.", None)


def test_a_new_key_encrypts_and_the_old_one_still_opens() -> None:
    inner = MemoryStore()
    put = Sealed(inner, FIRST).put(a_record())
    both = Sealed(inner, SECOND, FIRST)
    assert same(both.load(KEY), put)
    with both.locked(KEY, 0) as lease:
        saved = both.save(put, lease)
    assert same(Sealed(inner, SECOND).load(KEY), saved)
    refused("bad_record", Sealed(inner, FIRST).load, KEY)


def test_each_changed_octet_is_noticed() -> None:
    inner = MemoryStore()
    store = Sealed(inner, FIRST)
    store.put(a_record())
    outer = inner.load(KEY)
    assert outer is not None
    octets = base64.b64decode(outer.unknown["sealed"])
    for at in range(0, len(octets), 7):
        changed = octets[:at] + bytes([octets[at] ^ 1]) + octets[at + 1 :]
        inner.put(replace(outer, unknown={"sealed": base64.b64encode(changed).decode()}))
        refused("bad_record", store.load, KEY)


@pytest.mark.parametrize(
    "text", ["", "?", "AAAA", base64.b64encode(bytes(12)).decode(), base64.b64encode(bytes(28)).decode(), 5, []]
)
def test_what_was_never_sealed_is_refused(text: object) -> None:
    inner = MemoryStore()
    inner.put(a_record(unknown={"sealed": text}))
    assert "no key opens it" in str(refused("bad_record", Sealed(inner, FIRST).load, KEY))


def test_a_record_without_encryption_is_refused() -> None:
    inner = MemoryStore()
    inner.put(a_record())
    assert "without encryption" in str(refused("bad_record", Sealed(inner, FIRST).load, KEY))


def test_a_record_in_the_place_of_another_one_is_refused() -> None:
    inner = MemoryStore()
    store = Sealed(inner, FIRST)
    store.put(a_record())
    outer = inner.load(KEY)
    assert outer is not None
    inner.put(replace(outer, key="mallory"))
    refused("bad_record", store.load, "mallory")


def test_what_is_in_the_clear_is_not_believed() -> None:
    inner = MemoryStore()
    store = Sealed(inner, FIRST)
    store.put(a_record())
    outer = inner.load(KEY)
    assert outer is not None
    inner.put(replace(outer, token_endpoint="https://mallory.example/token", user="mallory"))
    record = store.load(KEY)
    assert record is not None
    assert (record.token_endpoint, record.user) == ("https://login.example.org/token", "alice@example.org")


@pytest.mark.parametrize("form", [FIRST, base64.b64encode(FIRST), b" " + base64.b64encode(FIRST) + b"\n"])
def test_a_file_holds_a_key_as_it_is_or_in_base64(form: bytes, tmp_path: Path) -> None:
    path, inner = tmp_path / "key", MemoryStore()
    path.write_bytes(form)
    put = Sealed(inner, path).put(a_record())
    assert same(Sealed(inner, str(path)).load(KEY), put)
    assert same(Sealed(inner, FIRST).load(KEY), put)


@pytest.mark.parametrize("form", [b"", b"x" * 31, b"x" * 33, base64.b64encode(FIRST[:31]), b"x" * 1_000])
def test_a_file_without_a_key_is_told(form: bytes, tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(form)
    with pytest.raises((TokenError, UsageError)) as caught:
        Sealed(MemoryStore(), path).put(a_record())
    assert "key" in str(caught.value)
    assert seen(shown(caught.value), REFRESH, *([form] if form.strip(b"x") else [])) == []


def test_a_file_that_is_not_there_is_told_when_it_is_needed(tmp_path: Path) -> None:
    store = Sealed(MemoryStore(), tmp_path / "key")
    assert store.load(KEY) is None
    assert "No such file" in str(refused("bad_key", store.put, a_record()))


def test_a_key_is_asked_for_each_time() -> None:
    asked: list[bytes] = []

    def key() -> bytes:
        asked.append(FIRST)
        return FIRST

    store = Sealed(MemoryStore(), key)
    assert not asked
    put = store.put(a_record())
    assert same(store.load(KEY), put)
    assert len(asked) == 2


@pytest.mark.parametrize("key", [b"", b"short", FIRST + b"x"])
def test_a_key_of_another_length_is_a_mistake(key: bytes) -> None:
    with pytest.raises(UsageError, match="32 octets"):
        Sealed(MemoryStore(), key)
    with pytest.raises(UsageError, match="32 octets"):
        Sealed(MemoryStore(), lambda: key).put(a_record())


def test_without_a_key_there_is_no_encryption() -> None:
    with pytest.raises(UsageError, match="needs a key"):
        Sealed(MemoryStore())


def test_it_shows_neither_key_nor_secret() -> None:
    key = os.urandom(32)
    store = Sealed(MemoryStore(), key)
    put = store.put(a_record())
    assert seen([repr(store), repr(put)], key, REFRESH, ACCESS) == []
