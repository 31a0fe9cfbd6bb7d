"""Every route of the table: what it does, and that its answer has the shape that the description says."""

from __future__ import annotations

import base64
import imaplib
import json
import smtplib
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import jsonschema
import pytest

import sasl
from sasl.adapters import imaplib as binding
from sasl.adapters.reference.control.routes import ROUTES
from sasl.adapters.reference.control.shapes import SHAPES
from sasl.adapters.reference.control.table import Route
from sasl.adapters.reference.outbox import Sent

from ....support.leaks import seen
from .conftest import API, PASSWORD, Controlled, events

INBOX = "/users/alice/mailboxes/INBOX/messages"
BOB = "/users/bob/mailboxes/INBOX/messages"


def send(controlled: Controlled, subject: str, to: str = "carol@example.org") -> None:
    smtp, context = controlled.servers.smtp, controlled.servers.client_context()
    with smtplib.SMTP_SSL("localhost", smtp.tls_port, context=context) as conn:
        conn.login("alice", PASSWORD)
        conn.sendmail("alice@example.org", [to], f"Subject: {subject}\r\n\r\nhello\r\n")


def log_in(controlled: Controlled, token: str) -> imaplib.IMAP4_SSL:
    context = controlled.servers.client_context()
    conn = imaplib.IMAP4_SSL("localhost", controlled.servers.imap.tls_port, ssl_context=context)
    controlled.opened.callback(conn.shutdown)
    binding.authenticate(conn, sasl.Bearer("alice", token))
    return conn


def token_of(controlled: Controlled, **how: Any) -> dict[str, Any]:
    document = controlled.do("POST", "/users/alice/tokens", how, 201)
    assert isinstance(document, dict)
    return document


# --- each route once, in its shape: the paths and bodies to ask it with, after what has to be there was made


def _deliver(controlled: Controlled) -> int:
    return int(controlled.do("POST", INBOX, {"raw": "Subject: one\n\n1"}, 201)["uid"])


def _sent(controlled: Controlled) -> int:
    send(controlled, "sent")
    return int(controlled.do("GET", "/messages/wait")["id"])


def _fault(controlled: Controlled) -> int:
    return int(controlled.do("POST", "/faults", {"text": "imap:FETCH drop"}, 201)["id"])


def _session(controlled: Controlled) -> int:
    log_in(controlled, token_of(controlled)["token"])
    return int(controlled.do("GET", "/sessions")["sessions"][-1]["id"])


