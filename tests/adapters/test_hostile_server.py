"""What a server cannot do to a binding: fill the memory, raise what is not ours, answer early, write our errors."""

from __future__ import annotations

import socket
import ssl
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

import sasl
from sasl.adapters.binding import clock

from ..support.protocols import b64

if TYPE_CHECKING:
    from collections.abc import Callable

PASSWORD = sasl.Password("alice", "hunter2-very-secret")
PLAIN = b"\0alice\0hunter2-very-secret"
LOOPBACK = sasl.Policy(plaintext="loopback")
STARTTLS = {"imap": b"{tag} STARTTLS", "pop": b"STLS", "smtp": b"STARTTLS"}
GO = {"imap": b"{tag} OK go\r\n", "pop": b"+OK go\r\n", "smtp": b"220 go\r\n"}


def begin_tls(speech: Any, conn: Any, context: Any) -> Any:
    """Begin TLS by the drop-in."""
    return speech.binding.LIBRARY.start_tls(conn, context)


# --- floods

LINE = {"imap": b"* 7 EXISTS\r\n", "pop": b"X-ABCDEFGH\r\n", "smtp": b"250-ABCDEFGH\r\n"}


def flood(speech: Any) -> list[bytes]:
    """More than a server may say in one call, in pieces."""
    line = LINE[speech.name]
    return [line * 1000] * (clock.MOST_OCTETS // len(line) // 1000 + 2)


@pytest.mark.parametrize("timeout", [None, 5], ids=["no time-out", "time-out"])
def test_a_flood_in_a_login_is_an_error_and_closes(
    speech: Any, stage: Any, timeout: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock, "MOST_OCTETS", 50_000)
    offer = speech.offer("PLAIN")
    turns = {
        "imap": [*offer, (None, b"{tag} OK in\r\n"), (b"{tag} CAPABILITY", flood(speech))],
        "pop": [(offer[0][0], [b"+OK\r\n", *flood(speech)])],
        "smtp": [(offer[0][0], flood(speech))],
    }[speech.name]
    conn, _ = stage.play(speech, turns)
    with pytest.raises(speech.error_named("LimitExceeded"), match="octets"):
        speech.binding.authenticate(conn, PASSWORD, timeout=timeout)
    assert speech.is_closed(conn)


def test_a_flood_instead_of_tls_is_an_error_and_closes(
    speech: Any, stage: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock, "MOST_OCTETS", 50_000)
    line = {"imap": LINE["imap"], "pop": LINE["pop"], "smtp": b"220-ABCDEFGH\r\n"}[speech.name]
    too_much = [line * 1000] * 6
    offer = speech.offer(extra=("STARTTLS",))
    turns = (
        [*offer, (STARTTLS[speech.name], too_much)] if speech.name != "pop" else [(b"CAPA", [b"+OK\r\n", *too_much])]
    )
    conn, _ = stage.play(speech, turns, tls=False, module=speech.binding)
    with pytest.raises(speech.error_named("LimitExceeded"), match="octets"):
        begin_tls(speech, conn, stage.client_context)
    assert speech.is_closed(conn)


def test_a_flood_after_the_handshake_is_under_the_same_limit(
    imap: Any, stage: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock, "MOST_OCTETS", 50_000)
    turns = [*imap.offer(extra=("STARTTLS",)), (STARTTLS["imap"], [GO["imap"], "tls"]), (None, flood(imap))]
    conn, _ = stage.play(imap, turns, tls=False, module=imap.binding)
    with pytest.raises(imap.error_named("LimitExceeded"), match="octets"):
        conn.starttls(stage.client_context)
    assert imap.is_closed(conn)


def test_a_literal_of_any_size_is_read_as_far_as_the_limit(
    imap: Any, stage: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock, "MOST_OCTETS", 50_000)
    for size in (b"60000", b"9999999999", b"99999999999999999999"):
        turns = [*imap.offer("PLAIN"), (None, b"{tag} OK in\r\n"), (None, b"* X {%b}\r\n" % size + b"x" * 60_000)]
        conn, _ = stage.play(imap, turns)
        with pytest.raises(imap.error_named("LimitExceeded")):
            imap.binding.authenticate(conn, PASSWORD)
        assert imap.is_closed(conn)


def test_who_reads_from_the_socket_itself_is_under_the_limit_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "MOST_OCTETS", 5)
    near, far = socket.socketpair()
    conn = SimpleNamespace(sock=near)
    with near, far, clock.limit_time(conn, None) as allowance:
        far.sendall(b"123456")
        assert conn.sock.recv(5) == b"12345"
        assert allowance.left == 0
        with pytest.raises(sasl.LimitExceeded, match="5 octets"):
            conn.sock.recv(5)
    assert conn.sock is near


