"""The errors: one family, who broke the rules, what they tell (contract, "Errors")."""

from __future__ import annotations

import ast
import pickle
from pathlib import Path
from typing import Any

import pytest

import sasl
from sasl import errors
from sasl.errors import place_of

FAMILY: dict[type[sasl.SASLError], type[Exception] | tuple[type[Exception], ...]] = {
    sasl.SASLError: Exception,
    sasl.UsageError: sasl.SASLError,
    sasl.MechanismUnavailable: sasl.SASLError,
    sasl.PolicyViolation: sasl.SASLError,
    sasl.ProtocolError: sasl.SASLError,
    sasl.ServerNotProven: sasl.ProtocolError,
    sasl.LimitExceeded: sasl.ProtocolError,
    sasl.AuthenticationFailed: sasl.SASLError,
    sasl.AuthorizationFailed: sasl.AuthenticationFailed,
    sasl.TemporaryFailure: sasl.SASLError,
    sasl.ConnectionLost: sasl.SASLError,
    sasl.ServerBusy: (sasl.TemporaryFailure, sasl.ConnectionLost),
    sasl.Cancelled: sasl.SASLError,
    sasl.TokenError: sasl.SASLError,
}
PLAIN_ONES = [e for e in FAMILY if e not in (sasl.MechanismUnavailable, sasl.PolicyViolation, sasl.TokenError)]


def test_the_family_is_that_of_the_contract() -> None:
    found = {e for e in vars(errors).values() if isinstance(e, type) and issubclass(e, sasl.SASLError)}
    assert found == set(FAMILY)
    bases = {error: base if isinstance(base, tuple) else (base,) for error, base in FAMILY.items()}
    assert {error: error.__bases__ for error in FAMILY} == bases
    assert all(getattr(sasl, error.__name__) is error for error in FAMILY)


@pytest.mark.parametrize("error", FAMILY, ids=lambda error: error.__name__)
def test_each_error_has_the_attributes_of_all(error: type[sasl.SASLError]) -> None:
    bare = error("words")
    assert str(bare) == "words"
    assert (bare.mechanism, bare.detail, bare.server_text, bare.response_code) == (None, {}, "", None)
    assert bare.refusal is None
    assert bare.kind == ("policy" if error is sasl.PolicyViolation else None)


@pytest.mark.parametrize("error", PLAIN_ONES, ids=lambda error: error.__name__)
def test_each_error_tells_what_it_was_told(error: type[sasl.SASLError]) -> None:
    detail = {"status": "401"}
    told = error(
        "w",
        mechanism="PLAIN",
        detail=detail,
        server_text="NO",
        response_code="AUTH",
        kind="expired",
        refusal="auth",
    )
    detail.clear()
    assert (told.mechanism, told.detail, told.server_text, told.response_code, told.kind, told.refusal) == (
        "PLAIN", {"status": "401"}, "NO", "AUTH", "expired", "auth",
    )  # fmt: skip


@pytest.mark.parametrize("error", [sasl.MechanismUnavailable, sasl.PolicyViolation], ids=lambda error: error.__name__)
def test_what_was_passed_over_is_told_with_the_reason(error: Any) -> None:
    assert error("w").passed_over == {}
    reasons = {"PLAIN": "no TLS"}
    told = error("w", passed_over=reasons, mechanism="PLAIN")
    reasons.clear()
    assert (told.passed_over, told.mechanism) == ({"PLAIN": "no TLS"}, "PLAIN")


def test_a_token_error_tells_what_can_be_done() -> None:
    told = sasl.TokenError("w", code="invalid_grant", retryable=True, needs_user=True)
    assert (told.code, told.retryable, told.needs_user) == ("invalid_grant", True, True)
    bare = sasl.TokenError("w")
    assert (bare.code, bare.retryable, bare.needs_user) == (None, False, False)


def test_a_temporary_failure_is_no_refusal() -> None:
    assert not issubclass(sasl.TemporaryFailure, sasl.AuthenticationFailed)
    assert not issubclass(sasl.ConnectionLost, sasl.AuthenticationFailed)


