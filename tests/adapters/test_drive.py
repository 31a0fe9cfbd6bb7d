"""The drivers of a wire over plain callables: what ends an exchange, what is closed, what is said after an end."""

from __future__ import annotations

import asyncio
import base64
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
import trio

import sasl
import sasl.mechanisms.scram
from sasl.adapters.binding import AsyncBinding, Binding, Dialogue, Family, Library, bind, log_in_async, run, run_async
from sasl.adapters.binding.event_loop import new_lock, pause
from sasl.adapters.binding.memory import Attempt, Memory, wait_for_async
from sasl.adapters.wire import LONGEST_LINE, Line, imap, smtp

from ..support.leaks import seen, shown_by

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

TLS = sasl.Channel(tls=True, service="smtp")
PASSWORD = sasl.Password("alice", "wonderland")
YES, NO = b"235 2.7.0 Welcome\r\n", b"535 5.7.8 Go away\r\n"
PROMPT = b"334 \r\n"
SECRETS = ("wonderland", b"\0alice\0wonderland")


def wire_of(mechanism: str = "PLAIN", *, initial_response: bool | None = None) -> smtp.ClientWire:
    return smtp.ClientWire(sasl.client(mechanism, PASSWORD, channel=TLS), initial_response=initial_response)


class Peer:
    """A connection as a library may have it: what it reads, what was written, and how often it was closed.

    What is said is a line, or an exception to raise.
    """

    def __init__(self, *said: bytes | BaseException) -> None:
        self.said = list(said)
        self.written: list[bytes] = []
        self.closed = 0

    def read(self) -> bytes:
        said = self.said.pop(0)
        if isinstance(said, BaseException):
            raise said
        return said

    def write(self, octets: bytes) -> None:
        assert not self.closed
        self.written.append(octets)

    def close(self) -> None:
        self.closed += 1


def run_sync(wire: Any, peer: Peer, **options: Any) -> None:
    run(wire, peer.read, peer.write, peer.close, **options)


async def carry(wire: Any, peer: Peer, **options: Any) -> None:
    async def read() -> bytes:
        return peer.read()

    async def write(octets: bytes) -> None:
        peer.write(octets)

    await run_async(wire, read, write, peer.close, **options)


def run_in_asyncio(wire: Any, peer: Peer, **options: Any) -> None:
    asyncio.run(carry(wire, peer, **options))


def run_in_trio(wire: Any, peer: Peer, **options: Any) -> None:
    async def main() -> None:
        await carry(wire, peer, **options)

    trio.run(main)


@pytest.fixture(params=[run_sync, run_in_asyncio, run_in_trio], ids=["sync", "asyncio", "trio"])
def drive(request: pytest.FixtureRequest) -> Callable[..., None]:
    return request.param


def test_a_login_returns_and_leaves_the_connection_open(drive: Callable[..., None]) -> None:
    peer, wire = Peer(YES), wire_of()
    drive(wire, peer)
    assert wire.done
    assert wire.error is None
    assert peer.closed == 0
    assert len(peer.written) == 1


def test_what_is_shown_holds_no_credential(drive: Callable[..., None]) -> None:
    shown: list[str] = []
    drive(wire_of(initial_response=False), Peer(PROMPT, YES), show=shown.append)
    assert shown == ["C: AUTH PLAIN", "S: 334 <0 octets>", "C: <17 octets>", "S: 235 2.7.0 Welcome"]


def test_a_refusal_is_raised_and_the_connection_stays(drive: Callable[..., None]) -> None:
    peer = Peer(NO)
    with pytest.raises(sasl.AuthenticationFailed, match="Go away") as caught:
        drive(wire_of(), peer)
    assert caught.value.response_code == "535 5.7.8"
    assert peer.closed == 0
    assert seen(shown_by(caught.value), *SECRETS) == []


@pytest.mark.parametrize(
    "end",
    [b"", b"235 2.7", EOFError(), ConnectionResetError(), BrokenPipeError(), trio.BrokenResourceError()],
    ids=["end", "half a line", "EOFError", "reset", "pipe", "trio"],
)
def test_the_end_of_the_connection_is_lost_and_closed(drive: Callable[..., None], end: Any) -> None:
    peer = Peer(end)
    with pytest.raises(sasl.ConnectionLost):
        drive(wire_of(), peer)
    assert peer.closed == 1
    assert len(peer.written) == 1


def test_a_time_out_of_the_connections_own_is_one(drive: Callable[..., None]) -> None:
    peer = Peer(TimeoutError())
    with pytest.raises(sasl.ConnectionLost) as caught:
        drive(wire_of(), peer)
    assert caught.value.kind == "timeout"
    assert peer.closed == 1


