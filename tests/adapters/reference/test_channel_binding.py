"""Logins that are bound to their TLS connection, by the standard library's clients, and a man in the middle."""

from __future__ import annotations

import base64
import contextlib
import select
import socket
import ssl
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

import sasl
import sasl.adapters.imaplib
import sasl.adapters.poplib
import sasl.adapters.smtplib
from sasl.adapters import binding, channel_binding, reference
from sasl.adapters.reference import Settings
from sasl.adapters.reference.certificates import issue, server_context
from sasl.value import replace

from ...support.tls import servers_have_no_exporter, servers_offer_plus, tls_1_2

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sasl.adapters.reference import Endpoint, Servers

BINDINGS = {"imap": sasl.adapters.imaplib, "pop": sasl.adapters.poplib, "smtp": sasl.adapters.smtplib}
ALICE = sasl.Password("alice", "wonderland")
PLAIN_SCRAM = Settings(mechanisms=["SCRAM-SHA-256", "PLAIN"])
NEVER = sasl.Policy(channel_binding="never")
REQUIRE = sasl.Policy(channel_binding="require")


@pytest.fixture(params=BINDINGS)
def protocol(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def older(servers: Servers) -> ssl.SSLContext:
    """A client's context up to TLS 1.2: there the default type of channel binding is at hand."""
    return tls_1_2(servers.client_context())


@pytest.fixture(scope="module")
def unbound() -> Iterator[Servers]:
    """Servers that offer no -PLUS."""
    with reference.running(settings=PLAIN_SCRAM) as servers:
        yield servers


@pytest.fixture(scope="module")
def unexported() -> Iterator[Servers]:
    """Servers without tls-exporter."""
    with servers_have_no_exporter(), reference.running() as servers:
        yield servers


class Watch:
    """Sees what was chosen, and what the client's first message is."""

    def __init__(self) -> None:
        self.kinds: list[str] = []
        self.name = ""
        self.header = b""

    def __call__(self, choice: sasl.Choice, wire: Any) -> None:
        self.name = choice.name
        self.kinds = list(choice.channel.bindings)
        command = wire.command

        def watched() -> Any:
            line = command()
            message = base64.b64decode(line.octets.split()[-1])
            self.header = message.split(b",,")[0]
            return line

        wire.command = watched


def log_in(conn: Any, protocol: str, **settings: Any) -> Watch:
    watch = Watch()
    binding.log_in(BINDINGS[protocol].LIBRARY, conn, ALICE, watch=watch, **settings)
    return watch


# --- with the servers themselves


@pytest.mark.parametrize("over", ["TLS", "STARTTLS"])
def test_a_login_is_bound_unasked_to_a_connection_of_tls_1_2(
    *, over: str, protocol: str, servers: Servers, older: ssl.SSLContext, client: Any
) -> None:
    with client(getattr(servers, protocol), over, older) as conn:
        watch = log_in(conn, protocol)
    assert (watch.name, watch.kinds, watch.header) == ("SCRAM-SHA3-512-PLUS", ["tls-unique"], b"p=tls-unique")
    (attempt,) = getattr(servers, protocol).sessions[-1].attempts
    assert (attempt.mechanism, attempt.outcome) == ("SCRAM-SHA3-512-PLUS", "accepted")


@pytest.mark.parametrize("exporter", ["has an exporter", "has none", "has none and offers -PLUS by hand"])
@pytest.mark.parametrize("over", ["TLS", "STARTTLS"])
def test_a_login_is_not_bound_unasked_to_a_connection_of_tls_1_3(
    *, exporter: str, over: str, protocol: str, servers: Servers, unexported: Servers, client: Any
) -> None:
    """Of which ssl has the certificate's hash alone; whatever the server has."""
    running = servers if exporter == "has an exporter" else unexported
    with contextlib.ExitStack() as stack:
        if exporter.endswith("by hand"):
            stack.enter_context(servers_offer_plus())
        conn = stack.enter_context(client(getattr(running, protocol), over, running.client_context()))
        watch = log_in(conn, protocol)
    assert (watch.name, watch.kinds, watch.header) == ("SCRAM-SHA3-512", [], b"n")
    (attempt,) = getattr(running, protocol).sessions[-1].attempts
    assert (attempt.mechanism, attempt.outcome) == ("SCRAM-SHA3-512", "accepted")


@pytest.mark.parametrize("kind", ["tls-unique", "tls-server-end-point"])
@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ({"mechanism": "scram-sha-256-plus"}, "SCRAM-SHA-256-PLUS"),
        ({"policy": REQUIRE}, "SCRAM-SHA3-512-PLUS"),
        ({"policy": sasl.Policy(pin="SCRAM-SHA-256-PLUS")}, "SCRAM-SHA3-512-PLUS"),
    ],
    ids=["mechanism", "require", "pin"],
)
def test_a_login_that_is_to_be_bound_is_bound_to_what_there_is(
    *, asked: dict[str, Any], name: str, kind: str, protocol: str, servers: Servers, older: Any, client: Any
) -> None:
    """Over TLS 1.3 to the certificate."""
    context = older if kind == "tls-unique" else servers.client_context()
    with client(getattr(servers, protocol), "TLS", context) as conn:
        watch = log_in(conn, protocol, **asked)
    assert (watch.name, watch.kinds, watch.header) == (name, [kind], b"p=" + kind.encode())
    (attempt,) = getattr(servers, protocol).sessions[-1].attempts
    assert (attempt.mechanism, attempt.outcome) == (name, "accepted")


