"""`sasl login` at servers that refuse, lie, hang, hang up or say what nobody understands."""

from __future__ import annotations

import base64
import socket
import ssl
import struct
import threading
from typing import TYPE_CHECKING, Any

import pytest

import sasl
from sasl import registry
from sasl.adapters import imaplib
from sasl.value import replace
from tests.adapters.conftest import CLOSE, TLS, Server

from .conftest import PASSWORD, at

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import trustme

    from sasl.adapters.reference import Servers
    from tests.adapters.conftest import Stage
    from tests.support.protocols import Protocol, Turn

    from .conftest import Result, Run

PW = ("--password-env", "SECRET")
PLAIN = base64.b64encode(f"\0alice\0{PASSWORD}".encode())
protocols = pytest.mark.parametrize("protocol", ["imap", "pop", "smtp"])

EHLO = b"ehlo [127.0.0.1]"


class Peer:
    """Lets a scripted server play its part against `sasl login`."""

    def __init__(self, run: Run, stage: Stage, ca: str) -> None:
        self._run = run
        self._stage = stage
        self._ca = ca
        self.heard: list[bytes] = []

    def __call__(
        self,
        speech: Protocol,
        turns: list[Turn],
        *options: str,
        greeting: bytes | None = None,
        tls: bool = True,
        json: bool = True,
    ) -> Result:
        server = self._stage.serve(speech, turns, tls=tls, greeting=greeting)
        url = f"{speech.name}{'s' * tls}://alice@127.0.0.1:{server.port}"
        options = (*PW, *options, *(["--json"] if json else []))
        options = options if "--ca" in options else (*options, "--ca", self._ca)
        result = self._run("login", url, *options)
        self.heard = server.heard()
        assert "\x1b" not in result.out + result.err
        return result


@pytest.fixture
def peer(run: Run, stage: Stage, ca: str) -> Peer:
    return Peer(run, stage, ca)


def offer(speech: Protocol, *mechanisms: str, extra: tuple[str, ...] | None = None) -> list[Turn]:
    """What the server offers, to a client that calls itself as ours does."""
    ((_, answer),) = speech.offer(*mechanisms) if extra is None else speech.offer(*mechanisms, extra=extra)
    return [({"imap": b"{tag} CAPABILITY", "pop": b"CAPA", "smtp": EHLO}[speech.name], answer)]


def login(speech: Protocol, *answers: Any) -> list[Turn]:
    """A dialogue up to AUTH PLAIN and what the server makes of it."""
    return [*offer(speech, "PLAIN"), (speech.auth + b"PLAIN " + PLAIN, list(answers))]


STARTTLS = {"imap": b"{tag} STARTTLS", "pop": b"STLS", "smtp": b"STARTTLS"}
BEGIN = {"imap": b"{tag} OK begin\r\n", "pop": b"+OK begin\r\n", "smtp": b"220 begin\r\n"}
REFUSE = {"imap": b"{tag} NO not now\r\n", "pop": b"-ERR not now\r\n", "smtp": b"454 4.7.0 not now\r\n"}


def with_starttls(speech: Protocol, *answers: Any) -> list[Turn]:
    extra = {"imap": ("SASL-IR", "STARTTLS"), "pop": ("STLS",), "smtp": ("STARTTLS",)}[speech.name]
    capabilities = offer(speech, "PLAIN", extra=extra) * (1 + (speech.name == "pop"))  # poplib asks again
    return [*capabilities, (STARTTLS[speech.name], list(answers))]


def check(result: Result, code: int, name: str, kind: str | None = None) -> dict[str, Any]:
    error = result.error()
    assert (result.code, error["type"], error["kind"]) == (code, name, kind), error
    assert error["advice"]
    return error


# --- the greeting


