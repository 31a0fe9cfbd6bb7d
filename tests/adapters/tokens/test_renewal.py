"""The steps of a renewal, one by one: what is sent, what is stored, and what is left if the process ends in between."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest

import sasl
from sasl.adapters.tokens.kept import Need
from sasl.adapters.tokens.record import Pending, Record, parse_record
from sasl.adapters.tokens.refusals import refusal
from sasl.adapters.tokens.renewal import Renewal
from sasl.adapters.tokens.store import Lease, MemoryStore
from sasl.value import replace

from ...support.authorization import Authorization, Mode

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY = "me@example.com"
NOW = 1_800_000_000.0
OVER = Need(None, patient=True)
DUE = Need(None, patient=False)


class Clock:
    """A clock that goes on when somebody waits."""

    def __init__(self) -> None:
        self.now = NOW
        self.waits: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds


class World:
    """A store, an authorization server and a clock."""

    def __init__(self, mode: Mode = "strict", **fields: Any) -> None:
        self.clock = Clock()
        self.server = Authorization(mode)
        self.store: Any = MemoryStore()
        self.store.put(record(**fields))

    def renewal(self) -> Renewal:
        """What another process has."""
        return Renewal(
            self.store, KEY, self.server.send, timeout=lambda: 10.0, clock=self.clock, sleep=self.clock.sleep
        )

    def stored(self) -> Record:
        found = self.store.load(KEY)
        assert isinstance(found, Record)
        return found

    def change(self, **fields: Any) -> None:
        """Let somebody else store something under the lock."""
        with self.store.locked(KEY, 0) as lease:
            self.store.save(replace(self.stored(), **fields), lease)


def record(**fields: Any) -> Record:
    fields = {"refresh_token": sasl.Secret("refresh-0"), "granted_at": NOW} | fields
    return Record(KEY, KEY, "http://127.0.0.1/token", "client", **fields)


def text(token: sasl.AccessToken) -> str:
    return token.value.reveal()


def failure(renewal: Renewal, need: Need = OVER) -> sasl.TokenError:
    with pytest.raises(sasl.TokenError) as caught:
        renewal(need)
    return caught.value


def secret(content: sasl.Secret | None) -> str | None:
    return None if content is None else content.reveal()


# --- what a renewal does


def test_what_is_granted_is_stored_with_its_end() -> None:
    world = World()
    token = world.renewal()(OVER)
    assert (text(token), token.scope, token.expires_at and token.expires_at.timestamp()) == (
        "access-1",
        "mail",
        NOW + 3_600,
    )
    stored = world.stored()
    assert (secret(stored.refresh_token), secret(stored.access_token)) == ("refresh-1", "access-1")
    assert (stored.pending, stored.refused, stored.retry_at, stored.failures) == (None, None, None, 0)


def test_a_token_that_another_process_has_stored_is_taken_without_asking_anybody() -> None:
    world = World()
    world.renewal()(OVER)
    assert text(world.renewal()(OVER)) == "access-1"
    assert len(world.server.sent) == 1


def test_the_mark_of_a_renewal_is_stored_before_anything_is_sent() -> None:
    world = World()
    seen: list[Pending | None] = []
    renewal = Renewal(
        world.store, KEY, lambda _: (seen.append(world.stored().pending), world.server.send(record()))[1],
        timeout=lambda: 10.0, clock=world.clock,
    )  # fmt: skip
    renewal(OVER)
    assert seen[0] is not None
    assert (seen[0].since, seen[0].until) == (NOW, NOW + 10)


def test_a_refresh_token_that_does_not_rotate_is_kept() -> None:
    world = World("never")
    world.renewal()(OVER)
    assert secret(world.stored().refresh_token) == "refresh-0"


def test_a_stale_token_is_renewed_although_its_time_is_not_over() -> None:
    world = World()
    stale = world.renewal()(OVER).value
    assert text(world.renewal()(Need(stale, patient=True))) == "access-2"


@pytest.mark.parametrize(
    ("lifetime", "left", "renewed"), [(3_600, 301, False), (3_600, 299, True), (60, 31, False), (60, 29, True)]
)
def test_a_token_is_renewed_before_its_end_and_never_before_half_of_its_life(
    lifetime: float, left: float, renewed: bool
) -> None:
    world = World()
    world.server.lifetime = lifetime
    world.renewal()(OVER)
    world.clock.now += lifetime - left
    world.renewal()(OVER)
    assert (len(world.server.sent) == 2) is renewed


def test_a_token_whose_end_nobody_knows_is_good_until_it_is_refused() -> None:
    world = World()
    world.server.lifetime = None
    world.renewal()(OVER)
    world.clock.now += 1e6
    assert text(world.renewal()(OVER)) == "access-1"


def test_while_a_token_is_alive_nobody_waits_for_whoever_renews_it() -> None:
    world = World()
    with world.store.locked(KEY, 0):
        assert (failure(world.renewal(), DUE).code, world.clock.waits) == ("locked", [])


def test_nothing_is_sent_for_an_account_that_is_not_stored() -> None:
    world = World()
    world.store.delete(KEY)
    error = failure(world.renewal())
    assert (error.code, error.needs_user, world.server.sent) == ("no_grant", True, [])


# --- refusals (spec/corpus: policy_and_state-0027, -0028, -0032)


def test_a_void_grant_is_asked_for_once_in_all_processes_until_somebody_signs_in() -> None:
    world = World()
    world.server.revoked = True
    for _ in range(3):
        error = failure(world.renewal())
        assert (error.code, error.needs_user, bool(error.hint)) == ("invalid_grant", True, True)
        world.clock.now += 1e6
    assert len(world.server.sent) == 1
    world.store.put(record(refresh_token=sasl.Secret(world.server.sign_in())))
    assert text(world.renewal()(OVER)) == "access-2"


@pytest.mark.parametrize("code", ["invalid_client", "admin_policy_enforced"])
def test_what_an_administrator_can_put_right_is_tried_again_after_an_hour(code: str) -> None:
    world = World()
    world.server.failures = [refusal(code)]
    assert [failure(world.renewal()).code for _ in range(2)] == [code, code]
    assert len(world.server.sent) == 1
    world.clock.now += 3_601
    assert text(world.renewal()(OVER)) == "access-1"


def test_a_failure_that_may_pass_is_tried_again_later_and_later() -> None:
    world = World()
    waits = []
    for _ in range(10):
        world.server.failures = [refusal("", status=500)]
        assert failure(world.renewal()).retryable
        later = failure(world.renewal())
        assert (later.code, later.retryable) == ("later", True)
        assert later.retry_after is not None
        waits.append(later.retry_after)
        world.clock.now += later.retry_after
    assert waits == [2, 4, 8, 16, 32, 64, 128, 256, 300, 300]
    assert len(world.server.sent) == 10
    assert text(world.renewal()(OVER)) == "access-1"


@pytest.mark.parametrize(("said", "waited"), [(17, 17), (1_200, 1_200), (86_400, 3_600)])
def test_the_server_says_when_to_come_again_within_an_hour(said: float, waited: float) -> None:
    world = World()
    world.server.failures = [refusal("", status=429, retry_after=said)]
    failure(world.renewal())
    assert failure(world.renewal()).retry_after == waited


def test_a_wait_that_a_clock_has_made_endless_is_none() -> None:
    world = World(retry_at=NOW + 1e6)
    assert text(world.renewal()(OVER)) == "access-1"


def test_a_void_grant_that_somebody_replaced_meanwhile_is_sent_anew_once() -> None:
    world = World()

    def send(sent: Record) -> Any:
        if secret(sent.refresh_token) == "refresh-0":
            world.store.put(record(refresh_token=sasl.Secret(world.server.sign_in())))
            raise refusal("invalid_grant")
        return world.server.send(sent)

    renewal = Renewal(world.store, KEY, send, timeout=lambda: 10.0, clock=world.clock)
    assert text(renewal(OVER)) == "access-2"


def test_two_sign_ins_in_the_middle_end_in_an_error_that_may_pass() -> None:
    world = World()

    def send(sent: Record) -> Any:
        world.store.put(record(refresh_token=sasl.Secret(world.server.sign_in())))
        raise refusal("invalid_grant")

    error = failure(Renewal(world.store, KEY, send, timeout=lambda: 10.0, clock=world.clock))
    assert (error.code, error.retryable) == ("superseded", True)


def test_a_sign_in_outranks_a_renewal_that_runs() -> None:
    world = World()

    def send(sent: Record) -> Any:
        answer = world.server.send(sent)
        if len(world.server.sent) == 1:
            world.store.put(record(refresh_token=sasl.Secret(world.server.sign_in())))
        return answer

    token = Renewal(world.store, KEY, send, timeout=lambda: 10.0, clock=world.clock)(OVER)
    assert (text(token), world.server.sent) == ("access-3", ["refresh-0", "refresh-2"])
    assert secret(world.stored().refresh_token) == "refresh-3"


def test_a_sign_out_in_the_middle_brings_nothing_back() -> None:
    world = World()

    def send(sent: Record) -> Any:
        world.store.delete(KEY)
        return world.server.send(sent)

    assert failure(Renewal(world.store, KEY, send, timeout=lambda: 10.0, clock=world.clock)).code == "no_grant"
    assert world.store.load(KEY) is None


# --- a store that fails


class Failing:
    """A store that fails to save after so many times."""

    def __init__(self, store: Any, good: int, codes: list[str]) -> None:
        self._store = store
        self._good = good
        self._codes = codes

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def save(self, record: Record, lease: Lease) -> Record:
        self._good -= 1
        if self._good < 0 and self._codes:
            raise sasl.TokenError("no", code=self._codes.pop(0), retryable=True)
        saved = self._store.save(record, lease)
        assert isinstance(saved, Record)
        return saved


def test_a_new_refresh_token_that_cannot_be_stored_is_given_to_nobody_and_stored_at_the_next_call() -> None:
    world = World()
    renewal, plain = world.renewal(), world.store
    renewal._store = Failing(plain, 1, ["not_stored", "not_stored"])
    assert failure(renewal).code == "not_stored"
    assert failure(renewal).code == "not_stored"
    assert secret(world.stored().refresh_token) == "refresh-0"
    assert text(renewal(OVER)) == "access-1"
    assert (secret(world.stored().refresh_token), world.server.sent) == ("refresh-1", ["refresh-0"])


def test_what_could_not_be_stored_is_dropped_where_somebody_has_signed_in() -> None:
    world = World()
    renewal = world.renewal()
    renewal._store = Failing(world.store, 1, ["not_stored"])
    failure(renewal)
    world.store.put(record(refresh_token=sasl.Secret(world.server.sign_in())))
    assert text(renewal(OVER)) == "access-3"


def test_an_access_token_that_cannot_be_stored_is_given_all_the_same() -> None:
    world = World("never")
    renewal = world.renewal()
    renewal._store = Failing(world.store, 1, ["not_stored"])
    assert text(renewal(OVER)) == "access-1"


def test_a_store_that_does_not_answer_for_a_moment_is_tried_until_it_does() -> None:
    world = World()
    renewal = world.renewal()
    renewal._store = Failing(world.store, 1, ["store_unreachable"] * 4)
    assert text(renewal(OVER)) == "access-1"
    assert secret(world.stored().refresh_token) == "refresh-1"


def test_a_store_that_does_not_answer_at_all_is_waited_for_as_long_as_for_an_answer() -> None:
    world = World()
    renewal = world.renewal()
    renewal._store = Failing(world.store, 1, ["store_unreachable"] * 100)
    error = failure(renewal)
    assert (error.code, error.retryable) == ("not_stored", True)
    assert 10 <= sum(world.clock.waits) < 12


def test_a_reason_that_cannot_be_stored_is_told_all_the_same() -> None:
    world = World()
    world.server.revoked = True
    renewal = world.renewal()
    renewal._store = Failing(world.store, 1, ["not_stored"])
    assert failure(renewal).code == "invalid_grant"


def test_a_refusal_without_a_code_leaves_a_record_that_can_be_read() -> None:
    """As one by whoever sends requests in a way of their own."""
    world = World()
    world.server.failures = [sasl.TokenError("no", needs_user=True)]
    assert failure(world.renewal()).needs_user
    assert parse_record(world.stored().encode()).refresh_token == "refresh-0"


class Short:
    """A store whose lease is over when it is looked at."""

    def __init__(self, store: Any) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def locked(self, key: str, seconds: float) -> Any:
        @contextlib.contextmanager
        def lock() -> Iterator[Any]:
            with self._store.locked(key, seconds) as lease:

                class Paused:
                    fence = lease.fence

                    def left(self) -> float:
                        return 10.0

                yield Paused()

        return lock()


def test_nothing_is_sent_with_a_lease_that_may_end_before_the_answer() -> None:
    world = World()
    renewal = world.renewal()
    renewal._store = Short(world.store)
    error = failure(renewal)
    assert (error.code, error.retryable, world.server.sent) == ("locked", True, [])
    assert "longer lease" in error.hint  # it may be one that no request fits into


# --- a process that ends between two steps


def steps_until(renewal: Renewal, calls: int) -> bool:
    """Make so many calls of a renewal, then stop as a killed process does; return whether it was over before."""
    steps = renewal.steps(OVER)
    result: Any = None
    for _ in range(calls):
        try:
            call = steps.send(result)
        except StopIteration:
            return True
        result = call()
    lock = steps.gi_frame.f_locals.get("lock") if steps.gi_frame is not None else None
    if lock is not None:
        lock.gen.close()  # the lock is free when its holder is dead
    with contextlib.suppress(Killed):  # the calls that this leads to are not made
        steps.throw(Killed)
        steps.send(None)
    return False


class Killed(BaseException):
    """What a process that is killed does not see."""


@pytest.mark.parametrize("mode", ["strict", "grace", "keep", "never"])
def test_a_process_that_is_killed_loses_a_grant_only_where_the_server_lets_nobody_help(mode: Mode) -> None:
    """Load, lock, load, save the mark, send, save, unlock: killed after each of them."""
    outcomes = []
    for calls in range(1, 20):
        world = World(mode)
        over = steps_until(world.renewal(), calls)
        sent = len(world.server.sent)
        outcome = "recovered"
        try:
            world.renewal()(OVER)
        except sasl.TokenError as error:
            outcome = f"{error.code}: sent {sent}, needs_user {error.needs_user}"
        outcomes.append(outcome)
        if over:
            break
    lost = "interrupted: sent 1, needs_user True" if mode == "strict" else "recovered"
    assert outcomes == ["recovered", "recovered", "recovered", "recovered", lost, "recovered", "recovered", "recovered"]


@pytest.mark.parametrize("code", ["no_connection", "bad_endpoint", "certificate", "http_429", "timeout", "http_503"])
def test_a_renewal_is_interrupted_only_where_the_request_may_have_done_something(code: str) -> None:
    """A machine without a network, for instance, has not lost its grant."""
    world = World("grace")
    world.server.failures = [sasl.TokenError("no", code=code, retryable=True)]
    failure(world.renewal())
    assert (world.stored().pending is not None) == (code in ("timeout", "http_503"))


def test_a_failure_that_sends_nothing_does_not_undo_the_mark_of_an_earlier_interruption() -> None:
    world = World()
    world.change(pending=Pending("somebody", NOW - 20, NOW - 10))
    world.server.failures = [sasl.TokenError("no", code="no_connection", retryable=True)]
    failure(world.renewal())
    assert world.stored().pending is not None
    world.clock.now += 300
    world.server.revoked = True
    assert failure(world.renewal()).code == "interrupted"


def test_the_request_of_a_dead_holder_is_waited_for_where_no_token_is_alive() -> None:
    world = World("grace")
    world.change(pending=Pending("somebody", NOW - 4, NOW + 6))
    assert text(world.renewal()(OVER)) == "access-1"
    assert world.clock.waits == [6]


def test_the_request_of_a_dead_holder_is_not_waited_for_while_a_token_is_alive() -> None:
    world = World("grace")
    world.change(pending=Pending("somebody", NOW - 4, NOW + 6))
    assert failure(world.renewal(), DUE).code == "locked"
    assert (world.clock.waits, world.server.sent) == ([], [])


@pytest.mark.parametrize(("waits", "sent"), [(4, 1), (6, 0)])
def test_nothing_is_sent_where_waiting_has_left_too_little_time_for_an_answer(waits: float, sent: int) -> None:
    """As in `sasl token get`, which has ten seconds for everything: an answer that comes too late is a lost grant."""
    world = World()
    world.change(pending=Pending("somebody", NOW - 4, NOW + waits))
    ends = NOW + 10

    def left() -> float:
        return ends - world.clock.now

    renewal = Renewal(world.store, KEY, world.server.send, timeout=left, clock=world.clock, sleep=world.clock.sleep)
    if sent:
        assert text(renewal(OVER)) == "access-1"
    else:
        error = failure(renewal)
        assert (error.code, error.retryable) == ("timeout", True)
    assert len(world.server.sent) == sent


def test_a_mark_of_the_far_future_is_not_waited_for_longer_than_for_an_answer() -> None:
    world = World("grace")
    world.change(pending=Pending("somebody", NOW, NOW + 1e6))
    world.renewal()(OVER)
    assert world.clock.waits == [10]


def test_an_interruption_frees_the_lock_and_leaves_the_mark() -> None:
    world = World()

    def interrupted(_record: Record) -> Any:
        raise KeyboardInterrupt

    renewal = Renewal(world.store, KEY, interrupted, timeout=lambda: 10.0, clock=world.clock)
    with pytest.raises(KeyboardInterrupt):
        renewal(OVER)
    assert world.stored().pending is not None
    with world.store.locked(KEY, 0):
        pass


class Raising:
    """A store whose save is interrupted once, after so many; with `late`, when it is done."""

    def __init__(self, store: Any, good: int, raised: type[BaseException], *, late: bool = False) -> None:
        self._store = store
        self._good = good
        self._raised = raised
        self._late = late

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def save(self, record: Record, lease: Lease) -> Record:
        self._good -= 1
        if self._good == -1:
            if self._late:
                self._store.save(record, lease)
            raise self._raised
        saved = self._store.save(record, lease)
        assert isinstance(saved, Record)
        return saved


def test_an_interruption_while_a_new_refresh_token_is_stored_loses_nothing_in_this_process() -> None:
    """As of Ctrl-C in an interpreter that goes on, or where a store fails with an error of its own."""
    for raised in (KeyboardInterrupt, RuntimeError):
        world = World()
        renewal = world.renewal()
        renewal._store = Raising(world.store, 1, raised)
        with pytest.raises(raised):
            renewal(OVER)
        assert text(renewal(OVER)) == "access-1"
        assert (secret(world.stored().refresh_token), world.server.sent) == ("refresh-1", ["refresh-0"])


def test_an_interruption_after_a_new_refresh_token_was_stored_leaves_nothing_to_store() -> None:
    world = World()
    renewal = world.renewal()
    renewal._store = Raising(world.store, 1, KeyboardInterrupt, late=True)
    with pytest.raises(KeyboardInterrupt):
        renewal(OVER)
    version = world.stored().version
    assert text(renewal(OVER)) == "access-1"
    assert (world.stored().version, world.server.sent) == (version, ["refresh-0"])


def test_a_sign_in_while_a_dead_holder_is_waited_for_is_used_at_once() -> None:
    world = World()
    world.change(pending=Pending("somebody", NOW - 4, NOW + 6))

    def sign_in(seconds: float) -> None:
        world.clock.sleep(seconds)
        world.store.put(record(refresh_token=sasl.Secret(world.server.sign_in())))

    renewal = Renewal(world.store, KEY, world.server.send, timeout=lambda: 10.0, clock=world.clock, sleep=sign_in)
    assert text(renewal(OVER)) == "access-2"
    assert world.server.sent == ["refresh-1"]


def test_a_server_in_trouble_that_calls_a_grant_void_ends_no_interrupted_one() -> None:
    world = World("grace")
    world.change(pending=Pending("somebody", NOW - 20, NOW - 10))
    world.server.failures = [refusal("invalid_grant", status=503)]
    error = failure(world.renewal())
    assert (error.code, error.retryable, error.needs_user) == ("invalid_grant", True, False)
    world.clock.now += 300
    assert text(world.renewal()(OVER)) == "access-1"


def test_a_token_of_the_future_is_renewed_once_the_clock_is_right_again() -> None:
    """The clock was a day ahead when it came: by it the token is good for a day too long."""
    world = World()
    world.clock.now = NOW + 86_400
    assert text(world.renewal()(OVER)) == "access-1"
    world.clock.now = NOW + 7_200
    assert text(world.renewal()(OVER)) == "access-2"
    assert text(world.renewal()(OVER)) == "access-2"


def test_a_token_that_another_machine_has_stored_whose_clock_is_a_little_ahead_is_taken() -> None:
    world = World()
    world.clock.now = NOW + 120
    assert text(world.renewal()(OVER)) == "access-1"
    world.clock.now = NOW
    assert text(world.renewal()(OVER)) == "access-1"


def test_a_lifetime_below_nothing_leaves_a_record_that_can_be_read() -> None:
    world = World(mode="strict")
    world.clock.now = 100.0  # a machine whose clock is not set yet
    world.server.lifetime = -3_600
    assert text(world.renewal()(OVER)) == "access-1"
    assert parse_record(world.stored().encode()).expires_at == 0.0


def test_threads_of_one_store_renew_once() -> None:
    from concurrent.futures import ThreadPoolExecutor

    world = World()
    with ThreadPoolExecutor(16) as pool:
        tokens = {
            text(token) for token in pool.map(lambda renewal: renewal(OVER), [world.renewal() for _ in range(32)])
        }
    assert (tokens, world.server.sent) == ({"access-1"}, ["refresh-0"])
