"""What holds for the bindings of imaplib, poplib and smtplib alike, against scripted servers."""

from __future__ import annotations

import base64
import copy
import io
import itertools
import json
import logging
import pickle
import re
import socket
import ssl
import time
import traceback
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

import sasl
from sasl.adapters import deadline
from sasl.adapters.binding import channel as channel_of
from sasl.adapters.binding import has_unread, log_in
from sasl.adapters.wire.client import LONGEST_LINE
from sasl.steps import Complete

from ..support.leaks import locals_of, seen, shown_by
from ..support.protocols import b64

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LOOPBACK = sasl.Policy(plaintext="loopback")
COMMANDS = {"IMAP-LOGIN", "POP-USER"}  # which are looked at as well
PASSWORD = sasl.Password("alice", "wonderland")
PLAIN = b"\0alice\0wonderland"
TOKEN = "ya29.Secret-Token"
BEARER = sasl.Bearer("alice@example.com", TOKEN)
XOAUTH2 = b"user=alice@example.com\x01auth=Bearer " + TOKEN.encode() + b"\x01\x01"
EXPLANATION = {"status": "401", "schemes": "bearer", "scope": "https://mail.example/"}


def oauthbearer(port: int) -> bytes:
    return f"n,a=alice@example.com,\x01host=127.0.0.1\x01port={port}\x01auth=Bearer {TOKEN}\x01\x01".encode()


def assert_no_secret(text: str) -> None:
    assert seen([text], "wonderland", TOKEN, PLAIN, XOAUTH2) == []


def local_variables(error: BaseException) -> str:
    """What a crash reporter would show of an error and its frames, but for the test's own."""
    return "\n".join([*shown_by(error), *locals_of(error, everywhere=True)])


def frames(error: BaseException) -> list[str]:
    """The files of the frames that an error leaves with."""
    return [frame.filename for frame in traceback.extract_tb(error.__traceback__)]


# --- logins


def test_a_password_logs_in_with_one_turn_and_returns_what_the_library_would(speech: Any, stage: Any) -> None:
    turns = [*speech.offer("PLAIN"), (speech.command("PLAIN", PLAIN), speech.yes), speech.noop]
    conn, _ = stage.play(speech, turns)
    assert speech.binding.authenticate(conn, PASSWORD) == speech.returned
    conn.noop()


@pytest.mark.parametrize("name", ["XOAUTH2", "OAUTHBEARER"])
def test_a_token_logs_in(speech: Any, stage: Any, name: str) -> None:
    server = stage.serve(speech, turns := [*speech.offer(name)], tls=True)
    message = XOAUTH2 if name == "XOAUTH2" else oauthbearer(server.port)
    turns.append((speech.command(name, message), speech.yes))
    server.turns[:] = turns
    conn = stage.connect(speech, server)
    assert speech.binding.authenticate(conn, BEARER) == speech.returned


@pytest.mark.parametrize(("name", "answer"), [("XOAUTH2", b""), ("OAUTHBEARER", b"AQ==")])
def test_an_error_challenge_gets_its_answer_and_never_the_token_again(
    speech: Any, stage: Any, name: str, answer: bytes
) -> None:
    server = stage.serve(speech, [])
    message = XOAUTH2 if name == "XOAUTH2" else oauthbearer(server.port)
    server.turns[:] = [
        *speech.offer(name),
        (speech.command(name, message), speech.challenge(json.dumps(EXPLANATION).encode())),
        (answer, speech.no),
        speech.noop,
    ]
    conn = stage.connect(speech, server)
    with pytest.raises(speech.error_named("AuthenticationFailed")) as caught:
        speech.binding.authenticate(conn, BEARER)
    assert isinstance(caught.value, speech.refused)
    assert caught.value.detail == EXPLANATION
    assert caught.value.new_token_may_help
    conn.noop()
    speech.close(conn)
    assert sum(b64(message) in line for line in server.heard()) == 1


def test_without_an_initial_response_the_text_of_the_prompt_is_ignored(speech: Any, stage: Any) -> None:
    prompt = speech.prompt + b"Go ahead, make my day\r\n"
    conn, _ = stage.play(
        speech, [*speech.offer("XOAUTH2"), (speech.command("XOAUTH2"), prompt), (b64(XOAUTH2), speech.yes)]
    )
    assert speech.binding.authenticate(conn, BEARER, initial_response=False) == speech.returned


def test_a_token_of_4000_octets_logs_in(speech: Any, stage: Any) -> None:
    token = "t" * 4000
    message = f"user=alice@example.com\x01auth=Bearer {token}\x01\x01".encode()
    if speech.name == "imap":  # IMAP has no limit for a command with SASL-IR
        turns = [(speech.command("XOAUTH2", message), speech.yes)]
    else:
        turns = [(speech.command("XOAUTH2"), speech.prompt + b"\r\n"), (b64(message), speech.yes)]
    conn, _ = stage.play(speech, [*speech.offer("XOAUTH2"), *turns])
    assert speech.binding.authenticate(conn, sasl.Bearer("alice@example.com", token)) == speech.returned


def test_a_password_that_is_not_ascii_goes_as_utf_8(speech: Any, stage: Any) -> None:
    message = "\0\xe4lice\0p\xe4ssw\xf6rd".encode()
    conn, _ = stage.play(speech, [*speech.offer("PLAIN"), (speech.command("PLAIN", message), speech.yes)])
    assert speech.binding.authenticate(conn, sasl.Password("\xe4lice", "p\xe4ssw\xf6rd")) == speech.returned


def test_an_empty_initial_response_is_an_equals_sign(speech: Any, stage: Any, mechanism: Callable[..., str]) -> None:
    def script(_credentials: object, _options: object) -> Iterator[Any]:
        yield sasl.Complete(b"")

    name = mechanism(script)
    conn, _ = stage.play(speech, [*speech.offer(name), (speech.command(name, b""), speech.yes)])
    assert speech.binding.authenticate(conn, PASSWORD) == speech.returned


def test_a_mechanism_takes_as_many_turns_as_it_needs(speech: Any, stage: Any, mechanism: Callable[..., str]) -> None:
    def script(_credentials: object, _options: object) -> Any:
        challenge = yield None
        for _ in range(9):
            challenge = yield b"answer to " + challenge
        yield sasl.Complete(b"answer to " + challenge)

    name = mechanism(script, client_first=False)
    steps = [b"step %d" % number for number in range(10)]
    turns = [(b64(b"answer to " + step), speech.challenge(following)) for step, following in itertools.pairwise(steps)]
    conn, _ = stage.play(
        speech,
        [
            *speech.offer(name),
            (speech.command(name), speech.challenge(steps[0])),
            *turns,
            (b64(b"answer to " + steps[-1]), speech.yes),
        ],
    )
    assert speech.binding.authenticate(conn, PASSWORD) == speech.returned


def test_a_challenge_may_be_longer_than_a_line_of_the_library(
    speech: Any, stage: Any, mechanism: Callable[..., str]
) -> None:
    received = []

    def script(_credentials: object, _options: object) -> Any:
        received.append((yield b"client"))
        yield sasl.Complete(b"")

    name = mechanism(script)
    ticket = b"k" * 9000  # poplib reads lines of 2,048 octets, smtplib of 8,192
    conn, _ = stage.play(
        speech,
        [*speech.offer(name), (speech.command(name, b"client"), speech.challenge(ticket)), (b"", speech.yes)],
    )
    assert speech.binding.authenticate(conn, PASSWORD) == speech.returned
    assert received == [ticket]


