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

if TYPE_CHECKING:
    from sasl.adapters.reference import Servers

ALICE = sasl.Password("alice", "wonderland")


def log_in(servers: Servers, library: str, policy: sasl.Policy) -> None:
    protocol = PROTOCOLS[library.removesuffix("lib")]
    port = getattr(servers, protocol.name).tls_port
    with protocol.connected(port, servers.client_context(), host="localhost") as conn:
        protocol.binding.authenticate(conn, ALICE, policy=policy)


@pytest.mark.parametrize("library", ["imaplib", "poplib", "smtplib"])
def test_a_login_is_remembered_and_a_server_that_offers_less_gets_nothing(library: str) -> None:
    pins: dict[str, str] = {}
    policy = sasl.Policy(pins=pins)
    with running() as servers:
        log_in(servers, library, policy)
        log_in(servers, library, policy)
    service = {"imaplib": "imap", "poplib": "pop", "smtplib": "smtp"}[library]
    assert pins == {f"{service}://alice@localhost": "SCRAM-SHA3-512-PLUS"}
    with running(settings=Settings(mechanisms=["SCRAM-SHA3-512", "PLAIN"])) as servers:
        with pytest.raises(sasl.PolicyViolation, match="pinned to"):
            log_in(servers, library, policy)
        endpoint: Any = getattr(servers, service)
        assert list(endpoint.sessions[-1].attempts) == []


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
