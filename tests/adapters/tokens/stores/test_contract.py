"""Every store that needs no server keeps what all of them promise."""

from __future__ import annotations

from typing import TYPE_CHECKING

import keyring
import pytest
from keyring.backends import fail

from sasl.adapters.documents import replace_file
from sasl.adapters.tokens.store import MemoryStore
from sasl.adapters.tokens.stores import FileStore, KeyringStore, Sealed
from sasl.adapters.tokens.stores.names import name_of

from ....support.stores import CONTRACT, Place, Promise
from .rings import Ring

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def memory(_folder: Path) -> Place:
    store = MemoryStore()
    return Place(lambda: store)


def file(folder: Path) -> Place:
    def spoil(key: str, octets: bytes) -> None:
        replace_file(folder / "tokens" / name_of(key), octets)

    return Place(lambda: FileStore(folder / "tokens"), spoil)


def sealed(folder: Path) -> Place:
    plain = file(folder)
    return Place(lambda: Sealed(plain.open(), b"k" * 32), plain.spoil, largest=45_000)


def ring(folder: Path) -> Place:
    entries = Ring()
    keyring.set_keyring(entries)

    def spoil(key: str, octets: bytes) -> None:
        entries.entries["saslkit", name_of(key).removesuffix(".json")] = octets.decode("latin-1")

    return Place(lambda: KeyringStore(lock_folder=folder), spoil)


PLACES = [memory, file, sealed, ring]


@pytest.fixture(autouse=True)
def no_keyring() -> Iterator[None]:
    """Let no test see the keyring of the system, or that of another test."""
    keyring.set_keyring(fail.Keyring())
    yield
    keyring.set_keyring(fail.Keyring())


@pytest.mark.parametrize("promise", CONTRACT, ids=lambda promise: promise.__name__)
@pytest.mark.parametrize("kind", PLACES, ids=lambda kind: kind.__name__)
def test_a_store_keeps_its_promises(kind: type, promise: Promise, tmp_path: Path) -> None:
    promise(kind(tmp_path))