CALLS: dict[str, Callable[[Controlled], tuple[str, object]]] = {
    "ready": lambda _: ("/ready", None),
    "info": lambda _: ("/info", None),
    "reset": lambda _: ("/reset", None),
    "showClock": lambda _: ("/clock", None),
    "moveClock": lambda _: ("/clock", {"advance": 60}),
    "listFaults": lambda _: ("/faults", None),
    "addFault": lambda _: (
        "/faults",
        {"protocol": "imap", "on": "FETCH", "nth": 2, "do": {"reply": "NO [THROTTLED] Later"}, "then": {"close": True}},
    ),
    "clearFaults": lambda _: ("/faults", None),
    "removeFault": lambda controlled: (f"/faults/{_fault(controlled)}", None),
    "showPersona": lambda _: ("/persona", None),
    "changePersona": lambda _: ("/persona", {"persona": "rfc"}),
    "listSessions": lambda controlled: ("/sessions", _session(controlled) and None),
    "endSession": lambda controlled: (f"/sessions/{_session(controlled)}/end", {"as": "limit"}),
    "listAttempts": lambda controlled: ("/attempts", _session(controlled) and None),
    "listVerdicts": lambda _: ("/verdicts", None),
    "log": lambda controlled: ("/log?protocol=imap", _session(controlled) and None),
    "listUsers": lambda _: ("/users", None),
    "addUser": lambda _: ("/users", {"name": "dora@example.org", "password": "explorer"}),
    "changeUser": lambda _: ("/users/dora%40example.org", {"password": "backpack", "disabled": False}),
    "removeUser": lambda _: ("/users/dora%40example.org", None),
    "issueToken": lambda _: ("/users/alice/tokens", {"lifetime": 60, "state": "expired"}),
    "revokeIssuedToken": lambda controlled: (f"/tokens/{token_of(controlled)['id']}", None),
    "revokeToken": lambda controlled: ("/tokens/revoke", {"token": token_of(controlled)["token"]}),
    "revokeConsents": lambda _: ("/users/alice/consents", None),
    "listMailboxes": lambda _: ("/users/alice/mailboxes", None),
    "listMessages": lambda controlled: (INBOX, _deliver(controlled) and None),
    "deliver": lambda _: (INBOX, {"raw": "a", "flags": ["\\Seen", "x"], "date": "2026-02-01T10:00:00+01:00"}),
    "emptyMailbox": lambda controlled: (INBOX, _deliver(controlled) and None),
    "showMessage": lambda controlled: (f"{INBOX}/{_deliver(controlled)}", None),
    "showOctets": lambda controlled: (f"{INBOX}/{_deliver(controlled)}/raw", None),
    "removeMessage": lambda controlled: (f"{INBOX}/{_deliver(controlled)}", None),
    "listSent": lambda controlled: ("/messages", _sent(controlled) and None),
    "forgetSent": lambda _: ("/messages", None),
    "waitForSent": lambda controlled: ("/messages/wait?count=1&timeout=9.5&to=carol", send(controlled, "x")),
    "showSent": lambda controlled: (f"/messages/{_sent(controlled)}", None),
    "showSentOctets": lambda controlled: (f"/messages/{_sent(controlled)}/raw", None),
}


def test_every_route_is_called_here() -> None:
    assert set(CALLS) == {route.name for route in ROUTES}


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
def test_an_answer_has_the_shape_that_the_description_says(controlled: Controlled, route: Route) -> None:
    if route.name in ("changeUser", "removeUser") and "dora@example.org" not in controlled.servers.users:
        controlled.servers.add_user("dora@example.org", "explorer")
    if route.name == "addUser" and "dora@example.org" in controlled.servers.users:
        controlled.servers.remove_user("dora@example.org")
    path, body = CALLS[route.name](controlled)
    reply = controlled.ask(route.method, API + path, body)
    assert reply.status == (route.status if route.gives else 204), reply
    if not route.gives:
        assert reply.octets == b""
    elif route.gives == "message":
        assert reply.headers["content-type"] == "message/rfc822"
        assert reply.octets.startswith(b"Subject: ")
    else:
        schema = {"$ref": f"#/components/schemas/{route.gives}", "components": {"schemas": SHAPES}}
        jsonschema.validate(reply.document, schema)


# --- what they do


def test_python_and_http_see_the_same(controlled: Controlled) -> None:
    controlled.do("POST", INBOX, {"raw": "Subject: caf\u00e9\n\nhi\n", "flags": ["\\flagged"]}, 201)
    (message,) = controlled.servers.mailbox("alice").messages
    assert message.raw == "Subject: caf\u00e9\r\n\r\nhi\r\n".encode()
    assert message.flags == {"\\Flagged"}
    controlled.servers.deliver("alice", "Subject: =?utf-8?q?d=C3=A9j=C3=A0?=\n\n")
    subjects = [each["subject"] for each in controlled.do("GET", INBOX)["messages"]]
    assert subjects == ["caf\u00e9", "d\u00e9j\u00e0"]


def test_a_mailbox_is_named_by_one_segment_of_the_path(controlled: Controlled) -> None:
    controlled.servers.call(lambda: controlled.servers.account("alice").create("A/B c"))
    controlled.do("POST", "/users/alice/mailboxes/A%2FB%20c/messages", {"raw": "a"}, 201)
    assert len(controlled.servers.mailbox("alice", "A/B c").messages) == 1