def test_a_foreign_error_leaves_as_it_is_and_nothing_more_is_sent(drive: Callable[..., None]) -> None:
    peer, wire = Peer(PROMPT, ZeroDivisionError("of the library's")), wire_of(initial_response=False)
    with pytest.raises(ZeroDivisionError, match="of the library's") as caught:
        drive(wire, peer)
    assert peer.closed == 1
    assert len(peer.written) == 2
    assert isinstance(wire.error, sasl.Cancelled)
    assert seen(shown_by(caught.value), *SECRETS) == []


def test_a_protocol_error_closes(drive: Callable[..., None]) -> None:
    peer = Peer(b"hello\r\n")
    with pytest.raises(sasl.ProtocolError):
        drive(wire_of(), peer)
    assert peer.closed == 1


def test_a_library_that_reads_replies_itself_gives_them(drive: Callable[..., None]) -> None:
    peer: Any = Peer()
    peer.said = [(334, [""]), (235, ["2.7.0 Welcome"])]
    wire = wire_of(initial_response=False)

    def receive(wire: smtp.ClientWire, reply: tuple[int, list[str]]) -> Line | None:
        return wire.replied(*reply)

    drive(wire, peer, receive=receive)
    assert wire.error is None
    assert wire.code == 235


def test_an_error_is_the_librarys_as_well(drive: Callable[..., None]) -> None:
    with pytest.raises(Refused) as caught:
        drive(wire_of(), Peer(NO), errors=ERRORS)
    assert isinstance(caught.value, sasl.AuthenticationFailed)
    with pytest.raises(Gone):
        drive(wire_of(), Peer(b""), errors=ERRORS)


class Broken(Exception):
    pass


class Refused(Broken):
    pass


class Gone(Broken):
    pass


ERRORS: Family = bind(Broken, module=__name__, prefix="Made", refused=Refused, lost=Gone)


def test_credentials_that_cannot_be_used_send_nothing(drive: Callable[..., None]) -> None:
    peer = Peer()
    wire = smtp.ClientWire(sasl.client("PLAIN", sasl.Password("al\0ice", "wonderland"), channel=TLS))
    with pytest.raises(sasl.UsageError):
        drive(wire, peer)
    assert peer.written == []
    assert peer.closed == 0


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), "1"])
def test_a_time_out_is_a_number_of_seconds(drive: Callable[..., None], timeout: Any) -> None:
    peer = Peer()
    with pytest.raises(sasl.UsageError, match="more than 0"):
        drive(wire_of(), peer, timeout=timeout)
    assert peer.written == []


def test_a_line_limit_is_public() -> None:
    assert smtp.ClientWire.challenge_limit < LONGEST_LINE
    wire = imap.ClientWire(sasl.client("PLAIN", PASSWORD, channel=TLS))
    wire.command()
    wire.receive(b"x" * LONGEST_LINE + b"\n")
    assert isinstance(wire.error, sasl.LimitExceeded)


# --- time, and interruptions


def test_the_clock_is_looked_at_before_each_call() -> None:
    peer = Peer(PROMPT, YES)

    def read() -> bytes:
        time.sleep(0.05)
        return peer.read()

    with pytest.raises(sasl.ConnectionLost) as caught:
        run(wire_of(initial_response=False), read, peer.write, peer.close, timeout=0.02)
    assert caught.value.kind == "timeout"
    assert peer.written == [b"AUTH PLAIN\r\n"]
    assert peer.closed == 1


async def stall() -> bytes:
    await asyncio.sleep(60)
    raise AssertionError


async def stall_in_trio() -> bytes:
    await trio.sleep(60)
    raise AssertionError


