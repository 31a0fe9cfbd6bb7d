"""What is poplib's own: CAPA, USER and PASS, and AUTH for callbacks."""

from __future__ import annotations

import base64
import poplib
import socket
from typing import Any

import pytest

import sasl
import sasl.adapters.poplib
from sasl.adapters.binding import log_in
from sasl.adapters.poplib import (
    POPAuthenticationFailed,
    POPCancelled,
    POPConnectionLost,
    POPLimitExceeded,
    POPMechanismUnavailable,
    POPPolicyViolation,
    POPProtocolError,
    authenticate,
)

from ..support.leaks import locals_of, seen, shown_by
from ..support.protocols import b64

PASSWORD = sasl.Password("alice", "wonderland")
PLAIN = base64.b64encode(b"\0alice\0wonderland")
LOOPBACK = sasl.Policy(plaintext="loopback")
COMMAND = b"AUTH PLAIN " + PLAIN
BINDING = sasl.adapters.poplib


# --- CAPA


def test_capabilities_that_are_not_ascii_or_empty_do_not_disturb(pop: Any, stage: Any) -> None:
    capabilities = b"+OK\r\nIMPLEMENTATION f\xfcr alle\r\n\r\nsasl LOGIN PLAIN\r\n..\r\n.\r\n"
    conn, _ = stage.play(pop, [(b"CAPA", capabilities), (COMMAND, pop.yes)])
    assert authenticate(conn, PASSWORD) == pop.returned


def test_without_capa_user_and_pass_log_in(pop: Any, stage: Any) -> None:
    watched = []
    conn, _ = stage.play(
        pop,
        [(b"CAPA", b"-ERR what?\r\n"), (b"USER alice", b"+OK go on\r\n"), (b"PASS wonderland", pop.yes), pop.noop],
    )
    assert log_in(BINDING.LIBRARY, conn, PASSWORD, watch=lambda choice, _: watched.append(choice.name)) == pop.returned
    assert watched == ["POP-USER"]
    conn.noop()


@pytest.mark.parametrize(
    "answer", ["close", [b"+OK these\r\nSASL PLAIN\r\n", "close"], [b"+OK these\r\nSASL PL", "close"]], ids=str
)
def test_a_connection_that_ends_at_capa_is_lost(pop: Any, stage: Any, answer: Any) -> None:
    conn, _ = stage.play(pop, [(b"CAPA", answer)])
    with pytest.raises(POPConnectionLost) as caught:
        authenticate(conn, PASSWORD)
    assert caught.value.args == ("-ERR EOF",)
    assert str(caught.value) != "-ERR EOF"
    assert pop.is_closed(conn)


def test_a_server_that_is_silent_at_capa_is_lost(pop: Any, stage: Any) -> None:
    conn, _ = stage.play(pop, [(b"CAPA", "hang")])
    with pytest.raises(POPConnectionLost, match="in time"):
        authenticate(conn, PASSWORD, timeout=0.05)
    assert pop.is_closed(conn)


def test_capabilities_without_end_are_over_the_limit(pop: Any, stage: Any) -> None:
    conn, _ = stage.play(pop, [(b"CAPA", b"+OK\r\n" + b"X-MORE\r\n" * 10_000)])
    with pytest.raises(POPLimitExceeded):
        authenticate(conn, PASSWORD)
    assert pop.is_closed(conn)


@pytest.mark.parametrize("answer", [b"nonsense\r\n", b"250 ok\r\n"], ids=repr)
def test_an_answer_to_capa_that_is_none_closes(pop: Any, stage: Any, answer: bytes) -> None:
    conn, _ = stage.play(pop, [(b"CAPA", answer)])
    with pytest.raises(POPProtocolError):
        authenticate(conn, PASSWORD)
    assert pop.is_closed(conn)


