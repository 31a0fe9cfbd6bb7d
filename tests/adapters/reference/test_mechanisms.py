"""Every mechanism at the reference servers, over every protocol, and what each is offered for.

Over TLS 1.2, unless a test says otherwise: there our clients bind to tls-unique.
"""

from __future__ import annotations

import base64
import dataclasses
from typing import TYPE_CHECKING, Any

import pytest

import sasl
import sasl.adapters.imaplib
import sasl.adapters.poplib
import sasl.adapters.smtplib
from sasl.adapters import reference
from sasl.adapters.reference import Settings

from ...support.tls import servers_have_no_exporter, tls_1_2

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator

    from sasl.adapters.reference import Servers

BINDINGS = {"imap": sasl.adapters.imaplib, "pop": sasl.adapters.poplib, "smtp": sasl.adapters.smtplib}
HASHES = ("SHA-1", "SHA-224", "SHA-256", "SHA-384", "SHA-512", "SHA3-512")
SCRAM = tuple(f"SCRAM-{name}" for name in HASHES)
PLUS = tuple(f"{name}-PLUS" for name in SCRAM)
OFF = ("CRAM-MD5", "DIGEST-MD5", "ANONYMOUS")
POLICY = sasl.Policy(allow=OFF)

TURNS = {
    **dict.fromkeys(PLUS + SCRAM, 3),
    "LOGIN": 3,
    "CRAM-MD5": 2,
    "DIGEST-MD5": 3,
    "EXTERNAL": 1,
    "ANONYMOUS": 1,
    "PLAIN": 1,
    "XOAUTH2": 1,
    "OAUTHBEARER": 1,
}
"""Lines that the client sends for a login, with an initial response where the mechanism has one."""

SERVER_FIRST = ("LOGIN", "CRAM-MD5", "DIGEST-MD5")


@pytest.fixture(scope="module")
def everything() -> Iterator[Servers]:
    """Servers that leave nothing out."""
    with reference.running(
        {"alice": "wonderland", "bob": "looking-glass"}, settings=Settings(policy=POLICY)
    ) as servers:
        yield servers


@pytest.fixture(scope="module")
def known(everything: Servers) -> ssl.SSLContext:
    """A client's context, with a certificate that names alice."""
    context = tls_1_2(everything.client_context())
    context.load_cert_chain(*everything.client_certificate("alice"))
    return context


@pytest.fixture(scope="module")
def anybody(everything: Servers) -> ssl.SSLContext:
    return tls_1_2(everything.client_context())


def credentials(mechanism: str, servers: Servers, *, wrong: bool = False) -> sasl.Credentials:
    if mechanism == "EXTERNAL":
        return sasl.External("bob" if wrong else None)
    if mechanism == "ANONYMOUS":
        return sasl.Anonymous("somebody@example.org")
    if mechanism in ("XOAUTH2", "OAUTHBEARER"):
        return sasl.Bearer("alice", servers.tokens["revoked" if wrong else "good"])
    return sasl.Password("alice", "looking-glass" if wrong else "wonderland")


# --- what is offered


def offered(
    connect: Callable[..., Any], servers: Servers, over: str, context: ssl.SSLContext | None = None
) -> list[str]:
    """The mechanisms in the order in which the POP3 server lists them."""
    raw = connect(servers, "pop", over, context)
    if over != "STARTTLS":
        raw.line()
    raw.send(b"CAPA\r\n")
    lines = list(iter(raw.line, "."))
    return next((line.split()[1:] for line in lines if line.startswith("SASL ")), [])


def test_everything_is_offered_to_a_client_with_a_certificate_the_strongest_first(
    everything: Servers, known: ssl.SSLContext, connect: Callable[..., Any]
) -> None:
    names = offered(connect, everything, "TLS", known)
    assert names == [
        "EXTERNAL",
        *reversed(PLUS),
        *reversed(SCRAM),
        "DIGEST-MD5",
        "CRAM-MD5",
        "OAUTHBEARER",
        "XOAUTH2",
        "PLAIN",
        "LOGIN",
        "ANONYMOUS",
    ]
    assert set(names) == set(TURNS) == {row.name for row in sasl.known_mechanisms()}


