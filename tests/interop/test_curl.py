"""curl, a client that is not ours, logs in at the reference servers: what it says of it, and what their record says."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

import sasl
from sasl.adapters import reference

from . import serve as serve_module
from .forwarder import forwarded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from .serve import Serve

SCHEMES = {"imap": "imap", "pop": "pop3", "smtp": "smtp"}
LOGGED_IN, BAD_CERTIFICATE, LOGIN_DENIED = 0, 60, 67  # curl's exit codes

LONG = {length: "t" * length for length in (3000, 8000)}
# What stands in for the user's credential, by the name that the tests have for it.
PASSWORDS = {"good": "wonderland", "wrong": "looking-glass"}
STATES: Mapping[str, reference.TokenState] = {"good": "good", "expired": "expired", "wrong": "revoked"}

protocols = pytest.mark.parametrize("protocol", list(SCHEMES))
mechanisms = pytest.mark.parametrize("mechanism", ["PLAIN", "XOAUTH2", "OAUTHBEARER"])
bearers = pytest.mark.parametrize("mechanism", ["XOAUTH2", "OAUTHBEARER"])
tls = pytest.mark.parametrize("implicit", [True, False], ids=["implicit-tls", "starttls"])
options = pytest.mark.parametrize("sasl_ir", [True, False], ids=["sasl-ir", "no-sasl-ir"])


@pytest.fixture(scope="module")
def everything() -> Iterator[reference.Servers]:
    """Servers that offer all mechanisms."""
    with reference.running() as servers:
        yield known(servers)


@pytest.fixture(scope="module")
def xoauth2_only() -> Iterator[reference.Servers]:
    """Servers for XOAUTH2: curl takes OAUTHBEARER for a token where both are offered, whatever it is told."""
    with reference.running(settings=reference.Settings(mechanisms=["XOAUTH2"])) as servers:
        yield known(servers)


@pytest.fixture
def servers(mechanism: str, everything: reference.Servers, xoauth2_only: reference.Servers) -> reference.Servers:
    return xoauth2_only if mechanism == "XOAUTH2" else everything


def known(servers: reference.Servers) -> reference.Servers:
    for token in LONG.values():
        servers.verifier.add_token(token, "alice")
    return servers


class Curl:
    """Runs curl, each time for one login and the least that can be done after it."""

    def __init__(self, folder: Path) -> None:
        name = os.environ.get("SASLKIT_CURL", "curl")
        binary = shutil.which(name)
        if binary is None:
            pytest.skip(f"there is no {name} on this machine")
        self.binary = binary
        self.message = folder / "message"
        self.message.write_text("Subject: hello\r\n\r\nhello\r\n")

    def __call__(
        self,
        endpoint: reference.Endpoint,
        *arguments: str,
        implicit: bool = True,
        port: int = 0,
        password: str = "",
        token: str = "",
    ) -> int:
        """Return the exit code. The secret goes in over stdin; neither of the two may show it."""
        scheme, port = SCHEMES[endpoint.protocol], port or (endpoint.tls_port if implicit else endpoint.port)
        done = {
            "imap": ("--request", "NOOP"),
            "pop": (),
            "smtp": ("--mail-from", "a@example.org", "--mail-rcpt", "b@example.org", "-T", str(self.message)),
        }
        lines = [f'user = "alice:{password}"'] if password else ["user = alice", f'oauth2-bearer = "{token}"']
        run = subprocess.run(
            [
                *(self.binary, "-q", "-sS", "--noproxy", "*", "--max-time", "20", "--config", "-"),
                *(*done[endpoint.protocol], *arguments, f"{scheme}{'s' * implicit}://localhost:{port}/"),
            ],
            input="\n".join(lines),
            capture_output=True,
            text=True,
            timeout=30,
        )
        shown = run.stdout + run.stderr + repr(endpoint.sessions[-1].transcript if endpoint.sessions else "")
        assert (password or token) not in shown
        assert ("Login denied" in run.stderr) == (run.returncode == LOGIN_DENIED), run.stderr
        return run.returncode


@pytest.fixture
def curl(tmp_path: Path) -> Curl:
    return Curl(tmp_path)


def log_in(
    curl: Curl,
    servers: reference.Servers,
    protocol: str,
    mechanism: str,
    kind: str = "good",
    *,
    implicit: bool = True,
    sasl_ir: bool = True,
    length: int = 0,
) -> int:
    endpoint = endpoint_of(servers, protocol)
    arguments = ["--cacert", str(servers.ca_file), "--login-options", f"AUTH={mechanism}"]
    arguments += ["--ssl-reqd"] * (not implicit) + ["--sasl-ir"] * sasl_ir
    if mechanism == "PLAIN":
        return curl(endpoint, *arguments, implicit=implicit, password=PASSWORDS[kind])
    return curl(endpoint, *arguments, implicit=implicit, token=LONG.get(length) or servers.tokens[STATES[kind]])


def endpoint_of(servers: reference.Servers, protocol: str) -> reference.Endpoint:
    return {"imap": servers.imap, "pop": servers.pop, "smtp": servers.smtp}[protocol]


def last_session(servers: reference.Servers, protocol: str) -> reference.Conversation:
    """The last connection, once its login is on record: curl may be gone before the server has noticed."""
    session = endpoint_of(servers, protocol).sessions[-1]
    deadline = time.monotonic() + 10
    while not session.attempts and time.monotonic() < deadline:
        time.sleep(0.005)
    return session


def sends_initial_response(protocol: str, sasl_ir: bool, length: int = 0) -> bool:
    """Whether curl does: unasked in IMAP, which lists SASL-IR; elsewhere if told to, and if the command is no longer
    than 255 octets in POP3 and 512 in SMTP.
    """
    return protocol == "imap" or (sasl_ir and not length)


@tls
@options
@mechanisms
@protocols
def test_curl_logs_in(
    curl: Curl, servers: reference.Servers, *, protocol: str, mechanism: str, sasl_ir: bool, implicit: bool
) -> None:
    code = log_in(curl, servers, protocol, mechanism, implicit=implicit, sasl_ir=sasl_ir)

    assert code == LOGGED_IN
    initial = sends_initial_response(protocol, sasl_ir)
    session = last_session(servers, protocol)
    assert list(session.attempts) == [
        reference.Attempt(mechanism, True, initial, 1 if initial else 2, "accepted", "alice")
    ]


@options
@pytest.mark.parametrize("length", list(LONG))
@bearers
@protocols
def test_curl_logs_in_with_a_long_token(
    curl: Curl, servers: reference.Servers, *, protocol: str, mechanism: str, length: int, sasl_ir: bool
) -> None:
    code = log_in(curl, servers, protocol, mechanism, sasl_ir=sasl_ir, length=length)

    assert code == LOGGED_IN
    initial = sends_initial_response(protocol, sasl_ir, length)
    session = last_session(servers, protocol)
    assert list(session.attempts) == [
        reference.Attempt(mechanism, True, initial, 1 if initial else 2, "accepted", "alice")
    ]


@tls
@options
@pytest.mark.parametrize(
    ("mechanism", "kind"),
    [("PLAIN", "wrong"), *((name, kind) for name in ("XOAUTH2", "OAUTHBEARER") for kind in ("wrong", "expired"))],
)
@protocols
def test_curl_is_refused_and_the_next_login_succeeds(
    curl: Curl, servers: reference.Servers, *, protocol: str, mechanism: str, kind: str, sasl_ir: bool, implicit: bool
) -> None:
    code = log_in(curl, servers, protocol, mechanism, kind, implicit=implicit, sasl_ir=sasl_ir)

    assert code == LOGIN_DENIED
    session = last_session(servers, protocol)
    assert session.identity is None
    (attempt,) = session.attempts
    initial = sends_initial_response(protocol, sasl_ir)
    assert (attempt.mechanism, attempt.tls, attempt.initial_response) == (mechanism, True, initial)
    turns, outcome = 1 if initial else 2, "expired" if kind == "expired" else "credentials"
    if mechanism == "OAUTHBEARER":  # one octet answers the error challenge (RFC 7628 section 3.2.3)
        turns += 1
        assert ("C", "<1 octets>") in session.transcript
    if mechanism == "XOAUTH2":  # curl hangs up at the error challenge
        outcome = "unfinished"
    assert (attempt.turns, attempt.outcome) == (turns, outcome)

    assert log_in(curl, servers, protocol, mechanism, implicit=implicit, sasl_ir=sasl_ir) == LOGGED_IN


@protocols
def test_curl_takes_oauthbearer_where_both_are_offered(
    curl: Curl, everything: reference.Servers, protocol: str
) -> None:
    assert log_in(curl, everything, protocol, "XOAUTH2") == LOGGED_IN

    (attempt,) = last_session(everything, protocol).attempts
    assert attempt.mechanism == "OAUTHBEARER"


@protocols
def test_a_password_is_not_sent_to_a_server_that_does_not_list_plain(
    curl: Curl, xoauth2_only: reference.Servers, protocol: str
) -> None:
    assert log_in(curl, xoauth2_only, protocol, "PLAIN") == LOGIN_DENIED

    assert not endpoint_of(xoauth2_only, protocol).sessions[-1].attempts


@protocols
def test_nothing_that_sends_the_password_is_offered_before_tls(
    curl: Curl, everything: reference.Servers, protocol: str
) -> None:
    endpoint = endpoint_of(everything, protocol)

    assert curl(endpoint, "--login-options", "AUTH=PLAIN", implicit=False, password="wonderland") == LOGIN_DENIED

    assert not endpoint.sessions[-1].attempts
    assert not any("PLAIN" in text for _, text in endpoint.sessions[-1].transcript)


@tls
@protocols
def test_curl_does_not_trust_the_servers_unless_it_is_told_to(
    curl: Curl, everything: reference.Servers, protocol: str, *, implicit: bool
) -> None:
    endpoint = endpoint_of(everything, protocol)

    assert curl(endpoint, "--ssl-reqd", implicit=implicit, password="wonderland") == BAD_CERTIFICATE

    assert not endpoint.sessions[-1].attempts


# --- what is off by default, and a server behind another port


@pytest.fixture(scope="module")
def digests() -> Iterator[reference.Servers]:
    """Servers that take DIGEST-MD5."""
    with reference.running(settings=reference.Settings(policy=sasl.Policy(allow=["DIGEST-MD5"]))) as servers:
        yield servers


@pytest.mark.parametrize(("kind", "outcome"), [("good", "accepted"), ("wrong", "credentials")])
@tls
@protocols
def test_curl_takes_the_servers_realm_for_their_name_in_digest_md5(
    curl: Curl, digests: reference.Servers, *, protocol: str, kind: str, outcome: str, implicit: bool
) -> None:
    endpoint = endpoint_of(digests, protocol)
    arguments = ["--cacert", str(digests.ca_file), "--login-options", "AUTH=DIGEST-MD5", "--ssl-reqd"]

    code = curl(endpoint, *arguments, implicit=implicit, password=PASSWORDS[kind])

    assert code == (LOGGED_IN if kind == "good" else LOGIN_DENIED)
    (attempt,) = last_session(digests, protocol).attempts
    assert (attempt.mechanism, attempt.outcome) == ("DIGEST-MD5", outcome), attempt.reason


@pytest.fixture(scope="module")
def any_port() -> Iterator[reference.Servers]:
    """Servers that take a token that was meant for another port."""
    with reference.running(settings=reference.Settings(check_port=False)) as servers:
        yield servers


@pytest.mark.parametrize(("servers_at", "code"), [("everything", LOGIN_DENIED), ("any_port", LOGGED_IN)])
@protocols
def test_a_port_that_is_forwarded_has_to_be_allowed_for_oauthbearer(
    request: pytest.FixtureRequest, curl: Curl, *, protocol: str, servers_at: str, code: int
) -> None:
    """curl names the port that it has connected to (RFC 7628 section 3.1)."""
    servers: reference.Servers = request.getfixturevalue(servers_at)
    endpoint = endpoint_of(servers, protocol)
    with forwarded(endpoint.tls_port) as port:
        arguments = ("--cacert", str(servers.ca_file), "--login-options", "AUTH=OAUTHBEARER")

        assert curl(endpoint, *arguments, port=port, token=servers.tokens["good"]) == code

    (attempt,) = last_session(servers, protocol).attempts
    assert attempt.outcome == ("accepted" if code == LOGGED_IN else "credentials")


@pytest.fixture(scope="module")
def serve(start: Callable[..., Iterator[Any]]) -> Iterator[Serve]:
    yield from start(serve_module.running, "--any-port")


@protocols
def test_sasl_serve_may_stand_behind_a_port_that_is_forwarded(curl: Curl, serve: Serve, protocol: str) -> None:
    ready = serve.ready
    endpoint: Any = SimpleNamespace(protocol=protocol, **ready[protocol], sessions=[])
    with forwarded(endpoint.tls_port) as port:
        arguments = ("--cacert", ready["ca"], "--login-options", "AUTH=OAUTHBEARER")

        assert curl(endpoint, *arguments, port=port, token=ready["tokens"]["good"]) == LOGGED_IN
