"""SASLprep (RFC 4013) beyond the corpus: bounds, the stored form, errors without the text."""

from __future__ import annotations

import gc
import itertools
import pickle
import sys
import unicodedata
from copy import copy as copy_of
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import sasl
from sasl import Secret, prep, unicode
from sasl.prep import forms_of, has_controls, prepare_kept, prepare_own, prepare_query, prepared_secret, saslprep

if TYPE_CHECKING:
    from collections.abc import Callable

UNICODE = unicodedata.ucd_3_2_0


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
        # marks: put in order, then composed with their letter
        ("a\u0301\u0323", "\u1ea1\u0301"),
        ("a\u0323\u0301", "\u1ea1\u0301"),
        ("a\u0344\u0323", "\u1ea1\u0308\u0301"),
        ("\u1100\u1161\u11a8", "\uac01"),
        ("\u0301\u0323", "\u0323\u0301"),
        ("e\u00ad\u0301", "\u00e9"),  # mapped before it is normalized
        ("\U0002f868", "\U0002136a"),  # corrected after 3.2
        # later versions of Unicode know properties of these; in 3.2 they are not assigned and combine with nothing
        ("a\u0358\u0323", "a\u0358\u0323"),
        ("\u1b05\u1b35", "\u1b05\u1b35"),
        ("\U0001f600e\u0301", "\U0001f600\u00e9"),
        ("\u1d2c\ua7f8", "\u1d2c\ua7f8"),
        # bidi: digits may stand inside, not at an end; marks and spaces are neither
        ("\u06271 2\u0628", "\u06271 2\u0628"),
        ("\u0627\u0661\u0628", "\u0627\u0661\u0628"),
        ("12", "12"),
        ("\u0661", "\u0661"),
        ("\ufe8f", "\u0628"),
        ("a\u3000\u1680b", "a  b"),
        ("\ufeffa\u2060\ufe0f", "a"),
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
        ("\U000e0041", "prohibits"),  # a tag
        ("a\udc80b", "prohibits"),
        ("\u202e", "prohibits"),
        ("\ufff9", "prohibits"),
        ("\ufdd0", "prohibits"),
        ("\U0001d173", "prohibits"),
        ("\u037e\u0007", "prohibits"),
        ("\ufe8fa", "mixed"),  # what it is normalized to counts
        ("\u0627\u00ad1", "mixed"),
        ("\u0627\u0628\u0661", "mixed"),
        ("\u0627\u0301", "mixed"),
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
    assert saslprep("plain", stored=True) == "plain"
    with pytest.raises(sasl.UsageError, match="does not assign"):
        saslprep("e\u0301\U0001f600", stored=True)


@pytest.mark.parametrize(("text", "limit"), [("\u00e9" * 5, 4), ("\ufdfa", 17), ("\u00ad" * 5, 4)], ids=ascii)
def test_what_is_too_long_before_or_after_is_a_limit(text: str, limit: int) -> None:
    with pytest.raises(sasl.LimitExceeded, match=f"more than {limit} characters"):
        saslprep(text, limit=limit)


@pytest.mark.parametrize(("text", "limit"), [("aaaa", 4), ("\u00e9" * 4, 4), ("\ufdfa", 18)], ids=ascii)
def test_what_is_as_long_as_the_limit_passes(text: str, limit: int) -> None:
    assert len(saslprep(text, limit=limit)) == limit


def test_the_default_limit_is_that_of_the_contract() -> None:
    assert saslprep("\u00e9" * 1024) == "\u00e9" * 1024
    with pytest.raises(sasl.LimitExceeded):
        saslprep("\u00e9" * 1025)


def test_printable_ascii_needs_no_preparing_and_may_be_as_long_as_a_message() -> None:
    assert saslprep("a" * 65_536, limit=4) == "a" * 65_536
    with pytest.raises(sasl.LimitExceeded, match="more than 65536 characters"):
        saslprep("a" * 65_537)


@pytest.mark.parametrize(
    "text",
    ["a" + "\u0301" * 20_000 + "\u0323" * 20_000, "\u0327\u0301" * 20_000, "\u0344" * 20_000, "\u0378\u0323" * 20_000],
    ids=["out-of-order", "alternating", "decomposing", "unassigned"],
)
def test_marks_in_the_worst_order_are_sorted_in_linear_time(text: str) -> None:
    # by insertion, as Python's own normalization sorts them, this takes seconds
    prepared = saslprep(text, limit=len(text) * 2)
    assert saslprep(prepared, limit=len(text) * 2) == prepared