def test_over_tls_1_3_the_same_is_offered(everything: Servers, connect: Callable[..., Any]) -> None:
    older = offered(connect, everything, "TLS", tls_1_2(everything.client_context()))
    assert offered(connect, everything, "TLS") == older
    assert offered(connect, everything, "STARTTLS") == older


def test_over_tls_1_3_servers_without_exporter_offer_no_channel_binding(connect: Callable[..., Any]) -> None:
    """Of its connections Python's ssl has the certificate's hash alone, to which no client binds unasked."""
    with servers_have_no_exporter(), reference.running() as servers:
        older = offered(connect, servers, "TLS", tls_1_2(servers.client_context()))
        assert set(PLUS) < set(older)
        assert offered(connect, servers, "TLS") == [name for name in older if name not in PLUS]


def test_external_is_for_those_who_showed_a_certificate(everything: Servers, connect: Callable[..., Any]) -> None:
    assert "EXTERNAL" not in offered(connect, everything, "TLS")
    assert "EXTERNAL" not in offered(connect, everything, "clear")


def test_without_tls_there_is_neither_a_password_nor_a_binding(
    everything: Servers, connect: Callable[..., Any]
) -> None:
    assert offered(connect, everything, "clear") == [*reversed(SCRAM), "DIGEST-MD5", "CRAM-MD5", "ANONYMOUS"]


def test_after_starttls_the_certificate_and_the_bindings_are_known(
    everything: Servers, known: ssl.SSLContext, connect: Callable[..., Any]
) -> None:
    assert offered(connect, everything, "STARTTLS", known) == offered(connect, everything, "TLS", known)


def test_what_is_off_is_not_offered(servers: Servers, connect: Callable[..., Any]) -> None:
    assert not set(OFF) & set(offered(connect, servers, "TLS"))


@pytest.mark.parametrize("name", ["SCRAM-SHA-256", "scram-sha-256-plus", "LOGIN"])
def test_the_settings_may_leave_one_mechanism(name: str, connect: Callable[..., Any]) -> None:
    with reference.running(settings=Settings(mechanisms=[name])) as servers:
        assert offered(connect, servers, "TLS", tls_1_2(servers.client_context())) == [name.upper()]


def test_without_a_password_in_store_nothing_is_offered_that_needs_it(connect: Callable[..., Any]) -> None:
    keys = sasl.ScramKeys.derive("wonderland")
    with reference.running({"alice": keys}, settings=Settings(policy=POLICY)) as servers:
        names = offered(connect, servers, "TLS", tls_1_2(servers.client_context()))
    assert {"CRAM-MD5", "DIGEST-MD5"} & set(names) == set()
    assert {"PLAIN", "LOGIN", "SCRAM-SHA-256"} <= set(names)
    assert "SCRAM-SHA-512" not in names  # there are keys of one hash only


# --- logins


@pytest.mark.parametrize("over", ["TLS", "STARTTLS"])
@pytest.mark.parametrize("initial", [None, False])
@pytest.mark.parametrize("protocol", BINDINGS)
@pytest.mark.parametrize("mechanism", TURNS)
def test_every_mechanism_logs_in(
    *,
    mechanism: str,
    protocol: str,
    initial: bool | None,
    over: str,
    everything: Servers,
    known: ssl.SSLContext,
    client: Any,
) -> None:
    server = getattr(everything, protocol)
    good = credentials(mechanism, everything)
    with client(server, over, known) as conn:
        BINDINGS[protocol].authenticate(conn, good, mechanism=mechanism, initial_response=initial, policy=POLICY)
        conn.noop()
    session = server.sessions[-1]
    identity = "anonymous" if mechanism == "ANONYMOUS" else "alice"
    sent = initial is None and mechanism not in SERVER_FIRST
    turns = TURNS[mechanism] + (initial is False and mechanism not in SERVER_FIRST)
    assert session.identity == identity
    assert list(session.attempts) == [reference.Attempt(mechanism, True, sent, turns, "accepted", identity)]


