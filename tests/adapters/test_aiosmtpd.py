"""aiosmtpd with our mechanisms, to smtplib, to our drop-in class, and to clients that send what no library would."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import smtplib
import socket
import ssl
import threading
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from aiosmtpd.smtp import SMTP as StockSMTP
from aiosmtpd.smtp import AuthResult

import sasl
import sasl.adapters.smtplib
from sasl.adapters import aiosmtpd
from sasl.adapters.aiosmtpd import SMTP, Controller, Settings
from sasl.adapters.channel_binding import end_point
from sasl.adapters.reference import Verifier
from sasl.adapters.reference.certificates import Authority
from sasl.adapters.smtplib import authenticate
from sasl.exchange import State
from sasl.registry import known_mechanisms

from ..support.leaks import seen
from ..support.submission import Handler, Server
from ..support.tls import tls_1_2

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import trustme

USER, WORD = "alice", "wonderland-of-secrets"
PASSWORD, WRONG = sasl.Password(USER, WORD), sasl.Password(USER, "looking-glass-of-secrets")
SIZES = (40, 4_000, 8_000)
TOKENS = {f"good-{size}": ("good", "g" * size) for size in SIZES} | {
    f"{state}-{size}": (state, state[0] * size) for state in ("expired", "revoked") for size in SIZES
}
ALLOWED = sasl.Policy(allow=["CRAM-MD5", "DIGEST-MD5", "ANONYMOUS"])
IN_THE_CLEAR = sasl.Policy(plaintext="always", allow=ALLOWED.allow)
PLAIN = b64encode(f"\0{USER}\0{WORD}".encode())
BOUND = [row.name for row in known_mechanisms() if row.twin]
OF_PASSWORDS = [
    row.name for row in known_mechanisms() if row.credentials is sasl.Password and not row.twin and row.server
]
OF_TOKENS = ["XOAUTH2", "OAUTHBEARER"]
DECOY = (b"the same secret at all workers", 10_000)

warns = pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS:UserWarning")
both = pytest.mark.parametrize("awaited", [False, True], ids=["sync", "async"])


@pytest.fixture(scope="module")
def certificate(authority: trustme.CA) -> trustme.LeafCert:
    return authority.issue_cert("localhost", "127.0.0.1")


@pytest.fixture(scope="module")
def clients() -> Authority:
    return Authority("clients")


@pytest.fixture(scope="module")
def verifier() -> Verifier:
    verifier = Verifier({USER: WORD}, anonymous=True)
    for state, token in TOKENS.values():
        verifier.add_token(token, USER, state)
    return verifier


@pytest.fixture
def context(certificate: trustme.LeafCert, clients: Authority) -> ssl.SSLContext:
    """The server's."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    context.load_verify_locations(cadata=clients.certificate.decode())
    context.verify_mode = ssl.CERT_OPTIONAL
    return context


@pytest.fixture
def trusting(authority: trustme.CA) -> ssl.SSLContext:
    """The client's."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.fixture
def certified(clients: Authority, tmp_path: Path) -> Callable[..., bytes]:
    """Give a client's context a certificate that names a user; return it, DER."""

    def load(context: ssl.SSLContext, name: str = USER) -> bytes:
        pem, key = clients.client(name)
        (tmp_path / "client.pem").write_bytes(pem + key)
        context.load_cert_chain(tmp_path / "client.pem")
        return ssl.PEM_cert_to_DER_cert(pem.decode())

    return load


@pytest.fixture
def serve(verifier: Verifier, context: ssl.SSLContext) -> Iterator[Callable[..., Server]]:
    """Start a server; what it is given differs from one that takes everything over STARTTLS."""
    with contextlib.ExitStack() as stack:

        def start(
            handler: Any = None,
            *,
            answer: Callable[[sasl.Question], Any] = verifier,
            kind: type[SMTP] = SMTP,
            implicit: bool = False,
            settings: dict[str, Any] | None = None,
            **more: Any,
        ) -> Server:
            defaults = {"answers": verifier.answers, "hashes": verifier.hashes, "policy": ALLOWED}
            how = Settings(answer, **(defaults | (settings or {})))
            handler = Handler() if handler is None else handler
            more = {"hostname": "localhost", "enable_SMTPUTF8": True} | more
            if not implicit:
                more = {"tls_context": context} | more
            server = Server(partial(kind, handler, sasl=how, **more), handler, context if implicit else None)
            stack.callback(server.stop)
            return server

        yield start