def test_a_closed_client_has_no_connection(pop: Any, stage: Any) -> None:
    conn, _ = stage.play(pop, [], module=BINDING)
    conn.close()
    with pytest.raises(POPConnectionLost, match="closed"):
        authenticate(conn, PASSWORD)
    with pytest.raises(POPConnectionLost, match="closed"):
        conn.auth("PLAIN", initial_response=b"\0alice\0wonderland")


# --- USER and PASS, refusals


def test_user_and_pass_stand_in_where_no_mechanism_takes_a_password(pop: Any, stage: Any) -> None:
    password = "p\xe4ssw\xf6rd"
    conn, _ = stage.play(
        pop,
        [*pop.offer("XOAUTH2"), (b"USER alice", b"+OK\r\n"), (b"PASS " + password.encode(), pop.yes)],
        module=BINDING,
    )
    assert conn.login("alice", password) == pop.returned


@pytest.mark.parametrize("refused", ["USER", "PASS"])
def test_a_refused_user_or_password_is_a_refusal(pop: Any, stage: Any, refused: str) -> None:
    turns = [(b"USER alice", pop.no)] if refused == "USER" else [(b"USER alice", b"+OK\r\n"), (None, pop.no)]
    conn, _ = stage.play(pop, [*pop.offer(), *turns, pop.noop])
    with pytest.raises(POPAuthenticationFailed) as caught:
        authenticate(conn, PASSWORD)
    assert caught.value.mechanism == "POP-USER"
    conn.noop()


def test_user_is_not_sent_without_tls_or_where_it_is_not_offered(pop: Any, stage: Any) -> None:
    conn, server = stage.play(pop, [*pop.offer(), *pop.offer(extra=("UIDL",))], tls=False)
    with pytest.raises(POPPolicyViolation):
        authenticate(conn, PASSWORD)
    with pytest.raises(POPMechanismUnavailable, match="USER"):
        authenticate(conn, PASSWORD, policy=LOOPBACK)
    pop.close(conn)
    assert server.heard() == [b"CAPA", b"CAPA"]


def test_a_second_login_says_what_may_be_the_cause(pop: Any, stage: Any) -> None:
    conn, _ = stage.play(pop, [*pop.offer("PLAIN"), (COMMAND, pop.yes), *pop.offer(extra=("UIDL",))])
    authenticate(conn, PASSWORD)
    with pytest.raises(POPMechanismUnavailable, match="logged in"):
        authenticate(conn, PASSWORD)


def test_a_refusal_holds_the_line_of_the_server_as_poplib_has_it(pop: Any, stage: Any) -> None:
    conn, _ = stage.play(pop, [*pop.offer("PLAIN"), (COMMAND, pop.no)])
    with pytest.raises(poplib.error_proto) as caught:
        authenticate(conn, PASSWORD)
    error: Any = caught.value
    assert error.args == (b"-ERR [AUTH] Invalid credentials",)
    assert (str(error), error.response_code) == ("Invalid credentials", "AUTH")


@pytest.mark.parametrize(
    ("line", "error"),
    [
        (b"-ERR [IN-USE] locked\r\n", sasl.TemporaryFailure),
        (b"-ERR [SYS/PERM] broken\r\n", sasl.AuthenticationFailed),
        (b"-ERR [LOGIN-DELAY] wait\r\n", sasl.TemporaryFailure),
        (b"-ERR\r\n", sasl.AuthenticationFailed),
        (b"+OKAY\r\n", sasl.ProtocolError),
        (b"OK\r\n", sasl.ProtocolError),
        (b"\r\n", sasl.ProtocolError),
    ],
    ids=repr,
)
def test_each_line_that_is_no_yes_has_its_error(pop: Any, stage: Any, line: bytes, error: type[Exception]) -> None:
    conn, _ = stage.play(pop, [*pop.offer("PLAIN"), (COMMAND, line), (b"*", b"-ERR cancelled\r\n")])
    with pytest.raises(poplib.error_proto) as caught:
        authenticate(conn, PASSWORD)
    assert isinstance(caught.value, error)