def test_within_a_limit_another_one_changes_nothing() -> None:
    near, far = socket.socketpair()
    conn = SimpleNamespace(sock=near)
    with near, far, clock.limit_time(conn, 5) as outer:
        limited = conn.sock
        with clock.limit_time(conn, 1) as inner:
            assert inner is outer
        assert conn.sock is limited
    assert conn.sock is near


def test_after_tls_began_the_connection_is_as_the_library_leaves_it(speech: Any, stage: Any) -> None:
    turns = speech.offer(extra=("STLS", "STARTTLS"))
    after = speech.offer() if speech.name == "imap" else []
    turns = [
        *turns,
        (STARTTLS[speech.name], [GO[speech.name], "tls"]),
        *after,
        *speech.offer("PLAIN")[: speech.name == "smtp"],
    ]
    conn, _ = stage.play(speech, turns, tls=False, module=speech.binding)
    conn.sock.settimeout(20)
    begin_tls(speech, conn, stage.client_context)
    assert type(conn.sock) is ssl.SSLSocket
    assert conn.sock.gettimeout() == 20
    assert type(vars(conn).get("file")).__name__ in ("BufferedReader", "NoneType")


# --- what parsers raise

GARBLED = {
    "digits": b"* 1 FETCH {" + b"9" * 5000 + b"}\r\n",
    "a tag beyond ASCII": b"\xff\xff OK\r\n",
}


@pytest.mark.parametrize("said", GARBLED.values(), ids=GARBLED)
@pytest.mark.parametrize("where", ["login", "starttls", "under TLS"])
def test_what_imaplib_cannot_parse_is_a_protocol_error_and_closes(
    imap: Any, stage: Any, said: bytes, where: str
) -> None:
    offer = imap.offer("PLAIN", extra=("SASL-IR", "STARTTLS"))
    turns = {
        "login": [*offer, (None, b"{tag} OK in\r\n"), (None, [said, "close"])],
        "starttls": [*offer, (None, [said, "close"])],
        "under TLS": [*offer, (None, [GO["imap"], "tls"]), (None, [said, "close"])],
    }[where]
    conn, _ = stage.play(imap, turns, tls=False, module=imap.binding)
    with pytest.raises(imap.error) as caught:
        if where == "login":
            imap.binding.authenticate(conn, PASSWORD, policy=LOOPBACK)
        else:
            conn.starttls(stage.client_context)
    assert imap.is_closed(conn)
    assert isinstance(caught.value, sasl.ProtocolError | sasl.ConnectionLost | sasl.PolicyViolation)
    if said is GARBLED["digits"]:
        assert isinstance(caught.value, sasl.ProtocolError)
        assert "ValueError" in str(caught.value)


def test_what_poplib_cannot_parse_is_a_protocol_error_and_closes(pop: Any, stage: Any) -> None:
    conn, _ = stage.play(pop, [(b"CAPA", b"+OK\r\n\xff\r\n\r\n.\r\n")], tls=False, module=pop.binding)
    with pytest.raises(pop.error_named("ProtocolError")):
        conn.stls(stage.client_context)
    assert pop.is_closed(conn)


class Mine(Exception):
    """Not of the library."""