@contextlib.contextmanager
def connected(
    server: Server | Controller,
    starttls: ssl.SSLContext | None = None,
    *,
    tls: ssl.SSLContext | None = None,
    ours: bool = True,
) -> Iterator[smtplib.SMTP]:
    """A connection of our drop-in class, or of smtplib's, after EHLO."""
    module: Any = sasl.adapters.smtplib if ours else smtplib
    conn = (
        module.SMTP_SSL("localhost", server.port, timeout=10, context=tls)
        if tls
        else module.SMTP("localhost", server.port, timeout=10)
    )
    try:
        conn.ehlo()
        if starttls is not None:
            conn.starttls(context=starttls)
            conn.ehlo()
        yield conn
    finally:
        conn.close()


def offered(conn: smtplib.SMTP) -> list[str]:
    conn.ehlo()
    return conn.esmtp_features.get("auth", "").split()


def late(verifier: Verifier) -> Callable[[sasl.Question], Any]:
    """A verifier that has to be awaited."""

    async def answer(question: sasl.Question) -> Any:
        await asyncio.sleep(0)
        return verifier(question)

    return answer


def bearer(name: str) -> sasl.Bearer:
    return sasl.Bearer(USER, TOKENS[name][1])


def initial_response(mechanism: str, name: str) -> str:
    """In base64, also where it is so long that our clients send it only when they are asked for it."""
    message = sasl.client(mechanism, bearer(name)).start()
    assert message is not None
    return b64encode(message).decode()


# --- every mechanism


@both
@pytest.mark.parametrize("mechanism", OF_PASSWORDS)
def test_a_password_is_taken_and_a_wrong_one_refused(
    serve: Any, trusting: ssl.SSLContext, verifier: Verifier, mechanism: str, *, awaited: bool
) -> None:
    server = serve(answer=late(verifier) if awaited else verifier)
    with connected(server, trusting) as conn:
        with pytest.raises(sasl.AuthenticationFailed) as caught:
            authenticate(conn, WRONG, mechanism=mechanism, policy=ALLOWED)
        assert (caught.value.kind, caught.value.response_code) == ("credentials", "535 5.7.8")
        assert authenticate(conn, PASSWORD, mechanism=mechanism, policy=ALLOWED)[0] == 235


@both
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("mechanism", OF_TOKENS)
def test_tokens_of_any_size_are_judged(
    serve: Any, trusting: ssl.SSLContext, verifier: Verifier, mechanism: str, size: int, *, awaited: bool
) -> None:
    server = serve(answer=late(verifier) if awaited else verifier)
    with connected(server, trusting) as conn:
        for state in ("expired", "revoked"):
            with pytest.raises(sasl.AuthenticationFailed) as caught:
                authenticate(conn, bearer(f"{state}-{size}"), mechanism=mechanism)
            assert caught.value.new_token_may_help
            assert caught.value.detail["scope"] == "mail"
        assert authenticate(conn, bearer(f"good-{size}"), mechanism=mechanism)[0] == 235


@pytest.mark.parametrize("mechanism", OF_TOKENS)
def test_a_long_token_may_come_with_the_command(serve: Any, trusting: ssl.SSLContext, mechanism: str) -> None:
    with connected(serve(), trusting) as conn:
        assert conn.docmd(f"AUTH {mechanism}", initial_response(mechanism, "good-8000"))[0] == 235


def test_who_has_no_name_is_anonymous(serve: Any, trusting: ssl.SSLContext) -> None:
    server = serve()
    with connected(server, trusting) as conn:
        authenticate(conn, sasl.Anonymous("me@example.com"), policy=ALLOWED)
        conn.sendmail("a@example.com", ["b@example.com"], "hello")
    assert server.handler.sessions[0].auth_data.identity == "anonymous"


@pytest.mark.parametrize("name", [USER, "mallory", None])
def test_external_takes_the_name_in_the_clients_certificate(
    serve: Any, trusting: ssl.SSLContext, certified: Any, name: str | None
) -> None:
    if name is not None:
        certified(trusting, name)
    with connected(serve(), trusting) as conn:
        assert ("EXTERNAL" in offered(conn)) is (name is not None)
        if name == USER:
            assert authenticate(conn, sasl.External())[0] == 235
        else:
            with pytest.raises(sasl.AuthenticationFailed if name else sasl.MechanismUnavailable):
                authenticate(conn, sasl.External())
            assert conn.docmd("AUTH EXTERNAL =")[0] == (535 if name else 504)


@pytest.mark.parametrize("ours", [True, False], ids=["drop-in", "smtplib"])
def test_smtplib_logs_in_as_it_does_anywhere(serve: Any, trusting: ssl.SSLContext, ours: bool) -> None:
    server = serve(settings={"policy": sasl.Policy()})
    with connected(server, trusting, ours=ours) as conn:
        with pytest.raises(smtplib.SMTPAuthenticationError):
            conn.login(USER, "looking-glass")
        conn.login(USER, WORD)