def test_each_line_is_one_write(speech: Any, stage: Any) -> None:
    conn, _ = stage.play(
        speech,
        [*speech.offer("XOAUTH2"), (speech.command("XOAUTH2"), speech.prompt + b"\r\n"), (b64(XOAUTH2), speech.yes)],
        tls=False,
    )

    class Counting:
        def __init__(self, sock: socket.socket) -> None:
            self.sock = sock
            self.writes: list[bytes] = []

        def sendall(self, octets: bytes) -> None:
            self.writes.append(octets)
            self.sock.sendall(octets)

        def __getattr__(self, name: str) -> Any:
            return getattr(self.sock, name)

    conn.sock = Counting(conn.sock)
    speech.binding.authenticate(conn, BEARER, policy=LOOPBACK, initial_response=False)
    assert conn.sock.writes[-1] == b64(XOAUTH2) + b"\r\n"
    assert all(octets.endswith(b"\r\n") and octets.count(b"\r\n") == 1 for octets in conn.sock.writes)


def test_watch_is_called_once_before_the_command_with_the_choice_and_the_wire(speech: Any, stage: Any) -> None:
    watched = []
    conn, _ = stage.play(speech, [*speech.offer("PLAIN", "X-OTHER"), (None, speech.yes)])

    def watch(choice: sasl.Choice, wire: Any) -> None:
        watched.append((choice.name, wire.turns, wire))
        assert set(choice.passed_over) - COMMANDS == {"X-OTHER"}

    log_in(speech.binding.LIBRARY, conn, PASSWORD, watch=watch)
    [(name, turns, wire)] = watched
    assert (name, turns, wire.turns, wire.initial_response) == ("PLAIN", 0, 1, True)
    assert wire.server_text in speech.yes.decode()


# --- refusals


def test_a_refusal_is_an_error_of_ours_and_of_the_library_and_the_connection_stays(speech: Any, stage: Any) -> None:
    conn, _ = stage.play(
        speech,
        [
            *speech.offer("PLAIN"),
            (speech.command("PLAIN", PLAIN), speech.no),
            speech.noop,
            *([speech.offer("PLAIN")[0]] if speech.name == "pop" else []),
            (speech.command("PLAIN", b"\0alice\0right"), speech.yes),
        ],
    )
    with pytest.raises(speech.error_named("AuthenticationFailed")) as caught:
        speech.binding.authenticate(conn, PASSWORD)
    error: Any = caught.value
    assert isinstance(error, sasl.AuthenticationFailed)
    assert isinstance(error, speech.refused)
    assert error.kind == "credentials"
    assert error.mechanism == "PLAIN"
    assert not error.new_token_may_help
    assert str(error) == error.server_text != ""
    conn.noop()
    assert speech.binding.authenticate(conn, sasl.Password("alice", "right")) == speech.returned


def test_try_later_is_no_refusal_of_the_credential(speech: Any, stage: Any) -> None:
    conn, _ = stage.play(speech, [*speech.offer("PLAIN"), (None, speech.temporary), speech.noop])
    with pytest.raises(sasl.TemporaryFailure) as caught:
        speech.binding.authenticate(conn, PASSWORD)
    assert isinstance(caught.value, speech.error_named("TemporaryFailure"))
    assert isinstance(caught.value, speech.refused)
    assert not isinstance(caught.value, sasl.AuthenticationFailed)
    conn.noop()


ERRORS = {
    "AuthenticationFailed": (),
    "AuthorizationFailed": ("AuthenticationFailed",),
    "TemporaryFailure": (),
    "ConnectionLost": (),
    "MechanismUnavailable": (),
    "PolicyViolation": (),
    "ProtocolError": (),
    "ServerNotProven": ("ProtocolError",),
    "LimitExceeded": ("ProtocolError",),
    "Cancelled": (),
}


@pytest.mark.parametrize("name", list(ERRORS))
def test_the_errors_are_diamonds(speech: Any, name: str) -> None:
    error = speech.error_named(name)
    assert issubclass(error, getattr(sasl, name))
    assert issubclass(error, speech.error)
    for above in ERRORS[name]:
        assert issubclass(error, speech.error_named(above))
    if name == "ConnectionLost":
        assert issubclass(error, speech.lost)
    direct = error(535, b"no") if issubclass(error, _has_code(speech)) else error("no")
    assert "no" in str(direct)
    assert direct.kind == getattr(sasl, name)().kind


def _has_code(speech: Any) -> tuple[type[Exception], ...]:
    code: type[Exception] | None = getattr(speech.library, "SMTPResponseException", None)
    return (code,) if code else ()


def test_an_error_can_be_pickled_and_copied(speech: Any, stage: Any) -> None:
    conn, _ = stage.play(
        speech,
        [
            *speech.offer("XOAUTH2"),
            (None, speech.challenge(json.dumps(EXPLANATION).encode())),
            (b"", speech.no),
        ],
    )
    with pytest.raises(speech.refused) as caught:
        speech.binding.authenticate(conn, BEARER)
    error = caught.value
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(twin) is type(error)
        assert twin.args == error.args
        assert vars(twin) == vars(error)
        assert str(twin) == str(error)
        assert twin.new_token_may_help


@pytest.mark.parametrize(("name", "error"), [("X-NEW", "MechanismUnavailable"), ("CRAM-MD5", "PolicyViolation")])
def test_what_the_policy_or_the_server_has_against_each_mechanism_survives_a_pickle(
    speech: Any, stage: Any, name: str, error: str
) -> None:
    conn, _ = stage.play(speech, [*speech.offer("XOAUTH2", name, extra=("LOGINDISABLED",))])
    with pytest.raises(speech.error_named(error)) as caught:
        speech.binding.authenticate(conn, PASSWORD)
    assert {"XOAUTH2", name} <= set(caught.value.passed_over)
    assert pickle.loads(pickle.dumps(caught.value)).passed_over == caught.value.passed_over


def test_a_mechanism_that_is_not_offered_is_not_tried(speech: Any, stage: Any) -> None:
    conn, server = stage.play(speech, [*speech.offer("PLAIN"), speech.noop])
    with pytest.raises(speech.error_named("MechanismUnavailable")) as caught:
        speech.binding.authenticate(conn, BEARER, mechanism="XOAUTH2")
    assert set(caught.value.passed_over) - COMMANDS == {"PLAIN", "XOAUTH2"}
    conn.noop()
    speech.close(conn)
    assert len(server.heard()) == 2


@pytest.mark.parametrize("name", ["PLAIN", "XOAUTH2"])
def test_an_error_leaves_without_frames_or_exceptions_that_hold_the_credential(
    speech: Any, stage: Any, name: str
) -> None:
    conn, _ = stage.play(speech, [*speech.offer(name), (None, speech.no)])
    with pytest.raises(speech.refused) as caught:
        speech.binding.authenticate(conn, PASSWORD if name == "PLAIN" else BEARER)
    error = caught.value
    assert error.__cause__ is None
    assert error.__context__ is None
    assert frames(error)[0] == __file__
    assert all("sasl" in path or "adapters" in path for path in frames(error)[1:])
    assert not any(path.endswith(f"lib/{speech.name}lib.py") for path in frames(error))
    shown = local_variables(error)
    assert_no_secret(shown + repr(error) + str(error) + repr(vars(error)) + repr(error.args))


