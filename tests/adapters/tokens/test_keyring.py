"""A token in the operating system's keyring: keyring's own API over a backend that this file brings along."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import keyring
import keyring.backend
import keyring.backends.fail
import keyring.errors
import pytest

import sasl
from sasl.adapters.tokens.keyring import KeyringTokens

from .test_environment import NOW, SECRET, refused


class Chest(keyring.backend.KeyringBackend):
    """A keyring in memory; what is an error is raised."""

    priority = 1

    def __init__(self) -> None:
        self.entries: dict[tuple[str, str], str | Exception] = {}
        self.asked = 0

    def get_password(self, service: str, username: str) -> str | None:
        self.asked += 1
        found = self.entries.get((service, username))
        if isinstance(found, Exception):
            raise found
        return found

    def set_password(self, service: str, username: str, password: str) -> None:
        self.entries[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        del self.entries[service, username]


@pytest.fixture
def chest() -> Iterator[Chest]:
    before = keyring.get_keyring()
    made = Chest()
    keyring.set_keyring(made)
    yield made
    keyring.set_keyring(before)


@pytest.fixture
def source() -> KeyringTokens:
    return KeyringTokens("mail", "alice", clock=lambda: NOW)


def test_the_entry_is_asked_for_at_each_login(chest: Chest, source: KeyringTokens) -> None:
    keyring.set_password("mail", "alice", "first")
    assert source.token() == sasl.AccessToken("first")
    keyring.set_password("mail", "alice", "second")
    assert source.token(stale="first") == sasl.AccessToken("second")
    assert source.token() == sasl.AccessToken("second")
    assert source.held() is None


def test_an_entry_that_says_when_it_ends_is_kept_until_shortly_before(chest: Chest, source: KeyringTokens) -> None:
    keyring.set_password("mail", "alice", f'{{"access_token": "tok", "expires_at": {NOW + 3_600}}}')
    assert source.token() == source.token() == source.held()
    assert chest.asked == 1


def test_a_refused_token_that_is_still_there_wants_the_user(chest: Chest, source: KeyringTokens) -> None:
    keyring.set_password("mail", "alice", SECRET)
    failure = refused(source, stale=SECRET)
    assert (failure.code, failure.retryable, failure.needs_user) == ("stale_token", False, True)


@pytest.mark.parametrize(
    ("entry", "code", "retryable", "needs_user"),
    [
        (None, "no_entry", False, True),
        ("two words", "no_token", False, False),
        (keyring.errors.KeyringLocked(SECRET), "locked", False, True),
        (keyring.errors.NoKeyringError(SECRET), "no_keyring", False, False),
        (keyring.errors.InitError(SECRET), "store_unreachable", True, False),
        (RuntimeError(SECRET), "store_unreachable", True, False),
    ],
    ids=repr,
)
def test_a_failure_says_what_helps(
    chest: Chest, source: KeyringTokens, entry: Any, code: str, *, retryable: bool, needs_user: bool
) -> None:
    if entry is not None:
        chest.entries["mail", "alice"] = entry
    failure = refused(source)
    assert (failure.code, failure.retryable, failure.needs_user) == (code, retryable, needs_user)


def test_a_machine_without_a_keyring_says_so(chest: Chest, source: KeyringTokens) -> None:
    keyring.set_keyring(keyring.backends.fail.Keyring())  # what keyring itself falls back to
    assert refused(source).code == "no_keyring"


def test_without_keyring_the_extra_is_named(source: KeyringTokens, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)
    failure = refused(source)
    assert (failure.code, "saslkit[keyring]" in str(failure)) == ("missing_extra", True)
