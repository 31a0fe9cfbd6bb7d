"""What the policy of the drop-in classes says holds for every way in that they have."""

from __future__ import annotations

import imaplib
import poplib
from typing import TYPE_CHECKING, Any

import pytest

import sasl
from sasl.adapters.imaplib import IMAP4_SSL
from sasl.adapters.poplib import POP3_SSL
from sasl.adapters.reference import Settings, running
from sasl.adapters.smtplib import SMTP_SSL

from ...support.tls import servers_have_no_exporter, tls_1_2

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sasl.adapters.reference import Servers

MESSAGE = b"\0alice\0wonderland"
STRICT = [
    (sasl.Policy(pin="SCRAM-SHA-256-PLUS"), "pinned to"),
    (sasl.Policy(channel_binding="require"), "requires channel binding"),
]


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    with running(settings=Settings(policy=sasl.Policy(allow=["CRAM-MD5"]))) as servers:
        yield servers


@pytest.fixture
def pop(servers: Servers) -> Iterator[POP3_SSL]:
    conn = POP3_SSL("localhost", servers.pop.tls_port, context=servers.client_context())
    yield conn
    conn.close()


@pytest.fixture
def smtp(servers: Servers) -> Iterator[SMTP_SSL]:
    with SMTP_SSL("localhost", servers.smtp.tls_port, "localhost", context=servers.client_context()) as conn:
        conn.user, conn.password = "alice", "wonderland"  # as smtplib's auth_login() and its like want them
        yield conn


@pytest.fixture
def imap(servers: Servers) -> Iterator[IMAP4_SSL]:
    with IMAP4_SSL("localhost", servers.imap.tls_port, ssl_context=servers.client_context()) as conn:
        yield conn


@pytest.mark.parametrize(("policy", "reason"), STRICT)
@pytest.mark.parametrize("name", ["PLAIN", "X-UNKNOWN"])
def test_a_callback_of_poplib_is_not_asked_where_the_policy_forbids_its_mechanism(
    pop: POP3_SSL, policy: sasl.Policy, reason: str, name: str
) -> None:
    pop.policy = policy
    with pytest.raises(sasl.PolicyViolation, match=reason):
        pop.auth(name, initial_response=MESSAGE)
    pop.policy = sasl.Policy()
    assert pop.auth("PLAIN", initial_response=MESSAGE).startswith(b"+OK")


@pytest.mark.parametrize(("policy", "reason"), STRICT)
@pytest.mark.parametrize("name", ["PLAIN", "X-UNKNOWN"])
def test_a_callback_of_smtplib_is_not_asked_where_the_policy_forbids_its_mechanism(
    smtp: SMTP_SSL, policy: sasl.Policy, reason: str, name: str
) -> None:
    def forbidden(*_: Any) -> Any:
        raise AssertionError("asked")

    smtp.policy = policy
    with pytest.raises(sasl.PolicyViolation, match=reason):
        smtp.auth(name, forbidden)
    smtp.policy = sasl.Policy()
    assert smtp.auth("PLAIN", lambda challenge=None: MESSAGE.decode())[0] == 235


def test_cram_md5_of_smtplib_is_off_unless_it_is_named(smtp: SMTP_SSL) -> None:
    with pytest.raises(sasl.PolicyViolation, match="by name"):
        smtp.auth("CRAM-MD5", smtp.auth_cram_md5)
    smtp.policy = sasl.Policy(allow=["CRAM-MD5"])
    assert smtp.auth("CRAM-MD5", smtp.auth_cram_md5)[0] == 235


def test_cram_md5_of_imaplib_is_off_unless_it_is_named(imap: IMAP4_SSL) -> None:
    with pytest.raises(sasl.PolicyViolation, match="by name"):
        imap.login_cram_md5("alice", "wonderland")
    imap.policy = sasl.Policy(allow=["CRAM-MD5"])
    with pytest.raises(sasl.AuthenticationFailed):
        imap.login_cram_md5("alice", "looking-glass")
    assert imap.login_cram_md5("alice", "wonderland")[0] == "OK"
    assert imap.state == "AUTH"


# --- the servers keep to theirs


@pytest.fixture(scope="module")
def strict() -> Iterator[Servers]:
    with running(settings=Settings(policy=sasl.Policy(channel_binding="require"))) as servers:
        yield servers


def test_a_server_that_requires_channel_binding_takes_no_password_by_a_command(strict: Servers) -> None:
    with imaplib.IMAP4_SSL("localhost", strict.imap.tls_port, ssl_context=strict.client_context()) as imap:
        assert "LOGINDISABLED" in imap.capabilities
        assert [name for name in imap.capabilities if name.startswith("AUTH=") and not name.endswith("-PLUS")] == []
        with pytest.raises(imaplib.IMAP4.error, match="PRIVACYREQUIRED"):
            imap.login("alice", "wonderland")
    pop = poplib.POP3_SSL("localhost", strict.pop.tls_port, context=strict.client_context())
    assert "USER" not in pop.capa()
    with pytest.raises(poplib.error_proto):
        pop.user("alice")
    pop.close()


def test_it_lets_in_who_binds(strict: Servers) -> None:
    context = tls_1_2(strict.client_context())
    with IMAP4_SSL("localhost", strict.imap.tls_port, ssl_context=context) as conn:
        assert conn.login("alice", "wonderland")[0] == "OK"
    assert strict.imap.sessions[-1].attempts[-1].mechanism == "SCRAM-SHA3-512-PLUS"


def test_it_offers_nothing_where_it_has_no_channel_binding_to_offer() -> None:
    """Over TLS 1.3, without an exporter."""
    requires = Settings(policy=sasl.Policy(channel_binding="require"))
    with (
        servers_have_no_exporter(),
        running(settings=requires) as bare,
        imaplib.IMAP4_SSL("localhost", bare.imap.tls_port, ssl_context=bare.client_context()) as imap,
    ):
        assert [name for name in imap.capabilities if name.startswith("AUTH=")] == []


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_it_offers_only_what_binds(strict: Servers, version: str) -> None:
    context = tls_1_2(strict.client_context()) if version == "1.2" else strict.client_context()
    with imaplib.IMAP4_SSL("localhost", strict.imap.tls_port, ssl_context=context) as imap:
        offered = [name for name in imap.capabilities if name.startswith("AUTH=")]
    assert len(offered) == 6
    assert all(name.endswith("-PLUS") for name in offered)