def test_a_challenge_longer_than_poplib_reads_does_not_put_it_out_of_step(pop: Any, stage: Any) -> None:
    challenge = base64.b64encode(b"k" * 1600)
    asked = []
    conn, _ = stage.play(
        pop, [(b"AUTH X-OWN", b"+ " + challenge + b"\r\n"), (b64("ticket"), pop.yes), pop.noop], module=BINDING
    )
    assert conn.auth("X-OWN", lambda data: asked.append(len(data)) or "ticket") == pop.returned
    assert asked == [1600]
    conn.noop()


# --- AUTH with a callback


def test_a_callback_answers_each_challenge(pop: Any, stage: Any) -> None:
    answers = {b"User Name\0": "\xe4lice", b"Password\0": b"wonderland"}
    conn, _ = stage.play(
        pop,
        [
            (b"AUTH LOGIN", b"+ " + b64("User Name\0") + b"\r\n"),
            (b64("\xe4lice"), b"+ " + b64("Password\0") + b"\r\n"),
            (b64("wonderland"), pop.yes),
            pop.noop,
        ],
        module=BINDING,
    )
    assert conn.auth("login", answers.__getitem__) == pop.returned
    conn.noop()


def test_an_empty_first_challenge_and_an_empty_answer_are_legal(pop: Any, stage: Any) -> None:
    conn, _ = stage.play(pop, [(b"AUTH X-OWN", b"+ \r\n"), (b"", pop.yes)], module=BINDING)
    assert conn.auth("X-OWN", lambda challenge: challenge) == pop.returned


def test_a_callback_that_returns_none_cancels(pop: Any, stage: Any) -> None:
    conn, _ = stage.play(pop, [(b"AUTH X-OWN", b"+ \r\n"), (b"*", pop.cancelled), pop.noop], module=BINDING)
    with pytest.raises(POPCancelled):
        conn.auth("X-OWN", lambda _challenge: None)
    conn.noop()


@pytest.mark.parametrize("response", [5, "\udcff"], ids=repr)
def test_a_callback_that_returns_what_is_no_response_cancels(pop: Any, stage: Any, response: Any) -> None:
    conn, _ = stage.play(pop, [(b"AUTH X-OWN", b"+ \r\n"), (b"*", pop.cancelled), pop.noop], module=BINDING)
    with pytest.raises(POPProtocolError):
        conn.auth("X-OWN", lambda _challenge: response)
    conn.noop()


@pytest.mark.parametrize("prompt", [b"+ Go ahead\r\n", b"+ Zg\r\n", b"+Zg==\r\n"], ids=repr)
def test_base64_is_strict_for_callbacks_too(pop: Any, stage: Any, prompt: bytes) -> None:
    conn, _ = stage.play(pop, [(b"AUTH X-OWN", prompt), (b"*", pop.cancelled), pop.noop], module=BINDING)
    with pytest.raises(POPProtocolError, match="base64"):
        conn.auth("X-OWN", lambda _challenge: b"never")
    conn.noop()


@pytest.mark.parametrize("initial", ["\0alice\0wonderland", b"\0alice\0wonderland"], ids=["str", "bytes"])
def test_an_initial_response_may_be_all_that_is_needed(pop: Any, stage: Any, initial: Any) -> None:
    conn, _ = stage.play(pop, [(COMMAND, pop.yes)], module=BINDING)
    assert conn.auth("PLAIN", initial_response=initial) == pop.returned


def test_an_initial_response_too_long_for_a_command_line_goes_after_the_prompt(pop: Any, stage: Any) -> None:
    conn, _ = stage.play(pop, [(b"AUTH X-OWN", b"+ send it\r\n"), (b64("x" * 200), pop.yes)], module=BINDING)
    assert conn.auth("X-OWN", initial_response="x" * 200) == pop.returned


