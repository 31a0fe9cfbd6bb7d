"""What people report of SASL servers (spec/corpus/server_reports.json), replayed at the wires: octets, kind, reason."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import sasl
from sasl import spec
from sasl.adapters.wire import imap, pop, smtp

if TYPE_CHECKING:
    from sasl.spec import Case

WIRES: dict[str, Any] = {"imap": imap.ServerWire, "pop": pop.ServerWire, "smtp": smtp.ServerWire}
KINDS = {"accept": None, "reject": "credentials", "reject_authz": "authorization", "malformed": "malformed"}


@pytest.mark.parametrize("case", spec.cases("server_reports"), ids=lambda case: case.id)
def test_a_report_ends_as_the_corpus_says_and_its_reason_names_the_cause(case: Case) -> None:
    asked: list[sasl.Question] = []

    def verify(question: sasl.Question) -> Any:
        asked.append(question)
        if isinstance(question, sasl.CheckPassword):
            right = question.password == case.params["users"].get(question.authcid, "")
            return sasl.Accepted(question.authcid) if right else sasl.Rejected("wrong")
        if isinstance(question, sasl.CheckToken):
            owners = [user for user, token in case.params["tokens"].items() if question.token == token]
            return sasl.Accepted(owners[0])
        return NotImplemented

    wire = WIRES[case.params["protocol"]]([case.mechanism], channel=sasl.Channel(tls=case.params["tls"]))
    for step in case.steps:
        assert step.data is not None
        said = wire.receive(step.data)
        while isinstance(said, sasl.Question):
            said = wire.answered(sasl.settle(wire.exchange, said, verify))

    kind = KINDS[case.expect]
    assert getattr(wire.result, "kind", None) == kind
    if kind is None:
        assert isinstance(wire.result, sasl.Success)
    else:
        assert wire.result.reason.encode() == case.values["reason"]
    assert bool(asked) == (case.expect in ("accept", "reject_authz"))  # nobody is asked about what is no credential
