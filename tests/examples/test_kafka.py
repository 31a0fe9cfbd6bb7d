"""examples/kafka_mechanism.py lets the connections of kafka-python log in at a broker, which answers by `sasl.server`.

Debian has no Kafka: this broker speaks the three requests of a login, SaslAuthenticate in version 1.
"""

from __future__ import annotations

import socket
import ssl
import struct
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import trustme

import sasl

from ..support.examples import example, library
from ..support.leaks import seen
from .conftest import LIES, PASSWORD, TOKEN, USER, Answers, listening

if TYPE_CHECKING:
    from pathlib import Path

EXAMPLE = example("kafka_mechanism")
errors = library("kafka.errors")
TokenProvider = library("kafka.net.sasl.oauth").AbstractTokenProvider

MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "OAUTHBEARER")
API_VERSIONS, HANDSHAKE, AUTHENTICATE = 18, 17, 36
UNSUPPORTED_VERSION, REFUSED = 35, 58
NOTHING = struct.pack("!h", -1)

authority = trustme.CA()


class Tokens(TokenProvider):  # type: ignore[misc]
    def __init__(self, token: str) -> None:
        self._token = token

    def token(self) -> str:
        return self._token


def broker(sock: socket.socket, *, lie: str = "", tls: bool = False) -> None:
    """Serve one login."""
    if tls:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        sock = context.wrap_socket(sock, server_side=True)
    with sock, sock.makefile("rwb") as stream:
        answers: Answers | None = None
        verdict: bool | None = None
        while head := stream.read(4):
            key, version, number, length = struct.unpack("!hhih", stream.read(10))
            stream.read(length)
            body = stream.read(struct.unpack("!i", head)[0] - 10 - length)
            if key == API_VERSIONS:
                supported = [(API_VERSIONS, 0), (HANDSHAKE, 1), (AUTHENTICATE, 1)]
                said = struct.pack("!hi", UNSUPPORTED_VERSION if version else 0, len(supported))
                said += b"".join(struct.pack("!hhh", each, 0, latest) for each, latest in supported)
            elif key == HANDSHAKE:
                answers, first = Answers(body[2:].decode(), lie=lie), True
                said = struct.pack("!hi", 0, len(MECHANISMS)) + b"".join(map(string, MECHANISMS))
            else:
                assert (key, version) == (AUTHENTICATE, 1)
                assert answers is not None
                if verdict:
                    data = b""  # it goes on without having been asked
                else:
                    verdict, data = answers.first(body[4:]) if first else answers.next(body[4:])
                    first = False
                code, text = (0, NOTHING) if verdict is not False else (REFUSED, string("no such luck"))
                said = struct.pack("!h", code) + text + struct.pack("!i", len(data or b"")) + (data or b"") + bytes(8)
            stream.write(struct.pack("!ii", len(said) + 4, number) + said)
            stream.flush()


def string(text: str) -> bytes:
    return struct.pack("!h", len(text)) + text.encode()


def log_in(port: int, mechanism: str, ca: Path | None = None, **config: Any) -> None:
    """Connect to a broker, in TLS if there is a CA's file."""
    net = library("kafka.net.selector").NetworkSelector()
    manager = library("kafka.net.manager").KafkaConnectionManager(
        net,
        bootstrap_servers=f"127.0.0.1:{port}",
        security_protocol="SASL_PLAINTEXT" if ca is None else "SASL_SSL",
        ssl_cafile=None if ca is None else str(ca),
        sasl_mechanism=mechanism,
        request_timeout_ms=10_000,
        **{"sasl_plain_username": USER, "sasl_plain_password": PASSWORD, **config},
    )

    async def connect() -> None:
        (node,) = manager.cluster.bootstrap_brokers()
        await manager.get_connection(node.node_id, refresh_metadata_on_err=False)

    try:
        net.run(connect)
    finally:
        manager.close()
        net.poll(timeout_ms=10)
        net.close()


@pytest.fixture
def ca(tmp_path: Path) -> Path:
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    return tmp_path / "ca.pem"


def test_the_right_password_logs_in() -> None:
    with listening(broker) as port:
        log_in(port, "SCRAM-SHA-256")


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256"])
def test_the_right_password_logs_in_over_tls(ca: Path, mechanism: str) -> None:
    with listening(partial(broker, tls=True)) as port:
        log_in(port, mechanism, ca)


def test_a_token_logs_in_over_tls(ca: Path) -> None:
    with listening(partial(broker, tls=True)) as port:
        log_in(port, "OAUTHBEARER", ca, sasl_oauth_token_provider=Tokens(TOKEN))


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256"])
def test_a_wrong_password_is_refused(ca: Path, mechanism: str) -> None:
    with (
        listening(partial(broker, tls=True)) as port,
        pytest.raises(errors.SaslAuthenticationFailedError, match="no such luck"),
    ):
        log_in(port, mechanism, ca, sasl_plain_password="looking-glass")


def test_a_token_that_has_expired_is_refused_once_the_error_challenge_is_answered(ca: Path) -> None:
    with (
        listening(partial(broker, tls=True)) as port,
        pytest.raises(errors.SaslAuthenticationFailedError, match="no such luck"),
    ):
        log_in(port, "OAUTHBEARER", ca, sasl_oauth_token_provider=Tokens("an-old-token"))


@pytest.mark.parametrize("lie", LIES)
def test_a_broker_that_has_not_the_password_is_left_whatever_it_says(lie: str) -> None:
    with listening(partial(broker, lie=lie)) as port, pytest.raises(sasl.ProtocolError) as raised:
        log_in(port, "SCRAM-SHA-256")
    assert isinstance(raised.value, errors.SaslAuthenticationFailedError)


@pytest.mark.parametrize(("mechanism", "provider"), [("PLAIN", None), ("OAUTHBEARER", Tokens(TOKEN))])
def test_no_password_and_no_token_goes_out_in_the_clear(mechanism: str, provider: Any) -> None:
    with listening(broker) as port, pytest.raises(sasl.PolicyViolation) as raised:
        log_in(port, mechanism, sasl_oauth_token_provider=provider)
    assert isinstance(raised.value, errors.SaslAuthenticationFailedError)
    assert seen([str(raised.value), repr(raised.value)], PASSWORD, TOKEN) == []
