"""A mechanism of somebody else, with credentials, a question and an option of its own, at the reference servers."""

from __future__ import annotations

import base64
import dataclasses
from typing import TYPE_CHECKING, Any

import pytest

import sasl
from sasl import registry
from sasl.adapters import reference
from sasl.adapters.reference import token_endpoint
from sasl.steps import Question

if TYPE_CHECKING:
    from collections.abc import Callable

    from sasl.adapters.reference import Servers


class Badge:
    user = None
    is_token = False

    def __init__(self, number: str) -> None:
        self.secret = sasl.Secret(number)


@dataclasses.dataclass(frozen=True, slots=True)
class CheckBadge(Question):
    number: sasl.Secret
    door: str


def badge_client(badge: Badge, options: sasl.Options) -> sasl.ClientSteps:
    yield sasl.Complete(badge.secret.reveal().encode())


def badge_server(options: sasl.Options, *, door: str = "front") -> sasl.ServerSteps:
    number = yield sasl.Challenge(b"")
    identity = yield from sasl.ask(CheckBadge(sasl.Secret(number.decode()), door))
    return sasl.Verified(identity)


@pytest.fixture
def row(monkeypatch: pytest.MonkeyPatch) -> sasl.Mechanism:
    monkeypatch.setattr(registry, "_registered", {})
    row = sasl.Mechanism(
        "X-BADGE", badge_client, badge_server, Badge, client_first=True, plaintext=False, rank=45, asks=(CheckBadge,)
    )
    sasl.register(row)
    return row


def check(question: CheckBadge) -> Any:
    return sasl.Accepted("alice") if question.number == "7" else sasl.Rejected(f"no such badge at the {question.door}")


def log_in(connect: Callable[..., Any], servers: Servers, number: str) -> str:
    """Log in at the POP3 server and return what it says."""
    exchange = sasl.client("X-BADGE", Badge(number))
    raw = connect(servers, "pop", "clear")
    raw.line()
    message = exchange.start()
    assert message is not None
    raw.send(b"AUTH X-BADGE %s\r\n" % base64.b64encode(message))
    return raw.line()


def outcomes(servers: Servers) -> list[tuple[str, str, str]]:
    attempts = servers.pop.sessions[-1].attempts
    return [(attempt.mechanism, attempt.outcome, attempt.reason) for attempt in attempts]


@pytest.mark.parametrize(("number", "outcome"), [("7", "accepted"), ("8", "credentials")])
def test_the_servers_verifier_answers_a_further_question(
    row: sasl.Mechanism, connect: Callable[..., Any], number: str, outcome: str
) -> None:
    with reference.running() as servers:
        servers.verifier.serve(CheckBadge, check)
        said = log_in(connect, servers, number)
        reason = "" if outcome == "accepted" else "no such badge at the front"
        assert outcomes(servers) == [("X-BADGE", outcome, reason)]
    assert said.startswith("+OK" if outcome == "accepted" else "-ERR [AUTH]")


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_verifier_says_what_the_mechanism_is_told(
    row: sasl.Mechanism, connect: Callable[..., Any], wrapped: bool
) -> None:
    class Own:
        answers = frozenset({CheckBadge})

        def options(self, row: sasl.Mechanism) -> dict[str, Any]:
            return {"door": "back"} if row.name == "X-BADGE" else {}

        def __call__(self, question: sasl.Question) -> Any:
            return check(question) if isinstance(question, CheckBadge) else NotImplemented

    with token_endpoint.running() as endpoint:
        checks: Any = (lambda _: endpoint.checks(Own())) if wrapped else lambda _: Own()
        with reference.running(checks=checks) as servers:
            log_in(connect, servers, "8")
            assert outcomes(servers) == [("X-BADGE", "credentials", "no such badge at the back")]


def test_it_is_not_offered_where_nobody_answers_its_question(row: sasl.Mechanism, connect: Callable[..., Any]) -> None:
    with reference.running() as servers:
        assert log_in(connect, servers, "7").startswith("-ERR")
        assert [(name, outcome) for name, outcome, _ in outcomes(servers)] == [("X-BADGE", "unsupported")]