def test_over_tls_1_3_servers_without_exporter_offer_nothing_that_is_bound(
    protocol: str, unexported: Servers, client: Any
) -> None:
    for asked, error in (
        ({"mechanism": "SCRAM-SHA-256-PLUS"}, sasl.MechanismUnavailable),
        ({"policy": REQUIRE}, sasl.PolicyViolation),
        ({"policy": sasl.Policy(pin="SCRAM-SHA-256-PLUS")}, sasl.PolicyViolation),
    ):
        with client(getattr(unexported, protocol), "TLS", unexported.client_context()) as conn, pytest.raises(error):
            log_in(conn, protocol, **asked)
        assert list(getattr(unexported, protocol).sessions[-1].attempts) == []


@pytest.mark.parametrize("version", ["1.2", "1.3"])
@pytest.mark.parametrize("mechanism", [None, "SCRAM-SHA-256"])
def test_a_server_without_channel_binding_is_told_whether_the_client_has_it(
    *, mechanism: str | None, version: str, protocol: str, unbound: Servers, client: Any
) -> None:
    context = unbound.client_context()
    with client(getattr(unbound, protocol), "TLS", tls_1_2(context) if version == "1.2" else context) as conn:
        watch = log_in(conn, protocol, mechanism=mechanism)
    assert (watch.name, watch.header) == ("SCRAM-SHA-256", b"y" if version == "1.2" else b"n")


def test_over_tls_1_3_servers_without_exporter_take_y_too(protocol: str, unexported: Servers, client: Any) -> None:
    """From a client whose TLS library has the default type: nobody has taken -PLUS off the list."""
    library = BINDINGS[protocol].LIBRARY

    def has_exporter(conn: Any) -> sasl.Channel:
        return replace(library.channel(conn), bindings={"tls-exporter": b"e" * 32})

    watch = Watch()
    with client(getattr(unexported, protocol), "TLS", unexported.client_context()) as conn:
        binding.log_in(replace(library, channel=has_exporter), conn, ALICE, watch=watch)
    assert (watch.name, watch.header) == ("SCRAM-SHA3-512", b"y")


def test_who_wants_no_channel_binding_says_so(protocol: str, servers: Servers, unbound: Servers, client: Any) -> None:
    for each in (servers, unbound):
        with client(getattr(each, protocol), "TLS", tls_1_2(each.client_context())) as conn:
            watch = log_in(conn, protocol, policy=NEVER)
        assert (watch.header, watch.kinds) == (b"n", [])
        assert not watch.name.endswith("-PLUS")


def test_the_twin_of_what_is_offered_says_n(protocol: str, servers: Servers, older: Any, client: Any) -> None:
    """By request, so nobody has taken -PLUS off the list."""
    with client(getattr(servers, protocol), "TLS", older) as conn:
        assert log_in(conn, protocol, mechanism="SCRAM-SHA-256").header == b"n"


