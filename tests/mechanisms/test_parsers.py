"""Bad inputs of what mechanisms are built from: GS2 headers, SASLprep and mechanism names."""

from __future__ import annotations

import contextlib

import pytest

import sasl
import sasl.spec
from sasl import gs2
from sasl.prep import saslprep
from sasl.registry import canonical

GS2 = sasl.spec.cases("gs2_header")
PREP = sasl.spec.cases("saslprep")
NAMES = sasl.spec.cases("mechanism_names")
VECTORS = [vector for vector in sasl.spec.vectors("stringprep") if vector.profile == "SASLprep"]


@pytest.mark.parametrize("case", [case for case in GS2 if case.role == "server"], ids=str)
def test_a_gs2_header_is_read_by_its_grammar(case, shows_no_secret):
    (message,) = (step.data for step in case.steps)
    if case.expect == "accept":
        header, rest = gs2.parse(message + b"\x01rest")
        assert header.flag.encode() == case.values["flag"]
        assert (None if header.authzid is None else header.authzid.encode()) == case.values["authzid"]
        assert rest == b"\x01rest"
        assert header.encode() == message
        return
    assert case.expect == "malformed"
    event = sasl.server("OAUTHBEARER").start(message + b"\x01auth=Bearer t\x01\x01")
    assert (type(event), event.kind) == (sasl.Failure, "malformed")
    if message == b"n,a=u,x":  # a header, and more, of which the mechanism has to know what it is
        assert gs2.parse(message)[1] == b"x"
        return
    with pytest.raises(sasl.ProtocolError) as refused:
        gs2.parse(message)
    assert type(refused.value) is sasl.ProtocolError
    shows_no_secret(refused.value.with_traceback(None), message)


@pytest.mark.parametrize("case", [case for case in GS2 if case.role == "client"], ids=str)
def test_a_gs2_header_is_written_with_its_escapes(case):
    header = gs2.Gs2Header("n", None, case.inputs["authzid"])
    if case.expect == "send":
        assert header.encode() == case.output
        assert gs2.parse(case.output) == (header, b"")
        return
    assert case.expect == "refuse_local"
    with pytest.raises(sasl.UsageError) as refused:
        header.encode()
    assert type(refused.value) is sasl.UsageError
    assert refused.value.__context__ is None


@pytest.mark.parametrize("case", PREP, ids=str)
def test_saslprep_gives_the_form_to_compare_or_refuses(case, shows_no_secret):
    text, stored = case.inputs["string"], case.params.get("stored", False)
    if case.expect == "accept":
        prepared = saslprep(text, stored=stored)
        assert prepared.encode() == case.values["prepared"]
        assert saslprep(prepared, stored=stored) == prepared
        return
    expected = {"refuse_local": sasl.UsageError, "limit": sasl.LimitExceeded}[case.expect]
    with pytest.raises(expected) as refused:
        saslprep(text, stored=stored)
    assert type(refused.value) is expected
    shows_no_secret(refused.value.with_traceback(None), text)


@pytest.mark.parametrize("case", [case for case in PREP if case.family == "unassigned"], ids=str)
def test_a_query_may_hold_what_unicode_3_2_does_not_assign(case):
    assert saslprep(case.inputs["string"]) == case.inputs["string"]


def test_a_text_may_not_grow_beyond_the_limit_either():
    assert len(saslprep("\ufdfa" * 56)) == 56 * 18
    with pytest.raises(sasl.LimitExceeded):
        saslprep("\ufdfa" * 57)


@pytest.mark.parametrize("vector", VECTORS, ids=str)
def test_saslprep_agrees_with_the_vectors(vector):
    if vector.output is None:
        with pytest.raises(sasl.UsageError):
            saslprep(vector.text, stored=not vector.unassigned_allowed)
    else:
        assert saslprep(vector.text, stored=not vector.unassigned_allowed) == vector.output


@pytest.mark.parametrize("case", NAMES, ids=str)
def test_a_mechanism_name_is_one_in_ascii_or_none(case):
    name = case.inputs["name"]
    if case.expect == "accept":
        text = name if isinstance(name, str) else name.decode("ascii")
        assert canonical(name) == text.upper()
        with contextlib.suppress(sasl.MechanismUnavailable):
            assert sasl.lookup(name).name == text.upper()
        return
    assert case.expect == "refuse_local"
    for call in (canonical, sasl.lookup, sasl.server, lambda name: sasl.client(name, sasl.Password("u", "p"))):
        with pytest.raises(sasl.UsageError) as refused:
            call(name)
        assert type(refused.value) is sasl.UsageError
        assert refused.value.__context__ is None
