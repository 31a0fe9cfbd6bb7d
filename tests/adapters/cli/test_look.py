"""What `sasl login` sees of a server before it asks anybody for a credential, and what it makes of it."""

from __future__ import annotations

import base64
import datetime as dt
import http.server
import socket
import ssl
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

import sasl
from sasl.adapters.cli import credentials, login, look
from sasl.adapters.cli.url import parse

from .conftest import PASSWORD, at

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import trustme

    from sasl.adapters.reference import Servers
    from tests.adapters.conftest import Stage
    from tests.support.protocols import Protocol

    from .conftest import Result, Run

PW = ("--password-env", "SECRET")
protocols = pytest.mark.parametrize("protocol", ["imap", "pop", "smtp"])
implicitly = pytest.mark.parametrize("implicit", [True, False], ids=["tls", "starttls"])


# --- what is seen


@implicitly
@protocols
def test_a_look_tells_what_there_is_without_a_credential(servers: Servers, protocol: str, *, implicit: bool) -> None:
    _, url, *_ = at(servers, protocol, implicit=implicit)
    context = ssl.create_default_context(cafile=str(servers.ca_file))
    with look.visit(parse(url), context, starttls="require", timeout=10) as visit:
        seen = visit.look
    assert "saslkit reference server" in " ".join(seen.greeting)
    assert seen.tls is not None
    assert seen.certificate is not None
    assert "localhost" in seen.certificate.names
    assert {"PLAIN", "XOAUTH2", "SCRAM-SHA-256"} <= set(seen.offered)
    assert seen.offered == tuple(dict.fromkeys(seen.offered))
    assert any("SCRAM-SHA-256" in each for each in seen.capabilities)
    assert not seen.offers_tls
    assert seen.milliseconds >= 0
    assert not getattr(servers, protocol).sessions[-1].attempts
    if implicit:
        assert seen.before_tls is None
    else:
        assert {"STARTTLS", "STLS"} & set(seen.before_tls or ())


@protocols
def test_a_look_without_tls_tells_that_it_is_to_be_had(servers: Servers, protocol: str) -> None:
    _, url, *_ = at(servers, protocol, implicit=False)
    with look.visit(parse(url), ssl.create_default_context(), starttls="never", timeout=10) as visit:
        assert visit.look.offers_tls
        assert (visit.look.tls, visit.look.certificate, visit.look.before_tls) == (None, None, None)


@implicitly
@protocols
def test_one_connection_is_looked_at_and_logged_in_on(
    run: Run, servers: Servers, protocol: str, *, implicit: bool
) -> None:
    sessions = getattr(servers, protocol).sessions
    before = len(sessions)
    assert run(*at(servers, protocol, implicit=implicit), *PW).code == 0
    assert len(sessions) == before + 1


@implicitly
@protocols
def test_the_trace_begins_with_the_greeting(run: Run, servers: Servers, protocol: str, *, implicit: bool) -> None:
    lines = run(*at(servers, protocol, implicit=implicit), *PW, "--trace", "--mechanism", "PLAIN").err.splitlines()
    said = [line for line in lines if line[:3] in ("C: ", "S: ")]
    assert "saslkit reference server" in said[0]
    assert implicit != any("STARTTLS" in line or "STLS" in line for line in said)
    assert any("PLAIN <" in line for line in said)
    assert len([line for line in lines if line.startswith("TLS begins: TLSv1.")]) == 1