# --- channel binding


@pytest.mark.parametrize("implicit", [False, True], ids=["starttls", "implicit"])
@pytest.mark.parametrize("mechanism", BOUND)
def test_plus_binds_to_tls_1_2(
    serve: Any, context: ssl.SSLContext, trusting: ssl.SSLContext, mechanism: str, implicit: bool
) -> None:
    tls_1_2(context)
    server = serve(implicit=implicit)
    with connected(server, None if implicit else trusting, tls=trusting if implicit else None) as conn:
        assert set(BOUND) <= set(offered(conn))
        with pytest.raises(sasl.AuthenticationFailed):
            authenticate(conn, WRONG, mechanism=mechanism)
        assert authenticate(conn, PASSWORD, mechanism=mechanism)[0] == 235


def test_plus_is_chosen_unasked(serve: Any, context: ssl.SSLContext, trusting: ssl.SSLContext, caplog: Any) -> None:
    caplog.set_level(logging.DEBUG, logger="mail.log")
    tls_1_2(context)
    with connected(serve(), trusting) as conn:
        authenticate(conn, PASSWORD)
    assert "AUTH SCRAM-SHA3-512-PLUS" in caplog.text


def test_a_client_that_could_bind_and_says_that_it_was_not_offered_is_refused(
    serve: Any, context: ssl.SSLContext, trusting: ssl.SSLContext
) -> None:
    tls_1_2(context)
    with connected(serve(), trusting) as conn, pytest.raises(sasl.AuthenticationFailed) as caught:
        channel = sasl.Channel(tls=True, bindings={"tls-unique": b"what a client has"})
        run(conn, sasl.client("SCRAM-SHA-256", PASSWORD, channel=channel))
    assert caught.value.detail["error"] == "server-does-support-channel-binding"


@pytest.mark.parametrize("known", [True, False])
def test_a_client_may_bind_to_the_servers_certificate_if_the_server_knows_its_own(
    serve: Any, context: ssl.SSLContext, trusting: ssl.SSLContext, certificate: trustme.LeafCert, known: bool
) -> None:
    tls_1_2(context)
    own = ssl.PEM_cert_to_DER_cert(certificate.cert_chain_pems[0].bytes().decode())
    server = serve(settings={"certificate": own if known else None})
    octets = end_point(own)
    assert octets is not None
    channel = sasl.Channel(tls=True, bindings={"tls-server-end-point": octets})
    with connected(server, trusting) as conn:
        login = partial(run, conn, sasl.client("SCRAM-SHA-256-PLUS", PASSWORD, channel=channel))
        if known:
            login()
        else:
            with pytest.raises(sasl.AuthenticationFailed) as caught:
                login()
            assert caught.value.detail["error"] == "unsupported-channel-binding-type"


def test_the_certificate_of_a_client_is_not_what_anybody_binds_to(
    serve: Any, context: ssl.SSLContext, trusting: ssl.SSLContext, certified: Any
) -> None:
    tls_1_2(context)
    octets = end_point(certified(trusting))
    assert octets is not None
    channel = sasl.Channel(tls=True, bindings={"tls-server-end-point": octets})
    with connected(serve(), trusting) as conn, pytest.raises(sasl.AuthenticationFailed) as caught:
        run(conn, sasl.client("SCRAM-SHA-256-PLUS", PASSWORD, channel=channel))
    assert caught.value.detail["error"] == "unsupported-channel-binding-type"


def test_tls_1_3_has_no_plus_and_takes_scram_without_it(serve: Any, trusting: ssl.SSLContext) -> None:
    trusting.minimum_version = ssl.TLSVersion.TLSv1_3
    with connected(serve(), trusting) as conn:
        assert not [name for name in offered(conn) if name.endswith("-PLUS")]
        for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA3-512"):
            with connected(serve(), trusting) as other:
                assert authenticate(other, PASSWORD, mechanism=mechanism)[0] == 235


def run(conn: smtplib.SMTP, exchange: sasl.ClientExchange) -> None:
    """Log in by the wire alone."""
    wire = sasl.adapters.wire.smtp.ClientWire(exchange)
    line = wire.command()
    while line is not None:
        conn.send(line.octets)
        code, text = conn.getreply()
        line = wire.replied(code, text.splitlines() or [b""])
    if wire.error is not None:
        raise wire.error


# --- what is offered