def test_a_message_of_octets_comes_back_as_it_was(controlled: Controlled) -> None:
    octets = b"Subject: \xff\xfe\r\n\r\n\x00\x80\r\n"
    uid = controlled.ask("POST", API + INBOX, octets, kind="message/rfc822").document["uid"]
    assert controlled.ask("GET", f"{API}{INBOX}/{uid}/raw").octets == octets
    controlled.do("DELETE", f"{INBOX}/{uid}", status=204)
    controlled.do("GET", f"{INBOX}/{uid}", status=404)


def test_sent_messages_keep_their_numbers(controlled: Controlled) -> None:
    first, second = (send(controlled, subject) or controlled.do("GET", "/messages")["messages"][-1] for subject in "ab")
    assert (first["subject"], second["subject"]) == ("a", "b")
    assert second["id"] == first["id"] + 1
    assert first["user"] == "alice"
    assert first["recipients"] == ["carol@example.org"]
    controlled.do("DELETE", "/messages", status=204)
    controlled.do("GET", f"/messages/{first['id']}", status=404)
    send(controlled, "c")
    assert controlled.do("GET", "/messages")["messages"][0]["id"] > second["id"]


def test_who_waits_for_a_message_has_it_as_soon_as_it_comes(controlled: Controlled) -> None:
    found: list[Any] = []
    waiter = threading.Thread(target=lambda: found.append(controlled.do("GET", "/messages/wait?timeout=10&to=erin")))
    waiter.start()
    send(controlled, "not this")
    send(controlled, "this", "erin@example.org")
    waiter.join(10)
    assert found[0]["subject"] == "this"


def test_who_waits_in_vain_is_told_so(controlled: Controlled) -> None:
    assert controlled.do("GET", "/messages/wait?timeout=0", status=408)["error"] == "timeout"


def test_a_token_that_was_issued_logs_in_until_it_is_revoked(controlled: Controlled) -> None:
    issued = token_of(controlled)
    conn = log_in(controlled, issued["token"])
    controlled.do("DELETE", f"/tokens/{issued['id']}", status=204)
    with pytest.raises(imaplib.IMAP4.error):
        conn.noop()
    with pytest.raises(sasl.AuthenticationFailed):
        log_in(controlled, issued["token"])


def test_a_token_is_over_when_the_clock_says_so(controlled: Controlled) -> None:
    token = token_of(controlled, lifetime=60)["token"]
    log_in(controlled, token)
    controlled.do("POST", "/clock", {"advance": 61})
    with pytest.raises(sasl.AuthenticationFailed):
        log_in(controlled, token)
    assert [each["outcome"] for each in controlled.do("GET", "/attempts")["attempts"]] == ["accepted", "expired"]


def test_a_clock_is_set_and_never_back(controlled: Controlled) -> None:
    now = controlled.do("POST", "/clock", {"set": "2096-12-01T00:00:00+01:00"})["now"]
    assert now.startswith("2096-11-30T23:00:00.")
    assert controlled.servers.clock.now().year == 2096
    assert controlled.do("POST", "/clock", {"set": "2095-01-01T00:00:00Z"}, 400)["detail"] == "time does not go back"


def test_nothing_but_the_issuing_answer_shows_a_token(controlled: Controlled) -> None:
    issued = token_of(controlled)
    log_in(controlled, issued["token"])
    with pytest.raises(sasl.AuthenticationFailed):
        log_in(controlled, issued["token"] + "x")
    for route in ROUTES:
        if route.method == "GET" and "{" not in route.path and route.name != "waitForSent":
            text = json.dumps(controlled.do("GET", route.path))
            assert seen([text], issued["token"]) == [], route.name
            assert base64.b64encode(PASSWORD.encode()).decode() not in text


def test_a_fault_strikes_and_is_counted(controlled: Controlled) -> None:
    fault = controlled.do("POST", "/faults", {"text": "imap:NOOP reply NO Later"}, 201)
    conn = log_in(controlled, token_of(controlled)["token"])
    assert [conn.noop()[0], conn.noop()[0]] == ["NO", "OK"]
    (standing,) = controlled.do("GET", "/faults")["faults"]
    assert (standing["id"], standing["hits"]) == (fault["id"], 1)
    assert standing["text"] == fault["text"]