def test_a_server_that_says_the_credential_back_does_not_put_it_into_the_error(
    speech: Any, stage: Any, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "sasl")
    no = speech.no.replace(b"nvalid", b"nvalid wonderland " + b64(PLAIN)).replace(b"Password", b"wonderland")
    conn, _ = stage.play(speech, [*speech.offer("PLAIN"), (None, no)])
    debug(speech, conn)
    with pytest.raises(speech.refused) as caught:
        speech.binding.authenticate(conn, PASSWORD)
    error = caught.value
    assert "***" in str(error)
    printed = capsys.readouterr()
    assert_no_secret(repr(vars(error)) + repr(error.args) + printed.out + printed.err + caplog.text)


# --- failures in the middle


def crashing(_credentials: object, _options: object) -> Any:
    yield b"client"
    raise KeyError("wonderland")


def test_a_mechanism_that_raises_cancels_and_the_next_command_is_answered(
    speech: Any, stage: Any, mechanism: Callable[..., str]
) -> None:
    name = mechanism(crashing)
    conn, _ = stage.play(
        speech,
        [
            *speech.offer(name),
            (speech.command(name, b"client"), speech.challenge(b"go on")),
            (b"*", speech.cancelled),
            speech.noop,
        ],
    )
    with pytest.raises(speech.error_named("ProtocolError"), match="KeyError") as caught:
        speech.binding.authenticate(conn, PASSWORD)
    assert_no_secret(str(caught.value))
    conn.noop()


def test_bad_base64_cancels_and_the_next_command_is_answered(
    speech: Any, stage: Any, mechanism: Callable[..., str]
) -> None:
    name = mechanism(crashing)
    conn, _ = stage.play(
        speech,
        [
            *speech.offer(name),
            (speech.command(name, b"client"), speech.prompt + b"not base64!\r\n"),
            (b"*", speech.cancelled),
            speech.noop,
        ],
    )
    with pytest.raises(speech.error_named("ProtocolError"), match="base64"):
        speech.binding.authenticate(conn, PASSWORD)
    conn.noop()


def test_a_yes_before_the_mechanism_allows_it_is_not_a_login(
    speech: Any, stage: Any, mechanism: Callable[..., str]
) -> None:
    name = mechanism(crashing)
    conn, _ = stage.play(speech, [*speech.offer(name), (speech.command(name, b"client"), speech.yes)])
    with pytest.raises(speech.error_named("ServerNotProven")):
        speech.binding.authenticate(conn, PASSWORD)
    assert speech.is_closed(conn)


def test_a_yes_before_a_deferred_response_left_is_not_a_login(speech: Any, stage: Any) -> None:
    conn, server = stage.play(speech, [*speech.offer("PLAIN"), (speech.command("PLAIN"), speech.yes)])
    with pytest.raises(speech.error_named("ServerNotProven")):
        speech.binding.authenticate(conn, PASSWORD, initial_response=False)
    assert speech.is_closed(conn)
    assert b64(PLAIN) not in server.heard()


def test_an_empty_challenge_after_the_credential_cancels(speech: Any, stage: Any) -> None:
    conn, _ = stage.play(
        speech,
        [
            *speech.offer("XOAUTH2"),
            (speech.command("XOAUTH2", XOAUTH2), speech.prompt + b"\r\n"),
            (b"*", speech.cancelled),
            speech.noop,
        ],
    )
    with pytest.raises(speech.error_named("ProtocolError")):
        speech.binding.authenticate(conn, BEARER)
    conn.noop()


@pytest.mark.parametrize("step", ["command", "response"])
def test_the_end_of_the_connection_is_no_refusal(speech: Any, stage: Any, step: str) -> None:
    turns = [(speech.command("PLAIN"), "close")]
    if step == "response":
        turns = [(speech.command("PLAIN"), speech.prompt + b"\r\n"), (b64(PLAIN), "close")]
    conn, _ = stage.play(speech, [*speech.offer("PLAIN"), *turns])
    with pytest.raises(speech.error_named("ConnectionLost")) as caught:
        speech.binding.authenticate(conn, PASSWORD, initial_response=False)
    assert isinstance(caught.value, speech.lost)
    assert not isinstance(caught.value, sasl.AuthenticationFailed)
    assert speech.is_closed(conn)


def test_the_end_of_the_connection_after_an_error_challenge_is_a_refusal(speech: Any, stage: Any) -> None:
    conn, _ = stage.play(
        speech,
        [*speech.offer("XOAUTH2"), (None, speech.challenge(b'{"status":"400"}')), (b"", "close")],
    )
    with pytest.raises(speech.error_named("AuthenticationFailed")) as caught:
        speech.binding.authenticate(conn, BEARER)
    assert caught.value.detail == {"status": "400"}
    assert speech.is_closed(conn)
    if speech.name == "smtp":
        assert caught.value.args == (-1, b"")
    else:
        assert caught.value.args == (str(caught.value),)


@pytest.mark.parametrize("kept", [0, 1, 2, 3, 4, 5, 8, 12, 15, 16, 18, 19, 30, 40])
def test_a_yes_that_is_cut_is_no_login(speech: Any, stage: Any, kept: int) -> None:
    yes = speech.yes.removesuffix(b"\n")[:kept]
    conn, _ = stage.play(speech, [*speech.offer("PLAIN"), (None, [yes, "close"])], tls=False)
    with pytest.raises(speech.error_named("ConnectionLost")):
        speech.binding.authenticate(conn, PASSWORD, policy=LOOPBACK)
    assert speech.is_closed(conn)


def test_a_line_without_end_is_over_the_limit_and_closes(speech: Any, stage: Any) -> None:
    conn, _ = stage.play(speech, [*speech.offer("PLAIN"), (None, speech.prompt + b"A" * 100_000 + b"\r\n")], tls=False)
    with pytest.raises(speech.error_named("LimitExceeded")):
        speech.binding.authenticate(conn, PASSWORD, policy=LOOPBACK, initial_response=False)
    assert speech.is_closed(conn)


@pytest.mark.parametrize("speech", ["pop", "smtp"], indirect=True)  # imaplib reads its lines itself
def test_no_more_is_read_of_a_line_than_shows_that_it_is_too_long(speech: Any, stage: Any) -> None:
    line = speech.prompt.ljust(LONGEST_LINE + 1, b"A")
    conn, _ = stage.play(speech, [*speech.offer("PLAIN"), (None, [line, "hang"])])
    with pytest.raises(speech.error_named("LimitExceeded")):
        speech.binding.authenticate(conn, PASSWORD, initial_response=False)
    assert speech.is_closed(conn)


def test_a_server_that_never_answers_is_a_lost_connection(speech: Any, stage: Any) -> None:
    conn, _ = stage.play(speech, [*speech.offer("PLAIN"), (None, "hang")])
    with pytest.raises(speech.error_named("ConnectionLost"), match="in time"):
        speech.binding.authenticate(conn, PASSWORD, timeout=0.05)
    assert speech.is_closed(conn)


