"""What every store of grants promises, as tests that each store passes: `CONTRACT`, a list of promises.

@pytest.mark.parametrize("promise", CONTRACT, ids=lambda promise: promise.__name__)
def test_a_store_keeps_its_promises(place: Place, promise: Promise) -> None:
    promise(place)
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

import pytest

from sasl.adapters.tokens.record import Record
from sasl.errors import TokenError, UsageError
from sasl.secret import Secret
from sasl.value import replace

from .leaks import seen, shown

if TYPE_CHECKING:
    from collections.abc import Callable

    from sasl.adapters.tokens.store import Store

REFRESH, ACCESS, CLIENT = "1//refresh-token-of-alice", "ya29.access-token-of-alice", "client-secret-of-ours"
KEY: Final = "google:123.apps:alice@example.org"

HOSTILE: Final = (
    "../x",
    "..",
    "/etc/passwd",
    "a\0b",
    ".new-x",
    "a.json",
    "A",
    "a",
    "%41",
    "' OR 1=1; --",
    "{a}:b\r\nDEL a",
    "sha256=" + "0" * 64,
    "k" * 2_000,
    "k" * 1_999 + "l",
    "\u00e4",
    "a\u0308",
    "\U0001f511",
    "\ud800",
    " a ",
    "CON",
    "nul.txt",
    "*",
    "a*",
)


@dataclass
class Place:
    """Where one kind of store keeps things.

    Attributes:
        open: makes another object on the same place, as another process would.
        spoil: spoil(key, octets) puts these octets in the place of a stored record; None where nobody can.
        largest: octets of a token that still fits.
    """

    open: Callable[[], Store]
    spoil: Callable[[str, bytes], object] | None = None
    largest: int = 60_000


Promise: TypeAlias = "Callable[[Place], None]"


def a_record(key: str = KEY, **changes: object) -> Record:
    """A record with all that is secret."""
    secrets = {"client_secret": Secret(CLIENT), "refresh_token": Secret(REFRESH), "access_token": Secret(ACCESS)}
    told = {"expires_at": 1_800_000_000.5, "granted_at": 1_796_000_000.0, "unknown": {"later": [1, {"a": None}]}}
    return Record(key, "alice@example.org", "https://login.example.org/token", "123.apps", **secrets | told | changes)  # type: ignore[arg-type]


def content(record: Record | None) -> Record:
    """What a record says, whatever its version."""
    assert record is not None
    return replace(record, version=0, fence=0)


def same(one: Record | None, other: Record | None) -> bool:
    """Whether two records are the same, unknown members too, which equality leaves out."""
    assert one is not None
    assert other is not None
    return one == other and one.unknown == other.unknown


def refused(code: str, call: Callable[..., object], *arguments: object) -> TokenError:
    """The error with this code that a call raises, which shows no secret."""
    with pytest.raises(TokenError) as caught:
        call(*arguments)
    assert caught.value.code == code
    assert seen(shown(caught.value), REFRESH, ACCESS, CLIENT) == []
    return caught.value


def taken(store: Store, key: str = KEY, seconds: float = 0) -> TokenError | None:
    """How another thread that asks for the lock is refused; None if it gets it."""
    told: list[TokenError] = []

    def ask() -> None:
        try:
            with store.locked(key, seconds):
                pass
        except TokenError as error:
            told.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join(30)
    assert not thread.is_alive()
    return told[0] if told else None


def there_is_nothing_at_first(place: Place) -> None:
    store = place.open()
    assert (store.load(KEY), store.keys()) == (None, [])
    store.delete(KEY)


def what_was_put_is_there_for_everybody(place: Place) -> None:
    put = place.open().put(a_record())
    assert same(content(put), a_record())
    assert same(place.open().load(KEY), put)
    assert place.open().keys() == [KEY]


def what_was_saved_is_there_for_everybody_when_save_returns(place: Place) -> None:
    store, other = place.open(), place.open()
    put = store.put(a_record())
    with store.locked(KEY, 5) as lease:
        saved = store.save(replace(put, refresh_token=Secret("second")), lease)
        assert same(other.load(KEY), saved)
        again = store.save(replace(saved, refresh_token=Secret("third"), unknown={}), lease)
    assert (put.version + 1, put.version + 2) == (saved.version, again.version)
    assert same(place.open().load(KEY), again)
    assert again.refresh_token == "third"


def an_older_version_is_superseded(place: Place) -> None:
    store, other = place.open(), place.open()
    put = store.put(a_record())
    with other.locked(KEY, 5) as lease:
        saved = other.save(replace(put, scope="of another holder"), lease)
    with store.locked(KEY, 5) as lease:
        assert refused("superseded", store.save, put, lease).retryable
        assert same(store.load(KEY), saved)
        store.save(saved, lease)


def a_new_sign_in_outranks_a_renewal_that_runs(place: Place) -> None:
    store, other = place.open(), place.open()
    before = store.put(a_record())
    with store.locked(KEY, 5) as lease:
        new = other.put(a_record(refresh_token=Secret("of a new sign-in")))  # and waits for nobody
        refused("superseded", store.save, before, lease)
        refused("superseded", store.save, replace(before, version=new.version), lease)
    assert new.fence > before.fence
    assert same(store.load(KEY), new)


def a_sign_in_after_a_sign_out_outranks_a_renewal_that_runs(place: Place) -> None:
    store, other = place.open(), place.open()
    before = store.put(a_record())
    with store.locked(KEY, 5) as lease:
        other.delete(KEY)
        new = other.put(a_record(refresh_token=Secret("of a new sign-in")))
        refused("superseded", store.save, before, lease)
    assert same(store.load(KEY), new)


def a_sign_out_is_not_undone_by_a_renewal_that_runs(place: Place) -> None:
    store, other = place.open(), place.open()
    before = store.put(a_record())
    with store.locked(KEY, 5) as lease:
        other.delete(KEY)
        assert store.load(KEY) is None
        refused("superseded", store.save, before, lease)
    assert (other.load(KEY), other.keys()) == (None, [])


def a_lock_is_not_waited_for_longer_than_said(place: Place) -> None:
    store, other = place.open(), place.open()
    with store.locked(KEY, 0) as lease:
        assert lease.left() > 10
        for seconds in (0, 0.05):
            error = taken(other, seconds=seconds)
            assert error is not None
            assert (error.code, error.retryable, error.needs_user) == ("locked", True, False)
        assert taken(store) is not None  # threads of one object are no exception
        assert taken(other, "of another account") is None
    assert taken(other) is None


def who_waits_gets_a_lock_that_is_given_back(place: Place) -> None:
    store, other = place.open(), place.open()
    told: list[TokenError | None] = []
    with store.locked(KEY, 0):
        thread = threading.Thread(target=lambda: told.append(taken(other, seconds=20)))
        thread.start()
        assert told == []
    thread.join(30)
    assert told == [None]


def an_exception_gives_a_lock_back(place: Place) -> None:
    store = place.open()
    with pytest.raises(ZeroDivisionError), store.locked(KEY, 0):
        raise ZeroDivisionError
    assert taken(place.open()) is None


def a_lock_needs_no_record_and_keeps_none(place: Place) -> None:
    store = place.open()
    with store.locked(KEY, 0) as lease:
        refused("superseded", store.save, a_record(), lease)
        put = store.put(a_record())
    assert same(store.load(KEY), put)


def no_key_is_mistaken_for_another(place: Place) -> None:
    store = place.open()
    kept = {}
    for key in HOSTILE:
        try:
            kept[key] = store.put(a_record(key, scope=f"of number {HOSTILE.index(key)}"))
        except UsageError:
            assert store.load(key) is None
    assert len(kept) >= len(HOSTILE) - 2
    assert place.open().keys() == sorted(kept)
    for key, put in kept.items():
        assert same(place.open().load(key), put), key
    for key, put in kept.items():
        with store.locked(key, 5) as lease:
            store.save(put, lease)
    left = sorted(kept)
    while left:
        store.delete(left.pop())
        assert store.keys() == left


def a_large_record_is_kept_and_one_that_is_too_large_is_not(place: Place) -> None:
    store = place.open()
    large = Secret("a token of " + "x" * (place.largest - 11))
    put = store.put(a_record(refresh_token=large))
    assert same(place.open().load(KEY), put)
    with store.locked(KEY, 5) as lease:
        too_large = replace(put, refresh_token=Secret(REFRESH * 3_000))
        refused("not_stored", store.save, too_large, lease)
        refused("not_stored", store.put, too_large)
        assert same(place.open().load(KEY), put)
        store.save(put, lease)


def what_is_spoilt_is_told_and_a_sign_in_heals_it(place: Place) -> None:
    if place.spoil is None:
        return
    store = place.open()
    secret = REFRESH.encode()
    other = a_record("somebody else").encode()
    for octets in (b"", b"{", b"[]", b'{"refresh_token": "%s"}' % secret, b"\xff" + secret, b"x" * 70_000, other):
        before = store.put(a_record())
        place.spoil(KEY, octets)
        error = refused("bad_record", store.load, KEY)
        assert (error.retryable, bool(error.hint)) == (False, True)
        with store.locked(KEY, 5) as lease:
            refused_code = _code(store.save, before, lease)
            assert refused_code in ("bad_record", "superseded")
        put = store.put(a_record())
        assert same(place.open().load(KEY), put)
        place.spoil(KEY, octets)
        store.delete(KEY)
        assert place.open().load(KEY) is None


def _code(call: Callable[..., object], *arguments: object) -> str | None:
    with pytest.raises(TokenError) as caught:
        call(*arguments)
    return caught.value.code


def a_store_shows_no_secret(place: Place) -> None:
    store = place.open()
    store.put(a_record())
    store.load(KEY)
    with store.locked(KEY, 5) as lease:
        texts = [repr(store), str(store), repr(lease)]
    assert seen(texts, REFRESH, ACCESS, CLIENT) == []


def threads_lose_nothing_of_what_they_count_under_the_lock(place: Place) -> None:
    first = place.open().put(a_record(failures=0))

    def count() -> None:
        store = place.open()
        for _ in range(5):
            with store.locked(KEY, 30) as lease:
                record = store.load(KEY)
                assert record is not None
                store.save(replace(record, failures=record.failures + 1), lease)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    last = place.open().load(KEY)
    assert last is not None
    assert (last.failures, last.version) == (20, first.version + 20)


CONTRACT: Final[list[Promise]] = [
    there_is_nothing_at_first,
    what_was_put_is_there_for_everybody,
    what_was_saved_is_there_for_everybody_when_save_returns,
    an_older_version_is_superseded,
    a_new_sign_in_outranks_a_renewal_that_runs,
    a_sign_in_after_a_sign_out_outranks_a_renewal_that_runs,
    a_sign_out_is_not_undone_by_a_renewal_that_runs,
    a_lock_is_not_waited_for_longer_than_said,
    who_waits_gets_a_lock_that_is_given_back,
    an_exception_gives_a_lock_back,
    a_lock_needs_no_record_and_keeps_none,
    no_key_is_mistaken_for_another,
    a_large_record_is_kept_and_one_that_is_too_large_is_not,
    what_is_spoilt_is_told_and_a_sign_in_heals_it,
    a_store_shows_no_secret,
    threads_lose_nothing_of_what_they_count_under_the_lock,
]