@pytest.mark.parametrize(
    "make",
    [
        lambda size: "a" + "\u0301" * size + "\u0323" * size,
        lambda size: "\u0327\u0301" * size,
        lambda size: "\u0378\u0323" * size,
        lambda size: "\u0627" + "1" * size + "\u0628",
        lambda size: "\u00ad" * size + "\u00e9",
        lambda size: "\ufdfa" * size,
    ],
    ids=["out-of-order", "alternating", "unassigned", "right-to-left", "mapped-to-nothing", "growing"],
)
def test_the_work_grows_as_the_text_does(make: Callable[[int], str], monkeypatch: pytest.MonkeyPatch) -> None:
    """In what Python's tables are asked; its normalization sorts marks by insertion, and gets them in their order."""

    def work(text: str) -> int:
        counted = Counted()
        monkeypatch.setattr(unicode, "_UNICODE", counted)
        saslprep(text, stored="\u0378" not in text, limit=len(text) * 20)
        return counted.characters

    short, long = work(make(1_000)), work(make(8_000))
    assert short > 0
    assert long < 8 * short + 100


class Counted:
    """The tables of Unicode 3.2, which count the characters that they are asked about."""

    def __init__(self) -> None:
        self.characters = 0

    def normalize(self, form: Any, text: str) -> str:
        self.characters += len(text)
        classes = [UNICODE.combining(char) for char in text]
        assert all(later == 0 or earlier <= later for earlier, later in itertools.pairwise(classes))
        return UNICODE.normalize(form, text)

    def category(self, char: str) -> str:
        self.characters += 1
        return UNICODE.category(char)

    def combining(self, char: str) -> int:
        self.characters += 1
        return UNICODE.combining(char)


@given(
    st.text(st.sampled_from("ae\u0301\u0323\u0344\u0327\u00e4\u1ea1\u1100\u1161\u11a8\uac00\u212b\u0f73"), max_size=12)
)
def test_where_all_is_assigned_it_is_the_nfkc_of_python(text: str) -> None:
    assert saslprep(text) == unicodedata.ucd_3_2_0.normalize("NFKC", text)


# --- the secret remembers


