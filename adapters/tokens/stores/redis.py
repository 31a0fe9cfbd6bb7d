"""Grants in Redis, for workers on many machines; by redis-py, which comes with the extra `redis`.

    store = RedisStore("redis://cache.example.org/0")
    store = RedisStore("redis://cache.example.org/0", grants=PostgresStore(...))

Redis forgets what it did not write down. Keep grants in one that has an append-only file (`appendonly yes`), writes to
it before it answers (`appendfsync always`) and evicts nothing. With `everysec`, the default, it postpones what it
writes while the disk is busy, and loses up to two seconds when it is killed: a grant, or who holds a lock. Elsewhere
give `grants`, another store that all workers reach: it keeps everything but access tokens and their expiry, and Redis
these and the locks. Who loses that Redis loses access tokens, which are renewed, and no grant.

The lock is a lease, taken with its number by one script. A record is saved by one script as well: if no later holder
and no sign-in has been there, and the version is the one that was loaded.
"""

from __future__ import annotations

import json
import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, final
from urllib.parse import quote, unquote

from sasl.errors import TokenError, UsageError, bare, hide_frames
from sasl.secret import Secret
from sasl.value import replace

from ...documents import parse_object
from .._extra import load
from ..record import parse_record
from ..store import superseded
from .leases import TimedLease, new_owner, now, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..record import Record
    from ..store import Lease, Store

# KEYS: the hash of an account (record or token; version; fence, of the newest holder or sign-in; kept, the fence of
# whoever stored the record; saved, by which call), and its lease. The clock begins what is counted, so that nothing
# comes twice when a hash is deleted, or lost, and made again.
_CLOCK: Final = """
local function microseconds()
    local time = redis.call('TIME')
    return string.format('%d%06d', time[1], time[2])
end
"""
_TAKE: Final = (
    _CLOCK
    + """
if not redis.call('SET', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[2]) and redis.call('GET', KEYS[2]) ~= ARGV[1] then
    return false
end
if redis.call('HSETNX', KEYS[1], 'fence', microseconds()) == 0 then redis.call('HINCRBY', KEYS[1], 'fence', 1) end
return redis.call('HGET', KEYS[1], 'fence')
"""
)
_FREE: Final = """
if redis.call('GET', KEYS[2]) == ARGV[1] then
    redis.call('DEL', KEYS[2])
    if redis.call('HEXISTS', KEYS[1], 'version') == 0 then redis.call('DEL', KEYS[1]) end
end
"""
_MINE: Final = """
local holder = redis.call('GET', KEYS[2])
if holder and holder ~= ARGV[1] then return false end
local fence = redis.call('HGET', KEYS[1], 'fence')
if fence and tonumber(fence) > tonumber(ARGV[2]) then return false end
"""
# What was saved by the same holder is the same call again, whose answer was lost.
_SAVE: Final = (
    _MINE
    + """
local stored = redis.call('HMGET', KEYS[1], 'version', 'record', 'saved')
if not fence or not stored[1] then return false end
if stored[1] ~= ARGV[3] then
    if stored[3] == ARGV[5] and stored[2] == ARGV[4] then return {stored[1], fence} end
    return false
end
redis.call('HSET', KEYS[1], 'record', ARGV[4], 'saved', ARGV[5], 'kept', fence)
redis.call('HINCRBY', KEYS[1], 'version', 1)
return {redis.call('HGET', KEYS[1], 'version'), fence}
"""
)
_PUT: Final = (
    _CLOCK
    + """
local first = microseconds()
if redis.call('HSETNX', KEYS[1], 'version', first) == 0 then redis.call('HINCRBY', KEYS[1], 'version', 1) end
if redis.call('HSETNX', KEYS[1], 'fence', first) == 0 then redis.call('HINCRBY', KEYS[1], 'fence', 1) end
local fence = redis.call('HGET', KEYS[1], 'fence')
redis.call('HSET', KEYS[1], 'record', ARGV[1], 'kept', fence, 'saved', '')
return {redis.call('HGET', KEYS[1], 'version'), fence}
"""
)
_OUTRANK: Final = (
    _CLOCK
    + """
if redis.call('HSETNX', KEYS[1], 'fence', microseconds()) == 0 then redis.call('HINCRBY', KEYS[1], 'fence', 1) end
"""
)
_CHECK: Final = _MINE + "return 1"
# A token for a version of the grant; not an older one in place of a newer.
_CACHE: Final = """
local version = redis.call('HGET', KEYS[1], 'version')
if version and tonumber(version) > tonumber(ARGV[1]) then return end
redis.call('HSET', KEYS[1], 'version', ARGV[1], 'token', ARGV[2])
"""
_DELETE: Final = "redis.call('DEL', KEYS[1])"