@pytest.fixture
def greets(run: Run, server_context: ssl.SSLContext, ca: str) -> Iterator[Callable[..., Result]]:
    """Logs in at a server that sends some octets over TLS, and then ends the connection or waits for its end."""
    threads: list[threading.Thread] = []

    def call(protocol: str, octets: bytes, *options: str, hangs: bool = False) -> Result:
        def serve() -> None:
            with listening, listening.accept()[0] as plain:
                try:
                    with server_context.wrap_socket(plain, server_side=True) as sock:
                        sock.sendall(octets)
                        if hangs:
                            sock.recv(1)
                            sock.recv(1)
                except OSError:
                    pass  # the client has gone

        listening = socket.create_server(("127.0.0.1", 0))
        listening.settimeout(5)
        port = listening.getsockname()[1]
        thread = threading.Thread(target=serve)
        threads.append(thread)
        thread.start()
        return run("login", f"{protocol}s://alice@127.0.0.1:{port}", *PW, "--ca", ca, "--json", *options)

    yield call
    for thread in threads:
        thread.join(5)
        assert not thread.is_alive()


@protocols
def test_a_server_that_hangs_up_at_once_is_74(greets: Callable[..., Result], protocol: str) -> None:
    error = check(greets(protocol, b""), 74, "ConnectionLost")
    assert error["detail"] == {"message": "the server ended the connection"}


@protocols
def test_a_server_that_says_nothing_is_74(greets: Callable[..., Result], protocol: str) -> None:
    error = check(greets(protocol, b"", "--timeout", "0.3", hangs=True), 74, "ConnectionLost", "timeout")
    assert "--timeout" in error["advice"]


@protocols
def test_a_server_that_stops_in_the_middle_of_a_line_is_74(greets: Callable[..., Result], protocol: str) -> None:
    octets = {"imap": b"* O", "pop": b"+O", "smtp": b"220-"}[protocol]
    check(greets(protocol, octets, "--timeout", "0.3", hangs=True), 74, "ConnectionLost", "timeout")


@protocols
def test_a_server_that_says_one_octet_now_and_then_is_74(
    run: Run, server_context: ssl.SSLContext, ca: str, protocol: str
) -> None:
    def serve() -> None:
        with listening, listening.accept()[0] as plain, server_context.wrap_socket(plain, server_side=True) as sock:
            try:
                while not gone.wait(0.02):
                    sock.sendall(b"2")
            except OSError:
                pass  # the client has gone

    gone = threading.Event()
    listening = socket.create_server(("127.0.0.1", 0))
    listening.settimeout(5)
    port = listening.getsockname()[1]
    thread = threading.Thread(target=serve)
    thread.start()
    result = run("login", f"{protocol}s://alice@127.0.0.1:{port}", *PW, "--ca", ca, "--json", "--timeout", "0.3")
    gone.set()
    thread.join(5)
    check(result, 74, "ConnectionLost", "timeout")


@pytest.mark.parametrize(
    ("protocol", "octets", "code", "name", "kind", "says"),
    [
        ("imap", b"* BYE [UNAVAILABLE] Too many \x1b[31mconnections\r\n", 75, "ServerBusy", "unavailable", "Too many"),
        ("imap", b"* PREAUTH welcome\r\n* BYE gone\r\n", 74, "ConnectionLost", None, "gone"),
        ("imap", b"* OK ready\r\n* BYE at once\r\n", 74, "ConnectionLost", None, "at once"),
        ("imap", b"* NO go away\r\n", 76, "ProtocolError", None, "greeting"),
        ("imap", b"* ok ready\r\n", 76, "ProtocolError", None, "does not speak IMAP"),
        ("imap", b"220 mx.example ESMTP \x1b]0;x\x07\r\n", 76, "ProtocolError", None, "does not speak IMAP"),
        ("imap", b"* X {" + b"9" * 5000 + b"}\r\n", 76, "ProtocolError", None, "cannot be read"),
        ("imap", b"* OK " + b"x" * 1_100_000 + b"\r\n", 76, "ProtocolError", None, "more than 1000000 bytes"),
        ("imap", b"* OK ready\r\n* CAPABILITY \xff\r\n", 74, "ConnectionLost", None, "ended the connection"),
        ("pop", b"-ERR [SYS/TEMP] too \x1b[31mbusy\r\n", 74, "ConnectionLost", None, "busy"),
        ("pop", b"220 mx.example ESMTP\r\n", 76, "ProtocolError", None, "does not speak POP3"),
        ("pop", b"+OK " + b"x" * 3000 + b"\r\n", 76, "ProtocolError", None, "does not speak POP3"),
        ("smtp", b"554 5.7.1 not \x1b[31mwanted\r\n", 74, "ConnectionLost", None, "wanted"),
        ("smtp", b"421 4.3.2 closing\r\n", 74, "ConnectionLost", None, "closing"),
        ("smtp", b"450 4.3.2 later\r\n", 75, "TemporaryFailure", "unavailable", ""),
        ("smtp", b"250 not a greeting\r\n", 76, "ProtocolError", None, "does not speak SMTP"),
        ("smtp", b"* OK IMAP4rev1\r\n", 76, "ProtocolError", None, "does not speak SMTP"),
        ("smtp", b"220 " + b"x" * 9000 + b"\r\n", 76, "LimitExceeded", None, "too long"),
    ],
    ids=lambda value: ascii(value)[:40] if isinstance(value, bytes) else None,
)
def test_a_greeting_that_is_none(
    greets: Callable[..., Result], *, protocol: str, octets: bytes, code: int, name: str, kind: str | None, says: str
) -> None:
    result = greets(protocol, octets)
    error = check(result, code, name, kind)
    assert says in error["detail"].get("message", "")
    assert "\x1b" not in result.out