def test_a_server_that_is_busy_can_be_caught_as_both() -> None:
    for family in (sasl.TemporaryFailure, sasl.ConnectionLost):
        with pytest.raises(family):
            raise sasl.ServerBusy("421", kind="unavailable")


def test_whether_a_new_token_may_help_is_computed() -> None:
    with pytest.raises(AttributeError):
        sasl.AuthenticationFailed("no").new_token_may_help = True  # type: ignore[misc]


@pytest.mark.parametrize("status", [None, "400", "401", "invalid_token", "403", "invalid_scope", ""])
@pytest.mark.parametrize("kind", ["credentials", "expired", "disabled", "authorization", "policy", None])
@pytest.mark.parametrize("token", [True, False])
def test_a_new_token_may_help_only_where_a_token_was_refused_for_its_age(
    status: str | None, kind: str | None, token: bool
) -> None:
    error = sasl.AuthenticationFailed("no", detail={} if status is None else {"status": status}, kind=kind)
    error.token = token
    old = status in (None, "400", "401", "invalid_token") and kind in ("credentials", "expired")
    assert error.new_token_may_help is (token and old)
    forbidden = sasl.AuthorizationFailed("no", kind=kind)
    forbidden.token = token
    assert forbidden.new_token_may_help is False


def test_a_refusal_is_about_a_token_only_where_the_exchange_says_so() -> None:
    assert sasl.AuthenticationFailed("no", kind="credentials").new_token_may_help is False


def told() -> list[sasl.SASLError]:
    """One error of each class with something in each attribute."""
    full: list[sasl.SASLError] = [
        error(
            "w",
            mechanism="M",
            detail={"status": "401"},
            server_text="NO",
            response_code="C",
            kind="expired",
            refusal="r",
        )
        for error in PLAIN_ONES
    ]
    refused = sasl.AuthenticationFailed("w", kind="expired")
    refused.token = True
    return [
        *full,
        refused,
        sasl.MechanismUnavailable("w", passed_over={"A": "b"}, mechanism="M"),
        sasl.PolicyViolation("w", passed_over={"A": "b"}, mechanism="M"),
        sasl.TokenError("w", code="c", retryable=True, needs_user=True),
    ]


@pytest.mark.parametrize("error", told(), ids=lambda error: type(error).__name__)
def test_an_error_survives_pickling(error: sasl.SASLError) -> None:
    copied = pickle.loads(pickle.dumps(error))
    assert type(copied) is type(error)
    assert (str(copied), copied.args, vars(copied)) == (str(error), error.args, vars(error))


@pytest.mark.parametrize(
    "verdict", [sasl.Rejected("no", "expired", {"status": "401"}), sasl.Unavailable("down")], ids=repr
)
def test_a_verdict_survives_pickling(verdict: Exception) -> None:
    copied = pickle.loads(pickle.dumps(verdict))
    assert (repr(copied), str(copied)) == (repr(verdict), str(verdict))


def test_the_kinds_for_type_checkers_are_those_that_run() -> None:
    tree = ast.parse(Path(errors.__file__).read_text("utf-8"))
    [alias] = [
        node for node in ast.walk(tree) if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "Kind"
    ]
    kinds = [node.value for node in ast.walk(alias) if isinstance(node, ast.Constant)]
    assert kinds == [*sasl.KINDS, "timeout", "tls", "certificate", "unreachable", "no_such_host"]


def test_the_place_of_an_error_is_that_of_its_last_frame() -> None:
    def fails() -> None:
        raise ValueError("secret")

    with pytest.raises(ValueError, match="secret") as raised:
        fails()
    line = fails.__code__.co_firstlineno + 1
    assert place_of(raised.value) == f"{__file__}:{line}"


def test_an_error_that_was_never_raised_has_no_place() -> None:
    assert place_of(ValueError("secret")) == "unknown place"