def test_nothing_is_offered_without_tls_unless_aiosmtpd_is_told_so(serve: Any, trusting: ssl.SSLContext) -> None:
    with connected(serve()) as conn:
        assert "auth" not in conn.esmtp_features
        for name in ("PLAIN", "SCRAM-SHA-256", "x"):
            assert conn.docmd(f"AUTH {name}") == (538, b"5.7.11 Encryption is required first")
        conn.starttls(context=trusting)
        assert {"PLAIN", "SCRAM-SHA-256", "XOAUTH2"} <= set(offered(conn))


@warns
def test_without_tls_the_policy_decides(serve: Any) -> None:
    with connected(serve(auth_require_tls=False, auth_required=True)) as conn:
        assert offered(conn)[0] == "SCRAM-SHA3-512"
        assert not {"PLAIN", "LOGIN", "XOAUTH2", "OAUTHBEARER", "EXTERNAL"} & set(offered(conn))
        assert conn.docmd("AUTH PLAIN", PLAIN.decode()) == (538, b"5.7.11 Encryption is required first")
        assert authenticate(conn, PASSWORD)[0] == 235


@pytest.mark.parametrize("proxied", [False, True])
def test_who_is_on_this_machine_may_use_plain_in_the_clear_and_who_comes_through_a_proxy_may_not(
    serve: Any, proxied: bool
) -> None:
    class Behind(Handler):
        async def handle_PROXY(self, server: Any, session: Any, envelope: Any, data: Any) -> bool:
            return True

    policy = sasl.Policy(plaintext="loopback")
    timeout = 5 if proxied else None
    server = serve(Behind(), auth_require_tls=False, settings={"policy": policy}, proxy_protocol_timeout=timeout)
    with socket.create_connection(("127.0.0.1", server.port), 5) as sock, sock.makefile("rb") as file:
        if proxied:
            sock.sendall(b"PROXY TCP4 203.0.113.7 127.0.0.1 1025 587\r\n")
        assert file.readline().startswith(b"220")
        sock.sendall(b"EHLO me\r\n")
        lines = [file.readline()]
        while lines[-1].startswith(b"250-"):
            lines.append(file.readline())
        auth = next(line for line in lines if line.startswith(b"250-AUTH "))
        assert (b"PLAIN" in auth.split()) is not proxied


def test_what_the_verifier_does_not_serve_is_not_offered(serve: Any, trusting: ssl.SSLContext) -> None:
    server = serve(settings={"answers": [sasl.CheckToken]})
    with connected(server, trusting) as conn:
        assert offered(conn) == ["OAUTHBEARER", "XOAUTH2"]
        assert conn.docmd("AUTH PLAIN", PLAIN.decode())[0] == 504


def test_where_nothing_is_left_there_is_no_auth(serve: Any, trusting: ssl.SSLContext) -> None:
    with connected(serve(settings={"answers": []}), trusting) as conn:
        assert "auth" not in conn.esmtp_features


def test_scram_is_offered_by_the_hashes_that_there_are_keys_for(serve: Any, trusting: ssl.SSLContext) -> None:
    server = serve(settings={"answers": [sasl.FindKeys], "hashes": ["sha256"]})
    with connected(server, trusting) as conn:
        assert {name.removesuffix("-PLUS") for name in offered(conn)} == {"SCRAM-SHA-256"}


def test_what_aiosmtpd_excludes_is_not_offered(serve: Any, trusting: ssl.SSLContext) -> None:
    with connected(serve(auth_exclude_mechanism=["plain", "LOGIN"]), trusting) as conn:
        assert not {"PLAIN", "LOGIN"} & set(offered(conn))
        assert conn.docmd("AUTH PLAIN", PLAIN.decode())[0] == 504


@pytest.mark.parametrize("name", ["authenticator", "auth_callback"])
def test_there_is_one_who_judges(name: str) -> None:
    with pytest.raises(sasl.UsageError, match="verifier"):
        SMTP(Handler(), sasl=Settings(print, []), **{name: print})


def test_the_deprecated_hook_for_ehlo_is_refused_at_once() -> None:
    class Old:
        async def handle_EHLO(self, server: Any, session: Any, envelope: Any, hostname: str) -> str:
            return "250 OK"

    with pytest.raises(sasl.UsageError, match="responses"):
        SMTP(Old(), sasl=Settings(print, []))


