"""Pins, at real servers: what an account once logged in with is the least that it takes afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import sasl
import sasl.adapters.imaplib
import sasl.adapters.poplib
import sasl.adapters.smtplib
from sasl.adapters.reference import Settings, running

from ...support.leaks import seen
from ...support.protocols import PROTOCOLS
from ...support.tls import servers_have_no_exporter, tls_1_2

if TYPE_CHECKING:
    from sasl.adapters.reference import Servers

ALICE = sasl.Password("alice", "wonderland")


def log_in(servers: Servers, library: str, policy: sasl.Policy, *, version: str = "1.3", **options: Any) -> None:
    protocol = PROTOCOLS[library.removesuffix("lib")]
    port = getattr(servers, protocol.name).tls_port
    context = servers.client_context()
    with protocol.connected(port, tls_1_2(context) if version == "1.2" else context, host="localhost") as conn:
        protocol.binding.authenticate(conn, ALICE, policy=policy, **options)


@pytest.mark.parametrize("library", ["imaplib", "poplib", "smtplib"])
def test_a_login_is_remembered_and_a_server_that_offers_less_gets_nothing(library: str) -> None:
    """Without -PLUS, which our client uses unasked over TLS 1.2 alone."""
    pins: dict[str, str] = {}
    policy = sasl.Policy(pins=pins)
    service = {"imaplib": "imap", "poplib": "pop", "smtplib": "smtp"}[library]
    with running() as servers:
        for version in ("1.2", "1.3", "1.2"):
            log_in(servers, library, policy, version=version)
            assert pins == {f"{service}://alice@localhost": "SCRAM-SHA3-512"}
        used = [session.attempts[-1].mechanism for session in getattr(servers, service).sessions]
        assert used == ["SCRAM-SHA3-512-PLUS", "SCRAM-SHA3-512", "SCRAM-SHA3-512-PLUS"]
    with running(settings=Settings(mechanisms=["SCRAM-SHA-256", "PLAIN"])) as servers:
        with pytest.raises(sasl.PolicyViolation, match="weaker than SCRAM-SHA3-512, which"):
            log_in(servers, library, policy)
        endpoint: Any = getattr(servers, service)
        assert list(endpoint.sessions[-1].attempts) == []


@pytest.mark.parametrize("asked", [{"mechanism": "SCRAM-SHA3-512-PLUS"}, {"channel_binding": "require"}], ids=str)
def test_channel_binding_that_was_asked_for_is_remembered_and_nothing_else_will_do(asked: dict[str, Any]) -> None:
    pins: dict[str, str] = {}
    wish = {"channel_binding": asked["channel_binding"]} if "channel_binding" in asked else {}
    with servers_have_no_exporter(), running() as servers:
        policy = sasl.Policy(pins=pins, **wish)
        log_in(servers, "imaplib", policy, version="1.2", mechanism=asked.get("mechanism"))
        assert pins == {"imap://alice@localhost": "SCRAM-SHA3-512-PLUS"}
        policy = sasl.Policy(pins=pins)
        log_in(servers, "imaplib", policy, version="1.2")
        assert pins == {"imap://alice@localhost": "SCRAM-SHA3-512-PLUS"}
        with pytest.raises(sasl.PolicyViolation, match="weaker than SCRAM-SHA3-512-PLUS, which"):
            log_in(servers, "imaplib", policy)  # over TLS 1.3 these offer no -PLUS
        assert list(servers.imap.sessions[-1].attempts) == []


@pytest.mark.parametrize("library", ["imaplib", "poplib", "smtplib"])
def test_a_store_that_cannot_be_written_does_not_undo_the_login(library: str, caplog: pytest.LogCaptureFixture) -> None:
    class Full(dict[str, str]):
        def __setitem__(self, *_: str) -> None:
            raise OSError("no space left for wonderland")

    with running() as servers:
        log_in(servers, library, sasl.Policy(pins=Full()))
    assert "the mechanism is not remembered: the store of pins failed with OSError" in caplog.text
    assert seen([caplog.text], "wonderland") == []


def test_nothing_is_remembered_of_a_refusal() -> None:
    pins: dict[str, str] = {}
    with running({"alice": "another"}) as servers, pytest.raises(sasl.AuthenticationFailed):
        log_in(servers, "imaplib", sasl.Policy(pins=pins))
    assert pins == {}