# --- nobody is asked in vain


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Somebody at the terminal; a list that gets what was asked."""
    asked: list[str] = []

    def ask(prompt: str) -> str:
        asked.append(prompt)
        return PASSWORD

    monkeypatch.setattr(credentials, "ask", ask)
    monkeypatch.setattr(credentials, "check_terminal", lambda: None)
    return asked


def test_the_terminal_is_asked_once_the_server_is_known(run: Run, servers: Servers, nobody: list[str]) -> None:
    assert run(*at(servers, "imap")).code == 0
    assert nobody == ["Password for alice: "]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("imaps://alice@localhost:{port}",), 76),  # a CA that is not known
        (("imaps://alice@mx.invalid",), 68),
        (("imaps://alice@127.0.0.1:{unused}",), 74),
        (("imap://alice@localhost:{port}", "--timeout", "0.3"), 74),
    ],
    ids=["certificate", "name", "port", "scheme"],
)
def test_nobody_is_asked_where_no_login_can_follow(
    run: Run, servers: Servers, nobody: list[str], unused_port: int, *, arguments: tuple[str, ...], code: int
) -> None:
    url, *options = arguments
    result = run("login", url.format(port=servers.imap.tls_port, unused=unused_port), *options)
    assert (result.code, nobody) == (code, [])


def test_nobody_is_asked_where_nothing_is_offered(
    run: Run, stage: Stage, smtp: Protocol, ca: str, nobody: list[str]
) -> None:
    server = stage.serve(smtp, [(b"ehlo [127.0.0.1]", b"250-mx\r\n250 SIZE 1\r\n")], tls=True)
    result = run("login", f"smtps://alice@127.0.0.1:{server.port}", "--ca", ca, "--json")
    assert (result.code, result.error()["type"], nobody) == (69, "MechanismUnavailable", [])
    assert "takes no logins" in result.error()["advice"]
    assert "465 (smtps://) or 587 (smtp://)" in result.error()["advice"]
    assert result.report()["offered"] == []


def test_a_command_is_not_run_where_no_login_can_follow(run: Run, unused_port: int, tmp_path: Any) -> None:
    ran = tmp_path / "ran"
    for option in ("--password-command", "--token-command"):
        assert run("login", f"imaps://alice@127.0.0.1:{unused_port}", option, f"touch {ran}").code == 74
    assert not ran.exists()


def test_who_types_for_long_gets_a_new_connection(
    run: Run, servers: Servers, nobody: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(login, "_LONGEST_PAUSE", 0)
    before = len(servers.imap.sessions)
    assert run(*at(servers, "imap")).code == 0
    assert len(servers.imap.sessions) == before + 2
    assert len(nobody) == 1


def test_a_mechanism_that_nobody_knows_is_told_before_a_connection(run: Run, unused_port: int) -> None:
    result = run("login", f"imaps://alice@127.0.0.1:{unused_port}", *PW, "--mechanism", "NTLM", "--json")
    error = result.error()
    assert (result.code, error["type"]) == (69, "MechanismUnavailable")
    assert "known here" in error["detail"]["message"]
    assert "SCRAM-SHA-256" in error["advice"]
    assert result.report()["offered"] is None


def test_what_was_passed_over_is_told_by_reason_where_that_is_why(run: Run, servers: Servers) -> None:
    result = run(*at(servers, "imap"), "--token-env", "SECRET", "--mechanism", "PLAIN", secret="token-77")
    assert result.code == 69
    assert "sasl: no mechanism: no mechanism in common with the server\n" in result.err
    assert "passed over PLAIN: takes Password, not Bearer\n" in result.err
    assert "was asked for" not in result.err
    assert max(map(len, result.err.splitlines())) < 600
    assert "passed over" not in run(*at(servers, "imap"), *PW, secret="looking-glass").err


def test_a_weak_mechanism_that_is_the_only_one_is_named(run: Run, stage: Stage, smtp: Protocol, ca: str) -> None:
    turns = [(b"ehlo [127.0.0.1]", b"250-mx\r\n250 AUTH CRAM-MD5 DIGEST-MD5\r\n")]
    server = stage.serve(smtp, turns, tls=True)
    result = run("login", f"smtps://alice@127.0.0.1:{server.port}", *PW, "--ca", ca)
    assert result.code == 78
    assert "--mechanism CRAM-MD5." in result.err
    assert "passed over CRAM-MD5, DIGEST-MD5: off unless" in result.err


def test_what_the_server_says_is_told_once(run: Run, stage: Stage, imap: Protocol, ca: str) -> None:
    plain = base64.b64encode(f"\0alice\0{PASSWORD}".encode())
    turns = [*imap.offer("PLAIN"), (imap.auth + b"PLAIN " + plain, b"{tag} NO Go away.\r\n")]
    server = stage.serve(imap, turns, tls=True)
    result = run("login", f"imaps://alice@127.0.0.1:{server.port}", *PW, "--ca", ca)
    assert result.code == 77
    assert (result.out + result.err).count("Go away.") == 1


# --- another protocol


@pytest.fixture
def says(server_context: ssl.SSLContext) -> Iterator[Callable[..., int]]:
    """Returns the port of a server that says something on each connection, under TLS or not, and waits for its end."""
    threads: list[threading.Thread] = []
    listeners: list[socket.socket] = []

    def serve(listening: socket.socket, octets: bytes, tls: bool) -> None:
        while True:
            try:
                sock, _ = listening.accept()
            except OSError:
                return
            try:
                sock.settimeout(5)
                with server_context.wrap_socket(sock, server_side=True) if tls else sock as sock:
                    sock.sendall(octets)
                    while sock.recv(4096):
                        pass
            except OSError:
                pass

    def start(octets: bytes, *, tls: bool = False) -> int:
        listening = socket.create_server(("127.0.0.1", 0))
        listeners.append(listening)
        threads.append(threading.Thread(target=serve, args=(listening, octets, tls), daemon=True))
        threads[-1].start()
        port: int = listening.getsockname()[1]
        return port

    yield start
    for listening in listeners:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
    for thread in threads:
        thread.join(10)


GREETINGS = {
    "SSH": b"SSH-2.0-OpenSSH_9.2p1 Debian\r\n",
    "HTTP": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "SMTP": b"220 mx.example ESMTP\r\n",
    "POP3": b"+OK ready\r\n",
    "IMAP": b"* OK ready\r\n",
}
OTHERS = [
    (scheme, spoken)
    for scheme, own in (("imap", "IMAP"), ("pop", "POP3"), ("smtp", "SMTP"))
    for spoken in GREETINGS
    if spoken != own
]


@pytest.mark.parametrize("way", ["plain", "tls", "plain-for-tls"])
@pytest.mark.parametrize(("scheme", "spoken"), OTHERS, ids=lambda value: value)
def test_what_else_answers_at_the_port_is_named(
    run: Run, says: Callable[..., int], ca: str, *, scheme: str, spoken: str, way: str
) -> None:
    port = says(GREETINGS[spoken], tls=way == "tls")
    url = f"{scheme}{'s' * (way != 'plain')}://alice@127.0.0.1:{port}"
    result = run("login", url, *PW, "--ca", ca, "--timeout", "3", "--json")
    error = result.error()
    assert (result.code, error["type"]) == (76, "ProtocolError")
    assert spoken in error["detail"]["message"]
    assert GREETINGS[spoken].decode().split("\r")[0] in error["detail"]["message"]
    usual = {"imap": "993 (imaps://)", "pop": "995 (pops://)", "smtp": "465 (smtps://)"}[scheme]
    assert usual in error["advice"]
    assert "--no-initial-response" not in error["advice"]


def test_a_web_server_is_named_although_it_waits_to_be_asked(run: Run, ca: str) -> None:
    class Web(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_arguments: Any) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Web) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        result = run("login", f"imaps://alice@127.0.0.1:{server.server_port}", *PW, "--ca", ca, "--json")
        server.shutdown()
        thread.join()
    assert result.code == 76
    assert "not speak IMAP but HTTP: HTTP/1.0 501" in result.error()["detail"]["message"]


def test_a_silent_port_without_tls_is_not_named(run: Run, ca: str) -> None:
    def serve() -> None:
        with listening, listening.accept()[0] as first:
            first.recv(1000)
            first.sendall(b"nobody knows this\r\n")
            with listening.accept()[0] as second:
                while second.recv(1000):
                    pass

    listening = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=serve)
    thread.start()
    port = listening.getsockname()[1]
    result = run("login", f"imaps://alice@127.0.0.1:{port}", *PW, "--ca", ca, "--json")
    thread.join(10)
    assert (result.code, result.error()["kind"]) == (76, "tls")
    assert "no TLS at this port" in result.error()["advice"]


def test_a_port_without_tls_is_named(run: Run, says: Callable[..., int], ca: str) -> None:
    port = says(GREETINGS["IMAP"])
    error = run("login", f"imaps://alice@127.0.0.1:{port}", *PW, "--ca", ca, "--json").error()
    assert "IMAP without TLS" in error["detail"]["message"]
    assert "write imaps:// or imap://" in error["advice"]


def test_a_greeting_that_nobody_knows_is_shown(run: Run, says: Callable[..., int], ca: str) -> None:
    port = says(b"Your IP address is blocked\r\n", tls=True)
    for scheme in ("imaps", "pops", "smtps"):
        result = run("login", f"{scheme}://alice@127.0.0.1:{port}", *PW, "--ca", ca, "--timeout", "3")
        assert result.code == 76
        assert "IP address is blocked" in result.out + result.err
        assert "--no-initial-response" not in result.err


# --- the certificate


@pytest.fixture
def shows(authority: trustme.CA, says: Callable[..., int]) -> Iterator[Callable[..., int]]:
    """Returns the port of an IMAP server that shows a certificate of its own, again on each connection."""
    stopped: list[socket.socket] = []

    def start(*names: str, starttls: bool = False, **settings: Any) -> int:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(*names, **settings).configure_cert(context)
        listening = socket.create_server(("127.0.0.1", 0))
        stopped.append(listening)
        threading.Thread(target=serve, args=(listening, context, starttls), daemon=True).start()
        port: int = listening.getsockname()[1]
        return port

    def serve(listening: socket.socket, context: ssl.SSLContext, starttls: bool) -> None:
        while True:
            try:
                sock, _ = listening.accept()
                sock.settimeout(5)
                with sock:
                    _converse(sock, context, starttls=starttls)
            except ssl.SSLError:
                continue
            except OSError:
                if listening.fileno() < 0:
                    return

    yield start
    for listening in stopped:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()


def _converse(sock: socket.socket, context: ssl.SSLContext, *, starttls: bool) -> None:
    if starttls:
        sock.sendall(b"* OK ready\r\n")
        tag = sock.recv(200).split()[0]
        sock.sendall(b"* CAPABILITY IMAP4rev1 STARTTLS\r\n" + tag + b" OK done\r\n")
        tag = sock.recv(200).split()[0]
        sock.sendall(tag + b" OK begin\r\n")
    with context.wrap_socket(sock, server_side=True) as secured:
        if not starttls:
            secured.sendall(b"* OK ready\r\n")
        tag = secured.recv(200).split()[0]
        secured.sendall(b"* CAPABILITY IMAP4rev1\r\n" + tag + b" OK done\r\n")
        secured.recv(200)


starttls_too = pytest.mark.parametrize("starttls", [False, True], ids=["tls", "starttls"])


def at_port(port: int, *, starttls: bool) -> str:
    return f"imap{'s' * (not starttls)}://alice@127.0.0.1:{port}"


@starttls_too
def test_an_expired_certificate_tells_its_date(run: Run, shows: Callable[..., int], ca: str, *, starttls: bool) -> None:
    expired = dt.datetime(2021, 2, 3, 4, 5, 6, tzinfo=dt.UTC)
    port = shows("127.0.0.1", starttls=starttls, not_after=expired, not_before=expired - dt.timedelta(days=9))
    result = run("login", at_port(port, starttls=starttls), *PW, "--ca", ca, "--json")
    error = result.error()
    assert (result.code, error["type"], error["kind"]) == (76, "ProtocolError", "certificate")
    assert "expired at 2021-02-03 04:05:06 (UTC)" in error["advice"]
    assert f"clock says {time.strftime('%Y-%m-%d', time.gmtime())}" in error["advice"]
    assert "renew" in error["advice"]
    assert result.report()["certificate"]["not_after"] == "2021-02-03 04:05:06"


@starttls_too
def test_a_certificate_for_others_tells_for_whom(
    run: Run, shows: Callable[..., int], ca: str, *, starttls: bool
) -> None:
    port = shows("mx.example", "mail.example", starttls=starttls)
    result = run("login", at_port(port, starttls=starttls), *PW, "--ca", ca)
    assert result.code == 76
    assert result.err.startswith("sasl: no connection: the server's certificate is not trusted: ")
    assert "is for mx.example, mail.example, not for 127.0.0.1" in result.err


@starttls_too
def test_a_certificate_that_nobody_vouches_for_tells_its_issuer(
    run: Run, shows: Callable[..., int], *, starttls: bool
) -> None:
    port = shows("127.0.0.1", starttls=starttls)
    error = run("login", at_port(port, starttls=starttls), *PW, "--json").error()
    assert "trustme" in error["advice"].split("issued by")[1]
    assert "--ca" in error["advice"]


def test_a_certificate_that_cannot_be_had_again_is_an_error_all_the_same(
    run: Run, shows: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(look, "_shown_certificate", lambda *_: None)
    result = run("login", at_port(shows("127.0.0.1"), starttls=False), *PW, "--json")
    assert (result.code, result.report()["certificate"]) == (76, None)


# --- SMTP


def test_the_name_for_ehlo_can_be_given(run: Run, stage: Stage, smtp: Protocol, ca: str) -> None:
    server = stage.serve(smtp, [(b"ehlo mx.example", b"250-mx\r\n250 SIZE 1\r\n")], tls=True)
    run("login", f"smtps://alice@127.0.0.1:{server.port}", *PW, "--ca", ca, "--ehlo-name", "mx.example")
    assert server.heard() == [b"ehlo mx.example"]


def test_a_name_that_the_server_does_not_like_is_said_to_be_why(
    run: Run, stage: Stage, smtp: Protocol, ca: str
) -> None:
    no = b"501 5.5.4 Invalid domain name\r\n"
    server = stage.serve(smtp, [(b"ehlo [127.0.0.1]", no), (b"helo [127.0.0.1]", no)], tls=True)
    result = run("login", f"smtps://alice@127.0.0.1:{server.port}", *PW, "--ca", ca, "--json")
    assert (result.code, result.error()["type"]) == (76, "ProtocolError")
    assert "--ehlo-name" in result.error()["advice"]


# --- the time


def test_a_deadline_that_rings_while_this_side_computes_is_a_timeout(
    run: Run, server_context: ssl.SSLContext, ca: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def compute(*_arguments: Any) -> bytes:
        time.sleep(60)
        raise AssertionError

    monkeypatch.setattr("hashlib.pbkdf2_hmac", compute)

    def serve() -> None:
        with listening, listening.accept()[0] as plain, server_context.wrap_socket(plain, server_side=True) as sock:
            sock.settimeout(5)
            sock.sendall(b"220 mx\r\n")
            sock.recv(1000)
            sock.sendall(b"250-mx\r\n250 AUTH SCRAM-SHA-256\r\n")
            nonce = base64.b64decode(sock.recv(1000).split()[-1]).split(b"r=")[1]
            sock.sendall(b"334 " + base64.b64encode(b"r=" + nonce + b"X,s=QUJD,i=4096") + b"\r\n")
            sock.recv(1000)

    listening = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=serve)
    thread.start()
    url = f"smtps://alice@127.0.0.1:{listening.getsockname()[1]}"
    result = run("login", url, *PW, "--ca", ca, "--timeout", "1", "--json")
    thread.join(10)
    error = result.error()
    assert (result.code, error["type"], error["kind"]) == (74, "ConnectionLost", "timeout")


def test_a_server_that_takes_its_time_is_named(run: Run, servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sasl.adapters.cli.screen._PATIENCE", 0.001)
    assert "sasl: waiting for localhost port" in run(*at(servers, "imap"), *PW).err
    assert run(*at(servers, "imap"), *PW, "--json").err == ""


# --- the credential


def test_a_password_that_was_pasted_is_named_after_a_refusal(run: Run, servers: Servers) -> None:
    for secret, named in (("won\u00a0der\u00a0land", True), ("looking-glass", False)):
        error = run(*at(servers, "imap"), *PW, "--json", "--mechanism", "PLAIN", secret=secret).error()
        assert ("pasted" in error["advice"]) == named


def test_a_refused_jwt_tells_what_it_says_of_itself(run: Run, servers: Servers) -> None:
    def segment(text: str) -> str:
        return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")

    claims = '{"exp":1,"aud":"there","upn":"bob@example.org","x":"never shown"}'
    token = f"{segment('{}')}.{segment(claims)}.c2ln"
    for mechanism in ("XOAUTH2", "OAUTHBEARER"):
        result = run(*at(servers, "imap"), "--token-env", "SECRET", "--mechanism", mechanism, "--json", secret=token)
        advice = result.error()["advice"]
        assert "expired at 1970-01-01 00:00:01" in advice
        assert "audience there" in advice
        assert "bob@example.org" in advice
        assert "never shown" not in result.out
        assert result.report()["new_token_may_help"] is True


def test_a_busy_server_is_75() -> None:
    from sasl.adapters.cli import exits

    assert exits.code(sasl.ServerBusy("x")) == 75
    assert exits.verdict(sasl.ServerBusy("x")) == "not now"


# --- going on after a no


@pytest.fixture
def refuses_scram(run: Run, stage: Stage, smtp: Protocol, ca: str) -> Callable[..., Result]:
    """Logs in at a server that refuses SCRAM before it has seen a proof, and then takes PLAIN."""

    def call(*options: str) -> Result:
        plain = base64.b64encode(f"\0alice\0{PASSWORD}".encode())
        turns = [
            (b"ehlo [127.0.0.1]", b"250-mx\r\n250 AUTH SCRAM-SHA-256 PLAIN\r\n"),
            (None, b"504 5.5.4 not for this user\r\n"),
            (smtp.auth + b"PLAIN " + plain, smtp.yes),
            (None, b"221 bye\r\n"),
        ]
        server = stage.serve(smtp, turns, tls=True)
        return run("login", f"smtps://alice@127.0.0.1:{server.port}", *PW, "--ca", ca, *options)

    return call


def test_whose_refusal_was_gone_on_from_is_told(refuses_scram: Callable[..., Result]) -> None:
    report = refuses_scram("--json").report()
    assert (report["ok"], report["mechanism"], report["fallback"]) == (True, "PLAIN", "SCRAM-SHA-256")
    assert "mechanism   PLAIN, after SCRAM-SHA-256 was refused\n" in refuses_scram().out


def test_no_fallback_goes_no_further(refuses_scram: Callable[..., Result]) -> None:
    report = refuses_scram("--json", "--no-fallback").report()
    assert (report["ok"], report["mechanism"], report["fallback"]) == (False, "SCRAM-SHA-256", None)
    assert (report["exit"], report["response_code"]) == (77, "504 5.5.4")


def test_no_prepare_takes_the_password_as_it_is_typed(
    run: Run, servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    policies: list[sasl.Policy] = []

    def log_in(*_arguments: Any, policy: sasl.Policy, **_options: Any) -> None:
        policies.append(policy)

    monkeypatch.setattr(login, "log_in", log_in)
    for options in ((), ("--no-prepare",)):
        assert run(*at(servers, "imap"), *PW, *options).code == 0
    assert [policy.prepare for policy in policies] == [True, False]


def test_a_deadline_that_rings_while_a_mechanism_is_loaded_is_a_timeout(
    run: Run, servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    def log_in(*_arguments: Any, **_options: Any) -> None:
        try:
            time.sleep(60)
        except TimeoutError:
            pass
        raise sasl.MechanismUnavailable("cannot be loaded: TimeoutError")

    monkeypatch.setattr(login, "log_in", log_in)
    result = run(*at(servers, "imap"), *PW, "--timeout", "1", "--json")
    assert (result.code, result.error()["type"], result.error()["kind"]) == (74, "ConnectionLost", "timeout")
