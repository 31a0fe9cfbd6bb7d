"""What a token at hand costs, beside reading a clock; what many of them take; and who asks where one is over.

    python bench/tokens.py

Times are ratios within one run; requests and octets are counted.
"""

from __future__ import annotations

import asyncio
import gc
import time
import timeit
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import sasl
from sasl.adapters.reference import token_endpoint
from sasl.adapters.tokens.oauth import OAuthTokens
from sasl.adapters.tokens.record import Record
from sasl.adapters.tokens.store import MemoryStore
from sasl.adapters.tokens.threaded import Threaded

MANY = 100_000
TOKEN = 2_000  # characters, as Microsoft's have


def stored(store: MemoryStore, key: str, number: int = 0) -> OAuthTokens:
    """Return a source whose token is in a store, and good for an hour."""
    access = f"{number:08}" + "x" * (TOKEN - 8)
    store.put(
        Record(
            key,
            key,
            "https://example.com/token",
            "client",
            refresh_token=sasl.Secret("refresh"),
            access_token=sasl.Secret(access),
            expires_at=time.time() + 3_600,
        )
    )
    return OAuthTokens(store, key)


def microseconds(statement: object, number: int) -> float:
    """Return what one call takes, the least of seven rounds."""
    assert callable(statement)
    return min(timeit.repeat(statement, number=number, repeat=7)) / number * 1e6


def cached() -> None:
    """Print what a token at hand costs."""
    source = stored(MemoryStore(), "one")
    bearer = sasl.Bearer("one", source)
    source.token()
    clock = microseconds(time.time, 500_000)
    token = microseconds(source.token, 500_000)
    resolve = microseconds(lambda: sasl.resolve(bearer), 50_000)
    print(f"time.time()          {clock:6.3f} us")
    print(f"token() at hand      {token:6.3f} us  {token / clock:5.1f} x")
    print(f"sasl.resolve of it   {resolve:6.3f} us  {resolve / clock:5.1f} x")


def memory() -> None:
    """Print what many sources take beside their tokens, which stand in the store."""
    store = MemoryStore()
    tracemalloc.start()
    for number in range(MANY):
        stored(store, f"user{number}@example.com", number)
    gc.collect()
    before, _ = tracemalloc.get_traced_memory()
    sources = [OAuthTokens(store, f"user{number}@example.com") for number in range(MANY)]
    for source in sources:
        source.token()
    gc.collect()
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    print(f"{MANY} cached sources  {(after - before) / 2**20:6.1f} MiB, without the store's {before / 2**20:.0f} MiB")


def requests() -> None:
    """Print how many requests a thousand tasks and 64 threads make that find one token refused."""
    with token_endpoint.running() as endpoint:
        info = endpoint.authorized_user("alice")
        store = MemoryStore()
        store.put(
            Record(
                "alice",
                "alice",
                endpoint.url,
                info["client_id"],
                client_secret=sasl.Secret(info["client_secret"]),
                refresh_token=sasl.Secret(info["refresh_token"]),
            )
        )
        source = OAuthTokens(store, "alice")

        async def tasks(stale: str) -> None:
            threaded = Threaded(source)
            await asyncio.gather(*(threaded.token(stale=stale) for _ in range(1_000)))

        stale = source.token().value.reveal()
        before = len(endpoint.requests)
        asyncio.run(tasks(stale))
        by_tasks = len(endpoint.requests) - before
        stale = source.token().value.reveal()
        with ThreadPoolExecutor(64) as pool:
            list(pool.map(lambda _: source.token(stale=stale), range(64)))
        by_threads = len(endpoint.requests) - before - by_tasks
    print(f"requests for one refused token: 1,000 tasks {by_tasks}, 64 threads {by_threads}")


if __name__ == "__main__":
    cached()
    memory()
    requests()