@pytest.mark.parametrize("over", ["TLS", "STARTTLS"])
@pytest.mark.parametrize("protocol", BINDINGS)
@pytest.mark.parametrize("mechanism", PLUS)
def test_every_mechanism_binds_over_tls_1_3_where_it_is_asked_to(
    mechanism: str, protocol: str, over: str, everything: Servers, client: Any
) -> None:
    server = getattr(everything, protocol)
    good = credentials(mechanism, everything)
    with client(server, over, everything.client_context()) as conn:
        BINDINGS[protocol].authenticate(conn, good, mechanism=mechanism)
        assert conn.sock.version() == "TLSv1.3"
    (attempt,) = server.sessions[-1].attempts
    assert (attempt.mechanism, attempt.outcome) == (mechanism, "accepted")


REFUSED = [name for name in TURNS if name != "ANONYMOUS"]


@pytest.mark.parametrize("protocol", BINDINGS)
@pytest.mark.parametrize("mechanism", REFUSED)
def test_every_mechanism_refuses_a_wrong_credential_and_the_connection_goes_on(
    mechanism: str, protocol: str, everything: Servers, known: ssl.SSLContext, client: Any
) -> None:
    server = getattr(everything, protocol)
    wrong, good = (credentials(mechanism, everything, wrong=wrong) for wrong in (True, False))
    with client(server, "TLS", known) as conn:
        with pytest.raises(sasl.AuthenticationFailed):
            BINDINGS[protocol].authenticate(conn, wrong, mechanism=mechanism, policy=POLICY)
        BINDINGS[protocol].authenticate(conn, good, mechanism=mechanism, policy=POLICY)
    kind = "authorization" if mechanism == "EXTERNAL" else "credentials"
    assert [attempt.outcome for attempt in server.sessions[-1].attempts] == [kind, "accepted"]


@pytest.mark.parametrize("protocol", BINDINGS)
@pytest.mark.parametrize("mechanism", [*SCRAM, *PLUS, "LOGIN", "CRAM-MD5", "DIGEST-MD5", "PLAIN"])
def test_a_stranger_gets_the_answer_of_a_user_with_a_wrong_password(
    mechanism: str, protocol: str, everything: Servers, anybody: ssl.SSLContext, client: Any
) -> None:
    server = getattr(everything, protocol)
    said = []
    for user in ("alice", "mallory"):
        with client(server, "TLS", anybody) as conn, pytest.raises(sasl.AuthenticationFailed) as refusal:
            wrong = sasl.Password(user, "jabberwocky")
            BINDINGS[protocol].authenticate(conn, wrong, mechanism=mechanism, policy=POLICY)
        (attempt,) = server.sessions[-1].attempts
        said.append((str(refusal.value), refusal.value.kind, attempt.outcome, attempt.turns))
    assert said[0] == said[1]


@pytest.mark.parametrize("protocol", BINDINGS)
@pytest.mark.parametrize("mechanism", [*SCRAM, *PLUS, "DIGEST-MD5", "PLAIN"])
def test_nobody_acts_as_another_user(
    mechanism: str, protocol: str, everything: Servers, anybody: ssl.SSLContext, client: Any
) -> None:
    server = getattr(everything, protocol)
    as_bob = sasl.Password("alice", "wonderland", authzid="bob")
    with client(server, "TLS", anybody) as conn:
        with pytest.raises(sasl.AuthenticationFailed):
            BINDINGS[protocol].authenticate(conn, as_bob, mechanism=mechanism, policy=POLICY)
        as_herself = sasl.Password("alice", "wonderland", authzid="alice")
        BINDINGS[protocol].authenticate(conn, as_herself, mechanism=mechanism, policy=POLICY)
    assert [attempt.outcome for attempt in server.sessions[-1].attempts] == ["authorization", "accepted"]