def test_options_reach_the_mechanisms(serve: Any, trusting: ssl.SSLContext) -> None:
    options = {"SCRAM": {"decoy": DECOY}, "EXTERNAL": {"prepare": False}, "XOAUTH2": {"scope": "mine"}}
    with connected(serve(settings={"options": options}), trusting) as conn:
        for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-1"):
            code, text = conn.docmd(f"AUTH {mechanism}", b64encode(b"n,,n=nobody,r=abc").decode())
            assert code == 334
            assert sasl.base64.decode(text).endswith(b",i=10000")
            assert conn.docmd("*")[0] == 501


# --- lines


def test_names_have_no_case(serve: Any, trusting: ssl.SSLContext) -> None:
    with connected(serve(), trusting) as conn:
        assert conn.docmd(f"auth plain {PLAIN.decode()}") == (235, b"2.7.0 Authenticated")


def test_a_response_may_be_sent_with_the_command_or_behind_it(serve: Any, trusting: ssl.SSLContext) -> None:
    with connected(serve(), trusting) as conn:
        conn.send(b"AUTH PLAIN\r\n" + PLAIN + b"\r\n")
        assert [conn.getreply()[0] for _ in range(2)] == [334, 235]


@pytest.mark.parametrize(
    ("lines", "reply"),
    [
        (["AUTH"], (501, b"5.5.2 Malformed authentication message")),
        (["AUTH PLAIN one two"], (501, b"5.5.2 Malformed authentication message")),
        (["AUTH PLAIN ="], (501, b"5.5.2 Malformed authentication message")),
        (["AUTH PLAIN", "="], (501, b"5.5.2 Malformed authentication message")),
        (["AUTH PLAIN", ""], (501, b"5.5.2 Malformed authentication message")),
        (["AUTH PLAIN ?"], (501, b"5.5.2 Malformed authentication message")),
        (["AUTH PLAIN", "AGFsaWNlAHdvbmRlcmxhbmQ"], (501, b"5.5.2 Malformed authentication message")),
        (["AUTH PLAIN", "AA\rAA"], (501, b"5.5.2 Malformed authentication message")),
        (["AUTH PLAIN AA\rAA"], (501, b"5.5.2 Malformed authentication message")),
        (["AUTH PLAIN", "é"], (501, b"5.5.2 Malformed authentication message")),
        (["AUTH PLAIN é"], (501, b"5.5.2 Malformed authentication message")),
        (["AUTH PLAIN", "*"], (501, b"5.7.0 Authentication cancelled")),
        (["AUTH CRAM-MD5 AAAA"], (501, b"5.7.0 The mechanism takes no initial response")),
        (["AUTH X-UNKNOWN"], (504, b"5.5.4 Unsupported authentication mechanism")),
        (["AUTH PLAIN", "A" * 12_292], (500, b"5.5.6 Authentication message too large")),
        (["AUTH PLAIN", "A" * 13_400], (500, b"5.5.6 Authentication message too large")),
        (["AUTH PLAIN", "A" * 26_623], (500, b"5.5.6 Authentication message too large")),
        (["AUTH PLAIN", "A" * 300_000], (500, b"5.5.6 Authentication message too large")),
        (["AUTH PLAIN " + "A" * 12_292], (500, b"5.5.6 Authentication message too large")),
        (["AUTH PLAIN " + "A" * 20_000], (500, b"Command line too long")),
        (["NOOP " + "A" * 600], (500, b"Command line too long")),
    ],
)
def test_what_is_wrong_has_its_reply_and_the_connection_goes_on(
    serve: Any, trusting: ssl.SSLContext, lines: list[str], reply: tuple[int, bytes]
) -> None:
    with connected(serve(), trusting) as conn:
        *before, last = lines
        for line in before:
            conn.send(line.encode() + b"\r\n")
            assert conn.getreply()[0] == 334
        conn.send(last.encode() + b"\r\n")
        assert conn.getreply() == reply
        assert conn.noop() == (250, b"OK")
        assert authenticate(conn, PASSWORD)[0] == 235


def test_where_non_ascii_is_not_enabled_aiosmtpd_refuses_it(serve: Any, trusting: ssl.SSLContext) -> None:
    with connected(serve(enable_SMTPUTF8=False), trusting) as conn:
        conn.send("AUTH PLAIN é\r\n".encode())
        assert conn.getreply()[0] == 500
        assert authenticate(conn, PASSWORD)[0] == 235


def test_the_room_for_tokens_is_theirs_alone(serve: Any, trusting: ssl.SSLContext) -> None:
    server = serve()
    with connected(server, trusting) as conn, connected(server, trusting):
        StockSMTP(server.handler, hostname="localhost", loop=server.loop)  # another server's connection changes nothing
        assert conn.docmd("AUTH XOAUTH2", initial_response("XOAUTH2", "good-8000"))[0] == 235
        sender = (conn.docmd("MAIL FROM:<a@example.com>"), conn.docmd("RCPT TO:<b@example.com>"))
        assert [code for code, _ in sender] == [250, 250]
        assert conn.data(b"x" * 1_002)[0] == 500
        conn.sendmail("a@example.com", ["b@example.com"], b"x" * 999)
    assert server.handler.messages == [(USER, b"x" * 999 + b"\r\n")]


