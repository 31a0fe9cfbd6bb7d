"""What becomes of a grant whose renewals die, stop, are many, or are outrun by a sign-in: the same for every store."""

from __future__ import annotations

import signal
import time
from contextlib import ExitStack, contextmanager
from itertools import product
from typing import TYPE_CHECKING, Any, get_args

from sasl.adapters.reference import token_endpoint
from sasl.adapters.reference.grants import Reuse
from sasl.adapters.tokens.oauth import OAuthTokens

from .grants import grant_of
from .servers import becomes_true
from .workers import POINTS, Crew, store_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sasl.adapters.reference.token_endpoint import TokenEndpoint

    Place = Callable[[str], dict[str, Any]]
    """Gives the settings of a worker for an account of that name."""

LOST = ("sent", "answered", "storing")
"""Where nobody can keep a grant of a strict server: the refresh token that is stored is void, its successor died."""

SHORT = {"timeout": 1.0, "lease": 1.6}
"""For workers that do not come back: others wait until the lease runs out."""


@contextmanager
def endpoints() -> Iterator[dict[Reuse, TokenEndpoint]]:
    """Start a token endpoint of each kind of reuse."""
    with ExitStack() as stack:
        found = {}
        for reuse in get_args(Reuse):
            found[reuse] = endpoint = stack.enter_context(token_endpoint.running())
            endpoint.rotates, endpoint.reuse = True, reuse
        yield found


def sign_in(settings: dict[str, Any], endpoint: TokenEndpoint) -> dict[str, Any]:
    """Store a new grant of alice's; return the settings."""
    with opened(settings) as store:
        store.put(grant_of(endpoint, settings["key"]))
    return settings


@contextmanager
def opened(settings: dict[str, Any]) -> Iterator[Any]:
    """Open the store of the settings."""
    store = store_of(settings)
    try:
        yield store
    finally:
        if hasattr(store, "close"):
            store.close()


def stored_token(settings: dict[str, Any]) -> str:
    """Return the access token that is stored."""
    with opened(settings) as store:
        record = store.load(settings["key"])
    assert record is not None
    assert record.access_token is not None
    return str(record.access_token.reveal())


def check_kills(place: Place, endpoints: dict[Reuse, TokenEndpoint], *, sure: bool) -> None:
    """A worker is killed at each point, at each kind of endpoint; then another one asks.

    `sure`: whether one that dies while it stores has certainly stored nothing.
    """
    cases = {
        (reuse, point): sign_in(place(f"{reuse} {point}"), endpoints[reuse])
        for reuse, point in product(endpoints, POINTS)
    }
    first = Crew(settings | SHORT | {"point": point} for (_, point), settings in cases.items()).outcomes()
    assert first == [{"status": -signal.SIGKILL}] * len(cases)
    for (reuse, point), found in zip(cases, Crew(cases.values()).outcomes(), strict=True):
        if reuse == "strict" and point in LOST and (sure or point != "storing" or found["failed"]):
            assert (found["failed"], found["needs_user"]) == (["interrupted"], True), point
        else:
            assert found["failed"] == [], (reuse, point)
            assert endpoints[reuse].state(found["token"]) == "good", (reuse, point)


# Where a worker is stopped for longer than its lease, and what its grant comes to. One that looks at the lease after
# that sends nothing; one that has looked sends what is void by then, which no lease can prevent.
KEPT, REVOKED, INTERRUPTED = "kept", "revoked", "interrupted"
STOPS: dict[tuple[Reuse, str], str] = {
    ("strict", "marked"): KEPT,
    ("strict", "sending"): REVOKED,
    ("strict", "answered"): INTERRUPTED,
    ("grace", "marked"): KEPT,
    ("grace", "sending"): REVOKED,  # the former token is taken once more, which makes its stored successor void
    ("grace", "answered"): KEPT,
    ("keep", "marked"): KEPT,
    ("keep", "sending"): KEPT,
    ("keep", "answered"): KEPT,
}


