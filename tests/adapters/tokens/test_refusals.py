"""What a no of an authorization server means, and what a person is told to do."""

from __future__ import annotations

import pytest

from sasl.adapters.tokens.refusals import refusal


@pytest.mark.parametrize(
    ("error", "status", "retryable", "needs_user"),
    [
        ("invalid_grant", 400, False, True),
        ("interaction_required", 400, False, True),
        ("access_denied", 400, False, True),
        ("authorization_declined", 400, False, True),
        ("expired_token", 400, False, True),
        ("admin_policy_enforced", 400, False, True),
        ("invalid_client", 401, False, False),
        ("unauthorized_client", 400, False, False),
        ("invalid_scope", 400, False, False),
        ("invalid_resource", 400, False, False),
        ("authorization_pending", 400, True, False),
        ("slow_down", 400, True, False),
        ("temporarily_unavailable", 400, True, False),
        ("server_error", 500, True, False),
        ("", 408, True, False),
        ("", 429, True, False),
        ("invalid_grant", 503, True, False),
        ("something_else", 400, False, False),
        ("", 404, False, False),
    ],
)
def test_the_error_code_and_the_status_decide(error: str, status: int, retryable: bool, needs_user: bool) -> None:
    no = refusal(error, status=status)
    assert (no.retryable, no.needs_user) == (retryable, needs_user)
    assert no.code == (error or f"http_{status}")
    assert bool(no.hint) is (error != "something_else" and status != 404)


@pytest.mark.parametrize(
    ("number", "word"),
    [
        (70008, "90 days"),
        (700082, "90 days"),
        (70043, "Conditional Access"),
        (50173, "password was changed"),
        (50076, "second factor"),
        (50079, "second factor"),
        (53003, "administrator"),
        (530035, "administrator"),
        (65001, "Consent"),
        (90094, "administrator"),
        (70000, "client id"),
        (700084, "native"),
        (7000215, "its value"),
        (700025, "send no secret"),
        (7000218, "public client flows"),
        (700016, "tenant"),
        (7000112, "switched off"),
        (70011, "scope"),
        (500011, "resource"),
        (70019, "start again"),
        (50033, "later"),
    ],
)
def test_a_number_of_microsofts_chooses_the_hint_and_nothing_else(number: int, word: str) -> None:
    by_text = refusal("invalid_grant", f"AADSTS{number}: Something. Trace ID: 1")
    by_list = refusal("invalid_grant", "Something.", numbers=[number])
    plain = refusal("invalid_grant", "Something.")
    assert word.lower() in by_text.hint.lower()
    assert by_list.hint == by_text.hint
    for no in (by_text, by_list):
        assert (no.code, no.retryable, no.needs_user) == (plain.code, plain.retryable, plain.needs_user)


def test_a_suberror_says_more_than_the_error() -> None:
    assert "password" in refusal("invalid_grant", suberror="user_password_expired").hint


def test_google_names_no_reason_so_all_are_told() -> None:
    assert "7 days" in refusal("invalid_grant", "Token has been expired or revoked.").hint


@pytest.mark.parametrize("error", ["a" * 65, "two words", "x\n", "\u00e9"])
def test_what_can_be_no_error_code_is_not_shown(error: str) -> None:
    no = refusal(error, status=400)
    assert (no.code, error in str(no)) == ("http_400", False)


def test_the_description_is_told() -> None:
    assert str(refusal("invalid_grant", "gone")) == "the token endpoint says no: invalid_grant: gone"