def test_a_challenge_that_nobody_answers_cancels(pop: Any, stage: Any) -> None:
    conn, _ = stage.play(
        pop, [(COMMAND, b"+ " + b64("more") + b"\r\n"), (b"*", pop.cancelled), pop.noop], module=BINDING
    )
    with pytest.raises(POPCancelled):
        conn.auth("PLAIN", initial_response=b"\0alice\0wonderland")
    conn.noop()


def test_a_refused_callback_is_a_refusal(pop: Any, stage: Any) -> None:
    conn, _ = stage.play(pop, [(b"AUTH X-OWN", b"+ \r\n"), (b64("no"), pop.no), pop.noop], module=BINDING)
    with pytest.raises(POPAuthenticationFailed) as caught:
        conn.auth("X-OWN", lambda _challenge: "no")
    assert caught.value.mechanism == "X-OWN"
    conn.noop()


def test_the_frames_of_a_refusal_do_not_hold_the_initial_response(pop: Any, stage: Any) -> None:
    conn, _ = stage.play(pop, [(COMMAND, pop.no)], module=BINDING)
    with pytest.raises(POPAuthenticationFailed) as caught:
        conn.auth("PLAIN", initial_response="\0alice\0wonderland")
    shown = "\n".join([*shown_by(caught.value), *locals_of(caught.value, everywhere=True)])
    assert "mechanism" in shown
    assert seen([shown], "wonderland", "\0alice\0wonderland") == []


@pytest.mark.parametrize(
    ("mechanism", "authobject"), [("no name", None), ("PLAIN", PASSWORD), ("PLAIN", len), ("PLAIN", "wonderland")]
)
@pytest.mark.parametrize("kind", [str, bytes])
def test_the_frames_of_a_wrong_call_do_not_hold_the_initial_response(
    pop: Any, stage: Any, mechanism: str, authobject: Any, kind: type
) -> None:
    conn, _ = stage.play(pop, [], module=BINDING)
    initial = "\0alice\0wonderland" if kind is str else b"\0alice\0wonderland"
    with pytest.raises(sasl.UsageError) as caught:
        conn.auth(mechanism, authobject, initial)
    shown = "\n".join([*shown_by(caught.value), *locals_of(caught.value, everywhere=True)])
    assert "in auth" in shown
    assert seen([shown], "wonderland") == []


def test_auth_takes_credentials(pop: Any, stage: Any) -> None:
    conn, _ = stage.play(pop, [*pop.offer("XOAUTH2", "PLAIN"), (COMMAND, pop.yes)], module=BINDING)
    assert conn.auth("plain", PASSWORD) == pop.returned


@pytest.mark.parametrize(
    ("mechanism", "arguments"),
    [
        ("PLAIN", {}),
        ("PLAIN", {"authobject": lambda _challenge: b"", "initial_response": b""}),
        ("PLAIN", {"authobject": PASSWORD, "initial_response": b""}),
        ("PLAIN\r\nDELE 1", {"initial_response": b""}),
        ("", {"initial_response": b""}),
        ("PLAIN", {"authobject": "wonderland"}),
        ("PLAIN", {"initial_response": 5}),
    ],
    ids=["neither", "both", "credentials too", "CRLF", "no name", "str", "int"],
)
def test_auth_with_wrong_arguments_is_the_callers_mistake(
    pop: Any, stage: Any, mechanism: str, arguments: dict[str, Any]
) -> None:
    conn, server = stage.play(pop, [], module=BINDING)
    with pytest.raises(sasl.UsageError):
        conn.auth(mechanism, **arguments)
    pop.close(conn)
    assert server.heard() == []