def test_a_secret_is_prepared_once(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = sasl.Secret("p\u0061\u0308ss")
    assert prepared_secret(secret) == "p\u00e4ss"
    monkeypatch.setattr("sasl.prep.saslprep", None)  # a second time would fail
    assert prepared_secret(secret) == "p\u00e4ss"
    assert prepared_secret(secret, stored=True) == "p\u00e4ss"
    assert secret == "p\u0061\u0308ss"


def test_what_is_remembered_of_a_query_is_not_taken_for_the_stored_form() -> None:
    secret = sasl.Secret("\U0001f600")
    assert prepared_secret(secret) == "\U0001f600"
    with pytest.raises(sasl.UsageError, match="does not assign"):
        prepared_secret(secret, stored=True)


@pytest.mark.parametrize(("text", "limit"), [("\ufdfa", 17), ("\u00ad" * 5, 4)], ids=ascii)
def test_what_is_remembered_is_held_to_the_limit(text: str, limit: int) -> None:
    secret = sasl.Secret(text)
    prepared_secret(secret)
    with pytest.raises(sasl.LimitExceeded):
        prepared_secret(secret, limit=limit)


def test_what_cannot_be_prepared_is_refused_each_time() -> None:
    secret = sasl.Secret("wonder\x07land")
    for _ in range(2):
        with pytest.raises(sasl.UsageError, match="prohibits"):
            prepared_secret(secret)
    assert secret.prepared is None


def test_what_is_remembered_goes_with_the_secret_and_is_not_shown() -> None:
    secret = sasl.Secret("wonderl\u00e4nd")
    assert "wonder" not in repr(prepared_secret(secret))
    assert "wonder" not in repr(secret)
    assert not hasattr(secret, "__dict__")
    assert not any(
        held is secret for held in gc.get_referents(secret.prepared)
    )  # no cycle: no collector is needed to drop it
    for copy in (pickle.dumps, copy_of):
        with pytest.raises(TypeError):
            copy(secret)
    assert sasl.Secret(secret).prepared is None


def test_plain_ascii_needs_no_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(sasl, "unicode")
    monkeypatch.setitem(sys.modules, "sasl.unicode", None)  # an import now fails
    text = "user@example.com"
    assert saslprep(text) is text  # no copy either
    assert saslprep(text, stored=True) is text
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
    long = "\u00e9" * 2000
    exchange = sasl.client("PLAIN", sasl.Password(long, "x"))
    with pytest.raises(sasl.UsageError, match="more than 1024 characters"):
        exchange.start()
    longer = sasl.client("PLAIN", sasl.Password(long, "x"), limits=sasl.Limits(prep_characters=2000))
    assert longer.start() == f"\0{long}\0x".encode()


@pytest.mark.parametrize(
    ("text", "forms"),
    [
        ("pencil", ("pencil",)),
        ("p" * 1500, ("p" * 1500,)),
        ("\u00bdpint", ("1\u20442pint", "\u00bdpint")),
        ("pa\u00b4ss", ("pa \u0301ss", "pa\u00b4ss")),
        ("a\u00a0b", ("a b", "a\u00a0b")),
        ("p\U0001f511word", ("p\U0001f511word",)),
        ("\u0627a", ("\u0627a",)),  # SASLprep refuses it
        ("\u00ad", ("\u00ad",)),
        ("\u00fc" * 1025, ("\u00fc" * 1025,)),
    ],
    ids=ascii,
)
def test_a_password_has_the_form_that_was_typed_and_the_prepared_one(text: str, forms: tuple[str, ...]) -> None:
    assert forms_of(Secret(text)) == forms
    secret = Secret(forms[0])
    secret.typed = Secret(text)  # as a server hands it on
    assert forms_of(secret) == forms
    assert forms_of(Secret(secret)) == forms  # a copy is the same password
    for form in forms:
        assert secret == form
        assert Secret(form) == secret
        assert form == secret
    assert secret != "another"
    assert Secret("another") != secret


# --- prepare, or refuse

NOTHING_LEFT = ("", "\u00ad", "\u200b\u2060")
REFUSED = ("a\x07", "\u0221\u06ddz\x00", "\u0627a")


@pytest.mark.parametrize("text", NOTHING_LEFT, ids=ascii)
@pytest.mark.parametrize("kind", [str, Secret])
def test_a_name_or_password_of_ours_of_which_nothing_is_left_is_refused(kind: Any, text: str) -> None:
    with pytest.raises(sasl.UsageError, match="leaves nothing"):
        prepare_own(kind(text))


@pytest.mark.parametrize("kind", [str, Secret])
def test_a_name_or_password_of_ours_is_prepared_or_refused_as_saslprep_does(kind: Any) -> None:
    assert prepare_own(kind("e\u0301")) == "\u00e9"
    assert prepare_own(kind("\u0378")) == "\u0378"
    with pytest.raises(sasl.UsageError, match="does not assign"):
        prepare_own(kind("\u0378"), stored=True)
    with pytest.raises(sasl.LimitExceeded):
        prepare_own(kind("\u00e9" * 9), limit=8)


@pytest.mark.parametrize("text", NOTHING_LEFT + REFUSED, ids=ascii)
def test_what_a_peer_sent_has_no_form_where_it_cannot_be_prepared(text: str) -> None:
    assert prepare_query(text) is None
    assert prepare_kept(text) is None


def test_what_a_peer_sent_has_its_prepared_form() -> None:
    assert prepare_query("e\u0301") == "\u00e9"
    with pytest.raises(sasl.LimitExceeded):
        prepare_query("\u00e9" * 9, limit=8)


def test_a_password_that_is_kept_is_prepared_or_none_at_all() -> None:
    assert prepare_kept("e\u0301") == "\u00e9"
    assert prepare_kept(Secret("e\u0301")) == "\u00e9"
    assert prepare_kept("\u00e9" * 9, limit=8) is None
    assert prepare_kept("e\u0301", prepare=False) == "e\u0301"
    assert prepare_kept("", prepare=False) is None
    for value in (None, b"octets", 7, object()):
        assert prepare_kept(value) is None
        assert prepare_kept(value, prepare=False) is None


# --- what a verifier keeps


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("wonderland", "wonderland"),
        ("x" * 5_000, "x" * 5_000),
        ("\xbdpint", "1\u20442pint"),
        ("p\U0001f511word", "p\U0001f511word"),
        ("\u05d0b", "\u05d0b"),
        ("\xe9" * 1_025, "\xe9" * 1_025),
        ("a\u200db", "ab"),
    ],
)
def test_what_is_kept_of_a_password_is_prepared_if_it_can_be(typed: str, kept: str) -> None:
    assert prep.prepare_or_keep(sasl.Secret(typed)).reveal() == kept


@pytest.mark.parametrize("typed", ["", "\xad", "a\n", "a\0b", "a\x85", "\ud800"])
def test_what_no_client_sends_is_not_kept(typed: str) -> None:
    with pytest.raises(sasl.UsageError, match="a password"):
        prep.prepare_or_keep(sasl.Secret(typed))


def test_controls_are_found_as_the_tables_have_them() -> None:
    import stringprep

    for code in range(0x110000):
        char = chr(code)
        expected = stringprep.in_table_c21_c22(char) or stringprep.in_table_c5(char)
        if expected or code % 97 == 0:
            assert prep.has_controls(char) == expected, hex(code)