def test_another_persona_greets_who_connects_from_now_on(controlled: Controlled) -> None:
    controlled.do("PUT", "/persona", {"persona": "gmail"})
    try:
        conn = imaplib.IMAP4("localhost", controlled.servers.imap.port)
        assert b"Gimap ready" in conn.welcome
        conn.shutdown()
    finally:
        controlled.do("PUT", "/persona", {"persona": "rfc"})


def test_a_session_is_ended_as_if_its_token_had_expired(controlled: Controlled) -> None:
    number = _session(controlled)
    controlled.do("POST", f"/sessions/{number}/end", {"as": "expired"}, 204)
    controlled.do("POST", f"/sessions/{number}/end", {"as": "expired"}, 404)
    (session,) = [each for each in controlled.do("GET", "/sessions")["sessions"] if each["id"] == number]
    assert session["ended"]


def test_a_user_who_is_disabled_is_let_in_no_more_and_then_again(controlled: Controlled) -> None:
    token = token_of(controlled)["token"]
    controlled.do("PUT", "/users/alice", {"disabled": True})
    with pytest.raises(sasl.AuthenticationFailed):
        log_in(controlled, token)
    controlled.do("PUT", "/users/alice", {"disabled": False})
    log_in(controlled, token)


def test_a_reset_leaves_users_and_the_clock(controlled: Controlled) -> None:
    controlled.do("POST", BOB, {"raw": "a"}, 201)
    controlled.do("POST", "/faults", {"text": "imap:FETCH drop"}, 201)
    send(controlled, "x")
    now = controlled.do("GET", "/clock")["now"]
    controlled.do("POST", "/reset", status=204)
    assert controlled.do("GET", BOB)["messages"] == []
    assert controlled.do("GET", "/messages")["messages"] == []
    assert controlled.do("GET", "/faults")["faults"] == []
    assert controlled.do("GET", "/attempts")["attempts"] == []
    assert {"alice", "bob"} <= {user["name"] for user in controlled.do("GET", "/users")["users"]}
    assert controlled.do("GET", "/clock")["now"] >= now


def test_the_log_has_commands_and_no_secret_of_theirs(controlled: Controlled) -> None:
    send(controlled, "x")
    names = [command["name"] for command in controlled.do("GET", "/log?protocol=smtp")["commands"]]
    assert names[:2] == ["EHLO", "AUTH"]
    assert controlled.do("GET", "/log?protocol=pop")["commands"] == []
    assert controlled.do("GET", "/log?since=2999-01-01T00:00:00Z")["commands"] == []


@pytest.mark.parametrize(
    ("head", "subject"),
    [
        ("Subject: one\n two", "one two"),
        ("sUBJECT:=?iso-8859-1?q?caf=E9?=", "caf\u00e9"),
        ("Subject: =?x-none?q?a?=", "=?x-none?q?a?="),
        ("X: y\n\nSubject: of the text", ""),
        ("X-Subject: other", ""),
        ("Subject:", ""),
    ],
)
def test_a_subject_is_told_as_a_person_reads_it(controlled: Controlled, head: str, subject: str) -> None:
    told = controlled.do("POST", INBOX, {"raw": head + "\n\ntext"}, 201)["subject"]
    assert told == subject


@pytest.mark.once
def test_ten_thousand_messages_are_told_of_in_time_and_who_looks_on_gets_the_last(controlled: Controlled) -> None:
    octets = b"Subject: =?utf-8?q?caf=C3=A9?=\r\n\r\n"

    def fill() -> None:
        for _ in range(10_000):
            sent = Sent("a@b", ("c@d",), octets, None, {}, ({},), True, datetime.now(UTC), "smtp")
            controlled.servers._backend.outbox.add(sent)

    controlled.servers.call(fill)
    assert len(controlled.do("GET", "/messages")["messages"]) == 10_000
    with events(controlled) as event:
        told = dict(event() for _ in range(6))
    assert len(told["messages"]["messages"]) == 200
