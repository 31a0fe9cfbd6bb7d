"""Whatever Dovecot keeps of a user, the right password logs in with no mechanism named; keys of both sides serve both.

Dovecot offers SCRAM to all, and refuses by it whom it keeps a hash for PLAIN of. It hashes a password as it was typed,
where SCRAM's clients prepare it (RFC 5802 section 2.2).
"""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import sasl

from ..support.protocols import PROTOCOLS
from ..support.servers import HOST, CannotStart, program
from . import dovecot as dovecot_module

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .dovecot import Dovecot

    Doveadm = Callable[..., subprocess.CompletedProcess[str]]

PASSWORDS = {
    "ascii": "wonderland",
    "half": "\u00bdpint",
    "acute": "pa\u00b4ss",
    "key": "p\U0001f511word",  # assigned after Unicode 3.2, which SASLprep knows
    "no-break": "one\u00a0two",  # Alt and the space bar of a Mac
}
KINDS = ("crypt", "scram", "both")

protocols = pytest.mark.parametrize("protocol", PROTOCOLS)
kinds = pytest.mark.parametrize("kind", KINDS)
passwords = pytest.mark.parametrize("name", PASSWORDS)
tls = pytest.mark.parametrize("implicit", [True, False], ids=["implicit-tls", "starttls"])


def run_doveadm(*arguments: str, password: str) -> subprocess.CompletedProcess[str]:
    """Run `doveadm pw`, which asks for the password twice where it makes something of it."""
    command = [program("SASLKIT_DOVEADM", "doveadm"), "-O", "pw", *arguments]
    return subprocess.run(command, input=f"{password}\n" * 2, capture_output=True, text=True, timeout=20)


@pytest.fixture(scope="module")
def doveadm() -> Doveadm:
    try:
        program("SASLKIT_DOVEADM", "doveadm")
    except CannotStart as missing:
        reason = str(missing)
    else:
        return run_doveadm
    pytest.skip(reason)


@pytest.fixture(scope="module")
def server(doveadm: Doveadm, start: Callable[..., Iterator[Any]]) -> Iterator[Dovecot]:
    """A server of which each user has one of the passwords, kept in one of the ways."""
    crypt, scram = (
        {name: doveadm("-s", scheme, password=password).stdout.strip() for name, password in PASSWORDS.items()}
        for scheme in ("SHA512-CRYPT", "SCRAM-SHA-256")
    )
    stored = {
        **{f"{kind}-{name}": kept for kind in ("crypt", "both") for name, kept in crypt.items()},
        **{f"scram-{name}": kept for name, kept in scram.items()},
    }
    for_scram = {f"both-{name}": kept for name, kept in scram.items()}
    yield from start(dovecot_module.running, stored=stored, stored_for_scram=for_scram)


@contextmanager
def connected(server: Dovecot, protocol: str, *, implicit: bool = True, drop_in: bool = False) -> Iterator[Any]:
    spoken = PROTOCOLS[protocol]
    module, port = spoken.binding if drop_in else None, server.port(protocol, implicit=implicit)
    with spoken.connected(port, server.context(), module, implicit=implicit, host=HOST) as conn:
        yield conn


@tls
@passwords
@kinds
@protocols
def test_the_right_password_logs_in(server: Dovecot, *, protocol: str, kind: str, name: str, implicit: bool) -> None:
    who = sasl.Password(f"{kind}-{name}", PASSWORDS[name])
    with connected(server, protocol, implicit=implicit) as conn:
        PROTOCOLS[protocol].binding.authenticate(conn, who)


@passwords
@kinds
@protocols
def test_the_drop_in_class_logs_in(server: Dovecot, *, protocol: str, kind: str, name: str) -> None:
    with connected(server, protocol, drop_in=True) as conn:
        conn.login(f"{kind}-{name}", PASSWORDS[name])


@passwords
@kinds
@protocols
def test_a_wrong_password_is_refused_and_the_right_one_serves_then(
    server: Dovecot, *, protocol: str, kind: str, name: str
) -> None:
    authenticate = PROTOCOLS[protocol].binding.authenticate
    with connected(server, protocol) as conn:
        with pytest.raises(PROTOCOLS[protocol].refused) as refused:
            authenticate(conn, sasl.Password(f"{kind}-{name}", "looking-glass"))
        assert getattr(refused.value, "kind", None) == "credentials"

        authenticate(conn, sasl.Password(f"{kind}-{name}", PASSWORDS[name]))


@passwords
@pytest.mark.parametrize("scheme", ["SCRAM-SHA-1", "SCRAM-SHA-256"])
def test_keys_that_doveadm_made_verify_here(doveadm: Doveadm, *, scheme: str, name: str) -> None:
    keys = sasl.ScramKeys.parse(doveadm("-s", scheme, password=PASSWORDS[name]).stdout.strip())

    assert keys.verifies(PASSWORDS[name])
    assert not keys.verifies("looking-glass")


@passwords
@pytest.mark.parametrize("scheme", ["scram-sha-1", "scram-sha-256"])
def test_keys_that_we_made_verify_there(doveadm: Doveadm, *, scheme: str, name: str) -> None:
    command = [str(Path(sys.executable).with_name("sasl")), "mkpasswd", "--format", "dovecot", "--scheme", scheme]
    made = subprocess.run(command, input=PASSWORDS[name] + "\n", capture_output=True, text=True, timeout=30)
    assert made.returncode == 0, made.stderr

    assert "(verified)" in doveadm("-t", made.stdout.strip(), password=PASSWORDS[name]).stdout
    assert doveadm("-t", made.stdout.strip(), password="looking-glass").returncode != 0