_MAY_PASS: Final = ("ConnectionError", "TimeoutError", "BusyLoadingError", "ReadOnlyError", "MasterDownError")
_MAY_PASS_TEXTS: Final = ("LOADING", "READONLY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "NOREPLICAS", "BUSY")

_NO_FILE: Final = "Redis has no append-only file (appendonly no)"


@final
class RedisStore:
    """Keeps grants in Redis, or beside another store.

    `client` is a URL, or a client of redis-py's, of any kind, that is yours to close. `prefix` begins all names in
    Redis. `lease` is how long a lock lasts whose holder is gone, in seconds: several times what a request to the
    authorization server may take. `grants` is the store that keeps what must not be lost. `timeout` is what Redis has
    for each answer, in seconds, where a URL is given.
    Threads and forked processes share a store.
    Raises UsageError for an empty key; TokenError (missing_extra) without redis-py, store_unreachable, not_stored,
    bad_record.
    """

    __slots__ = ("_checked", "_client", "_grants", "_lease", "_prefix", "_timeout")

    def __init__(
        self,
        client: Any,
        *,
        prefix: str = "sasl",
        lease: float = 60.0,
        grants: Store | None = None,
        timeout: float = 10.0,
    ) -> None:
        if lease < 0.001 or timeout <= 0:  # Redis counts milliseconds
            raise UsageError("a lease and a time limit are more than 0 seconds")
        if isinstance(client, str):
            url = Secret(client)
            del client  # no frame of an error shows its password
            client = _client(url, timeout)
        self._client = client
        self._prefix = prefix
        self._lease = lease
        self._grants = grants
        self._timeout = timeout
        self._checked = grants is not None

    def __repr__(self) -> str:
        return f"RedisStore(prefix={self._prefix!r}, grants={self._grants!r})"

    def close(self) -> None:
        """Close the connections that are not in use. The store may be used again."""
        self._client.close()

    def check_durable(self) -> None:
        """Raise TokenError (not_stored) if Redis says that it may lose what it was told.

        Where it does not tell, because INFO or CONFIG GET is forbidden, the log says so. The first `save` or `put` of a
        grant looks as well: it raises where nothing is written down at all, and writes a warning to the log where what
        was told last may be lost.
        """
        doubt = self._doubt()
        if doubt:
            raise _not_durable(doubt)

    @hide_frames
    def load(self, key: str) -> Record | None:
        """Return the record, or None. Raises TokenError: bad_record, store_unreachable."""
        if self._grants is not None:
            return self._load_beside(self._grants, key)
        octets, version, fence = self._ask(lambda: self._client.hmget(self._hash(key), "record", "version", "kept"))
        if octets is None:
            return None
        record = parse_record(_octets(octets))
        if record.key != key:
            raise TokenError("the stored record is another account's", code="bad_record", hint="Sign in again.")
        return replace(record, version=_count(version), fence=_count(fence))

    @contextmanager
    def locked(self, key: str, seconds: float) -> Iterator[Lease]:
        """Keep all others from renewing this account's token. Raises TokenError: locked, store_unreachable."""
        _check(key)
        owner = new_owner()

        def take() -> TimedLease | None:
            since = now()  # before it is sent: it never lasts longer here than there
            fence = self._run(_TAKE, key, owner, round(self._lease * 1_000))
            return None if fence is None else TimedLease(key, _count(fence), owner, since, self._lease)

        lease = wait_for(take, seconds)
        try:
            yield lease
        finally:
            held = lease.is_held()
            lease.end()
            if held:
                self._free(lease)

    @hide_frames
    def save(self, record: Record, lease: Lease) -> Record:
        """Store a record under the lock. Raises TokenError: superseded, not_stored, store_unreachable."""
        _check(record.key)
        if not isinstance(lease, TimedLease) or lease.key != record.key:
            raise UsageError("this is no lease of this store for this account")
        if not lease.is_held():
            raise superseded()
        if self._grants is not None:
            return self._save_beside(self._grants, record, lease)
        self._check_first(record)
        octets = _encode(record)
        # A number of its own for each save of a holder, so that what is asked twice is told from what is old.
        answer = self._run(_SAVE, record.key, lease.owner, lease.fence, record.version, octets, _name(lease, record))
        if answer is None:
            raise superseded()
        version, fence = answer
        return replace(record, version=_count(version), fence=_count(fence))

    @hide_frames
    def put(self, record: Record) -> Record:
        """Store the record of a new sign-in. Raises TokenError: not_stored, store_unreachable."""
        _check(record.key)
        if self._grants is not None:
            return self._put_beside(self._grants, record)
        self._check_first(record)
        version, fence = self._run(_PUT, record.key, _encode(record))
        return replace(record, version=_count(version), fence=_count(fence))

    def delete(self, key: str) -> None:
        """Forget an account. Raises TokenError: store_unreachable."""
        if self._grants is not None:
            self._grants.delete(key)
        self._run(_DELETE, key)

    def keys(self) -> list[str]:
        """Return the keys of all records, sorted. Raises TokenError: store_unreachable."""
        if self._grants is not None:
            return self._grants.keys()
        start = f"{self._prefix}:record:{{"
        names = self._ask(lambda: list(self._client.scan_iter(_literal(start) + "*}", count=1_000)))
        keys = {unquote(_octets(name).decode()[len(start) : -1], errors="surrogatepass") for name in names}
        return sorted(filter(self._has, keys))

    # --- beside another store, which is right where the two differ

    def _load_beside(self, grants: Store, key: str) -> Record | None:
        """Return the record of the other store with the token that Redis has for this very version of it."""
        record = grants.load(key)
        if record is None:
            return None
        try:
            token, version = self._ask(lambda: self._client.hmget(self._hash(key), "token", "version"))
        except TokenError as error:
            self._say(error)
            return record
        if token is None or version is None or _count(version) != record.version:
            return record
        return _with_members(record, parse_object(_octets(token), unique=True) or {})

    def _save_beside(self, grants: Store, record: Record, lease: TimedLease) -> Record:
        """Store the grant if no later holder is known; the version decides, where Redis has forgotten or is gone."""
        try:
            later = self._run(_CHECK, record.key, lease.owner, lease.fence) is None
        except TokenError as error:
            self._say(error)
            later = False
        if later:
            raise superseded()
        with grants.locked(record.key, self._timeout) as inner:
            stored = grants.save(_without_token(record), inner)
        self._cache(record, stored)
        return _with_token(stored, record)

    def _put_beside(self, grants: Store, record: Record) -> Record:
        """Store a new grant; a holder of the lock learns of it from the version, if not from Redis."""
        stored = grants.put(_without_token(record))
        try:
            self._run(_OUTRANK, record.key)
        except TokenError as error:
            self._say(error)
        self._cache(record, stored)
        return _with_token(stored, record)

    def _cache(self, record: Record, stored: Record) -> None:
        """Let Redis have the token; without it somebody renews it again, and nothing is lost."""
        try:
            self._run(_CACHE, record.key, stored.version, _members(record))
        except TokenError as error:
            self._say(error)

    def _say(self, error: TokenError) -> None:
        logging.getLogger("sasl").info("access tokens are not shared by Redis now: %s", error)

    # --- Redis

    def _free(self, lease: TimedLease) -> None:
        try:
            self._run(_FREE, lease.key, lease.owner)
        except TokenError:
            pass  # it runs out

    def _has(self, key: str) -> bool:
        """Whether there is a record: an account that is locked for the first time has a hash without one."""
        return bool(self._ask(lambda: self._client.hexists(self._hash(key), "record")))

    def _hash(self, key: str) -> str:
        return f"{self._prefix}:record:{_tag(key)}"

    def _run(self, script: str, key: str, *values: object) -> Any:
        """Return what a script answers. It is sent each time: no server that starts again lacks it."""
        names = (self._hash(key), f"{self._prefix}:lease:{_tag(key)}")
        return self._ask(lambda: self._client.eval(script, len(names), *names, *values))

    def _ask(self, call: Callable[[], Any]) -> Any:
        """Return what Redis answers. Raises TokenError."""
        errors = load("redis", "redis").RedisError
        try:
            return call()
        except errors as error:
            failure = _meaning(error)
        except OSError:
            failure = _unreachable("Redis cannot be reached")
        raise bare(failure)

    def _check_first(self, record: Record) -> None:
        """Look once whether a grant may be lost here. Raises TokenError (not_stored) if Redis writes nothing down."""
        if self._checked or (record.refresh_token is None and not record.unknown):  # encrypted, it is among those
            return
        doubt = self._doubt()
        if doubt == _NO_FILE:
            raise _not_durable(doubt)
        self._checked = True
        if doubt:
            logging.getLogger("sasl").warning("a grant is kept where it may be lost: %s", doubt)

    def _doubt(self) -> str:
        """Return why Redis may lose what it is told, "" if it does not say so."""
        told: dict[str, Any] = {}
        try:  # INFO is allowed where CONFIG is not
            told |= self._ask(lambda: self._client.info("persistence"))
            told |= self._ask(lambda: self._client.info("memory"))
            told |= self._ask(lambda: self._client.config_get("appendfsync"))
        except TokenError:
            pass
        if told.get("aof_enabled", 1) != 1:
            return _NO_FILE
        if "appendfsync" not in told:
            logging.getLogger("sasl").info("Redis does not tell whether it keeps what it is told (appendfsync)")
        elif told["appendfsync"] != "always":
            return f"Redis may lose what it was told last (appendfsync {told['appendfsync']})"
        if str(told.get("maxmemory_policy", "")).startswith("allkeys") and told.get("maxmemory"):
            return f"Redis may evict it ({told['maxmemory_policy']})"
        return ""


def _client(url: Secret, timeout: float) -> Any:
    redis = load("redis", "redis")
    retry = load("redis.retry", "redis").Retry(load("redis.backoff", "redis").NoBackoff(), 1)
    failure: Exception
    try:
        return redis.Redis.from_url(url.reveal(), socket_timeout=timeout, socket_connect_timeout=timeout, retry=retry)
    except ValueError:  # it shows the URL, which may hold a password
        failure = UsageError("this is no URL of Redis: redis://, rediss:// or unix://")
    raise bare(failure)


def _meaning(error: Exception) -> TokenError:
    """Return our error for one of redis-py's. Its text may show what was sent, so only its first word is told."""
    word = str(error).partition(" ")[0]
    word = word if word.isascii() and word.isalpha() and word.isupper() else ""
    names = {kind.__name__ for kind in type(error).__mro__}
    if names & {"AuthenticationError", "AuthorizationError"}:
        return TokenError("Redis refuses the login", code="store_unreachable", hint="Check the password in the URL.")
    if names & set(_MAY_PASS) or word in _MAY_PASS_TEXTS:
        return _unreachable(f"Redis does not serve now ({word or type(error).__name__})")
    return TokenError(f"Redis refuses the command ({word or type(error).__name__})", code="not_stored")


def _unreachable(text: str) -> TokenError:
    return TokenError(text, code="store_unreachable", retryable=True)


def _check(key: str) -> None:
    if not key:
        raise UsageError("a key is not empty")


def _tag(key: str) -> str:
    """Return a key as the part of a name that a cluster looks at: all names of an account are on one server."""
    return "{" + quote(key, safe="@:.+", errors="surrogatepass") + "}"


def _literal(text: str) -> str:
    """Return a pattern of Redis that matches a text alone."""
    return "".join(f"\\{letter}" if letter in "*?[]^\\" else letter for letter in text)


def _octets(answer: bytes | str) -> bytes:
    """Return what Redis answered, whether or not the client decodes it."""
    return answer.encode() if isinstance(answer, str) else answer


def _count(answer: bytes | str | int | None) -> int:
    return 0 if answer is None else int(answer)


def _name(lease: TimedLease, record: Record) -> str:
    return f"{lease.owner}:{record.version}"


def _encode(record: Record) -> bytes:
    """Return the document; what counts it has fields of its own."""
    return replace(record, version=0, fence=0).encode()


# --- a token apart from its grant


def _without_token(record: Record) -> Record:
    return replace(record, access_token=None, expires_at=None, granted_scope=None)


def _with_token(stored: Record, record: Record) -> Record:
    return replace(
        stored,
        access_token=record.access_token,
        expires_at=record.expires_at,
        granted_scope=record.granted_scope,
    )


def _members(record: Record) -> bytes:
    """Return the document of a token."""
    token = record.access_token
    members = {
        "access_token": None if token is None else token.reveal(),
        "expires_at": record.expires_at,
        "granted_scope": record.granted_scope,
    }
    return json.dumps(members).encode()


def _with_members(record: Record, members: dict[str, Any]) -> Record:
    """Return a record with the token of a document; without one if the document is none of ours."""
    token, expires, scope = [members.pop(name, None) for name in ("access_token", "expires_at", "granted_scope")]
    if not isinstance(token, str) or not token or members:
        return record
    if not isinstance(expires, float | int | None) or not isinstance(scope, str | None):
        return record
    ends = None if expires is None else float(expires)
    return replace(record, access_token=Secret(token), expires_at=ends, granted_scope=scope)


def _not_durable(doubt: str) -> TokenError:
    return TokenError(doubt, code="not_stored", hint="Give RedisStore another store as grants.")