def check_stops(place: Place, endpoints: dict[Reuse, TokenEndpoint]) -> None:
    """A worker is stopped for longer than its lease, and another one asks; the first goes on; a third one asks.

    What the second one stored stays stored, whatever the first one brings. Where the grant is lost, all are told.
    """
    cases = {case: sign_in(place(" ".join(case)), endpoints[case[0]]) for case in STOPS}
    crew = Crew(settings | SHORT | {"point": point, "stop": True} for (_, point), settings in cases.items())
    crew.wait_until_stopped()
    second = Crew(cases.values()).outcomes()
    crew.go_on()
    late = crew.outcomes()
    for case, first, other in zip(cases, late, second, strict=True):
        if STOPS[case] == INTERRUPTED:
            assert (first["failed"], other["failed"]) == (["interrupted"], ["interrupted"]), case
        else:
            assert other["failed"] == [], case
            assert stored_token(cases[case]) == other["token"], case
            assert first["failed"] == (["locked"] if case[1] == "marked" else []), case
            assert first.get("token", other["token"]) == other["token"], case
    each = [settings | {"stale": found.get("token")} for settings, found in zip(cases.values(), second, strict=True)]
    for case, third in zip(cases, Crew(each).outcomes(), strict=True):
        if STOPS[case] == KEPT:
            assert third["failed"] == [], case
            assert endpoints[case[0]].state(third["token"]) == "good", case
        else:
            code = "interrupted" if STOPS[case] == INTERRUPTED else "invalid_grant"
            assert (third["failed"], third["needs_user"]) == ([code], True), case


def check_wait(place: Place, endpoint: TokenEndpoint) -> None:
    """A worker is stopped while it holds a lock that only its end frees: another one waits, and both have one token."""
    settings = sign_in(place("wait"), endpoint)
    crew = Crew([settings | SHORT | {"point": "answered", "stop": True}])
    crew.wait_until_stopped()
    second = Crew([settings])
    time.sleep(SHORT["lease"])
    assert second.is_running()
    crew.go_on()
    found = crew.outcomes() + second.outcomes()
    assert len({each["token"] for each in found}) == 1
    assert [asked.outcome for asked in endpoint.requests] == ["granted"]


def check_sign_in(place: Place, endpoint: TokenEndpoint) -> None:
    """Somebody signs in while a worker has an answer that it has not stored: the sign-in stays."""
    settings = sign_in(place("sign-in"), endpoint)
    crew = Crew([settings | {"point": "answered", "stop": True}])
    crew.wait_until_stopped()
    sign_in(settings, endpoint)
    crew.go_on()
    (found,) = crew.outcomes()
    assert found["failed"] == []
    assert [asked.outcome for asked in endpoint.requests] == ["granted"] * 2
    assert found["token"] == stored_token(settings)
    assert endpoint.state(found["token"]) == "good"


def check_crowd(
    place: Place, endpoint: TokenEndpoint, seconds: float, in_the_middle: Callable[[], object] | None = None
) -> None:
    """Eight processes renew one account for some seconds, at a server that lets a refresh token be used once.

    Nothing fails, but for a store whose server is killed in the middle: it is out of reach for a moment, and a lease
    that could not be given back meanwhile has to run out.
    """
    settings = sign_in(place("crowd"), endpoint)
    ends_soon = {} if in_the_middle is None else {"timeout": 5.0, "lease": 8.0}
    crew = Crew([settings | ends_soon | {"seconds": seconds}] * 8)
    if in_the_middle is not None:
        assert becomes_true(lambda: len(endpoint.requests) > 0, within=30)
        time.sleep(seconds / 3)
        in_the_middle()
    found = crew.outcomes()
    failed = {code for each in found for code in each["failed"]}
    assert failed <= (set() if in_the_middle is None else {"store_unreachable", "locked"})
    assert sum(each["renewed"] for each in found) >= len(endpoint.requests)
    last = stored_token(settings)
    assert endpoint.state(last) == "good"
    with opened(settings) as store:
        assert OAuthTokens(store, settings["key"]).token(stale=last).value != last
    assert {asked.outcome for asked in endpoint.requests} == {"granted"}
