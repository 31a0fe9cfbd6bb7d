"""swaks, msmtp, mutt, curl and gsasl log in at aiosmtpd by our mechanisms, and leave a mail."""

from __future__ import annotations

import ssl
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import trustme

import sasl
from sasl.adapters.aiosmtpd import SMTP, Settings
from sasl.adapters.reference import Verifier

from ..support.servers import HOST, CannotStart, program
from ..support.submission import Handler, Server
from .clients import CLIENTS, Login, Ran, run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Start = Callable[..., Server]

USER, PASSWORD = "alice", "wonderland"
TOKENS = {"expired": "e" * 40, "good": "g" * 40, "long": "l" * 8_000}
POLICY = sasl.Policy(allow=["CRAM-MD5", "DIGEST-MD5"])
TLS_1_2, TLS_1_3 = "NORMAL:-VERS-ALL:+VERS-TLS1.2", "NORMAL:-VERS-ALL:+VERS-TLS1.3"
LOGGED_IN, LOGIN_DENIED = 0, 67  # curl's exit codes

cases = pytest.mark.parametrize(
    ("client", "mechanism"),
    [(name, each) for (name, protocol), client in CLIENTS.items() if protocol == "smtp" for each in client.mechanisms],
)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca(authority: trustme.CA, tmp_path: Path) -> Path:
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    return tmp_path / "ca.pem"


@pytest.fixture
def serve(authority: trustme.CA) -> Iterator[Start]:
    """Start a server that takes no mail without a login, over STARTTLS or with TLS from the beginning."""
    verifier = Verifier({USER: PASSWORD})
    for name, token in TOKENS.items():
        verifier.add_token(token, USER, "expired" if name == "expired" else "good")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", HOST).configure_cert(context)
    started: list[Server] = []

    def start(*, implicit: bool = False, exclude: list[str] | None = None) -> Server:
        handler, settings = Handler(), Settings(verifier, verifier.answers, verifier.hashes, POLICY)
        more: dict[str, Any] = {} if implicit else {"tls_context": context}
        make = partial(
            SMTP,
            handler,
            sasl=settings,
            auth_required=True,
            auth_exclude_mechanism=exclude,
            hostname="localhost",
            **more,
        )
        started.append(Server(make, handler, context if implicit else None))
        return started[-1]

    yield start
    for server in started:
        server.stop()


def find(name: str) -> str:
    """Return where a program is; without it, its tests are skipped."""
    try:
        return program(f"SASLKIT_{name.upper()}", name)
    except CannotStart as missing:
        reason = str(missing)
    pytest.skip(reason)


@pytest.mark.parametrize("implicit", [True, False], ids=["implicit-tls", "starttls"])
@cases
def test_a_client_logs_in_and_leaves_a_mail(
    serve: Start, ca: Path, tmp_path: Path, *, client: str, mechanism: str, implicit: bool
) -> None:
    find(client)
    server = serve(implicit=implicit)
    log_in = CLIENTS[client, "smtp"].log_in

    bad = log_in(Login("smtp", server.port, mechanism, implicit, ca, USER, "looking-glass", tmp_path))
    assert bad.code == CLIENTS[client, "smtp"].refused, bad.shown
    assert not server.handler.messages

    good = log_in(Login("smtp", server.port, mechanism, implicit, ca, USER, PASSWORD, tmp_path))
    assert good.code == 0, good.shown
    assert [identity for identity, _ in server.handler.messages] == [USER]


@pytest.mark.parametrize("initial", [True, False], ids=["initial-response", "none"])
@pytest.mark.parametrize("mechanism", ["XOAUTH2", "OAUTHBEARER"])
@pytest.mark.parametrize("name", TOKENS)
def test_curl_logs_in_by_a_token_however_long(
    serve: Start, ca: Path, tmp_path: Path, *, name: str, mechanism: str, initial: bool
) -> None:
    # Where both are offered curl takes OAUTHBEARER, whatever it is told.
    server = serve(exclude=["OAUTHBEARER"] if mechanism == "XOAUTH2" else None)
    (tmp_path / "message").write_text("Subject: hello\r\n\r\nhello\r\n")
    ran = run(
        [
            *(find("curl"), "-q", "-sS", "--noproxy", "*", "--max-time", "20", "--ssl-reqd", "--cacert", str(ca)),
            *("--login-options", f"AUTH={mechanism}", *["--sasl-ir"] * initial, "--config", "-"),
            *("--mail-from", "a@example.org", "--mail-rcpt", "b@example.org", "-T", str(tmp_path / "message")),
            f"smtp://localhost:{server.port}/",
        ],
        tmp_path,
        f'user = {USER}\noauth2-bearer = "{TOKENS[name]}"\n',
    )
    assert ran.code == (LOGIN_DENIED if name == "expired" else LOGGED_IN), ran.shown
    assert [identity for identity, _ in server.handler.messages] == ([] if name == "expired" else [USER])


@pytest.mark.parametrize(
    ("tls", "options", "mechanism"),
    [
        (TLS_1_2, (), "SCRAM-SHA-256-PLUS"),  # by tls-unique
        (TLS_1_3, ("--no-cb", "-m", "SCRAM-SHA-256"), "SCRAM-SHA-256"),
    ],
    ids=["1.2", "1.3-no-cb"],
)
def test_gsasl_binds_to_the_channel_where_python_knows_what_to(
    serve: Start, ca: Path, tmp_path: Path, *, tls: str, options: tuple[str, ...], mechanism: str
) -> None:
    gsasl, server = find("gsasl"), serve()

    def log_in(password: str) -> Ran:
        at = ("--smtp", "--connect", f"{HOST}:{server.port}", "--starttls", "--x509-ca-file", str(ca))
        return run([gsasl, "--client", *at, "--priority", tls, "-a", USER, *options], tmp_path, f"{password}\n")

    good, bad = log_in(PASSWORD), log_in("looking-glass")
    assert good.code == 0, good.shown
    assert f" {mechanism}\n" in good.shown.replace("\r", "")
    assert "235 2.7.0 " in good.shown
    assert bad.code != 0
    assert "535 5.7.8 " in bad.shown