@pytest.mark.parametrize("error", [Mine("no"), ValueError("no"), LookupError("no")], ids=repr)
def test_what_an_overridden_method_raises_leaves_as_it_is_and_closes(speech: Any, stage: Any, error: Exception) -> None:
    def fail(*_: object, **__: object) -> Any:
        raise error

    conn, _ = stage.play(speech, [*speech.offer("PLAIN"), (None, b"{tag} OK in\r\n")], module=speech.binding)
    if speech.name == "imap":
        conn.readline = fail
    elif speech.name == "smtp":
        conn.send = fail
    else:
        conn.getwelcome = fail
    with pytest.raises(type(error)) as caught:
        speech.binding.authenticate(conn, PASSWORD)
    assert caught.value is error
    assert speech.is_closed(conn)


@pytest.mark.parametrize("error", [Mine("no"), ValueError("no"), LookupError("no")], ids=repr)
def test_what_the_callers_context_raises_leaves_as_it_is_and_closes(speech: Any, stage: Any, error: Exception) -> None:
    class Context:
        def wrap_socket(self, *_: object, **__: object) -> None:
            raise error

    turns = [*speech.offer(extra=("STLS", "STARTTLS")), (STARTTLS[speech.name], GO[speech.name])]
    conn, _ = stage.play(speech, turns, tls=False, module=speech.binding)
    with pytest.raises(type(error)) as caught:
        begin_tls(speech, conn, Context())
    assert caught.value is error
    assert speech.is_closed(conn)


def test_an_interruption_of_starttls_closes(speech: Any, stage: Any) -> None:
    def interrupt(*_: object, **__: object) -> Any:
        raise KeyboardInterrupt

    conn, _ = stage.play(speech, speech.offer(extra=("STLS", "STARTTLS")), tls=False, module=speech.binding)
    conn.send = conn._putline = interrupt
    with pytest.raises(KeyboardInterrupt):
        begin_tls(speech, conn, stage.client_context)
    assert speech.is_closed(conn)


# --- what is said too early

EARLY = {"pop": b"+OK you are in\r\n", "smtp": b"235 you are in\r\n"}


def early(speech: Any, *said: bytes) -> Callable[..., Any]:
    offer = speech.offer("PLAIN", "SCRAM-SHA-256")
    return [(offer[0][0], offer[0][1] + b"".join(said))]  # type: ignore[return-value]


@pytest.mark.parametrize("tls", [True, False], ids=["TLS", "clear"])
@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256"])
@pytest.mark.parametrize("speech", ["pop", "smtp"], indirect=True)
def test_a_yes_that_was_sent_before_the_command_is_no_login(speech: Any, stage: Any, tls: bool, mechanism: str) -> None:
    conn, server = stage.play(speech, early(speech, EARLY[speech.name]), tls=tls)
    with pytest.raises(speech.error_named("ProtocolError"), match="before it is asked") as caught:
        speech.binding.authenticate(conn, PASSWORD, policy=LOOPBACK, mechanism=mechanism)
    assert "you are in" in caught.value.server_text
    assert speech.is_closed(conn)
    assert len(server.heard()) == 1


@pytest.mark.parametrize("speech", ["pop", "smtp"], indirect=True)
def test_a_yes_that_was_sent_before_the_response_is_no_login(speech: Any, stage: Any) -> None:
    prompt = speech.prompt + b"\r\n"
    conn, server = stage.play(speech, [*speech.offer("PLAIN"), (speech.command("PLAIN"), prompt + EARLY[speech.name])])
    with pytest.raises(speech.error_named("ProtocolError"), match="before it is asked"):
        speech.binding.authenticate(conn, PASSWORD, initial_response=False)
    assert speech.is_closed(conn)
    assert not any(b64(PLAIN) in line for line in server.heard())


def test_a_yes_before_the_question_what_it_can_do_is_none(pop: Any, stage: Any) -> None:
    conn, server = stage.play(
        pop, [(None, "close")], greeting=b"+OK hi\r\n+OK\r\nSASL PLAIN\r\n.\r\n+OK you are in\r\n"
    )
    with pytest.raises(pop.error_named("ProtocolError"), match="before it is asked"):
        pop.binding.authenticate(conn, PASSWORD)
    assert server.heard() == []
    assert pop.is_closed(conn)


