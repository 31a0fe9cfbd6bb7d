"""Access tokens of any OAuth server: by a refresh token that somebody's sign-in left, or for a program itself.

    token = OAuthTokens(FileStore(), "me@example.com")
    sasl.adapters.imaplib.authenticate(conn, sasl.Bearer("me@example.com", token))

`sasl token authorize` signs in. Whoever renews holds the account's lock in the store, so any number of processes may
use one account. In an event loop give `Bearer` a `Threaded` of a source, from `sasl.adapters.tokens.threaded`.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any, Final, NoReturn, final

from sasl.errors import TokenError, UsageError, bare
from sasl.secret import Secret
from sasl.value import replace

from .http import Request, seconds_of
from .kept import LEEWAY, Kept
from .messages import Client, client_credentials_form, refresh_form, send
from .record import Record
from .renewal import Renewal
from .store import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Callable

    from sasl.credentials import AccessToken

    from .kept import Need
    from .messages import Answer
    from .store import Store

    Event = Callable[[str, str, TokenError | None], object]

_JITTER: Final = 60.0  # seconds
_REQUEST: Final = Request()


@final
class OAuthTokens:
    """Gives the access tokens of a grant in a store, renewed where they have to be.

    `key` is the account's name in the store. `client` is for what no store keeps, as the key of a certificate: by
    default the client is the one in the record. `request` sends the HTTP requests, a `Request` by default. `leeway` is
    the seconds before its end when a token is renewed.
    `on_event(kind, key, error)` is called with "renewed", "failed" or "needs_user", once for each change; never with a
    token. It may not ask this source for one: the renewal is not over yet.
    Raises nothing itself; `token` raises TokenError.
    """

    __slots__ = ("_client", "_clock", "_kept", "_on_event", "_renew", "_request", "_store", "_told", "key")

    def __init__(
        self,
        store: Store,
        key: str,
        *,
        client: Client | None = None,
        request: Callable[..., Any] | None = None,
        leeway: float = LEEWAY,
        on_event: Event | None = None,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self.key = key
        self._store = store
        self._clock = clock
        self._client = client
        self._request = request or _REQUEST
        self._on_event = on_event
        self._told = ""
        self._renew = Renewal(store, key, self._send, timeout=self._seconds, leeway=leeway, clock=clock, sleep=sleep)
        self._kept = Kept(self._fetch, leeway=leeway, jitter=min(_JITTER, leeway / 5), clock=clock)

    def __repr__(self) -> str:
        return f"OAuthTokens({self.key!r})"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a source of tokens is neither pickled nor copied")

    def token(self, *, stale: str | None = None) -> AccessToken:
        """Return a token that is good now, and not the one in `stale`.

        Nothing is asked while the one at hand is good for more than the leeway. One that ends sooner is renewed, and
        given meanwhile. Raises TokenError: with a `hint` for a person, `retryable`, `needs_user`.
        """
        if stale is None:
            return self._kept.token()
        refused = Secret(stale)
        del stale  # no frame of an error shows it
        return self._kept.another(refused)

    def held(self) -> AccessToken | None:
        """Return the token at hand if nothing has to be asked, else None."""
        return self._kept.held()

    def _seconds(self) -> float:
        return seconds_of(self._request)

    def _fetch(self, need: Need) -> AccessToken:
        alive = self._find_alive(need) if need.patient else None
        try:
            token = self._renew(need if alive is None else replace(need, patient=False))
        except TokenError as error:
            failure = bare(error)
        else:
            self._tell("renewed", None)
            return token
        self._tell("needs_user" if failure.needs_user else "failed", failure)
        if alive is not None:
            return alive
        raise failure

    def _find_alive(self, need: Need) -> AccessToken | None:
        """Return the stored token if it can be used while no newer one is to be had, as a process does that begins."""
        record = self._store.load(self.key)
        token = None if record is None else record.token()
        if record is None or token is None or token.value == need.stale:
            return None
        return token if record.expires_at is None or self._clock() < record.expires_at else None

    def _tell(self, kind: str, error: TokenError | None) -> None:
        """Tell of a change, once."""
        state = kind if error is None else f"{kind} {error.code}"
        if self._on_event is None or (kind != "renewed" and state == self._told):
            self._told = state
            return
        self._told = state
        try:
            self._on_event(kind, self.key, error)
        except Exception as raised:
            logging.getLogger("sasl").warning("on_event failed with %s", type(raised).__name__)

    def _send(self, record: Record) -> Answer:
        client = self._client or record.client()
        if record.refresh_token is not None:
            form = refresh_form(record.refresh_token, record.scope)
        elif client.secret is None and client.assertion is None:
            raise TokenError("no refresh token is stored", code="no_grant", needs_user=True, hint="Sign in again.")
        else:
            form = client_credentials_form(record.scope)
        try:
            return send(self._request, record.token_endpoint, client, form)
        except BaseException as error:
            failure = bare(error)
        del form
        raise failure


def client_credentials(
    token_endpoint: str,
    client: Client,
    scope: str | None,
    *,
    user: str = "",
    store: Store | None = None,
    key: str | None = None,
    **options: Any,
) -> OAuthTokens:
    """Return a source of tokens that a program gets for itself (RFC 6749 section 4.4).

    `client` has a secret or an assertion. `scope` is for instance "https://outlook.office365.com/.default". `user` is
    the mailbox, for whoever looks into the store. With a `store` processes share the token; its key is the token
    endpoint and the client id, unless it is given. `options` are those of `OAuthTokens`.
    Raises UsageError for a public client and for a key under which a person's grant is kept, TokenError if the store
    fails.
    """
    if client.secret is None and client.assertion is None:
        raise UsageError("client credentials are a secret or an assertion")
    key = key or f"{token_endpoint} {client.client_id}"
    store = store or MemoryStore()
    record = Record(key, user or client.client_id, token_endpoint, client.client_id, scope=scope or None)
    stored = store.load(key)
    if stored is not None and stored.refresh_token is not None:
        raise UsageError("the grant of a person is kept under this key")
    if stored is None or _settings(stored) != _settings(record):
        store.put(record)  # the client's secret stays here
    elif stored.refused is not None:
        store.put(replace(stored, refused=None))  # what was wrong with the client may be put right by now
    return OAuthTokens(store, key, client=client, **options)


def _settings(record: Record) -> tuple[str | None, ...]:
    return record.user, record.token_endpoint, record.client_id, record.scope