def in_asyncio(call: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await call()

    asyncio.run(main())


@pytest.mark.parametrize(("loop", "read"), [(in_asyncio, stall), (trio.run, stall_in_trio)], ids=["asyncio", "trio"])
def test_a_deadline_ends_a_wait_in_its_middle(loop: Any, read: Any) -> None:
    peer, begun = Peer(), time.monotonic()

    async def main() -> None:
        with pytest.raises(sasl.ConnectionLost) as caught:
            await run_async(wire_of(), read, peer.write, peer.close, timeout=0.05)
        assert caught.value.kind == "timeout"

    loop(main)
    assert time.monotonic() - begun < 5
    assert peer.closed == 1
    assert len(peer.written) == 1


def test_where_trio_is_not_loaded_the_loop_is_asyncios(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "trio")
    peer = Peer()

    async def main() -> None:
        await run_async(wire_of(), stall, peer.write, peer.close, timeout=0.01)

    with pytest.raises(sasl.ConnectionLost):
        asyncio.run(main())


def test_cancelling_abandons_and_closes() -> None:
    peer, wire = Peer(), wire_of()

    async def main() -> None:
        task = asyncio.ensure_future(run_async(wire, stall, peer.write, peer.close))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert peer.closed == 1
    assert isinstance(wire.error, sasl.Cancelled)
    assert wire.exchange.state is sasl.State.FAILED


def test_a_cancelled_scope_of_trio_abandons_and_closes() -> None:
    peer, wire = Peer(), wire_of()

    async def close() -> None:
        peer.close()
        await trio.sleep(60)  # which a cancelled task may not

    async def main() -> None:
        with trio.move_on_after(0.02) as scope:
            await run_async(wire, stall_in_trio, peer.write, close)
        assert scope.cancelled_caught

    trio.run(main)
    assert peer.closed == 1
    assert isinstance(wire.error, sasl.Cancelled)


@pytest.mark.filterwarnings("error")
def test_a_coroutine_that_is_closed_awaits_nothing_more() -> None:
    peer, wire = Peer(), wire_of()

    async def close() -> None:
        await asyncio.sleep(0)

    async def main() -> None:
        over = asyncio.get_running_loop().create_future()  # an awaitable that is no coroutine
        for each in (close, lambda: over, peer.close):
            login = run_async(wire if each == peer.close else wire_of(), stall, peer.write, each)
            login.send(None)
            login.close()

    asyncio.run(main())
    assert peer.closed == 1
    assert isinstance(wire.error, sasl.Cancelled)


def test_a_time_limit_from_outside_is_that_of_who_has_set_it() -> None:
    peer, wire = Peer(), wire_of()

    async def main() -> None:
        async with asyncio.timeout(0.02):
            await run_async(wire, stall, peer.write, peer.close)

    with pytest.raises(TimeoutError):
        asyncio.run(main())
    assert peer.closed == 1


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interruption_leaves_as_it_is(error: type[BaseException]) -> None:
    peer, wire = Peer(error()), wire_of()
    with pytest.raises(error):
        run_sync(wire, peer)
    assert peer.closed == 1
    assert isinstance(wire.error, sasl.Cancelled)


def test_closing_has_the_time_that_it_takes_once_the_deadline_is_over() -> None:
    peer = Peer()

    async def close() -> None:
        await asyncio.sleep(0.01)
        peer.close()

    async def main() -> None:
        await run_async(wire_of(), stall, peer.write, close, timeout=0.02)

    with pytest.raises(sasl.ConnectionLost):
        asyncio.run(main())
    assert peer.closed == 1


@pytest.mark.parametrize("failure", [OSError("of closing"), ZeroDivisionError("of closing"), TimeoutError()])
def test_what_closing_raises_is_worth_less_than_what_led_to_it(drive: Callable[..., None], failure: Exception) -> None:
    peer: Any = Peer(b"hello\r\n")

    def close() -> None:
        raise failure

    peer.close = close
    with pytest.raises(sasl.ProtocolError):
        drive(wire_of(), peer)


# --- what computes for long


class Scram:
    """The server's side of SCRAM, as lines of SMTP. `derive` stands in for that of the client's mechanism."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.server = sasl.server("SCRAM-SHA-256", channel=TLS, decoy=(bytes(16), 4_096))
        self.threads: list[threading.Thread] = []
        self.let_go = threading.Event()
        self.begun = threading.Event()
        self.answers: list[bytes] = []
        self.closed = 0
        self._derive = sasl.mechanisms.scram.derive
        monkeypatch.setattr(sasl.mechanisms.scram, "derive", self.derive)

    def derive(self, *arguments: Any) -> Any:
        self.threads.append(threading.current_thread())
        self.begun.set()
        assert self.let_go.wait(10)
        return self._derive(*arguments)

    def write(self, octets: bytes) -> None:
        message = base64.b64decode(octets.split(b" ")[-1])
        receive = self.server.start if octets.startswith(b"AUTH ") else self.server.receive
        event = sasl.settle(self.server, receive(message), _check_keys)
        if isinstance(event, sasl.Challenge):
            self.answers.append(b"334 %b\r\n" % base64.b64encode(event.data))
        else:
            self.answers.append(YES if isinstance(event, sasl.Success) else NO)

    async def read(self) -> bytes:
        return self.answers.pop(0)

    def close(self) -> None:
        self.closed += 1


KEYS = sasl.ScramKeys.derive("wonderland", iterations=4_096)


def _check_keys(question: sasl.Question) -> Any:
    return sasl.Record("alice", KEYS) if isinstance(question, sasl.FindKeys) else NotImplemented


@pytest.fixture
def scram(monkeypatch: pytest.MonkeyPatch) -> Scram:
    sasl.mechanisms.scram.KEYS.clear()
    return Scram(monkeypatch)


@pytest.mark.parametrize("loop", [in_asyncio, trio.run], ids=["asyncio", "trio"])
def test_keys_are_derived_in_a_thread_while_the_loop_goes_on(scram: Scram, loop: Any) -> None:
    wire = wire_of("SCRAM-SHA-256")
    scram.let_go.set()

    async def main() -> None:
        await run_async(wire, scram.read, scram.write, scram.close, timeout=10)

    loop(main)
    assert wire.exchange.state is sasl.State.DONE
    assert len(scram.threads) == 1
    assert scram.threads[0] is not threading.current_thread()


def test_who_waits_has_keys_derived_in_his_thread(scram: Scram) -> None:
    scram.let_go.set()
    wire = wire_of("SCRAM-SHA-256")
    run(wire, lambda: scram.answers.pop(0), scram.write, scram.close)
    assert scram.threads == [threading.current_thread()]


def test_a_login_that_is_cancelled_waits_for_the_thread_that_has_the_exchange(scram: Scram) -> None:
    wire = wire_of("SCRAM-SHA-256")

    async def main() -> None:
        task = asyncio.ensure_future(run_async(wire, scram.read, scram.write, scram.close))
        await asyncio.to_thread(scram.begun.wait, 10)
        for _ in range(2):
            task.cancel()
            await asyncio.sleep(0.01)
        assert not task.done()
        scram.let_go.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert scram.closed == 1
    assert wire.exchange.state is sasl.State.FAILED
    assert isinstance(wire.error, sasl.Cancelled)


# --- asynchronous logins of one account


@pytest.mark.parametrize("loop", [in_asyncio, trio.run], ids=["asyncio", "trio"])
def test_a_task_waits_for_the_login_of_another_one(loop: Any) -> None:
    memory, ended = Memory(), []
    turn = memory.enter("account")
    attempt = memory.enter("account")
    assert isinstance(attempt, Attempt)
    assert isinstance(turn, list)

    async def main() -> None:
        await wait_for_async(attempt, 0.01)  # nobody ends it
        ended.append("late")
        memory.leave("account", turn, frozenset())
        await wait_for_async(attempt, 10)
        ended.append("over")

    loop(main)
    assert ended == ["late", "over"]
    turn[0]()  # by now the loop is gone, and nothing happens


# --- what a description leaves out, and what is none


def test_connections_of_a_library_that_does_not_say_how_are_opened_by_who_uses_it() -> None:
    library: Library[Any, None] = Library(
        service="smtp",
        errors=ERRORS,
        channel=lambda conn: TLS,
        dialogue=lambda conn: Dialogue(conn.write, conn.read, conn.close),
        offer=lambda conn, dialogue: None,
        finish=lambda conn, dialogue: None,
    )
    for opens in (library.open, library.start_tls):
        with pytest.raises(sasl.UsageError, match="opened by who uses it"):
            opens("localhost", 25)
    assert library.explain(OSError()) is None


def test_a_bare_password_in_the_place_of_credentials_is_told_by_its_type_alone() -> None:
    library: Any = None
    with pytest.raises(sasl.UsageError, match="not str") as caught:
        asyncio.run(log_in_async(library, None, "wonderland"))  # type: ignore[arg-type]
    assert seen(shown_by(caught.value), *SECRETS) == []


class Alarm(Exception):
    pass


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="this system has no SIGUSR1")
def test_what_a_signal_handler_raises_while_a_connection_is_closed_leaves_as_it_is() -> None:
    def ring(*_: object) -> None:
        raise Alarm

    before = signal.signal(signal.SIGUSR1, ring)
    try:
        with pytest.raises(Alarm):
            run(wire_of(), lambda: b"hello\r\n", lambda _: None, lambda: signal.raise_signal(signal.SIGUSR1))
    finally:
        signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize("start", [lambda main: asyncio.run(main()), trio.run], ids=["asyncio", "trio"])
def test_a_pause_and_a_lock_are_those_of_the_loop_that_runs(start: Any) -> None:
    async def main() -> None:
        async with new_lock():
            await pause(0)

    start(main)


def test_a_binding_says_what_was_told_of_its_library() -> None:
    library: Any = object()
    assert Binding(library).library is AsyncBinding(library).library is library