def test_help_knows_of_auth(serve: Any, trusting: ssl.SSLContext) -> None:
    with connected(serve(), trusting) as conn:
        assert conn.docmd("HELP AUTH") == (250, b"Syntax: AUTH <mechanism>")


# --- the session


def test_mail_is_refused_before_the_login_and_kept_after_it(serve: Any, trusting: ssl.SSLContext) -> None:
    server = serve(auth_required=True)
    with connected(server, trusting) as conn:
        assert conn.mail("a@example.com") == (530, b"5.7.0 Authentication required")
        with pytest.raises(sasl.AuthenticationFailed):
            authenticate(conn, WRONG)
        assert conn.mail("a@example.com")[0] == 530
        authenticate(conn, PASSWORD)
        conn.sendmail("a@example.com", ["b@example.com"], "hello")
    assert server.handler.messages == [(USER, b"hello\r\n")]
    session = server.handler.sessions[0]
    assert session.authenticated is True
    assert session.auth_data == sasl.Success(USER, USER)
    assert vars(session)["_login_data"] is None


def test_auth_has_its_place(serve: Any, trusting: ssl.SSLContext) -> None:
    with connected(serve(), trusting) as conn:
        assert conn.mail("a@example.com")[0] == 250
        assert conn.docmd("AUTH PLAIN", PLAIN.decode()) == (503, b"5.5.1 Not in a mail transaction")
        conn.rset()
        assert conn.helo()[0] == 250
        assert conn.docmd("AUTH PLAIN", PLAIN.decode()) == (503, b"5.5.1 EHLO first")
        conn.ehlo()
        assert conn.docmd("AUTH PLAIN", PLAIN.decode())[0] == 235
        assert conn.docmd("AUTH PLAIN", PLAIN.decode()) == (503, b"5.5.1 Authenticated already")


def test_auth_wants_a_new_ehlo_after_starttls(serve: Any, trusting: ssl.SSLContext) -> None:
    with connected(serve()) as conn:
        conn.starttls(context=trusting)
        assert conn.docmd("AUTH PLAIN", PLAIN.decode()) == (503, b"Error: send EHLO first")


def test_too_many_failures_end_the_connection_and_the_count_survives_starttls(
    serve: Any, trusting: ssl.SSLContext
) -> None:
    server = serve(settings={"failures": 3}, auth_require_tls=False)
    with connected(server) as conn:
        assert conn.docmd("AUTH X-UNKNOWN")[0] == 504
        conn.starttls(context=trusting)
        conn.ehlo()
        for _ in range(2):
            assert conn.docmd("AUTH PLAIN", b64encode(b"\0alice\0wrong").decode())[0] == 535
        assert conn.getreply() == (421, b"4.7.0 Too many failed logins")
        with pytest.raises(smtplib.SMTPServerDisconnected):
            conn.noop()


def test_a_flood_of_commands_ends_as_aiosmtpd_says(serve: Any, trusting: ssl.SSLContext) -> None:
    with connected(serve(command_call_limit={"AUTH": 2}), trusting) as conn:
        codes = [conn.docmd("AUTH PLAIN", b64encode(b"\0alice\0wrong").decode())[0] for _ in range(3)]
    assert codes == [535, 535, 421]


def test_the_handlers_hooks_are_called_and_its_ehlo_has_the_last_word(serve: Any, trusting: ssl.SSLContext) -> None:
    class Own(Handler):
        seen: str = ""

        async def handle_EHLO(
            self, server: Any, session: Any, envelope: Any, hostname: str, responses: list[str]
        ) -> list[str]:
            assert server.event_handler is self
            session.host_name = hostname
            self.seen = next((line for line in responses if line.startswith("250-AUTH ")), "")
            return [*responses[:-1], "250-X-MINE", responses[-1]]

        async def auth_PLAIN(self, server: Any, args: list[str]) -> AuthResult:
            raise AssertionError("the verifier judges")

        async def handle_AUTH(self, server: Any, session: Any, envelope: Any, args: list[str]) -> str:
            raise AssertionError("the verifier judges")

        async def handle_NOOP(self, server: Any, session: Any, envelope: Any, arg: str) -> str:
            raise LookupError("of the handler")

        async def handle_exception(self, error: Exception) -> str:
            return f"451 {error}"

    server = serve(Own())
    with connected(server, trusting) as conn:
        assert "x-mine" in conn.esmtp_features
        assert server.handler.seen == f"250-AUTH {' '.join(offered(conn))}"
        assert conn.docmd("AUTH PLAIN", PLAIN.decode())[0] == 235
        assert conn.noop() == (451, b"of the handler")


