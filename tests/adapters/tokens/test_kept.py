"""The token at hand: given without asking, renewed by one of many, and kept while it is alive."""

from __future__ import annotations

import copy
import os
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest

import sasl
from sasl.adapters.tokens.kept import Kept, Need, pause

NOW = 1_800_000_000.0


class Source:
    """Gives numbered tokens, or raises what it is told to.

    Attributes:
        needs: what it was asked for.
        failures: what it raises next, one each.
    """

    def __init__(self, life: float | None = 3_600, **options: Any) -> None:
        self.now = NOW
        self.life = life
        self.needs: list[Need] = []
        self.failures: list[BaseException] = []
        self.kept = Kept(self.fetch, clock=lambda: self.now, **options)

    def fetch(self, need: Need) -> sasl.AccessToken:
        self.needs.append(need)
        if self.failures:
            raise self.failures.pop(0)
        ends = None if self.life is None else datetime.fromtimestamp(self.now + self.life, UTC)
        return sasl.AccessToken(f"token-{len(self.needs)}", ends)

    def token(self, stale: str | None = None) -> str:
        return self.kept.token(stale=stale).value.reveal()

    def error(self, stale: str | None = None) -> sasl.TokenError:
        with pytest.raises(sasl.TokenError) as caught:
            self.kept.token(stale=stale)
        return caught.value


def test_a_token_is_asked_for_once_until_shortly_before_its_end() -> None:
    source = Source()
    assert {source.token() for _ in range(5)} == {"token-1"}
    source.now += 3_299
    assert source.token() == "token-1"
    source.now += 2
    assert source.token() == "token-2"
    assert [need.patient for need in source.needs] == [True, False]


def test_a_life_shorter_than_the_margin_is_used_to_its_half() -> None:
    source = Source(life=60)
    source.token()
    source.now += 29
    assert source.token() == "token-1"
    source.now += 2
    assert source.token() == "token-2"


def test_a_token_without_an_end_is_given_until_it_is_refused() -> None:
    source = Source(life=None)
    source.token()
    source.now += 1e9
    assert (source.token(), source.token("token-1")) == ("token-1", "token-2")


def test_a_refused_token_is_told_to_the_source_for_ever() -> None:
    source = Source()
    source.token()
    source.token("token-1")
    source.now += 4_000
    source.token()
    assert [need.stale and need.stale.reveal() for need in source.needs] == [None, "token-1", "token-1"]


def test_a_token_that_was_refused_elsewhere_changes_nothing() -> None:
    source = Source()
    source.token()
    assert source.token("token-0") == "token-1"


def test_a_token_that_was_refused_before_anything_was_asked_is_told_to_the_source() -> None:
    source = Source()
    source.token("token-0")
    assert [need.stale and need.stale.reveal() for need in source.needs] == ["token-0"]


@pytest.mark.parametrize("later", [0, 1, 100])
def test_a_token_that_is_over_is_not_given_between_two_tries(later: float) -> None:
    source = Source(life=60)
    source.token()
    source.failures = [sasl.TokenError("no", code="timeout", retryable=True)] * 4
    source.now += 59.5
    assert source.token() == "token-1"
    source.now += 0.5
    assert source.error().code == "timeout"
    source.now += later
    assert source.error().code == "timeout"


def test_a_source_that_has_nothing_newer_is_told_so() -> None:
    source = Source()
    source.token()
    source.kept._fetch = lambda _need: sasl.AccessToken("token-1")
    error = source.error("token-1")
    assert (error.code, error.needs_user) == ("stale_token", True)
    source.kept._fetch = source.fetch
    assert source.token() == "token-2"


@pytest.mark.parametrize("retryable", [True, False])
def test_the_old_token_goes_on_while_it_is_alive(retryable: bool) -> None:
    source = Source()
    source.token()
    source.now += 3_400
    source.failures = [sasl.TokenError("no", code="unreachable", retryable=retryable)] * 9
    assert source.token() == "token-1"
    source.now += 201
    error = source.error()
    assert (error.code, error.retryable) == ("unreachable", retryable)


