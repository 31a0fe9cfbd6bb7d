"""What a SCRAM client keeps of a login: for that login alone, bounded, and no secret seen."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import hmac
import pickle
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

import sasl
from sasl import value
from sasl.mechanisms._scram_keys import ClientKeys, KeyCache, fingerprint

SALT = b"a salt of the server's"
SECRET = "tanstaaftanstaaf"
LOGIN = ("sha256", "joe-the-user", SALT, 4096, b"fingerprint-16-o")


def cache_of(keys, bound=4):
    cache = KeyCache(bound)
    cache[LOGIN] = keys
    return cache


HOLDERS = {"ClientKeys": lambda key: ClientKeys(key, key), "KeyCache": lambda key: cache_of(ClientKeys(key, key))}


@pytest.mark.parametrize("holder", HOLDERS)
def test_keys_and_logins_are_not_shown(holder):
    held = HOLDERS[holder](b"KEYKEYKEYKEYKEYKEYKEYKEYKEYKEY32")
    for text in (repr(held), str(held), f"{held} {held!r}", "%s %r" % (held, held), str([held])):  # noqa: UP031
        assert "KEY" not in text
        assert "joe-the-user" not in text
        assert "fingerprint" not in text


@pytest.mark.parametrize("holder", HOLDERS)
@pytest.mark.parametrize(
    "how", [pickle.dumps, lambda value: pickle.dumps(value, protocol=0), copy.copy, copy.deepcopy, vars],
    ids=["pickle", "old-pickle", "copy", "deepcopy", "vars"],
)  # fmt: skip
def test_keys_leave_in_no_copy(holder, how):
    with pytest.raises(TypeError):
        how(HOLDERS[holder](b"K" * 32))


@pytest.mark.parametrize("export", [dataclasses.asdict, dataclasses.astuple])
def test_keys_are_not_exported(export):
    with pytest.raises(TypeError, match="neither pickled nor copied"):
        export(ClientKeys(b"K" * 32, b"K" * 32))


def test_of_keys_and_caches_their_kind_is_shown():
    assert repr(ClientKeys(b"K", b"K")) == "ClientKeys(***)"
    assert repr(cache_of(ClientKeys(b"K", b"K"))) == "<KeyCache of 1 logins>"


def test_keys_are_octets_to_whoever_computes_with_them():
    assert b"%s" % ClientKeys(b"client", b"server").client_key == b"client"


@pytest.mark.parametrize("hash_name", ["sha1", "sha256", "sha512"])
def test_keys_sign_each_message_anew(hash_name):
    keys = ClientKeys(b"client", b"server")
    stored_key = hashlib.new(hash_name, b"client").digest()
    for message in (b"one", b"another", b"one"):
        proof, signature = keys.sign(hash_name, message)
        expected = hmac.digest(stored_key, message, hash_name)
        assert int.from_bytes(proof) == int.from_bytes(b"client") ^ int.from_bytes(expected)
        assert len(proof) == len(expected)
        assert signature == hmac.digest(b"server", message, hash_name)


def test_keys_sign_by_the_hash_that_is_asked_for():
    keys = ClientKeys(b"client", b"server")
    for hash_name in ("sha256", "sha512", "sha256"):
        assert keys.sign(hash_name, b"message")[1] == hmac.digest(b"server", b"message", hash_name)


def test_what_hmac_makes_of_keys_is_kept(monkeypatch):
    made = []
    new = hmac.new
    monkeypatch.setattr(hmac, "new", lambda *args, **kwargs: made.append(1) or new(*args, **kwargs))
    keys = ClientKeys(b"client", b"server")
    for message in (b"one", b"another"):
        keys.sign("sha256", message)
    assert len(made) == 2


def test_keys_have_two_fields_and_can_be_replaced():
    keys = ClientKeys(b"client", b"server")
    keys.sign("sha256", b"message")
    assert ClientKeys.__match_args__ == ("client_key", "server_key")
    assert [field.name for field in dataclasses.fields(keys)] == ["client_key", "server_key"]
    assert value.replace(keys, server_key=b"another").sign("sha256", b"") == ClientKeys(b"client", b"another").sign(
        "sha256", b""
    )


def test_keys_that_have_signed_equal_those_that_have_not():
    keys = ClientKeys(b"client", b"server")
    keys.sign("sha256", b"message")
    assert keys == ClientKeys(b"client", b"server")
    assert repr(keys) == "ClientKeys(***)"


def test_keys_are_frozen():
    keys = ClientKeys(b"", b"")
    with pytest.raises(dataclasses.FrozenInstanceError):
        keys.client_key = b"1"
    with pytest.raises((AttributeError, TypeError)):
        keys.another = 1


def login(number):
    return ("sha256", f"user{number}", SALT, 4096, fingerprint("pencil"))


def test_keys_are_kept_for_a_login_and_for_no_other():
    cache, keys = KeyCache(), ClientKeys(b"client", b"server")
    cache[login(1)] = keys
    assert cache.get(login(1)) is keys
    name, user, salt, iterations, print_ = login(1)
    for other in (
        ("sha1", user, salt, iterations, print_),
        (name, "user2", salt, iterations, print_),
        (name, user, b"another salt", iterations, print_),
        (name, user, salt, 8192, print_),
        (name, user, salt, iterations, fingerprint("crayon")),
    ):
        assert cache.get(other) is None
    assert len(cache) == 1


def test_the_one_that_was_not_used_for_longest_goes_first():
    cache, keys = KeyCache(3), ClientKeys(b"client", b"server")
    for number in (1, 2, 3):
        cache[login(number)] = keys
    cache.get(login(1))
    cache[login(2)] = keys
    cache[login(4)] = keys
    assert [number for number in (1, 2, 3, 4) if cache.get(login(number))] == [1, 2, 4]
    assert len(cache) == 3


def test_a_bound_of_0_keeps_nothing():
    cache = cache_of(ClientKeys(b"client", b"server"), 0)
    assert (len(cache), cache.get(LOGIN)) == (0, None)
    assert cache  # a cache all the same, where somebody asks `if keys`


def test_a_cache_forgets_on_request():
    cache = cache_of(ClientKeys(b"client", b"server"))
    cache.clear()
    assert (len(cache), cache.get(LOGIN)) == (0, None)


@pytest.mark.parametrize("bound", [-1, None, "7", 1.5], ids=repr)
def test_a_bound_is_a_number(bound):
    with pytest.raises(sasl.UsageError, match="a number of logins"):
        KeyCache(bound)


def test_threads_share_a_cache():
    cache = KeyCache(8)

    def use(worker):
        keys = ClientKeys(b"%d" % worker, b"server")
        for number in range(2_000):
            cache[login((number * worker) % 16)] = keys
            found = cache.get(login(number % 16))
            assert found is None or found.server_key == b"server"
            assert len(cache) <= 9  # one more for as long as it takes
        return worker

    interval, traced = sys.getswitchinterval(), threading.gettrace()
    # Python 3.11 cannot trace all threads that begin so close together, and says so where nobody can catch it.
    threading.settrace(None)  # type: ignore[arg-type]  # as its documentation has it
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            assert sorted(pool.map(use, range(8))) == list(range(8))
    finally:
        sys.setswitchinterval(interval)
        threading.settrace(traced)  # type: ignore[arg-type]  # None is what it was without coverage
    assert len(cache) == 8


def test_a_fingerprint_tells_passwords_apart_in_this_process_only():
    assert fingerprint(SECRET) == fingerprint(SECRET)
    assert fingerprint(SECRET) != fingerprint(SECRET + "x")
    assert len(fingerprint("\ud800")) == 16
    code = f"from sasl.mechanisms._scram_keys import fingerprint; print(fingerprint({SECRET!r}).hex())"
    run = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True, timeout=20)
    assert len(run.stdout.strip()) == 32
    assert run.stdout.strip() != fingerprint(SECRET).hex()
    assert hashlib.blake2b(SECRET.encode(), digest_size=16).digest() != fingerprint(SECRET)
