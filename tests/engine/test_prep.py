"""SASLprep (RFC 4013) beyond the corpus: bounds, the stored form, errors without the text."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

import sasl
from sasl.prep import has_controls, saslprep

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize(
    ("text", "prepared"),
    [
        ("", ""),
        ("user", "user"),
        ("USER", "USER"),
        ("a b", "a b"),
        ("I\u00adX", "IX"),  # RFC 4013 section 3
        ("\u00aa", "a"),
        ("\u2168", "IX"),
        ("a\u00a0b", "a b"),
        ("a\u3000b", "a b"),
        ("a\u200bb", "ab"),  # in both mapping tables
        ("\u00ad", ""),
        ("e\u0301", "\u00e9"),
        ("\u00bd", "1\u20442"),
        ("\u0627\u0628", "\u0627\u0628"),
        ("\u06271\u0628", "\u06271\u0628"),
        ("\u0378", "\u0378"),  # not assigned, which a query may hold
    ],
    ids=ascii,
)
def test_text_is_mapped_and_normalized(text: str, prepared: str) -> None:
    assert saslprep(text) == prepared


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("\x07", "prohibits"),
        ("a\x00", "prohibits"),
        ("a\x7f", "prohibits"),
        ("a\r\n", "prohibits"),
        ("\u0085", "prohibits"),
        ("\u06dd", "prohibits"),
        ("\ue000", "prohibits"),
        ("\ufffe", "prohibits"),
        ("\U0010ffff", "prohibits"),
        ("\ud800", "prohibits"),
        ("\u2ff0", "prohibits"),
        ("\u0340", None),  # normalizes to U+0300, which is allowed
        ("\u200e", "prohibits"),
        ("\U000e0001", "prohibits"),
        ("\u0627a", "mixed"),
        ("\u06271", "mixed"),
        ("1\u0627", "mixed"),
        ("\u0627a\u0628", "mixed"),
    ],
    ids=ascii,
)
def test_what_is_prohibited_is_a_usage_error_that_does_not_show_it(text: str, why: str | None) -> None:
    if why is None:
        assert saslprep(text) == "\u0300"
        return
    with pytest.raises(sasl.UsageError, match=why) as caught:
        saslprep(text)
    assert text not in str(caught.value)
    assert caught.value.__context__ is None


def test_what_unicode_does_not_assign_may_be_asked_for_and_not_stored() -> None:
    assert saslprep("a\u0378") == "a\u0378"
    with pytest.raises(sasl.UsageError, match="does not assign"):
        saslprep("a\u0378", stored=True)
    assert saslprep("\u00e9", stored=True) == "\u00e9"


@pytest.mark.parametrize(
    ("text", "limit"), [("a" * 5, 4), ("\u00e9" * 5, 4), ("\ufdfa", 17), ("\u00ad" * 5, 4)], ids=ascii
)
def test_what_is_too_long_before_or_after_is_a_limit(text: str, limit: int) -> None:
    with pytest.raises(sasl.LimitExceeded, match=f"more than {limit} characters"):
        saslprep(text, limit=limit)


@pytest.mark.parametrize(("text", "limit"), [("aaaa", 4), ("\u00e9" * 4, 4), ("\ufdfa", 18)], ids=ascii)
def test_what_is_as_long_as_the_limit_passes(text: str, limit: int) -> None:
    assert len(saslprep(text, limit=limit)) == limit


def test_the_default_limit_is_that_of_the_contract() -> None:
    assert saslprep("a" * 1024) == "a" * 1024
    with pytest.raises(sasl.LimitExceeded):
        saslprep("a" * 1025)


def test_plain_ascii_needs_no_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "stringprep", None)  # an import now fails
    assert saslprep("user@example.com") == "user@example.com"
    assert not has_controls("user@example.com")
    with pytest.raises(ImportError):
        saslprep("us\u00e9r")


@given(st.text(st.characters(codec=None), max_size=8))
def test_a_prepared_text_is_its_own_preparation_or_only_our_errors_leave(text: str) -> None:
    try:
        prepared = saslprep(text)
    except sasl.UsageError:
        return
    assert saslprep(prepared) == prepared


@pytest.mark.parametrize("text", ["", "joe", "joe doe", "jos\u00e9", "\U0001f600", "\u00a0"], ids=ascii)
def test_a_text_without_controls_has_none(text: str) -> None:
    assert not has_controls(text)


@pytest.mark.parametrize(
    "text",
    ["\0", "\x01", "a\n", "\r", "\t", "\x1f", "\x7f", "\u0085", "\u2028", "\u200e\u2028", "\ud800", "\u00e9\x01"],
    ids=ascii,
)
def test_a_control_is_one_wherever_it_stands(text: str) -> None:
    assert has_controls(text)
    assert has_controls("joe" + text + "doe")


def test_the_limit_of_an_exchange_reaches_the_preparation(leaks: Callable[[BaseException], list[str]]) -> None:
    exchange = sasl.client("PLAIN", sasl.Password("joe", "x" * 2000))
    with pytest.raises(sasl.UsageError, match="more than 1024 characters"):
        exchange.start()
    longer = sasl.client("PLAIN", sasl.Password("joe", "x" * 2000), limits=sasl.Limits(prep_characters=2000))
    assert longer.start() == b"\0joe\0" + b"x" * 2000
