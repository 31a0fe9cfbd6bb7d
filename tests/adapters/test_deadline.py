"""The deadline: it ends what waits, and leaves no trace where nothing did."""

from __future__ import annotations

import signal
import socket
import threading
import time

import pytest

from sasl.adapters.deadline import Deadline, alarm


def test_what_waits_too_long_is_ended() -> None:
    here, there = socket.socketpair()
    begun = time.monotonic()
    with here, there, pytest.raises(TimeoutError), alarm(0.05):
        here.recv(1)
    assert time.monotonic() - begun < 30


def test_what_is_in_time_is_left_alone() -> None:
    before = signal.getsignal(signal.SIGALRM)
    with alarm(60):
        assert signal.getitimer(signal.ITIMER_REAL)[0] > 0
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
    assert signal.getsignal(signal.SIGALRM) is before


@pytest.mark.parametrize("seconds", [0, -1])
def test_what_has_no_time_left_is_not_begun(seconds: float) -> None:
    with pytest.raises(TimeoutError), alarm(seconds):
        pytest.fail("it was")


def test_a_clock_runs_down_and_no_further() -> None:
    clock = Deadline(60)
    first = clock.left()
    assert 59 < clock.left() <= first <= 60
    assert Deadline(0).left() == 0


def test_a_clock_can_be_set_back() -> None:
    clock = Deadline(60)
    clock._ends = 0
    assert clock.left() == 0
    clock.restart()
    assert clock.left() > 59


def test_an_error_in_the_body_leaves_no_timer() -> None:
    with pytest.raises(KeyError), alarm(60):
        raise KeyError
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def test_other_threads_and_other_systems_do_without(monkeypatch: pytest.MonkeyPatch) -> None:
    reached: list[str] = []

    def body() -> None:
        with alarm(60):
            reached.append(threading.current_thread().name)

    thread = threading.Thread(target=body, name="another")
    thread.start()
    thread.join()
    monkeypatch.delattr(signal, "setitimer")
    body()
    assert reached == ["another", threading.main_thread().name]
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