# --- ends


class Wires:
    """Remembers the wires that are made."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made: list[Any] = []
        self._kind = aiosmtpd.ServerWire
        monkeypatch.setattr(aiosmtpd, "ServerWire", self)

    def __call__(self, *args: Any, **more: Any) -> Any:
        wire = self._kind(*args, **more)
        self.made.append(wire)
        return wire


def until(happened: Callable[[], object]) -> None:
    """Wait for what the server's thread does."""
    event = threading.Event()
    for _ in range(500):
        if happened():
            return
        event.wait(0.01)
    raise AssertionError("it did not happen within five seconds")


@pytest.mark.parametrize("cut", [b"", PLAIN[:7]])
@pytest.mark.parametrize("how", ["starttls", "clear"])
def test_a_connection_that_is_cut_ends_the_exchange(
    serve: Any, trusting: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch, cut: bytes, how: str
) -> None:
    wires = Wires(monkeypatch)
    server = serve(auth_require_tls=False, settings={"policy": IN_THE_CLEAR})
    with connected(server, trusting if how == "starttls" else None) as conn:
        assert conn.docmd("AUTH PLAIN")[0] == 334
        conn.send(cut)
    until(lambda: wires.made[0].result is not None)
    assert wires.made[0].exchange.state is State.FAILED
    assert wires.made[0].result.kind == "cancelled"


