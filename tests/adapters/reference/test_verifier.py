"""Who gets in: names and passwords as SASLprep has them, tokens by their state, and one path for known and unknown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import sasl
from sasl.adapters.reference import Verifier

if TYPE_CHECKING:
    from collections.abc import Callable

PASSWORDS = {"alice": "wonderland", "us\u00e9r": "p\u00e4ss w\u00f6rd"}


def password(user: str, text: str) -> sasl.Question:
    return sasl.CheckPassword(user, sasl.Secret(text))


def token(text: str, user: str | None = "alice") -> sasl.Question:
    return sasl.CheckToken(user, sasl.Secret(text), None, None)


@pytest.mark.parametrize(
    ("user", "text", "identity"),
    [
        ("alice", "wonderland", "alice"),
        ("al\u00adice", "wonderland", "alice"),  # a soft hyphen is nothing
        ("use\u0301r", "pa\u0308ss wo\u0308rd", "us\u00e9r"),
        ("us\u00e9r", "p\u00e4ss\u00a0w\u00f6rd", "us\u00e9r"),  # a no-break space is a space
    ],
)
def test_spellings_that_saslprep_makes_equal_are_one_user(user: str, text: str, identity: str) -> None:
    assert Verifier(PASSWORDS)(password(user, text)) == sasl.Accepted(identity)


@pytest.mark.parametrize(
    ("user", "text"),
    [
        ("alice", "Wonderland"),
        ("alice", ""),
        ("Alice", "wonderland"),
        ("mallory", "wonderland"),
        ("", ""),
        ("", "wonderland"),
        ("mallory", "\0"),
        ("mallory", ""),
        ("alice", "wonder\u0007land"),
        ("alice\u0007", "wonderland"),
        ("alice", "\ud800"),
        ("x" * 2000, "wonderland"),
        ("alice", "x" * 2000),
        ("alice' OR '1'='1", "wonderland"),
    ],
)
def test_all_others_get_the_same_no(user: str, text: str) -> None:
    answer = Verifier(PASSWORDS)(password(user, text))
    assert (answer.reason, answer.kind, answer.detail) == ("unknown user or wrong password", "credentials", None)


@pytest.mark.parametrize("user", ["alice", "mallory", "alice\u0007"])
def test_known_and_unknown_users_cost_one_comparison(user: str, monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []
    equal = sasl.Secret.__eq__

    def counted(self: sasl.Secret, other: object) -> bool:
        compared.append(user)
        return equal(self, other)

    verifier = Verifier(PASSWORDS)
    question = password(user, "looking-glass")
    monkeypatch.setattr(sasl.Secret, "__eq__", counted)
    verifier(question)
    assert len(compared) == 1


@pytest.mark.parametrize(
    ("text", "kind", "reason"),
    [
        ("token-expired", "expired", "the token has expired"),
        ("token-revoked", "credentials", "the token was revoked"),
        ("token-unknown", "credentials", "unknown token"),
        ("token-goo", "credentials", "unknown token"),
        ("TOKEN-GOOD", "credentials", "unknown token"),
    ],
)
def test_a_token_that_is_not_good_is_refused_with_the_scope_that_is_wanted(text: str, kind: str, reason: str) -> None:
    answer = with_tokens()(token(text))
    assert (answer.reason, answer.kind, answer.detail) == (reason, kind, {"scope": "mail"})


@pytest.mark.parametrize("user", ["alice", "bob", None, ""])
def test_a_token_tells_whose_it_is_whatever_the_client_says(user: str | None) -> None:
    assert with_tokens()(token("token-good", user)) == sasl.Accepted("alice")


def test_a_token_may_change_its_state() -> None:
    verifier = with_tokens()
    verifier.add_token("token-good", "alice", "revoked")
    assert isinstance(verifier(token("token-good")), sasl.Rejected)
    verifier.add_token("token-good", "us\u00e9r")
    assert verifier(token("token-good")) == sasl.Accepted("us\u00e9r")


@pytest.mark.parametrize(
    ("authzid", "accepted"),
    [(None, True), ("", True), ("us\u00e9r", True), ("use\u0301r", True), ("alice", False), ("\u0007", False)],
)
def test_nobody_acts_as_another_user(authzid: str | None, accepted: bool) -> None:
    answer = Verifier(PASSWORDS)(sasl.Authorize("us\u00e9r", authzid))
    if accepted:
        assert answer == sasl.Accepted("us\u00e9r")
    else:
        assert answer.kind == "authorization"


def test_questions_that_it_does_not_serve_get_their_default() -> None:
    verifier = Verifier(PASSWORDS)
    assert verifier(sasl.CheckAnonymous("me")) is NotImplemented
    assert verifier(sasl.FindKeys("alice", "sha256")) is NotImplemented
    assert verifier.answers == {sasl.CheckPassword, sasl.CheckToken}


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Verifier({"": "x"}),
        lambda: Verifier({"alice": ""}),
        lambda: Verifier({"alice": "\u00ad"}),
        lambda: Verifier({"alice": "bell\u0007"}),
        lambda: Verifier({"alice": "\u0221"}),  # not assigned in Unicode 3.2
        lambda: with_tokens().add_token("x", "mallory"),
        lambda: with_tokens().add_token("x", "alice", "stale"),  # type: ignore[arg-type]
    ],
)
def test_what_could_never_log_in_is_the_callers_mistake(wrong: Callable[[], Any]) -> None:
    with pytest.raises(sasl.UsageError):
        wrong()


def with_tokens() -> Verifier:
    verifier = Verifier(PASSWORDS)
    verifier.add_token("token-good", "alice")
    verifier.add_token("token-expired", "alice", "expired")
    verifier.add_token("token-revoked", "alice", "revoked")
    return verifier
