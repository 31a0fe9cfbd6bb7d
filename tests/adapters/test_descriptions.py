"""What `sasl.adapters.binding` asks of a library, and what each description answers; a driver that awaits the steps."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import re
import socket
import ssl
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

import sasl
from sasl.adapters.binding import connect, log_in, login_steps, perform
from sasl.adapters.binding.clock import limit_time

from ..support.leaks import seen, shown
from ..support.protocols import b64

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sasl.adapters.binding.login import Steps

PASSWORD = sasl.Password("alice", "wonderland")
PLAIN = b"\0alice\0wonderland"
GOODBYE = {
    "imap": (b"{tag} LOGOUT", b"* BYE\r\n{tag} OK bye\r\n"),
    "pop": (b"QUIT", b"+OK\r\n"),
    "smtp": (b"quit", b"221 bye\r\n"),
}
STARTTLS = {"imap": b"{tag} STARTTLS", "pop": b"STLS", "smtp": b"STARTTLS"}
GO = {"imap": b"{tag} OK go\r\n", "pop": b"+OK go\r\n", "smtp": b"220 go\r\n"}


def secured(speech: Any) -> list[Any]:
    """The turns around a handshake: poplib asks once more before it what is offered, imaplib after it."""
    offer = speech.offer(extra=("STLS" if speech.name == "pop" else "STARTTLS",))
    begin = [*offer, (STARTTLS[speech.name], [GO[speech.name], "tls"])]
    return {"imap": [*begin, *offer], "pop": [*offer, *begin], "smtp": begin}[speech.name]


def test_a_connection_is_opened_logged_in_left_and_closed(speech: Any, stage: Any) -> None:
    turns = [*speech.offer("PLAIN"), (speech.command("PLAIN", PLAIN), speech.yes), GOODBYE[speech.name]]
    server = stage.serve(speech, turns)
    library = speech.described(speech.binding)
    with connect(library, "127.0.0.1", server.port, tls=stage.client_context, timeout=5) as conn:
        assert conn.sock.gettimeout() == 5
        assert log_in(library, conn, PASSWORD) == speech.returned
        library.leave(conn)
    assert speech.is_closed(conn)
    assert library.close(conn) is None  # once more


def test_a_connection_is_put_under_tls_if_that_is_offered(speech: Any, stage: Any) -> None:
    server = stage.serve(speech, secured(speech), tls=False)
    library = speech.described(speech.binding)
    with connect(library, "127.0.0.1", server.port) as conn:
        assert library.offers_tls(conn)
        library.start_tls(conn, stage.client_context)
        assert isinstance(conn.sock, ssl.SSLSocket)
    assert speech.is_closed(conn)


def test_a_connection_that_is_to_begin_by_starttls_does(speech: Any, stage: Any) -> None:
    turns = secured(speech)
    server = stage.serve(speech, turns[speech.name == "pop" :], tls=False)
    with connect(speech.described(), "127.0.0.1", server.port, starttls=stage.client_context) as conn:
        assert isinstance(conn.sock, ssl.SSLSocket)
    assert speech.is_closed(conn)


def test_a_server_without_starttls_offers_none(speech: Any, stage: Any) -> None:
    conn, _ = stage.play(speech, speech.offer("PLAIN"), tls=False)
    assert not speech.described().offers_tls(conn)


def test_a_pop_server_without_capa_offers_no_starttls_and_one_that_is_gone_is_an_error(pop: Any, stage: Any) -> None:
    conn, _ = stage.play(pop, [(b"CAPA", b"-ERR what?\r\n"), (b"CAPA", "close")], tls=False)
    assert not pop.described().offers_tls(conn)
    with pytest.raises(pop.error) as caught:
        pop.described().offers_tls(conn)
    assert isinstance(pop.described().explain(caught.value), sasl.ConnectionLost)


def test_after_preauth_there_is_no_tls_to_begin(imap: Any, stage: Any) -> None:
    conn, _ = stage.play(imap, imap.offer("PLAIN"), tls=False, greeting=b"* PREAUTH hello\r\n")
    with pytest.raises(sasl.PolicyViolation, match="PREAUTH"):
        imap.described().offers_tls(conn)


GREETINGS: dict[str, list[tuple[Any, type[Exception], str]]] = {
    "imap": [
        (b"* BYE go away\r\n", sasl.ConnectionLost, "go away"),
        (b"220 mx\r\n", sasl.ProtocolError, "does not speak IMAP"),
        (b"* OK ready\r\n", sasl.ConnectionLost, "ended the connection"),
    ],
    "pop": [
        (b"-ERR go away\r\n", sasl.ConnectionLost, "wants no connection: go away"),
        (b"220 mx\r\n", sasl.ProtocolError, "does not speak POP3"),
    ],
    "smtp": [
        (b"554 go away\r\n", sasl.ConnectionLost, "wants no connection: go away"),
        (b"421 4.3.2 closing\r\n", sasl.ConnectionLost, "closing"),
        (b"500 go away\r\n", sasl.ConnectionLost, "wants no connection: go away"),
        (b"450 4.3.2 later\r\n", sasl.TemporaryFailure, "later"),
        (b"400 later\r\n", sasl.TemporaryFailure, "later"),
        (b"499 later\r\n", sasl.TemporaryFailure, "later"),
        (b"399 ready\r\n", sasl.ProtocolError, "does not speak SMTP"),
        (b"299 ready\r\n", sasl.ProtocolError, "does not speak SMTP"),
        (b"220 " + b"x" * 9000 + b"\r\n", sasl.LimitExceeded, "too long"),
    ],
}


@pytest.mark.parametrize(
    ("speech", "greeting", "error", "says"),
    [(name, *case) for name, cases in GREETINGS.items() for case in cases],
    indirect=["speech"],
    ids=lambda value: repr(value[:20]) if isinstance(value, bytes) else None,
)
def test_what_a_server_says_instead_of_a_greeting_is_explained(
    speech: Any, stage: Any, greeting: Any, error: type[Exception], says: str
) -> None:
    server = stage.serve(speech, [(None, "close")], tls=False, greeting=greeting)
    library = speech.described(speech.binding)
    with pytest.raises(speech.error) as caught:
        library.open("127.0.0.1", server.port, timeout=5)
    explained = library.explain(caught.value)
    assert type(explained) is error, repr(caught.value)
    assert says in str(explained)


@pytest.mark.parametrize("error", [KeyError("x"), OSError("x"), ValueError("x")], ids=repr)
def test_what_is_no_error_of_the_librarys_is_not_explained(speech: Any, error: Exception) -> None:
    assert speech.described().explain(error) is None


@pytest.mark.parametrize(
    ("answer", "error", "says"),
    [
        ([b"* BYE see you\r\n", "close"], sasl.ConnectionLost, "the server ended the connection: see you"),
        ([b"* BYE socket error\r\n", "close"], sasl.ConnectionLost, "the server ended the connection: socket error"),
        (
            [b"* BYE unexpected load\r\n", "close"],
            sasl.ConnectionLost,
            "the server ended the connection: unexpected load",
        ),
        ("close", sasl.ConnectionLost, "the server ended the connection"),
        (b"220 mx\r\n", sasl.ProtocolError, "the server does not speak IMAP: .* unexpected .*220.*"),
        (b"A1 OK done\r\n", sasl.ProtocolError, "the server does not speak IMAP: .* unexpected .*A1 OK done.*"),
    ],
    ids=repr,
)
def test_what_an_imap_server_says_instead_of_capabilities_is_explained(
    imap: Any, stage: Any, answer: Any, error: type[Exception], says: str
) -> None:
    server = stage.serve(imap, [(None, answer)], tls=False)
    library = imap.described()
    with pytest.raises(imap.error) as caught:
        library.open("127.0.0.1", server.port, timeout=5)
    explained = library.explain(caught.value)
    assert type(explained) is error, repr(caught.value)
    assert re.fullmatch(says, str(explained))


def test_poplibs_own_words_are_explained(pop: Any) -> None:
    explain = pop.described().explain
    ended, too_long = explain(pop.error("-ERR EOF")), explain(pop.error("line too long"))
    assert (type(ended), str(ended)) == (sasl.ConnectionLost, "the server ended the connection")
    assert type(too_long) is sasl.ProtocolError
    assert str(too_long).endswith("line too long")


def test_closing_never_fails(speech: Any) -> None:
    class Connection:
        def close(self) -> None:
            raise OSError("it is gone")

        shutdown = close

    speech.described().close(Connection())


def test_closing_calls_what_closes_and_nothing_of_that_name_else(speech: Any) -> None:
    called = []

    class Connection:
        def close(self) -> None:
            called.append("close")

        def shutdown(self) -> None:
            called.append("shutdown")

    speech.described().close(Connection())
    assert called == ["shutdown" if speech.name == "imap" else "close"]


def test_a_connection_that_is_gone_before_the_command_is_lost(speech: Any, stage: Any) -> None:
    conn, _ = stage.play(speech, speech.offer("PLAIN"), tls=False)
    policy = sasl.Policy(plaintext="loopback")

    def cut(*_: object) -> None:
        conn.sock.shutdown(socket.SHUT_RDWR)

    with pytest.raises(speech.error_named("ConnectionLost"), match="ended") as caught:
        log_in(speech.binding.LIBRARY, conn, PASSWORD, policy=policy, watch=cut)
    assert caught.value.kind != "timeout"
    assert speech.is_closed(conn)


def test_smtplibs_word_for_the_end_is_the_end(smtp: Any) -> None:
    explain = smtp.described().explain
    error = smtp.lost("Connection unexpectedly closed")
    assert isinstance(explain(error), sasl.ConnectionLost)
    error.__context__ = TimeoutError()
    assert explain(error).kind == "timeout"


# --- what is shown


def test_debug_output_goes_where_somebody_has_sent_the_librarys(
    imap: Any, stage: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """As IMAPClient does, which sets the highest level and hands the lines to logging."""
    said: list[str] = []
    conn, _ = stage.play(imap, [*imap.offer("PLAIN"), (None, imap.yes)])
    conn.debug = 5
    conn._mesg = said.append
    assert imap.binding.authenticate(conn, PASSWORD) == imap.returned
    assert capsys.readouterr() == ("", "")
    assert [line[:2] for line in said] == ["C:", "S:"]
    assert b64(PLAIN).decode() not in str(said)


def test_debug_output_of_smtplib_goes_where_a_subclass_sends_it(
    smtp: Any, stage: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    said: list[str] = []
    conn, _ = stage.play(smtp, [*smtp.offer("PLAIN"), (None, smtp.yes)])
    conn.set_debuglevel(1)
    conn._print_debug = lambda *words: said.append(" ".join(map(str, words)))
    assert smtp.binding.authenticate(conn, PASSWORD) == smtp.returned
    assert capsys.readouterr() == ("", "")
    assert [line[:2] for line in said[-2:]] == ["C:", "S:"]
    assert b64(PLAIN).decode() not in str(said)


# --- options, pins, credentials


def test_options_reach_the_mechanism_and_one_that_it_does_not_know_is_the_callers_mistake(
    speech: Any, stage: Any, mechanism: Callable[..., str]
) -> None:
    def script(_credentials: object, _options: object, *, flavour: str = "none") -> Iterator[Any]:
        yield sasl.Complete(flavour.encode())

    name = mechanism(script)
    turns = [*speech.offer(name), *(speech.offer(name) if speech.name == "pop" else [])]
    conn, _ = stage.play(speech, [*turns, (speech.command(name, b"mint"), speech.yes)])
    with pytest.raises(sasl.UsageError, match="colour"):
        speech.binding.authenticate(conn, PASSWORD, options={"colour": "green"})
    assert speech.binding.authenticate(conn, PASSWORD, options={"flavour": "mint"}) == speech.returned


@pytest.mark.parametrize(
    "options",
    [{"password": "wonderland"}, {"channel": "wonderland"}, {1: "wonderland"}, "wonderland", ["wonderland"]],
    ids=["unknown", "of the choice", "no name", "a text", "a list"],
)
def test_a_password_among_the_options_is_not_shown_and_leaves_the_connection_open(
    speech: Any, stage: Any, options: Any
) -> None:
    named = isinstance(options, dict) and 1 not in options
    offer = speech.offer("PLAIN")
    turns = offer if speech.name != "pop" or not named else [*offer, *offer]
    conn, _ = stage.play(speech, [*turns, (speech.command("PLAIN", PLAIN), speech.yes)])

    with pytest.raises(sasl.UsageError) as caught:
        speech.binding.authenticate(conn, PASSWORD, options=options)

    assert not seen(shown(caught.value), "wonderland")
    assert speech.binding.authenticate(conn, PASSWORD) == speech.returned


class Pin:
    """A plug-in's own kind of credentials."""

    is_token = False

    def __init__(self, user: str, number: str) -> None:
        self.user = user
        self.secret = sasl.Secret(number)