def test_the_time_out_holds_for_the_exchange_only(speech: Any, stage: Any) -> None:
    seen = []
    conn, _ = stage.play(speech, [*speech.offer("PLAIN"), (None, speech.yes)])
    conn.sock.settimeout(30)
    log_in(speech.binding.LIBRARY, conn, PASSWORD, timeout=4, watch=lambda *_: seen.append(conn.sock.gettimeout()))
    assert 0 < seen[0] <= 4
    assert conn.sock.gettimeout() == 30


class Own:
    """A connection that somebody reads in his own way, as Python 3.14's imaplib does: from the socket."""

    def __init__(self, conn: Any) -> None:
        self.conn = conn

    def readline(self, _size: int = -1) -> bytes:
        line = b""
        while not line.endswith(b"\n"):
            line += self.conn.sock.recv(1)
        return line


@pytest.mark.parametrize("tls", [True, False], ids=["TLS", "clear"])
@pytest.mark.parametrize("said", ["hang", "drip"])
@pytest.mark.parametrize("step", ["offer", "command", "response"])
def test_the_time_out_is_for_the_whole_login(speech: Any, stage: Any, step: str, said: str, tls: bool) -> None:
    offer = speech.offer("PLAIN")
    prompt = speech.prompt + b"\r\n"
    turns = {
        "offer": [(offer[0][0], said)],
        "command": [*offer, (speech.command("PLAIN"), said)],
        "response": [*offer, (speech.command("PLAIN"), prompt), (b64(PLAIN), said)],
    }[step]
    if (speech.name, step) == ("imap", "offer"):  # imaplib asks when it connects; the binding after the login
        turns = [*offer, (None, prompt), (b64(PLAIN), b"{tag} OK done\r\n"), (b"{tag} CAPABILITY", said)]
    conn, _ = stage.play(speech, turns, tls=tls)
    begun = time.monotonic()
    with pytest.raises(speech.error_named("ConnectionLost"), match="in time") as caught:
        speech.binding.authenticate(conn, PASSWORD, timeout=0.1, initial_response=False, policy=LOOPBACK)
    assert time.monotonic() - begun < 4  # the server would wait for 5
    assert caught.value.kind == "timeout"
    assert speech.is_closed(conn)