def test_a_server_without_tls_is_76(peer: Peer, speech: Protocol, run: Run, stage: Stage, ca: str) -> None:
    server = stage.serve(speech, [(None, CLOSE)], tls=False)
    result = run("login", f"{speech.name}s://alice@127.0.0.1:{server.port}", *PW, "--ca", ca, "--json")
    check(result, 76, "ProtocolError", "tls")


@pytest.mark.parametrize(("linger", "kind"), [((0, 0), "tls"), ((1, 0), None)], ids=["end", "reset"])
def test_a_server_that_ends_the_connection_instead_of_tls_is_74(
    run: Run, linger: tuple[int, int], kind: str | None
) -> None:
    def serve() -> None:
        with listening, listening.accept()[0] as sock:
            sock.recv(65_536)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", *linger))

    listening = socket.create_server(("127.0.0.1", 0))
    listening.settimeout(5)
    port = listening.getsockname()[1]
    thread = threading.Thread(target=serve)
    thread.start()
    result = run("login", f"imaps://alice@127.0.0.1:{port}", *PW, "--json")
    thread.join(5)
    check(result, 74, "ConnectionLost", kind)


# --- the certificate


@protocols
def test_a_certificate_that_nobody_vouches_for_is_76(run: Run, servers: Servers, ca: str, protocol: str) -> None:
    for implicit in (True, False):
        result = run(*at(servers, protocol, implicit=implicit), "--ca", ca, *PW, "--json")
        error = check(result, 76, "ProtocolError", "certificate")
        assert "not trusted" in error["detail"]["message"]
        assert result.report()["tls"] is None
        assert not getattr(servers, protocol).sessions[-1].attempts


def test_a_certificate_for_another_host_is_76(run: Run, authority: trustme.CA, ca: str, imap: Protocol) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("another.example").configure_cert(context)
    server = Server(imap.greeting, [], context, tls=True)
    result = run("login", f"imaps://alice@127.0.0.1:{server.port}", *PW, "--ca", ca, "--json")
    server.stop()
    error = check(result, 76, "ProtocolError", "certificate")
    assert "another.example" in error["detail"]["message"] or "127.0.0.1" in error["detail"]["message"]
    assert server.received == []