def test_a_plug_ins_own_credentials_log_in(speech: Any, stage: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def script(credentials: Pin, _options: object) -> Iterator[Any]:
        yield sasl.Complete(f"{credentials.user} {credentials.secret.reveal()}".encode())

    row = sasl.Mechanism("X-PIN", script, None, Pin, client_first=True, plaintext=True, rank=50)
    monkeypatch.setitem(sasl.registry._registered, row.name, row)
    turns = [*speech.offer("PLAIN", "X-PIN"), (speech.command("X-PIN", b"alice 1234"), speech.yes)]
    conn, _ = stage.play(speech, turns, module=speech.binding)
    assert conn.login("", Pin("alice", "1234")) == speech.returned


class Broken(dict[str, str]):
    """A store of pins on a disk that is full."""

    def __setitem__(self, key: str, value: str) -> None:
        raise OSError("wonderland")


def test_a_store_of_pins_that_fails_does_not_undo_the_login(
    speech: Any, stage: Any, caplog: pytest.LogCaptureFixture
) -> None:
    conn, _ = stage.play(speech, [*speech.offer("PLAIN"), (None, speech.yes)])
    if speech.name == "smtp":
        conn._host = "mail.example"
    with caplog.at_level(logging.WARNING, "sasl"):
        policy = sasl.Policy(pins=Broken())
        assert speech.binding.authenticate(conn, PASSWORD, policy=policy) == speech.returned
    assert "not remembered" in caplog.text
    assert "wonderland" not in caplog.text


# --- time


def test_a_literal_is_read_in_the_time_that_is_left(imap: Any, stage: Any) -> None:
    capability = b"* X {5}\r\nhello\r\n* CAPABILITY IMAP4rev1 LATE\r\n{tag} OK done\r\n"
    turns = [*imap.offer("PLAIN"), (None, b"{tag} OK in\r\n"), (b"{tag} CAPABILITY", capability)]
    conn, _ = stage.play(imap, turns)
    imap.binding.authenticate(conn, PASSWORD, timeout=5)
    assert conn.capabilities == ("IMAP4REV1", "LATE")


def test_who_reads_under_the_time_limit_gets_what_he_asks_for() -> None:
    near, far = socket.socketpair()
    file = near.makefile("rb")
    conn = SimpleNamespace(sock=near, file=file)
    with near, far, file, limit_time(conn, 5):
        far.sendall(b"one\ntwo\nthree\nfour\nfive\nhalf")
        far.shutdown(socket.SHUT_WR)
        assert conn.file.readline() == b"one\n"
        assert conn.file.readline(2) == b"tw"
        assert conn.file.readline(0) == b""
        assert conn.file.readline(2) == b"o\n"
        assert conn.file.read(0) == b""
        assert conn.file.read(7) == b"three\nf"
        assert conn.file.readline(100) == b"our\n"
        assert conn.file.read() == b"five\nhalf"
        assert (conn.file.read(), conn.file.readline()) == (b"", b"")
    assert conn.file is file


def test_a_connection_that_ends_in_time_is_lost_at_once(speech: Any, stage: Any) -> None:
    conn, _ = stage.play(speech, [*speech.offer("PLAIN"), (None, "close")])
    with pytest.raises(speech.error_named("ConnectionLost"), match="ended"):
        speech.binding.authenticate(conn, PASSWORD, timeout=30)


def test_a_connection_without_a_socket_has_no_time_out() -> None:
    class Nothing:
        sock = None

    with pytest.raises(sasl.UsageError, match="without a socket"), limit_time(Nothing(), 5):
        pytest.fail("it has")


def test_tls_errors_of_starttls_leave_as_they_are_and_bugs_too(speech: Any, stage: Any) -> None:
    conn, _ = stage.play(speech, speech.offer(extra=("STLS", "STARTTLS")), tls=False, module=speech.binding)

    class Context:
        def wrap_socket(self, *_: object, **__: object) -> None:
            pytest.fail("nobody said yes")

    conn.send = conn._shortcmd = conn._putcmd = conn.capability = conn.docmd = _bug
    conn._simple_command = conn.ehlo = conn.capa = _bug
    with pytest.raises(ZeroDivisionError):
        speech.start_tls(conn, Context())


def _bug(*_: object, **__: object) -> Any:
    raise ZeroDivisionError


# --- the same sequence, awaited


async def perform_async(steps: Steps[Any]) -> Any:
    """Make each call elsewhere and await it, as a driver for an asynchronous library would await what it returns."""
    returned: list[Any] = [None]
    raised: list[BaseException] = []
    while True:
        try:
            call = steps.throw(raised.pop()) if raised else steps.send(returned.pop())
        except StopIteration as end:
            return end.value
        try:
            answer = call()
            returned.append(await answer if asyncio.iscoroutine(answer) else answer)
        except BaseException as error:
            raised.append(error)


@contextlib.contextmanager
def unlimited(_conn: Any, _timeout: float | None) -> Iterator[None]:
    yield


@pytest.mark.parametrize("verdict", ["yes", "no"])
def test_the_steps_of_a_login_can_be_awaited(speech: Any, stage: Any, verdict: str) -> None:
    async def source() -> str:
        return "token"

    message = b64(b"user=alice\x01auth=Bearer token\x01\x01")
    turns = [*speech.offer("XOAUTH2"), (speech.auth + b"XOAUTH2 " + message, getattr(speech, verdict))]
    conn, _ = stage.play(speech, turns)
    steps = login_steps(
        speech.described(),
        conn,
        sasl.Bearer("alice", source),  # type: ignore[arg-type]  # an asynchronous one
        get_token=sasl.resolve_async,
        limit=unlimited,
    )
    if verdict == "yes":
        assert asyncio.run(perform_async(steps)) == speech.returned
        return
    with pytest.raises(speech.error_named("AuthenticationFailed")):
        asyncio.run(perform_async(steps))


# --- interruptions


@contextlib.contextmanager
def interrupted(name: str, event: str, at: int) -> Iterator[list[int]]:
    """Raise KeyboardInterrupt at an event of a function, the first of which is number 0; give the line of it."""
    lines: list[int] = []
    count = 0

    def trace(frame: Any, happened: str, _argument: object) -> Any:
        nonlocal count
        if frame.f_code.co_name != name:
            return None
        if happened == event and not lines:
            if count == at:
                lines.append(frame.f_lineno)
                raise KeyboardInterrupt
            count += 1
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield lines
    finally:
        sys.settrace(before)


def test_an_interruption_between_two_calls_ends_the_steps() -> None:
    for at in itertools.count():
        state: list[str] = []

        def steps(state: list[str] = state) -> Steps[str]:
            state.append("begun")
            try:
                yield lambda: 1
                yield lambda: 2
            finally:
                state.append("ended")
            return "done"

        with interrupted("perform", "line", at) as lines, contextlib.suppress(KeyboardInterrupt):
            assert perform(steps()) == "done"
        assert state in ([], ["begun", "ended"])
        if not lines:
            break
    assert at > 8


def test_an_interruption_of_a_login_ends_its_steps_before_it_leaves(speech: Any, stage: Any) -> None:
    conn, _ = stage.play(speech, speech.offer("PLAIN"))
    sock = conn.sock

    with interrupted("guard", "call", 1) as lines, pytest.raises(KeyboardInterrupt) as caught:
        speech.binding.authenticate(conn, PASSWORD, timeout=5)

    assert lines
    assert conn.sock is not sock or speech.name == "imap"
    assert not seen([type(conn.sock).__name__], "_Clocked")
    assert caught.value.__context__ is None


def test_an_interruption_while_the_clock_is_put_in_takes_it_out_again() -> None:
    class Connection:
        def __init__(self, sock: socket.socket) -> None:
            self.sock = sock
            self.__dict__["file"] = sock.makefile("rb")

        def __setattr__(self, name: str, value: Any) -> None:
            if name == "file" and value is not self.__dict__["file"] and not interruptions:
                interruptions.append(name)
                raise KeyboardInterrupt
            super().__setattr__(name, value)

    interruptions: list[str] = []
    sock, other = socket.socketpair()
    with sock, other:
        conn = Connection(sock)
        with pytest.raises(KeyboardInterrupt), limit_time(conn, 3):
            pass
        assert interruptions == ["file"]
        assert conn.sock is sock
        assert sock.gettimeout() is None
        conn.__dict__["file"].close()