def test_a_turn_does_not_begin_the_time_out_anew(
    speech: Any, stage: Any, mechanism: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def script(_credentials: object, _options: object) -> Any:
        while True:
            yield b"more"

    name = mechanism(script)
    turns = [(None, speech.challenge(b"and?"))] * 12
    conn, server = stage.play(speech, [*speech.offer(name), *turns])
    monkeypatch.setattr(deadline, "monotonic", itertools.count(0, 10).__next__)  # ten seconds between two looks
    with pytest.raises(speech.error_named("ConnectionLost"), match="in time"):
        speech.binding.authenticate(conn, PASSWORD, timeout=100)
    assert 2 < len(server.heard()) < 10


@pytest.mark.parametrize("times", [(100, 100, 90), (None, 30, 290), (20, 20, 10)], ids=repr)
def test_no_wait_may_be_longer_than_the_time_that_is_left(
    speech: Any, stage: Any, mechanism: Callable[..., str], monkeypatch: pytest.MonkeyPatch, times: Any
) -> None:
    timeout, each, spent = times
    now = 0.0
    allowed: list[tuple[float, float]] = []  # when, and for how long a wait that hangs would take then

    def script(_credentials: object, _options: object) -> Any:
        nonlocal now
        yield b"first"
        now = spent  # so long it took the server to send its challenge
        yield Complete(b"second")

    name = mechanism(script)
    turns = [(speech.command(name), speech.prompt + b"\r\n"), (b64("first"), speech.challenge(b"and?"))]
    conn, _ = stage.play(speech, [*speech.offer(name), *turns, (b64("second"), speech.yes)])
    conn.sock.settimeout(30)
    set_timeout = conn.sock.settimeout
    monkeypatch.setattr(deadline, "monotonic", lambda: now)
    conn.sock.settimeout = lambda seconds: (allowed.append((now, seconds)), set_timeout(seconds))

    speech.binding.authenticate(conn, PASSWORD, timeout=timeout, initial_response=False)
    # A look at what is there waits 0 seconds, and puts back what was set.
    waits = [each for each, before in zip(allowed, [(0, 1), *allowed], strict=False) if each[1] and before[1]]
    *during, (_, afterwards) = waits
    assert {seconds for when, seconds in during if when == 0} == {each}
    assert {seconds for when, seconds in during if when == spent} == {10}
    assert afterwards == 30


def test_without_a_time_out_the_connections_own_is_for_each_wait_and_ten_times_for_all(
    speech: Any, stage: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    conn, _ = stage.play(speech, [*speech.offer("PLAIN"), (None, "drip")])
    conn.sock.settimeout(30)
    set_timeout = conn.sock.settimeout
    waits: list[float] = []  # how long each might take
    monkeypatch.setattr(deadline, "monotonic", itertools.count(0, 10).__next__)  # ten seconds between two looks
    conn.sock.settimeout = lambda seconds: (waits.append(seconds), set_timeout(seconds))

    with pytest.raises(speech.error_named("ConnectionLost"), match="in time"):
        speech.binding.authenticate(conn, PASSWORD)
    waits = [seconds for seconds, _ in itertools.groupby(filter(None, waits))]  # a look at what is there waits 0
    assert waits == [30, *range(20, 0, -10), 30]
    assert speech.is_closed(conn)


def test_a_time_out_is_for_those_who_read_in_their_own_way_too(speech: Any, stage: Any) -> None:
    turns = [*speech.offer("PLAIN"), (None, "drip")]
    conn, _ = stage.play(speech, turns)

    def own(*_: object) -> None:
        reader: Any = Own(conn)
        if speech.name == "imap":
            conn.readline = reader.readline
        else:
            stage.keep(conn.file.close)
            reader.close = conn.file.close
            conn.file = reader

    with pytest.raises(speech.error_named("ConnectionLost"), match="in time"):
        log_in(speech.binding.LIBRARY, conn, PASSWORD, timeout=0.1, watch=own)
    assert speech.is_closed(conn)


def test_after_a_login_the_connection_is_as_it_was(speech: Any, stage: Any) -> None:
    conn, _ = stage.play(speech, [*speech.offer("PLAIN"), (None, speech.yes), speech.noop])
    sock, reader = conn.sock, vars(conn).get("file")
    speech.binding.authenticate(conn, PASSWORD, timeout=5)
    now = vars(conn).get("file")
    assert conn.sock is sock
    assert now is reader or speech.name == "smtp"  # which makes it at its first reply
    assert type(now) in (io.BufferedReader, type(None))  # Python 3.14's imaplib has none
    conn.noop()


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf")])
def test_a_time_out_that_is_none_is_the_callers_mistake(speech: Any, stage: Any, timeout: float) -> None:
    conn, _ = stage.play(speech, speech.offer("PLAIN") if speech.name == "imap" else [])
    with pytest.raises(sasl.UsageError):
        speech.binding.authenticate(conn, PASSWORD, timeout=timeout)
    assert not speech.is_closed(conn)


def test_a_socket_that_is_closed_is_a_lost_connection(speech: Any, stage: Any) -> None:
    conn, _ = stage.play(speech, speech.offer("PLAIN") if speech.name == "imap" else [], tls=False)
    reader = vars(conn).get("_file") or vars(conn)["file"]  # imaplib's is private from Python 3.14 on
    reader.close()
    conn.sock.close()
    with pytest.raises(speech.error_named("ConnectionLost")):
        speech.binding.authenticate(conn, PASSWORD, policy=sasl.Policy(plaintext="always"))
    assert speech.is_closed(conn)


class Interrupted:
    """A reader that somebody interrupts."""

    def __init__(self, interruption: BaseException) -> None:
        self.interruption = interruption

    def readline(self, _limit: int = 0) -> bytes:
        raise self.interruption


@pytest.mark.parametrize("interruption", [KeyboardInterrupt(), SystemExit(), RuntimeError()], ids=repr)
def test_an_interruption_closes_and_leaves_without_the_librarys_frames(
    speech: Any, stage: Any, interruption: BaseException
) -> None:
    conn, _ = stage.play(speech, [*speech.offer("PLAIN"), (None, "hang")])
    wires = []

    def interrupt(_choice: object, wire: Any) -> None:
        wires.append(wire)
        reader: Any = Interrupted(interruption)
        if speech.name == "imap":
            conn.readline = reader.readline
        else:
            stage.keep(conn.file.close)
            reader.close = conn.file.close
            conn.file = reader

    with pytest.raises(type(interruption)) as caught:
        log_in(speech.binding.LIBRARY, conn, PASSWORD, watch=interrupt)
    assert caught.value is interruption
    assert isinstance(wires[0].error, sasl.Cancelled)
    assert speech.is_closed(conn)
    assert not any(path.endswith(f"lib/{speech.name}lib.py") for path in frames(caught.value))
    assert __file__ not in frames(caught.value)[1:]


# --- the caller's mistakes, and sources of tokens


@pytest.mark.parametrize("credentials", ["wonderland", None, b"wonderland"], ids=repr)
def test_what_are_no_credentials_is_the_callers_mistake(speech: Any, stage: Any, credentials: Any) -> None:
    conn, _ = stage.play(speech, speech.offer("PLAIN") if speech.name == "imap" else [])
    with pytest.raises(sasl.UsageError) as caught:
        speech.binding.authenticate(conn, credentials)
    assert not isinstance(caught.value, speech.error)
    assert_no_secret(str(caught.value))
    assert not speech.is_closed(conn)


def test_a_credential_that_cannot_be_sent_is_refused_before_anything_is(speech: Any, stage: Any) -> None:
    conn, server = stage.play(speech, [*speech.offer("PLAIN"), speech.noop])
    with pytest.raises(sasl.UsageError) as caught:
        speech.binding.authenticate(conn, sasl.Password("alice", "wonder\0land"))
    assert caught.value.__context__ is None
    conn.noop()
    speech.close(conn)
    assert len(server.heard()) == 2


def silent(speech: Any) -> list[Any]:
    """A server that says nothing after its greeting but what imaplib asks for when it connects."""
    return [*speech.offer("PLAIN", "XOAUTH2"), (None, "close")] if speech.name == "imap" else [(None, "close")]


@pytest.mark.parametrize(
    ("mechanism", "credentials"),
    [
        ("PLAIN\r\nNOOP", PASSWORD),
        ("", PASSWORD),
        (b"PL AIN", PASSWORD),
        ("XOAUTH2 ", sasl.Bearer("alice", lambda: TOKEN)),
        ("PLAIN", sasl.Password("al\0ice", "wonderland")),
        ("plain", sasl.Password("alice", "wonder\0land")),
        ("XOAUTH2", sasl.Bearer("alice", "wonder\r\nland")),
        ("OAUTHBEARER", sasl.Bearer("alice", "wonder\x01land")),
        ("IMAP-LOGIN", sasl.Password("alice", "wonder\r\nland")),
        ("POP-USER", sasl.Password("alice", "wonder\r\nland")),
    ],
    ids=lambda value: repr(value) if isinstance(value, str | bytes) else None,
)
def test_what_cannot_be_used_is_the_callers_mistake_before_a_command_is_sent(
    speech: Any, stage: Any, mechanism: Any, credentials: Any
) -> None:
    if mechanism in ("IMAP-LOGIN", "POP-USER") and not mechanism.startswith(speech.prefix):
        mechanism = "PLAIN\0"  # the name of another protocol's command
    offer = speech.offer("PLAIN", "XOAUTH2", "OAUTHBEARER")
    conn, server = stage.play(speech, [*offer, (None, "close")])
    with pytest.raises(sasl.UsageError) as caught:
        speech.binding.authenticate(conn, credentials, mechanism=mechanism)
    assert_no_secret(str(caught.value))
    assert not speech.is_closed(conn)
    speech.close(conn)
    assert len(server.heard()) <= 1  # no more than the question what it offers


def test_no_token_is_fetched_to_see_whether_it_can_be_used(speech: Any, stage: Any) -> None:
    asked = []
    conn, _ = stage.play(speech, [*speech.offer("PLAIN")])
    with pytest.raises(speech.error_named("MechanismUnavailable")):
        credentials = sasl.Bearer("alice", lambda: asked.append(1) or TOKEN)
        speech.binding.authenticate(conn, credentials, mechanism="XOAUTH2")
    assert asked == []


@pytest.mark.parametrize(
    ("mechanism", "credentials"),
    [("XOAUTH2", PASSWORD), ("PLAIN", BEARER), ("X-UNKNOWN", PASSWORD)],
    ids=["password", "token", "unknown"],
)
def test_a_mechanism_that_does_not_fit_is_none_in_common(
    speech: Any, stage: Any, mechanism: str, credentials: Any
) -> None:
    conn, _ = stage.play(speech, [*speech.offer("PLAIN", "XOAUTH2", "X-UNKNOWN"), speech.noop])
    with pytest.raises(speech.error_named("MechanismUnavailable")) as caught:
        speech.binding.authenticate(conn, credentials, mechanism=mechanism)
    assert mechanism in caught.value.passed_over
    conn.noop()


def test_a_token_is_fetched_before_the_command_goes_out(speech: Any, stage: Any) -> None:
    fetched = []
    conn, server = stage.play(speech, [*speech.offer("XOAUTH2"), (speech.command("XOAUTH2", XOAUTH2), speech.yes)])

    def source() -> str:
        fetched.append(len(server.received))
        return TOKEN

    assert speech.binding.authenticate(conn, sasl.Bearer("alice@example.com", source)) == speech.returned
    assert fetched == [1]


def test_a_token_that_is_not_to_be_had_leaves_the_connection_as_it_is(speech: Any, stage: Any) -> None:
    conn, server = stage.play(speech, [*speech.offer("XOAUTH2"), speech.noop])

    def source() -> str:
        raise OSError(TOKEN)

    with pytest.raises(sasl.TokenError) as caught:
        speech.binding.authenticate(conn, sasl.Bearer("alice@example.com", source))
    assert not isinstance(caught.value, speech.error)
    assert_no_secret(str(caught.value))
    conn.noop()
    speech.close(conn)
    assert len(server.heard()) == 2


def test_no_token_is_fetched_for_a_login_that_the_policy_forbids(speech: Any, stage: Any) -> None:
    conn, server = stage.play(speech, [*speech.offer("XOAUTH2"), speech.noop], tls=False)
    asked = []
    with pytest.raises(speech.error_named("PolicyViolation")):
        speech.binding.authenticate(conn, sasl.Bearer("alice@example.com", lambda: asked.append(1) or TOKEN))
    assert asked == []
    conn.noop()
    speech.close(conn)
    assert len(server.heard()) == 2


@pytest.mark.parametrize("plaintext", ["loopback", "always"])
def test_the_policy_may_allow_a_login_without_tls(speech: Any, stage: Any, plaintext: Any) -> None:
    conn, _ = stage.play(speech, [*speech.offer("PLAIN"), (speech.command("PLAIN", PLAIN), speech.yes)], tls=False)
    assert speech.binding.authenticate(conn, PASSWORD, policy=sasl.Policy(plaintext=plaintext)) == speech.returned


# --- what is shown


def debug(speech: Any, conn: Any) -> None:
    """Turn the library's debug output on, as far as it goes."""
    if speech.name == "imap":
        conn.debug = 5
    else:
        conn.set_debuglevel(2)


def level(speech: Any, conn: Any) -> int:
    return int(conn.debug if speech.name == "imap" else conn._debugging if speech.name == "pop" else conn.debuglevel)


@pytest.mark.parametrize("case", list(itertools.product(["yes", "no"], [None, False])), ids=str)
def test_debug_output_and_log_show_the_exchange_without_the_credential(
    speech: Any,
    stage: Any,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    case: tuple[str, bool | None],
) -> None:
    verdict, initial_response = case
    caplog.set_level(logging.DEBUG, "sasl")
    turns = [(speech.command("PLAIN", PLAIN), getattr(speech, verdict))]
    if initial_response is False:
        turns = [(speech.command("PLAIN"), speech.prompt + b"\r\n"), (b64(PLAIN), getattr(speech, verdict))]
    conn, _ = stage.play(speech, [*speech.offer("PLAIN"), *turns])
    debug(speech, conn)
    before = level(speech, conn)
    try:
        speech.binding.authenticate(conn, PASSWORD, initial_response=initial_response)
    except speech.refused:
        assert verdict == "no"
    assert level(speech, conn) == before
    printed = capsys.readouterr()
    assert_no_secret(printed.out + printed.err + caplog.text)
    channel = printed.out if speech.name == "pop" else printed.err  # where the library prints
    lines = [re.sub(r"  [0-9:.]+ ", "", line, count=1) for line in channel.splitlines()]  # imaplib tells the time
    said = [line for line in lines if line[:2] in ("C:", "S:")]
    assert [record.getMessage() for record in caplog.records] == said
    sent = [line for line in said if line.startswith("C: ") and line.endswith(f"<{len(PLAIN)} octets>")]
    assert len(sent) == 1
    assert any(line.startswith("S: ") for line in said)
    assert not any("alice" in line for line in said)


def test_without_debug_output_nothing_is_printed(speech: Any, stage: Any, capsys: pytest.CaptureFixture[str]) -> None:
    conn, _ = stage.play(speech, [*speech.offer("PLAIN"), (None, speech.yes)])
    speech.binding.authenticate(conn, PASSWORD)
    assert capsys.readouterr() == ("", "")


# --- the drop-in classes


class Source:
    def token(self, *, stale: str | None = None) -> sasl.AccessToken:
        return sasl.AccessToken(TOKEN)


@pytest.mark.parametrize(
    ("secret", "name"),
    [
        ("wonderland", "PLAIN"),
        (sasl.Secret("wonderland"), "PLAIN"),
        (PASSWORD, "PLAIN"),
        (BEARER, "XOAUTH2"),
        (lambda: TOKEN, "XOAUTH2"),
        (Source(), "XOAUTH2"),
    ],
    ids=["str", "Secret", "Password", "Bearer", "callable", "TokenSource"],
)
def test_login_takes_a_password_credentials_or_a_source(speech: Any, stage: Any, secret: Any, name: str) -> None:
    user, message = ("alice", PLAIN) if name == "PLAIN" else ("alice@example.com", XOAUTH2)
    conn, _ = stage.play(
        speech,
        [*speech.offer("PLAIN", "XOAUTH2"), (speech.command(name, message), speech.yes)],
        module=speech.binding,
    )
    assert conn.login(user, secret) == speech.returned


@pytest.mark.parametrize("secret", [b"wonderland\xff", None, 5], ids=repr)
def test_login_refuses_what_is_none_of_these(speech: Any, stage: Any, secret: Any) -> None:
    conn, _ = stage.play(speech, speech.offer() if speech.name == "imap" else [], module=speech.binding)
    with pytest.raises(sasl.UsageError, match=type(secret).__name__):
        conn.login("alice", secret)


def test_login_keeps_to_the_policy_and_the_mechanism_of_its_class(
    speech: Any, stage: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns = [*speech.offer("OAUTHBEARER", "XOAUTH2"), (speech.command("XOAUTH2", XOAUTH2), speech.yes)]
    conn, _ = stage.play(speech, turns, tls=False, module=speech.binding)
    monkeypatch.setattr(type(conn), "policy", LOOPBACK)
    monkeypatch.setattr(type(conn), "mechanism", "XOAUTH2")
    assert conn.login("alice@example.com", lambda: TOKEN) == speech.returned


def test_login_does_not_send_a_password_without_tls(speech: Any, stage: Any) -> None:
    conn, server = stage.play(speech, [*speech.offer("PLAIN")], tls=False, module=speech.binding)
    with pytest.raises(speech.error_named("PolicyViolation")):
        conn.login("alice", "wonderland")
    speech.close(conn)
    assert len(server.heard()) == 1


def test_the_frames_of_a_refused_login_do_not_hold_the_password(speech: Any, stage: Any) -> None:
    conn, _ = stage.play(speech, [*speech.offer("PLAIN"), (None, speech.no)], module=speech.binding)
    with pytest.raises(speech.refused) as caught:
        conn.login("alice", "wonderland")
    shown = local_variables(caught.value)
    assert "login" in shown
    assert_no_secret(shown)


@pytest.mark.parametrize("wrong", ["wonderland", b"wonderland", ["wonderland"], {"wonderland"}], ids=repr)
def test_the_frames_of_a_call_with_a_bare_password_do_not_hold_it(speech: Any, stage: Any, wrong: Any) -> None:
    conn, _ = stage.play(speech, silent(speech))
    with pytest.raises(sasl.UsageError, match=type(wrong).__name__) as caught:
        speech.binding.authenticate(conn, wrong)
    assert "in authenticate" in local_variables(caught.value)
    assert "in log_in" in local_variables(caught.value)
    assert_no_secret(local_variables(caught.value))


@pytest.mark.parametrize("wrong", [b"wonderland\xff", ["wonderland"], ("wonderland", 5)], ids=repr)
def test_the_frames_of_a_login_with_what_is_no_password_do_not_hold_it(speech: Any, stage: Any, wrong: Any) -> None:
    conn, _ = stage.play(speech, silent(speech), module=speech.binding)
    with pytest.raises(sasl.UsageError, match=type(wrong).__name__) as caught:
        conn.login("alice", wrong)
    assert "in login" in local_variables(caught.value)
    assert_no_secret(local_variables(caught.value))


@pytest.mark.parametrize(
    ("mechanism", "wrong"),
    [
        ("PLAIN", "wonderland"),
        ("PLAIN", b"wonderland"),
        ("PLAIN", PLAIN),
        ("no name", "wonderland"),
        ("PLAIN", [PLAIN]),
    ],
    ids=repr,
)
@pytest.mark.parametrize("speech", ["pop", "smtp"], indirect=True)  # imaplib's has no auth()
def test_the_frames_of_auth_with_what_is_no_callback_do_not_hold_it(
    speech: Any, stage: Any, mechanism: str, wrong: Any
) -> None:
    conn, _ = stage.play(speech, silent(speech), module=speech.binding)
    with pytest.raises(sasl.UsageError) as caught:
        conn.auth(mechanism, wrong)
    assert "in auth" in local_variables(caught.value)
    assert_no_secret(local_variables(caught.value))


@pytest.mark.parametrize("user", [None, "al\0ice"], ids=repr)
def test_the_frames_of_a_login_that_was_never_tried_do_not_hold_the_password(
    speech: Any, stage: Any, user: Any
) -> None:
    conn, _ = stage.play(speech, [*speech.offer("PLAIN")], module=speech.binding)
    with pytest.raises(sasl.UsageError) as caught:
        conn.login(user, "wonderland")
    shown = local_variables(caught.value)
    assert "login" in shown
    assert_no_secret(shown)


def start_tls(speech: Any, conn: Any, context: ssl.SSLContext | None = None) -> Any:
    if speech.name == "pop":
        return conn.stls(context)
    return conn.starttls(context) if speech.name == "imap" else conn.starttls(context=context)


def starttls(speech: Any, answer: Any) -> list[Any]:
    """The turns up to the reply to STARTTLS, `answer` behind it."""
    if speech.name == "imap":
        return [
            *speech.offer(extra=("STARTTLS", "LOGINDISABLED")),
            (b"{tag} STARTTLS", [b"{tag} OK go" + answer[0], *answer[1:]]),
        ]
    if speech.name == "pop":
        return [*speech.offer(extra=("STLS",)), (b"STLS", [b"+OK go" + answer[0], *answer[1:]])]
    return [*speech.offer(extra=("STARTTLS",)), (b"STARTTLS", [b"220 go" + answer[0], *answer[1:]])]


def test_a_login_after_starttls_uses_what_the_server_says_under_tls(speech: Any, stage: Any) -> None:
    turns = [
        *starttls(speech, [b"\r\n", "tls"]),
        *speech.offer("PLAIN"),
        (speech.command("PLAIN", PLAIN), speech.yes),
        speech.noop,
    ]
    conn, _ = stage.play(speech, turns, tls=False, module=speech.binding)
    returned = {"imap": ("OK", [None]), "pop": b"+OK go", "smtp": (220, b"go")}
    assert start_tls(speech, conn, stage.client_context) == returned[speech.name]
    assert conn.login("alice", "wonderland") == speech.returned
    conn.noop()


@pytest.mark.parametrize("injected", [b"\r\n* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\n", b"\r\n235", b"\r\n\0"], ids=repr)
def test_octets_in_the_clear_behind_the_reply_to_starttls_close(speech: Any, stage: Any, injected: bytes) -> None:
    conn, _ = stage.play(speech, starttls(speech, [injected, "tls"]), tls=False, module=speech.binding)
    with pytest.raises(speech.error_named("PolicyViolation"), match="in the clear") as caught:
        start_tls(speech, conn, stage.client_context)
    assert isinstance(caught.value, speech.error)
    assert caught.value.kind == "policy"
    assert speech.is_closed(conn)


STARTTLS = {"imap": b"{tag} STARTTLS", "pop": b"STLS", "smtp": b"STARTTLS"}
REFUSALS = {
    "imap": [
        b"{tag} NO not now\r\n",
        b"{tag} BAD what?\r\n",
        b"220 go\r\n",
        b"A1 OK go\r\n",
        b"{tag} 220 go\r\n",
        b"{tag} OK ".ljust(1_000_001, b"x") + b"\r\n",
        b"{tag}\r\n",
        b"\x16\x03\x01\r\n",
        b"\r\n",
    ],
    "pop": [b"-ERR not now\r\n", b"220 go\r\n", b"\r\n", b"OK\r\n", b"\x16\x03\x01\r\n", b"-er\r\n", b"err -ERR\r\n"],
    "smtp": [
        b"454 4.7.0 not now\r\n",
        b"502 what?\r\n",
        b"250 ok\r\n",
        b"nonsense\r\n",
        b"\r\n",
        b"220" * 5000 + b"\r\n",
        b"\x16\x03\x01\r\n",
        b"354 go on\r\n",
        b"399 go\r\n",
        b"400 what\r\n",
    ],
}


@pytest.mark.parametrize(
    ("speech", "reply"),
    [(name, reply) for name, replies in REFUSALS.items() for reply in replies],
    indirect=["speech"],
    ids=lambda value: repr(value[:20]) if isinstance(value, bytes) else value,
)
def test_a_refusal_of_starttls_is_a_violation_of_the_policy(speech: Any, stage: Any, reply: bytes) -> None:
    offer = starttls(speech, [b""])[:1]
    conn, server = stage.play(speech, [*offer, (STARTTLS[speech.name], reply)], tls=False, module=speech.binding)
    with pytest.raises(speech.error_named("PolicyViolation")) as caught:
        start_tls(speech, conn, stage.client_context)
    assert isinstance(caught.value, sasl.PolicyViolation)
    assert isinstance(caught.value, speech.error)
    assert caught.value.__context__ is None
    assert "TLS" in str(caught.value)
    says_no = any(word in reply for word in (b"not now", b"what"))
    assert speech.is_closed(conn) is not says_no
    if says_no:
        speech.close(conn)
    assert len(server.heard()) == 2


def test_starttls_that_is_not_offered_is_a_violation_of_the_policy(speech: Any, stage: Any) -> None:
    conn, _ = stage.play(speech, [*speech.offer(extra=("X-OTHER",)), speech.noop], tls=False, module=speech.binding)
    with pytest.raises(speech.error_named("PolicyViolation"), match="TLS"):
        start_tls(speech, conn, stage.client_context)
    conn.noop()


@pytest.mark.parametrize("step", ["offer", "STARTTLS"])
@pytest.mark.parametrize("said", ["nothing", "goodbye"])
def test_the_end_of_the_connection_at_starttls_is_a_lost_connection(
    speech: Any, stage: Any, step: str, said: str
) -> None:
    turns = [*starttls(speech, [b""])[:1], (STARTTLS[speech.name], [speech.bye if said == "goodbye" else b"", "close"])]
    if step == "offer" and speech.name != "imap":  # imaplib asks when it connects
        turns = [(turns[0][0], [speech.bye if said == "goodbye" else b"", "close"]), (None, "close")]
    conn, _ = stage.play(speech, turns, tls=False, module=speech.binding)
    with pytest.raises(speech.error_named("ConnectionLost")) as caught:
        start_tls(speech, conn, stage.client_context)
    assert not isinstance(caught.value, sasl.PolicyViolation)
    assert caught.value.__context__ is None
    assert speech.is_closed(conn)


@pytest.mark.parametrize("where", ["offer", "reply", "handshake"])
def test_a_server_that_is_silent_at_starttls_is_a_lost_connection(speech: Any, stage: Any, where: str) -> None:
    go = starttls(speech, [b"\r\n", "hang"])
    turns = {
        "offer": [(go[0][0], "hang")] if speech.name != "imap" else [go[0], (None, "hang")],
        "reply": [go[0], (None, "hang")],
        "handshake": go,
    }[where]
    conn, _ = stage.play(speech, turns, tls=False, module=speech.binding)
    conn.sock.settimeout(0.1)
    with pytest.raises(speech.error_named("ConnectionLost"), match="in time") as caught:
        start_tls(speech, conn, stage.client_context)
    assert caught.value.kind == "timeout"
    assert speech.is_closed(conn)


SAYS_YES = {
    "imap": [b"{tag} OK go\r\n", b"{tag} OK \r\n", b"* OK [ALERT] wait\r\n{tag} OK go\r\n"],
    "pop": [b"+OK go\r\n", b"+OK \r\n", b"+OK\r\n"],
    "smtp": [b"220 go\r\n", b"220 \r\n", b"220\r\n", b"220-not\r\n220-yet\r\n220 go\r\n", b"220-\r\n220\r\n"],
}


@pytest.mark.parametrize(
    ("speech", "yes"),
    [(name, yes) for name, each in SAYS_YES.items() for yes in each],
    indirect=["speech"],
    ids=lambda value: repr(value) if isinstance(value, bytes) else value,
)
def test_each_form_of_a_yes_to_starttls_begins_tls(speech: Any, stage: Any, yes: bytes) -> None:
    offer = starttls(speech, [b""])[:1]
    turns = [*offer, (STARTTLS[speech.name], [yes, "tls"]), *(speech.offer("PLAIN") if speech.name == "imap" else [])]
    conn, _ = stage.play(speech, turns, tls=False, module=speech.binding)
    start_tls(speech, conn, stage.client_context)
    assert speech.binding.LIBRARY.channel(conn).tls


def test_a_bug_of_the_callers_own_context_leaves_as_it_is_and_closes(speech: Any, stage: Any) -> None:
    class Context(ssl.SSLContext):
        def wrap_socket(self, *_: Any, **__: Any) -> Any:
            raise ValueError("a bug")

    conn, _ = stage.play(speech, starttls(speech, [b"\r\n"]), tls=False, module=speech.binding)
    with pytest.raises(ValueError, match="a bug") as caught:
        start_tls(speech, conn, Context(ssl.PROTOCOL_TLS_CLIENT))
    assert type(caught.value) is ValueError
    assert not speech.binding.is_session_lost(caught.value)
    assert speech.is_closed(conn)


def test_without_a_context_starttls_checks_the_certificate(speech: Any, stage: Any) -> None:
    conn, _ = stage.play(speech, starttls(speech, [b"\r\n", "tls"]), tls=False, module=speech.binding)
    with pytest.raises(ssl.SSLCertVerificationError):
        start_tls(speech, conn)
    assert speech.is_closed(conn)


def test_without_a_context_the_class_for_tls_checks_the_certificate(
    speech: Any, stage: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Any, authority: Any
) -> None:
    name = {"imap": "IMAP4_SSL", "pop": "POP3_SSL", "smtp": "SMTP_SSL"}[speech.name]
    connect = getattr(speech.binding, name)
    with pytest.raises(ssl.SSLCertVerificationError):
        connect("127.0.0.1", stage.serve(speech, []).port)
    trusted = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(trusted)
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    conn = connect("127.0.0.1", stage.serve(speech, speech.offer("PLAIN")).port, timeout=5)
    stage.keep(lambda: speech.close(conn))
    assert isinstance(conn, getattr(speech.library, name))
    assert conn.sock.gettimeout() == 5


# --- the channel


@pytest.mark.parametrize(
    ("peer", "loopback"),
    [
        (("127.0.0.1", 143), True),
        (("127.8.8.8", 143), True),
        (("::1", 143, 0, 0), True),
        (("::ffff:127.0.0.1", 143, 0, 0), True),
        (("fe80::1%eth0", 143, 0, 2), False),
        (("192.0.2.1", 143), False),
        (("::ffff:192.0.2.1", 143, 0, 0), False),
        (("127.mail.example", 143), False),  # PySocks gives the name that its proxy looks up
        (("127.0.0.1.mail.example", 143), False),
        (("127.0.0.1\n", 143), False),
        ((3, 143), False),  # AF_VSOCK
    ],
    ids=str,
)
def test_loopback_is_read_off_the_peers_address(peer: tuple[Any, ...], loopback: bool) -> None:
    class Sock:
        def getpeername(self) -> tuple[Any, ...]:
            return peer

    sock: Any = Sock()
    channel = channel_of(sock, service="imap", host="mail.example")
    assert channel == sasl.Channel(loopback=loopback, service="imap", host="mail.example", port=143)


@pytest.mark.parametrize(
    ("host", "described"),
    [
        ("b\xfccher.example", "xn--bcher-kva.example"),
        ("mail.example", "mail.example"),
        ("::1", "::1"),
        ("\xfc" * 70, "\xfc" * 70),  # no name that can be asked for
        ("", None),
        (None, None),
    ],
    ids=ascii,
)
def test_the_host_is_described_by_the_name_that_is_looked_up(host: str | None, described: str | None) -> None:
    class Sock:
        def getpeername(self) -> tuple[Any, ...]:
            return "192.0.2.1", 143

    sock: Any = Sock()
    assert channel_of(sock, service="imap", host=host).host == described


def test_oauthbearer_names_a_host_beyond_ascii_as_it_is_looked_up(
    speech: Any, stage: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    conn, server = stage.play(speech, [*speech.offer("OAUTHBEARER"), (None, speech.yes)])
    monkeypatch.setattr(conn, "_host" if speech.name == "smtp" else "host", "b\xfccher.example")
    assert speech.binding.authenticate(conn, BEARER) == speech.returned
    speech.close(conn)
    message = base64.b64decode(server.heard()[-1].split()[-1])
    assert b"\x01host=xn--bcher-kva.example\x01" in message


def test_a_socket_in_the_file_system_is_this_machine() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert channel_of(ours, service="smtp", host="/run/lmtp") == sasl.Channel(loopback=True, service="smtp")


def test_a_closed_socket_and_a_pipe_are_described_as_nothing_good() -> None:
    sock = socket.socket()
    sock.close()
    assert channel_of(sock, service="imap") == sasl.Channel(service="imap")
    assert channel_of(None, service="imap") == sasl.Channel(service="imap")


@pytest.mark.parametrize("buffered", [True, False])
def test_octets_that_wait_are_seen_and_left(buffered: bool) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, ours.makefile("rb") as reader:
        ours.settimeout(5)
        conn = SimpleNamespace(sock=ours, file=reader) if buffered else SimpleNamespace(sock=ours)
        assert not has_unread(conn)
        theirs.sendall(b"+OK\r\n")
        assert has_unread(conn)
        assert has_unread(conn)
        assert ours.gettimeout() == 5
        assert (reader.readline() if buffered else ours.recv(9)) == b"+OK\r\n"