@pytest.mark.parametrize(
    ("speech", "said"),
    [
        ("smtp", b"421 4.4.2 idle for too long\r\n"),
        ("smtp", b"421 idle for too long\r\n"),
        ("pop", b"-ERR Disconnected for inactivity.\r\n"),
    ],
    indirect=["speech"],
)
def test_a_goodbye_that_is_there_already_is_the_end_of_the_connection(speech: Any, stage: Any, said: bytes) -> None:
    conn, server = stage.play(speech, early(speech, said))
    with pytest.raises(speech.error_named("ConnectionLost")) as caught:
        speech.binding.authenticate(conn, PASSWORD)
    assert caught.value.server_text in said.decode()
    assert caught.value.server_text
    assert speech.is_closed(conn)
    assert len(server.heard()) == 1
    assert speech.binding.is_session_lost(caught.value)


def test_untagged_responses_that_wait_are_none_of_it(imap: Any, stage: Any) -> None:
    offer = imap.offer("PLAIN")
    conn, _ = stage.play(imap, [(offer[0][0], offer[0][1] + b"* OK still here\r\n"), (None, imap.yes)])
    assert imap.binding.authenticate(conn, PASSWORD) == imap.returned


# --- texts

ESCAPES = "\x1b[31m \u202e \x07"
TEXT = f"{ESCAPES} you sent hunter2-very-secret".encode()


def test_the_goodbye_to_the_question_after_a_login_shows_neither_password_nor_escapes(imap: Any, stage: Any) -> None:
    turns = [*imap.offer("PLAIN"), (None, b"{tag} OK in\r\n"), (b"{tag} CAPABILITY", b"* BYE " + TEXT + b"\r\n")]
    conn, _ = stage.play(imap, turns)
    with pytest.raises(imap.error_named("ConnectionLost"), match="its capabilities") as caught:
        imap.binding.authenticate(conn, PASSWORD)
    assert_clean(caught.value)


@pytest.mark.parametrize("said", [b"550-%b\r\n550 two\r\n", b"421 %b\r\n"])
def test_a_refused_helo_shows_no_escapes(smtp: Any, stage: Any, said: bytes) -> None:
    conn, _ = stage.play(smtp, [(None, b"500 no\r\n"), (None, said % ESCAPES.encode())])
    with pytest.raises(sasl.SASLError) as caught:
        smtp.binding.authenticate(conn, PASSWORD)
    assert_clean(caught.value)


@pytest.mark.parametrize("speech", ["imap", "pop", "smtp"], indirect=True)
def test_a_refused_starttls_shows_no_escapes(speech: Any, stage: Any) -> None:
    no = {"imap": b"{tag} NO ", "pop": b"-ERR ", "smtp": b"454 "}[speech.name] + ESCAPES.encode() + b"\r\n"
    turns = [*speech.offer(extra=("STLS", "STARTTLS")), (STARTTLS[speech.name], no)]
    conn, _ = stage.play(speech, turns, tls=False, module=speech.binding)
    with pytest.raises(speech.error_named("PolicyViolation")) as caught:
        begin_tls(speech, conn, stage.client_context)
    assert_clean(caught.value)


@pytest.mark.parametrize(
    ("speech", "greeting"),
    [("imap", b"* BYE %b\r\n"), ("pop", b"-ERR %b\r\n"), ("pop", b"what %b\r\n"), ("smtp", b"554 %b\r\n")],
    indirect=["speech"],
)
def test_what_is_explained_shows_no_escapes(speech: Any, stage: Any, greeting: bytes) -> None:
    server = stage.serve(speech, [(None, "close")], tls=False, greeting=greeting % ESCAPES.encode())
    library = speech.described(speech.binding)
    with pytest.raises(speech.error) as caught:
        library.open("127.0.0.1", server.port, timeout=5)
    assert_clean(library.explain(caught.value))


def assert_clean(error: Any) -> None:
    texts = [str(error), repr(error), error.server_text, *map(str, error.detail.values())]
    for text in texts:
        assert text.isprintable(), text
        assert "hunter2-very-secret" not in text
    assert "hunter2-very-secret" not in str(error.args)