@pytest.mark.parametrize("name", ["PLAIN", "X-UNKNOWN"])
def test_auth_sends_nothing_without_tls_that_may_be_usable(
    pop: Any, stage: Any, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    command = b"AUTH " + name.encode() + b" " + PLAIN
    conn, server = stage.play(pop, [(command, pop.yes)], tls=False, module=BINDING)
    with pytest.raises(POPPolicyViolation, match=name):
        conn.auth(name, initial_response=b"\0alice\0wonderland")
    assert server.received == []
    monkeypatch.setattr(type(conn), "policy", LOOPBACK)
    assert conn.auth(name, initial_response=b"\0alice\0wonderland") == pop.returned


def test_auth_without_tls_is_for_mechanisms_that_protect_the_credential(pop: Any, stage: Any, mechanism: Any) -> None:
    name = mechanism(lambda *_: iter(()))
    conn, _ = stage.play(pop, [(b"AUTH X-TEST b3du", pop.yes)], tls=False, module=BINDING)
    assert conn.auth(name, initial_response="own") == pop.returned


def test_the_lines_are_audited_as_those_of_poplib_are(pop: Any, stage: Any) -> None:
    import sys

    audited: list[Any] = []
    enabled = [True]

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if enabled and event == "poplib.putline":
            audited.append(arguments[1])

    conn, _ = stage.play(pop, [*pop.offer("PLAIN"), (COMMAND, pop.yes)])
    sys.addaudithook(hook)
    authenticate(conn, PASSWORD)
    enabled.clear()
    assert audited == [b"CAPA", COMMAND]


def test_the_class_for_tls_refuses_stls_as_poplib_does(pop: Any, stage: Any) -> None:
    conn, _ = stage.play(pop, [pop.noop], module=BINDING)
    with pytest.raises(poplib.error_proto, match="already"):
        conn.stls()
    conn.noop()


@pytest.mark.parametrize("greeting", [b"-ERR too busy\r\n", b"nonsense\r\n", b"+OK" + b"x" * 3000 + b"\r\n"], ids=len)
@pytest.mark.parametrize("tls", [False, True])
def test_a_greeting_that_is_none_leaves_no_connection_open(pop: Any, stage: Any, greeting: bytes, tls: bool) -> None:
    server = stage.serve(pop, [], tls=tls, greeting=greeting)
    with pytest.raises(poplib.error_proto):
        pop.connect(server.port, stage.client_context if tls else None, BINDING)
    assert server.heard() == []


def test_a_server_that_is_not_there_leaves_nothing_to_close() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    with pytest.raises(OSError):
        BINDING.POP3("127.0.0.1", port)


def test_the_arguments_of_the_library_are_taken(pop: Any, stage: Any) -> None:
    conn = BINDING.POP3("127.0.0.1", stage.serve(pop, [], tls=False).port, 5)
    stage.keep(conn.close)
    assert conn.sock.gettimeout() == 5


@pytest.mark.parametrize("line", ["", "\xff"])
def test_stls_is_not_begun_where_poplib_cannot_read_what_is_offered(pop: Any, stage: Any, line: str) -> None:
    conn, _ = stage.play(pop, pop.offer(extra=("STLS", line)), tls=False, module=pop.binding)
    with pytest.raises(pop.error_named("ProtocolError"), match="cannot be read"):
        conn.stls(stage.client_context)
    assert pop.is_closed(conn)


def test_a_refusal_of_stls_has_the_line_as_poplib_has_it(pop: Any, stage: Any) -> None:
    turns = [*pop.offer(extra=("STLS",)), (b"STLS", b"-ERR not now\r\n"), pop.noop]
    conn, _ = stage.play(pop, turns, tls=False, module=BINDING)
    with pytest.raises(POPPolicyViolation, match="not now") as caught:
        conn.stls(stage.client_context)
    assert caught.value.args == (b"-ERR not now",)
    conn.noop()


def test_a_server_without_capa_offers_no_tls(pop: Any, stage: Any) -> None:
    conn, _ = stage.play(pop, [(b"CAPA", b"-ERR what?\r\n"), pop.noop], tls=False, module=BINDING)
    with pytest.raises(POPPolicyViolation, match="CAPA"):
        conn.stls(stage.client_context)
    conn.noop()