@pytest.mark.parametrize("protocol", BINDINGS)
@pytest.mark.parametrize("mechanism", [*SCRAM, "CRAM-MD5", "DIGEST-MD5"])
def test_what_sends_no_password_needs_no_tls(mechanism: str, protocol: str, everything: Servers, client: Any) -> None:
    server = getattr(everything, protocol)
    with client(server, "clear", everything.client_context()) as conn:
        BINDINGS[protocol].authenticate(conn, sasl.Password("alice", "wonderland"), mechanism=mechanism, policy=POLICY)
    (attempt,) = server.sessions[-1].attempts
    assert (attempt.tls, attempt.outcome) == (False, "accepted")


@pytest.mark.parametrize("protocol", BINDINGS)
def test_a_user_of_stored_keys_logs_in_by_them(protocol: str, client: Any) -> None:
    users: Any = {"alice": sasl.ScramKeys.derive("wonderland", iterations=5_000), "bob": "looking-glass"}
    alice = sasl.Password("alice", "wonderland")
    with reference.running(users, settings=Settings(policy=POLICY)) as servers:
        assert servers.users == {"bob": "looking-glass"}
        server = getattr(servers, protocol)
        for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-256-PLUS", "PLAIN", "LOGIN"):
            with client(server, "TLS", tls_1_2(servers.client_context())) as conn:
                BINDINGS[protocol].authenticate(conn, alice, mechanism=mechanism)
        for mechanism in ("CRAM-MD5", "DIGEST-MD5"):
            with client(server, "TLS", servers.client_context()) as conn, pytest.raises(sasl.AuthenticationFailed):
                BINDINGS[protocol].authenticate(conn, alice, mechanism=mechanism, policy=POLICY)
        assert [session.attempts[-1].outcome for session in server.sessions] == ["accepted"] * 4 + ["credentials"] * 2
        assert "kept" in server.sessions[-1].attempts[-1].reason
        with client(server, "TLS", servers.client_context()) as conn, pytest.raises(sasl.MechanismUnavailable):
            BINDINGS[protocol].authenticate(conn, alice, mechanism="SCRAM-SHA-1")


# --- certificates


@pytest.mark.parametrize("protocol", BINDINGS)
def test_without_a_certificate_there_is_no_external(protocol: str, everything: Servers, client: Any) -> None:
    server, context = getattr(everything, protocol), everything.client_context()
    with client(server, "TLS", context) as conn, pytest.raises(sasl.MechanismUnavailable):
        BINDINGS[protocol].authenticate(conn, sasl.External())


@pytest.mark.parametrize(
    ("user", "common_name", "authzid", "outcome"),
    [
        ("bob", False, None, "accepted"),
        ("bob", False, "bob", "accepted"),
        ("bob@LOCALHOST", False, "bob", "accepted"),
        ("bob", False, "alice", "authorization"),
        ("mallory", False, None, "credentials"),
        ("mallory", False, "bob", "credentials"),
        ("bob", True, None, "credentials"),
    ],
)
def test_external_is_for_the_user_whom_the_certificate_names(
    *, user: str, common_name: bool, authzid: str | None, outcome: str, everything: Servers, client: Any
) -> None:
    context = everything.client_context()
    context.load_cert_chain(*everything.client_certificate(user, common_name=common_name))
    log_in_by_external(everything, context, authzid, outcome, client)


def test_the_common_name_may_be_allowed(client: Any) -> None:
    with reference.running({"us\u00e9r": "x"}, settings=Settings(common_name=True)) as servers:
        context = servers.client_context()
        context.load_cert_chain(*servers.client_certificate("us\u00e9r", common_name=True))
        log_in_by_external(servers, context, None, "accepted", client)


def log_in_by_external(
    servers: Servers, context: ssl.SSLContext, authzid: str | None, outcome: str, client: Any
) -> None:
    for protocol, binding in BINDINGS.items():
        server = getattr(servers, protocol)
        with client(server, "TLS", context) as conn:
            if outcome == "accepted":
                binding.authenticate(conn, sasl.External(authzid))
            else:
                with pytest.raises(sasl.AuthenticationFailed):
                    binding.authenticate(conn, sasl.External(authzid))
        assert [attempt.outcome for attempt in server.sessions[-1].attempts] == [outcome]