def test_a_connection_may_be_cut_after_any_octet(serve: Any, monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    wires = Wires(monkeypatch)
    server = serve(auth_require_tls=False, settings={"policy": IN_THE_CLEAR})
    said = b"EHLO me\r\nAUTH PLAIN\r\n" + PLAIN + b"\r\n"
    for octets in range(len(said)):
        with socket.create_connection(("127.0.0.1", server.port), 5) as sock:
            sock.sendall(said[:octets])
            sock.shutdown(socket.SHUT_WR)
            while sock.recv(4_096):
                pass
    assert wires.made
    until(lambda: all(wire.result is not None for wire in wires.made))
    assert not any(isinstance(wire.result, sasl.Success) for wire in wires.made)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_client_that_goes_while_the_verifier_is_awaited_ends_the_exchange(
    serve: Any, trusting: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    wires = Wires(monkeypatch)
    asked, cancelled = threading.Event(), threading.Event()

    async def answer(_question: sasl.Question) -> Any:
        asked.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    with connected(serve(answer=answer), trusting) as conn:
        conn.send(b"AUTH PLAIN " + PLAIN + b"\r\n")
        assert asked.wait(5)
    assert cancelled.wait(5)
    until(lambda: wires.made[0].result is not None)
    assert wires.made[0].exchange.state is State.FAILED


def test_a_client_that_says_nothing_is_left_after_aiosmtpds_time(
    serve: Any, trusting: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    wires = Wires(monkeypatch)
    with connected(serve(timeout=2), trusting) as conn:  # of which a busy machine takes a part for the handshake
        assert conn.docmd("AUTH PLAIN")[0] == 334
        with pytest.raises(smtplib.SMTPServerDisconnected):
            conn.getreply()
    until(lambda: wires.made[0].result is not None)


@both
def test_a_verifier_that_fails_is_unavailable(serve: Any, trusting: ssl.SSLContext, *, awaited: bool) -> None:
    async def fail(_question: sasl.Question) -> Any:
        raise LookupError(WORD)

    def fail_at_once(_question: sasl.Question) -> Any:
        raise LookupError(WORD)

    server = serve(answer=fail if awaited else fail_at_once)
    with connected(server, trusting) as conn, pytest.raises(sasl.TemporaryFailure):
        authenticate(conn, PASSWORD, mechanism="PLAIN")


@pytest.mark.parametrize("name", ["PLAIN", "EXTERNAL"])
def test_an_option_that_no_mechanism_knows_is_told_and_lets_nobody_in(
    serve: Any, trusting: ssl.SSLContext, certified: Any, name: str
) -> None:
    certified(trusting)
    with connected(serve(settings={"options": {name: {"colour": "red"}}}), trusting) as conn:
        code, text = conn.docmd(f"AUTH {name}", PLAIN.decode() if name == "PLAIN" else "=")
        assert code == 500
        assert text.startswith(f"Error: (UsageError) {name} does not take these options: ".encode())
        assert conn.noop()[0] == 250


# --- many, and what is shown


def test_a_hundred_clients_log_in_at_once(serve: Any, trusting: ssl.SSLContext, verifier: Verifier) -> None:
    many = 100
    barrier: list[asyncio.Barrier] = []

    async def answer(question: sasl.Question) -> Any:
        if isinstance(question, sasl.CheckPassword):  # nobody gets in before all have asked
            barrier[:] = barrier or [asyncio.Barrier(many)]
            await barrier[0].wait()
        return verifier(question)

    server = serve(answer=answer)

    def log_in(number: int) -> int:
        with connected(server, trusting) as conn:
            code, _ = authenticate(conn, PASSWORD if number % 2 else WRONG, mechanism="PLAIN")
        return code

    with ThreadPoolExecutor(many) as pool:
        results = [pool.submit(log_in, number) for number in range(many)]
        failed = [result.exception(30) for result in results]
    assert [type(error) for error in failed[1::2]] == [type(None)] * (many // 2)
    assert all(isinstance(error, sasl.AuthenticationFailed) for error in failed[::2])


def test_nothing_shows_a_secret(
    serve: Any, context: ssl.SSLContext, trusting: ssl.SSLContext, caplog: Any, capfd: Any
) -> None:
    caplog.set_level(logging.DEBUG)
    tls_1_2(context)
    server = serve()
    secrets = [WORD, "looking-glass-of-secrets", *(token for _, token in TOKENS.values())]
    for mechanism in ("PLAIN", "LOGIN", "SCRAM-SHA-256-PLUS", "CRAM-MD5", "DIGEST-MD5"):
        for early in (True, False):
            with connected(server, trusting, ours=True) as conn:
                with pytest.raises(sasl.AuthenticationFailed):
                    authenticate(conn, WRONG, mechanism=mechanism, policy=ALLOWED, initial_response=early)
                authenticate(conn, PASSWORD, mechanism=mechanism, policy=ALLOWED, initial_response=early)
                conn.sendmail("a@example.com", ["b@example.com"], "hello")
    for mechanism in OF_TOKENS:
        for early in (True, False):
            with connected(server, trusting) as conn:
                with pytest.raises(sasl.AuthenticationFailed):
                    authenticate(conn, bearer("expired-4000"), mechanism=mechanism, initial_response=early)
                authenticate(conn, bearer("good-8000"), mechanism=mechanism, initial_response=early)
                conn.sendmail("a@example.com", ["b@example.com"], "hello")
    with connected(server, trusting) as conn:
        for bad in (PLAIN[:-1], WORD.encode(), PLAIN * 400, b"*" + PLAIN, PLAIN * 10_000):
            assert conn.docmd("AUTH PLAIN")[0] == 334
            conn.send(bad + b"\r\n")
            assert conn.getreply()[0] in (500, 501)
        for bad in (PLAIN[:-1], PLAIN * 400, PLAIN * 900):
            conn.send(b"AUTH PLAIN " + bad + b"\r\n")
            assert conn.getreply()[0] in (500, 501)
    sessions = [repr(session) + repr(vars(session)) for session in server.handler.sessions]
    assert len(sessions) == 14
    assert "AUTH PLAIN ********" in caplog.text
    assert "<< b'334 " not in caplog.text  # challenges may say what a user's keys are made with
    settings = Settings(print, [], options={"SCRAM": {"decoy": DECOY}})
    secrets.append(DECOY[0].decode())
    shown = [
        caplog.text,
        repr(settings),
        *sessions,
        *capfd.readouterr(),
        *(repr(vars(record)) for record in caplog.records),
    ]
    assert not seen(shown, *secrets)


# --- aiosmtpd's own ways to run


def test_the_controller_runs_it(verifier: Verifier, context: ssl.SSLContext, trusting: ssl.SSLContext) -> None:
    handler = Handler()
    how = Settings(verifier, verifier.answers, hashes=verifier.hashes)
    controller = Controller(
        handler,
        "127.0.0.1",
        free_port(),
        sasl=how,
        tls_context=context,
        auth_required=True,
        server_hostname="localhost",
    )
    controller.start()
    try:
        with connected(controller, trusting) as conn:
            authenticate(conn, PASSWORD)
            conn.sendmail("a@example.com", ["b@example.com"], "hello")
    finally:
        controller.stop()
    assert handler.messages == [(USER, b"hello\r\n")]


def free_port() -> int:
    """A port that nobody listens at; aiosmtpd's controllers take no 0."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
    return port