def test_a_server_that_insists_on_a_client_certificate_is_76_without_one(
    run: Run, stage: Stage, authority: trustme.CA, ca: str, imap: Protocol
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    server = Server(imap.greeting, [], context, tls=True)
    result = run("login", f"imaps://alice@127.0.0.1:{server.port}", *PW, "--ca", ca, "--json")
    server.stop()
    error = check(result, 76, "ProtocolError", "tls")
    assert "--client-cert" in error["advice"]


# --- STARTTLS


def test_starttls_begins_before_anything_is_sent(peer: Peer, speech: Protocol) -> None:
    turns = [*with_starttls(speech, BEGIN[speech.name], TLS), *login(speech, speech.yes), (None, CLOSE)]
    report = peer(speech, turns, tls=False).report()
    assert report["ok"]
    assert report["tls"]["version"].startswith("TLSv1")


def test_a_server_without_starttls_is_78_and_nothing_is_sent(peer: Peer, speech: Protocol) -> None:
    result = peer(speech, offer(speech, "PLAIN"), tls=False)
    check(result, 78, "PolicyViolation", "policy")
    assert len(peer.heard) == 1


def test_a_server_that_refuses_starttls_is_78(peer: Peer, speech: Protocol) -> None:
    for options in ((), ("--allow-plaintext",)):
        result = peer(speech, with_starttls(speech, REFUSE[speech.name]), *options, tls=False)
        error = check(result, 78, "PolicyViolation", "policy")
        assert "refuses STARTTLS" in error["detail"]["message"]
        assert PLAIN not in b"".join(peer.heard)


def test_octets_in_the_clear_after_starttls_are_78(peer: Peer, speech: Protocol) -> None:
    injected = BEGIN[speech.name] + b"* OK injected\r\n"
    check(peer(speech, with_starttls(speech, injected), tls=False), 78, "PolicyViolation", "policy")
    assert PLAIN not in b"".join(peer.heard)


def test_a_server_that_hangs_up_after_starttls_is_74(peer: Peer, speech: Protocol) -> None:
    result = peer(speech, with_starttls(speech, BEGIN[speech.name], CLOSE), tls=False)
    error = result.error()
    assert (result.code, error["type"]) == (74, "ConnectionLost")


def test_a_server_that_hangs_up_instead_of_an_answer_to_starttls_is_74(peer: Peer, speech: Protocol) -> None:
    check(peer(speech, with_starttls(speech, CLOSE), tls=False), 74, "ConnectionLost")


def test_a_server_that_knows_already_who_this_is_is_78(peer: Peer, imap: Protocol) -> None:
    turns = offer(imap, "PLAIN", extra=("STARTTLS",))
    for tls in (True, False):
        check(peer(imap, turns, greeting=b"* PREAUTH hello\r\n", tls=tls), 78, "PolicyViolation", "policy")


def test_plaintext_is_sent_where_it_is_allowed_and_tls_is_not_to_be_had(peer: Peer, speech: Protocol) -> None:
    turns = [*login(speech, speech.yes), (None, CLOSE)]
    if speech.name == "pop":
        turns = [*offer(speech, "PLAIN"), *turns]  # once to find STLS, once to find AUTH
    report = peer(speech, turns, "--allow-plaintext", tls=False).report()
    assert (report["ok"], report["tls"]) == (True, None)


def test_no_starttls_begins_no_tls(peer: Peer, speech: Protocol) -> None:
    turns = [
        *offer(speech, "PLAIN", extra=("SASL-IR", "STARTTLS", "STLS")),
        (speech.auth + b"PLAIN " + PLAIN, [speech.yes]),
        (None, CLOSE),
    ]
    report = peer(speech, turns, "--allow-plaintext", "--no-starttls", tls=False).report()
    assert (report["ok"], report["tls"]) == (True, None)


def test_a_person_is_told_that_there_was_no_tls(peer: Peer, imap: Protocol) -> None:
    turns = [*login(imap, imap.yes), (None, CLOSE)]
    result = peer(imap, turns, "--allow-plaintext", "--no-starttls", tls=False, json=False)
    assert "tls         none" in result.out


def test_a_pop_server_that_does_not_know_capa_has_no_stls(peer: Peer, pop: Protocol) -> None:
    result = peer(pop, [(b"CAPA", b"-ERR what?\r\n")], tls=False)
    check(result, 78, "PolicyViolation", "policy")


@pytest.mark.parametrize(
    ("answer", "code", "name"),
    [
        (CLOSE, 74, "ConnectionLost"),
        (b"+OK\r\n\r\n.\r\n", 76, "ProtocolError"),
        (b"+OK\r\nSTLS \xff\r\n.\r\n", 76, "ProtocolError"),
    ],
    ids=["end", "empty-line", "not-ascii"],
)
def test_capabilities_that_cannot_be_read(peer: Peer, pop: Protocol, answer: Any, code: int, name: str) -> None:
    check(peer(pop, [(b"CAPA", answer)], tls=False), code, name)


@pytest.mark.parametrize(
    ("turns", "code", "name", "kind"),
    [
        ([(EHLO, b"421 closing\r\n"), (b"helo [127.0.0.1]", b"421 closing\r\n")], 74, "ConnectionLost", None),
        ([(EHLO, CLOSE)], 74, "ConnectionLost", None),
        ([(EHLO, b"502 no\r\n"), (b"helo [127.0.0.1]", b"450 4.3.2 later\r\n")], 75, "TemporaryFailure", "unavailable"),
    ],
    ids=["421", "end", "450"],
)
def test_a_server_that_refuses_ehlo(
    peer: Peer, smtp: Protocol, turns: list[Turn], code: int, *, name: str, kind: str | None
) -> None:
    check(peer(smtp, turns, tls=False), code, name, kind)


# --- the login


def test_bye_in_the_middle_is_74_with_what_it_said(peer: Peer, imap: Protocol) -> None:
    error = check(peer(imap, login(imap, imap.bye, CLOSE)), 74, "ConnectionLost")
    assert "hung up after the credential was sent" in error["advice"]
    assert error["detail"]["message"].startswith("the server ended the connection: ")


def test_421_in_the_middle_is_75_with_what_it_said(peer: Peer, smtp: Protocol) -> None:
    result = peer(smtp, login(smtp, smtp.bye, CLOSE))
    assert (result.code, result.error()["kind"], result.report()["response_code"][:3]) == (75, "unavailable", "421")
    assert "same credential" in result.error()["advice"]


def test_the_end_in_the_middle_is_74(peer: Peer, speech: Protocol) -> None:
    check(peer(speech, login(speech, CLOSE)), 74, "ConnectionLost")


def test_silence_in_the_middle_is_74(peer: Peer, speech: Protocol) -> None:
    check(peer(speech, login(speech), "--timeout", "0.5"), 74, "ConnectionLost", "timeout")


def test_garbage_in_the_middle_is_76(peer: Peer, speech: Protocol) -> None:
    result = peer(speech, login(speech, b"\x1b[2J\x00garbage \xff\r\n"), "--trace")
    assert (result.code, result.error()["type"]) == (76, "ProtocolError")
    assert "\x1b" not in result.out + result.err


def test_a_temporary_failure_is_75(peer: Peer, speech: Protocol) -> None:
    error = check(peer(speech, login(speech, speech.temporary)), 75, "TemporaryFailure", "unavailable")
    assert "same credential" in error["advice"]


def test_what_a_server_says_reaches_no_terminal_as_a_control(peer: Peer, speech: Protocol) -> None:
    evil = speech.no.replace(b"nvalid", b"\x1b]0;owned\x07\x9b31m").replace(b"Password", b"\x1b[2J\xe2\x80\xae")
    for json in (True, False):
        result = peer(speech, login(speech, evil), "--trace", json=json)
        assert result.code == 77
        seen = result.out + result.err
        assert all(char.isprintable() or char == "\n" for char in seen), ascii(seen)


def test_a_credential_that_is_said_back_is_not_shown(peer: Peer, speech: Protocol) -> None:
    for answer in (speech.yes, speech.no):
        answer = answer.rstrip(b"\r\n") + b" " + PASSWORD.encode() + b" " + PLAIN + b"\r\n"
        for json in (True, False):
            result = peer(speech, [*login(speech, answer), (None, CLOSE)], "--trace", json=json)  # `run` looks for it
            assert result.code in (0, 77)


def test_a_login_counts_even_if_the_goodbye_fails(peer: Peer, speech: Protocol) -> None:
    for answer in (CLOSE, b"\x00\r\n"):
        assert peer(speech, [*login(speech, speech.yes), (None, answer)]).report()["ok"]


def test_the_login_commands_are_for_servers_without_mechanisms(peer: Peer, imap: Protocol, pop: Protocol) -> None:
    turns: list[Turn] = [
        *offer(imap, extra=()),
        (b'{tag} LOGIN alice "%s"' % PASSWORD.encode(), imap.yes),
        (None, CLOSE),
    ]
    assert peer(imap, turns).report()["mechanism"] == "IMAP-LOGIN"
    turns = [
        *offer(pop),
        (b"USER alice", b"+OK\r\n"),
        (b"PASS " + PASSWORD.encode(), pop.yes),
        (None, CLOSE),
    ]
    report = peer(pop, turns).report()
    assert (report["mechanism"], report["turns"]) == ("POP-USER", 2)


def test_a_mechanism_that_is_off_by_default_is_used_where_it_is_named(
    peer: Peer, imap: Protocol, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = sasl.Mechanism(
        "X-OLD",
        sasl.lookup("PLAIN").client,
        None,
        sasl.Password,
        client_first=True,
        plaintext=True,
        rank=99,
        off_by_default=True,
    )
    monkeypatch.setitem(registry._registered, row.name, row)
    check(peer(imap, offer(imap, "X-OLD", extra=("LOGINDISABLED",))), 78, "PolicyViolation", "policy")
    turns = [*offer(imap, "X-OLD"), (imap.auth + b"X-OLD " + PLAIN, imap.yes), (None, CLOSE)]
    assert peer(imap, turns, "--mechanism", "x-old").report()["mechanism"] == "X-OLD"


class Pin:
    """A plug-in's own kind of credentials."""

    is_token = False

    def __init__(self, user: str, number: str) -> None:
        self.user = user
        self.secret = sasl.Secret(number)


@pytest.fixture
def plug_in(monkeypatch: pytest.MonkeyPatch) -> None:
    def script(pin: Pin, _options: object, *, flavour: str = "", quick: bool = False) -> Iterator[Any]:
        assert quick is False or quick is True, "not a text"
        yield sasl.Complete(f"{pin.user} {pin.secret.reveal()} {flavour} {quick}".encode())

    row = sasl.Mechanism("X-PIN", script, None, Pin, client_first=True, plaintext=True, rank=9)
    monkeypatch.setitem(registry._registered, row.name, row)


@pytest.mark.parametrize(
    ("options", "sent"),
    [
        ((), b"alice wonderland  False"),
        (("--option", "flavour=mint=fresh", "--option", "quick=true"), b"alice wonderland mint=fresh True"),
        (("--option", "quick=false"), b"alice wonderland  False"),
    ],
    ids=["none", "two", "false"],
)
def test_a_plug_ins_credentials_and_options_go_to_its_mechanism(
    peer: Peer, speech: Protocol, plug_in: None, options: tuple[str, ...], sent: bytes
) -> None:
    turns = [*offer(speech, "X-PIN"), (speech.auth + b"X-PIN " + base64.b64encode(sent), speech.yes), (None, CLOSE)]
    assert peer(speech, turns, "--mechanism", "x-pin", *options).report()["ok"]


def test_what_a_plug_ins_credentials_do_not_take_is_the_callers_mistake(run: Run, plug_in: None) -> None:
    result = run("login", "imaps://alice@127.0.0.1:1", *PW, "--mechanism", "X-PIN", "--authzid", "bob", "--json")
    check(result, 64, "UsageError")


def test_an_option_that_the_mechanism_does_not_know_is_the_callers_mistake(peer: Peer, imap: Protocol) -> None:
    error = check(peer(imap, offer(imap, "PLAIN"), "--option", "colour=green"), 64, "UsageError")
    assert "colour" in str(error["detail"])


@pytest.mark.parametrize("option", ["colour", "=green", "a b=c", "--=x"])
def test_an_option_is_a_name_and_a_value(run: Run, option: str) -> None:
    result = run("login", "imaps://alice@127.0.0.1:1", *PW, f"--option={option}")
    assert result.code == 64
    assert "NAME=VALUE" in result.err


def test_a_bug_in_a_library_is_not_hidden_as_a_servers(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_arguments: object, **_options: object) -> None:
        raise TypeError

    monkeypatch.setattr(imaplib, "LIBRARY", replace(imaplib.LIBRARY, open=broken))
    assert run("login", "imaps://alice@127.0.0.1:1", *PW).code == 70
