"""gsasl(1) logs in at `sasl serve` by what it takes itself, over each version of TLS."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import sasl

from ..support.servers import HOST, CannotStart, program
from . import exporter as exporter_module
from . import serve as serve_module
from .clients import Ran, run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from .dovecot import Dovecot
    from .serve import Serve

    LogIn = Callable[..., Ran]

USER, PASSWORD = "alice", "wonderland"
TLS_1_2, TLS_1_3 = "NORMAL:-VERS-ALL:+VERS-TLS1.2", "NORMAL:-VERS-ALL:+VERS-TLS1.3"
YES = {"imap": ". OK [", "smtp": "235 2.7.0 "}
NO = {"imap": ". NO [AUTHENTICATIONFAILED] ", "smtp": "535 5.7.8 "}

protocols = pytest.mark.parametrize("protocol", ["imap", "smtp"])


@pytest.fixture(scope="module")
def serve(start: Callable[..., Iterator[Any]]) -> Iterator[Serve]:
    yield from start(serve_module.running)


@pytest.fixture
def log_in(tmp_path: Path) -> LogIn:
    def with_gsasl(protocol: str, port: int, ca: Path | str, tls: str, *options: str, password: str = PASSWORD) -> Ran:
        at = (f"--{protocol}", "--connect", f"{HOST}:{port}", "--starttls", "--x509-ca-file", str(ca))
        try:
            gsasl = program("SASLKIT_GSASL", "gsasl")
        except CannotStart as missing:
            reason = str(missing)
        else:
            command = [gsasl, "--client", *at, "--priority", tls, "-a", USER, *options]
            return run(command, tmp_path, f"{password}\n")  # it asks for the password at its standard input
        pytest.skip(reason)

    return with_gsasl


def at_serve(serve: Serve, protocol: str) -> tuple[int, str]:
    return serve.ready[protocol]["port"], serve.ready["ca"]


@pytest.mark.parametrize(
    ("tls", "options", "mechanism"),
    [
        (TLS_1_2, (), "SCRAM-SHA-256-PLUS"),  # by tls-unique
        (TLS_1_3, (), "SCRAM-SHA-256-PLUS"),  # by tls-exporter
        (TLS_1_3, ("--no-cb", "-m", "SCRAM-SHA-256"), "SCRAM-SHA-256"),
    ],
    ids=["1.2", "1.3", "1.3-no-cb"],
)
@protocols
def test_what_gsasl_takes_by_itself_logs_in_and_a_wrong_password_does_not(
    serve: Serve, log_in: LogIn, *, protocol: str, tls: str, options: tuple[str, ...], mechanism: str
) -> None:
    good = log_in(protocol, *at_serve(serve, protocol), tls, *options)
    bad = log_in(protocol, *at_serve(serve, protocol), tls, *options, password="looking-glass")

    assert good.code == 0, good.shown
    assert f" {mechanism}\n" in good.shown.replace("\r", "")
    assert YES[protocol] in good.shown
    assert bad.code != 0
    assert NO[protocol] in bad.shown
    assert PASSWORD not in good.shown


@pytest.mark.parametrize("tls", [TLS_1_3, TLS_1_2])
@protocols
def test_gsasl_gives_up_by_itself_where_it_could_bind_and_no_mechanism_is_offered_with_plus(
    dovecot: Dovecot, log_in: LogIn, *, protocol: str, tls: str
) -> None:
    """RFC 5802 section 6 has a flag for that, `y`."""
    ran = log_in(protocol, dovecot.port(protocol, implicit=False), dovecot.ca, tls)

    assert ran.code != 0
    assert "mechanism error: Error authenticating user" in ran.shown
    assert "SCRAM-SHA-256-PLUS" not in ran.shown
    assert YES[protocol] not in ran.shown
    assert NO[protocol] not in ran.shown  # it has sent nothing


def test_what_gsasl_takes_by_itself_over_tls_1_3_logs_in_at_a_server_of_pyopenssl_too(
    serve: Serve, log_in: LogIn
) -> None:
    tls_dir = serve.folder / "tls"
    with exporter_module.running(tls_dir, {USER: PASSWORD}) as (port, results):
        good = log_in("imap", port, tls_dir / "ca.pem", TLS_1_3)

    assert good.code == 0, good.shown
    assert " SCRAM-SHA-256-PLUS\n" in good.shown.replace("\r", "")
    assert [result.identity for result in results if isinstance(result, sasl.Success)] == [USER]