def test_without_tls_there_is_nothing_to_bind_to(protocol: str, servers: Servers, client: Any) -> None:
    with client(getattr(servers, protocol), "clear", servers.client_context()) as conn:
        watch = log_in(conn, protocol)
    assert (watch.name, watch.header) == ("SCRAM-SHA3-512", b"n")


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_a_certificate_that_nothing_binds_to_is_no_reason_not_to_log_in(
    *, version: str, protocol: str, servers: Servers, older: Any, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one with an Ed25519 signature; over TLS 1.2 there is tls-unique."""
    monkeypatch.setattr(channel_binding, "_hash", lambda _: (None, "it is odd"))
    context = older if version == "1.2" else servers.client_context()
    with client(getattr(servers, protocol), "TLS", context) as conn:
        watch = log_in(conn, protocol)
    assert (watch.name, watch.header) == {
        "1.2": ("SCRAM-SHA3-512-PLUS", b"p=tls-unique"),
        "1.3": ("SCRAM-SHA3-512", b"n"),
    }[version]


def test_who_requires_channel_binding_logs_in_by_nothing_else(
    protocol: str, servers: Servers, unbound: Servers, older: Any, client: Any
) -> None:
    with client(getattr(servers, protocol), "TLS", older) as conn:
        assert log_in(conn, protocol, policy=REQUIRE).name.endswith("-PLUS")
    with (
        client(getattr(unbound, protocol), "TLS", tls_1_2(unbound.client_context())) as conn,
        pytest.raises(sasl.PolicyViolation),
    ):
        log_in(conn, protocol, policy=REQUIRE)


# --- what it costs others

SCRIPT = """
import {library} as library, json, ssl, sys
import sasl, sasl.adapters.{library} as binding
context = ssl.create_default_context(cafile=sys.argv[1])
context.maximum_version = ssl.TLSVersion[sys.argv[5]]
conn = {connect}
binding.authenticate(conn, {credentials}, mechanism={mechanism!r})
conn.noop()
print(json.dumps("cryptography" in sys.modules))
"""
CONNECT = {
    "imap": "library.IMAP4_SSL(sys.argv[2], int(sys.argv[3]), ssl_context=context)",
    "pop": "library.POP3_SSL(sys.argv[2], int(sys.argv[3]), context=context)",
    "smtp": "library.SMTP_SSL(sys.argv[2], int(sys.argv[3]), 'localhost', context=context)",
}


@pytest.mark.parametrize(
    ("credentials", "mechanism", "only", "version", "loaded"),
    [
        ("Password('alice', 'wonderland')", "PLAIN", None, "TLSv1_2", "false"),
        ("Password('alice', 'wonderland')", None, ["PLAIN", "LOGIN"], "TLSv1_2", "false"),
        ("Bearer('alice', sys.argv[4])", None, None, "TLSv1_2", "false"),
        ("Password('alice', 'wonderland')", None, None, "TLSv1_2", "true"),
        ("Password('alice', 'wonderland')", None, ["SCRAM-SHA-256"], "TLSv1_2", "true"),
        ("Password('alice', 'wonderland')", None, None, "TLSv1_3", "false"),
        ("Password('alice', 'wonderland')", None, ["SCRAM-SHA-256"], "TLSv1_3", "false"),
    ],
)
def test_only_a_login_that_may_be_bound_loads_cryptography(
    *, credentials: str, mechanism: str | None, only: list[str] | None, version: str, loaded: str, protocol: str
) -> None:
    library = BINDINGS[protocol].__name__.rpartition(".")[2]
    script = SCRIPT.format(
        library=library, connect=CONNECT[protocol], credentials=f"sasl.{credentials}", mechanism=mechanism
    )
    with reference.running(settings=Settings(mechanisms=only)) as servers:
        server = getattr(servers, protocol)
        arguments = [str(servers.ca_file), server.host, str(server.tls_port), servers.tokens["good"], version]
        run = subprocess.run([sys.executable, "-I", "-c", script, *arguments], capture_output=True, text=True)
    assert (run.stdout.strip(), run.stderr) == (loaded, "")


# --- a man in the middle


class Middle:
    """Takes one connection and passes its lines on to a server: TLS on both sides, with a certificate of its own."""

    def __init__(self, server: Endpoint, servers: Servers, directory: Path, *, strips: bool) -> None:
        self.protocol, self.host = server.protocol, server.host
        self._server = server
        self._trusted = tls_1_2(servers.client_context())
        self._shown = server_context(directory)
        self._strips = strips
        self._listening = socket.create_server((server.host, 0))
        self.tls_port: int = self._listening.getsockname()[1]
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._listening.close()
        self._thread.join(10)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        with contextlib.ExitStack() as stack:
            stack.enter_context(contextlib.suppress(OSError))
            accepted, _ = self._listening.accept()
            accepted.settimeout(10)
            victim = stack.enter_context(self._shown.wrap_socket(accepted, server_side=True))
            sock = socket.create_connection((self.host, self._server.tls_port), timeout=10)
            server = stack.enter_context(self._trusted.wrap_socket(sock, server_hostname=self.host))
            self._pass_on({victim: server, server: victim}, server)

    def _pass_on(self, ends: dict[ssl.SSLSocket, ssl.SSLSocket], server: ssl.SSLSocket) -> None:
        """Pass lines on until one end is through; in one thread, for no connection of OpenSSL's may be used by two."""
        begun = dict.fromkeys(ends, b"")
        while ready := [end for end in ends if end.pending()] or select.select(ends, [], [], 10)[0]:
            for source in ready:
                try:
                    source.settimeout(0)
                    octets = source.recv(65_536)
                except ssl.SSLWantReadError:  # a session ticket
                    continue
                target = ends[source]
                target.settimeout(10)
                if not octets:
                    target.unwrap()
                    return
                *lines, begun[source] = (begun[source] + octets).split(b"\n")
                target.sendall(b"".join(self._line(line, source is server) for line in lines))

    def _line(self, line: bytes, from_the_server: bool) -> bytes:
        words = line.split(b" ")
        strips = self._strips and from_the_server
        return (
            b" ".join(word for word in words if not (strips and word.rstrip().endswith((b"-PLUS", b"-PLUS]")))) + b"\n"
        )


@pytest.fixture
def middle(tmp_path: Path) -> Iterator[Callable[..., tuple[Middle, ssl.SSLContext]]]:
    """middle(servers, "imap", strips=True) -> what to connect to, and a context that has been talked into it."""
    issue().write(tmp_path)
    with contextlib.ExitStack() as stack:

        def between(servers: Servers, protocol: str, *, strips: bool) -> tuple[Middle, ssl.SSLContext]:
            man = Middle(getattr(servers, protocol), servers, tmp_path, strips=strips)
            stack.callback(man.stop)
            return man, tls_1_2(ssl.create_default_context(cafile=tmp_path / "ca.pem"))

        yield between


def test_a_man_in_the_middle_who_takes_plus_off_the_list_is_noticed(
    protocol: str, servers: Servers, client: Any, middle: Any
) -> None:
    man, context = middle(servers, protocol, strips=True)
    watch = Watch()
    with client(man, "TLS", context) as conn, pytest.raises(sasl.AuthenticationFailed) as caught:
        binding.log_in(BINDINGS[protocol].LIBRARY, conn, ALICE, watch=watch)
    assert caught.value.kind == "policy"
    assert caught.value.detail == {"error": "server-does-support-channel-binding"}
    assert (watch.name, watch.header) == ("SCRAM-SHA3-512", b"y")
    (attempt,) = getattr(servers, protocol).sessions[-1].attempts
    assert (attempt.mechanism, attempt.outcome) == ("SCRAM-SHA3-512", "policy")
    assert attempt.reason == "server-does-support-channel-binding"


def test_a_man_in_the_middle_who_leaves_the_list_is_noticed(
    protocol: str, servers: Servers, client: Any, middle: Any
) -> None:
    man, context = middle(servers, protocol, strips=False)
    with client(man, "TLS", context) as conn, pytest.raises(sasl.AuthenticationFailed) as caught:
        log_in(conn, protocol)
    assert (caught.value.kind, caught.value.detail) == ("policy", {"error": "channel-bindings-dont-match"})
    (attempt,) = getattr(servers, protocol).sessions[-1].attempts
    assert (attempt.mechanism, attempt.reason) == ("SCRAM-SHA3-512-PLUS", "channel-bindings-dont-match")


@pytest.mark.parametrize("strips", [True, False])
def test_without_channel_binding_nobody_notices(
    strips: bool, protocol: str, servers: Servers, client: Any, middle: Any
) -> None:
    man, context = middle(servers, protocol, strips=strips)
    with client(man, "TLS", context) as conn:
        log_in(conn, protocol, policy=NEVER)
    (attempt,) = getattr(servers, protocol).sessions[-1].attempts
    assert (attempt.mechanism, attempt.outcome) == ("SCRAM-SHA3-512", "accepted")