def test_a_failed_renewal_is_not_tried_at_each_call() -> None:
    source = Source()
    source.token()
    source.now += 3_400
    source.failures = [sasl.TokenError("no", retryable=True)] * 3
    asked = []
    for _ in range(16):
        source.token()
        asked.append(len(source.needs) - 1)
        source.now += 1
    assert asked == [1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3, 4, 4]


def test_a_refused_token_is_never_the_old_one_that_goes_on() -> None:
    source = Source()
    source.token()
    source.failures = [sasl.TokenError("no", code="timeout", retryable=True)]
    assert source.error("token-1").code == "timeout"


def test_an_error_of_somebody_elses_source_is_shown_by_its_type_alone() -> None:
    source = Source()
    source.failures = [ValueError("refresh token: hunter2")]
    error = source.error()
    assert (error.code, "hunter2" in str(error), "ValueError" in str(error)) == ("refresh_failed", False, True)
    assert (error.__cause__, error.__context__) == (None, None)


def test_an_interruption_leaves_as_it_is_and_the_next_call_asks_again() -> None:
    source = Source()
    source.failures = [KeyboardInterrupt()]
    with pytest.raises(KeyboardInterrupt):
        source.token()
    assert source.token() == "token-2"


def test_every_thread_gets_an_error_of_its_own() -> None:
    source = Source()
    source.failures = [sasl.TokenError("no", code="a", hint="do", retry_after=3.0)] * 2
    one, other = source.error(), source.error()
    assert one is not other
    assert (one.code, one.hint, one.retry_after) == ("a", "do", 3.0)


def test_of_many_threads_one_asks() -> None:
    """spec/corpus: policy_and_state-0026."""
    arrived = threading.Barrier(65, timeout=30)
    release = threading.Event()
    calls = []

    def fetch(need: Need) -> sasl.AccessToken:
        calls.append(need)
        release.wait(30)
        return sasl.AccessToken("new")

    kept = Kept(fetch)

    def ask() -> str:
        arrived.wait()
        return kept.token(stale="old").value.reveal()

    with ThreadPoolExecutor(64) as pool:
        asking = [pool.submit(ask) for _ in range(64)]
        arrived.wait()
        release.set()
        assert {one.result() for one in asking} == {"new"}
    assert len(calls) == 1


def test_who_waited_for_a_failure_takes_it() -> None:
    inside, release = threading.Event(), threading.Event()
    calls = []

    def fetch(need: Need) -> sasl.AccessToken:
        calls.append(need)
        inside.set()
        release.wait(30)
        raise sasl.TokenError("no", code="timeout")

    kept = Kept(fetch)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(kept.token)
        inside.wait(30)
        second = pool.submit(kept.token)
        while not second.running():
            pass
        release.set()
        codes = [one.exception().code for one in (first, second)]  # type: ignore[union-attr]
    assert codes == ["timeout", "timeout"]
    assert len(calls) in (1, 2)  # the second one may have come when the first was over


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_does_not_wait_for_a_thread_that_it_has_not_got() -> None:
    source = Source()
    with source.kept._lock:  # as a thread that renews
        child = os.fork()
        if child == 0:
            os._exit(0 if source.token() == "token-1" else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_a_clock_that_jumps_back_costs_no_more_than_a_refused_login() -> None:
    source = Source()
    source.token()
    source.now -= 1e6
    assert source.token() == "token-1"
    assert source.token("token-1") == "token-2"


def test_what_is_at_hand_can_be_looked_at() -> None:
    source = Source()
    assert source.kept.held() is None
    source.token()
    held = source.kept.held()
    assert held is not None
    assert held.value.reveal() == "token-1"
    source.now += 3_301
    assert source.kept.held() is None


def test_processes_differ_in_when_they_renew() -> None:
    ends = {Source(jitter=60.0).kept._leeway for _ in range(20)}
    assert len(ends) > 1
    assert all(240 < leeway <= 300 for leeway in ends)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, pickle.dumps])
def test_it_is_neither_pickled_nor_copied(copied: Any) -> None:
    with pytest.raises(TypeError):
        copied(Source().kept)


def test_pauses_grow_to_five_minutes() -> None:
    assert [pause(failures) for failures in (1, 2, 8, 9, 10_000)] == [2, 4, 256, 300, 300]