def test_a_certificate_is_not_asked_for_a_password(everything: Servers, known: ssl.SSLContext, client: Any) -> None:
    """Nor is it in the way of one."""
    with client(everything.imap, "TLS", known) as conn:
        BINDINGS["imap"].authenticate(conn, sasl.Password("bob", "looking-glass"))
    assert everything.imap.sessions[-1].identity == "bob"


# --- what a stranger sees of SCRAM


def server_first(
    connect: Callable[..., Any], servers: Servers, user: str, mechanism: str = "SCRAM-SHA-256"
) -> dict[str, str]:
    raw = connect(servers, "pop", "clear")
    raw.line()
    raw.send(f"AUTH {mechanism} {base64.b64encode(f'n,,n={user},r=abc'.encode()).decode()}\r\n".encode())
    challenge = base64.b64decode(raw.line().removeprefix("+ ")).decode()
    return dict(part.split("=", 1) for part in challenge.split(","))  # type: ignore[misc]


def test_a_stranger_has_the_same_salt_each_time_and_the_iterations_of_the_users(
    everything: Servers, connect: Callable[..., Any]
) -> None:
    once, again, other, alice = (
        server_first(connect, everything, user) for user in ("mallory", "mallory", "eve", "alice")
    )
    assert once["s"] == again["s"] != other["s"]
    assert once["r"] != again["r"]
    assert {len(each["s"]) for each in (once, other, alice)} == {24}
    assert {each["i"] for each in (once, other, alice)} == {"4096"}


@pytest.mark.parametrize("wrapped", [False, True])
def test_strangers_have_the_iterations_and_the_lengths_of_salt_of_the_users(
    wrapped: bool, connect: Callable[..., Any]
) -> None:
    from sasl.adapters.reference import token_endpoint

    keys = sasl.ScramKeys.derive("x", salt=b"s" * 28, iterations=10_000)
    with token_endpoint.running() as endpoint:
        checks = endpoint.checks if wrapped else None
        with reference.running({"alice": keys, "bob": keys, "carol": "x"}, checks=checks) as servers:
            alice = server_first(connect, servers, "alice")
            strangers = [server_first(connect, servers, f"mallory {number}") for number in range(60)]
    pairs = [(each["i"], len(each["s"])) for each in strangers]
    assert set(pairs) == {("10000", 40), ("4096", 24)}
    assert pairs.count(("10000", 40)) > 20  # as two of three users
    assert alice["s"] not in {each["s"] for each in strangers}


def test_a_verifier_of_the_callers_needs_to_know_nothing_of_decoys(connect: Callable[..., Any]) -> None:
    class Own:
        answers = frozenset({sasl.FindKeys})

        def __call__(self, question: sasl.Question) -> Any:
            return None

    with reference.running(checks=lambda _: Own()) as servers:
        once, again = (server_first(connect, servers, "mallory") for _ in range(2))
    assert (once["s"], once["i"]) == (again["s"], "4096")


# --- whom a client meant


@pytest.mark.parametrize(
    ("hosts", "outcome"),
    [(["localhost", "127.0.0.1"], "accepted"), ([], "accepted"), (["mail.example.org"], "credentials")],
)
def test_digest_md5_is_for_the_host_that_the_client_meant(hosts: list[str], outcome: str, client: Any) -> None:
    settings = dataclasses.replace(Settings(policy=POLICY), hosts=hosts)
    with reference.running(settings=settings) as servers, client(servers.imap, "TLS", servers.client_context()) as conn:
        alice = sasl.Password("alice", "wonderland")
        if outcome == "accepted":
            BINDINGS["imap"].authenticate(conn, alice, mechanism="DIGEST-MD5", policy=POLICY)
        else:
            with pytest.raises(sasl.AuthenticationFailed):
                BINDINGS["imap"].authenticate(conn, alice, mechanism="DIGEST-MD5", policy=POLICY)
        assert [attempt.outcome for attempt in servers.imap.sessions[-1].attempts] == [outcome]
