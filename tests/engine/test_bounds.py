"""Each bound of the engine is met exactly: what fits by one octet, and what does not by one."""

from __future__ import annotations

import base64

import pytest

import sasl
from sasl import Limits, ScramKeys
from sasl.gs2 import parse, unescape
from sasl.prep import saslprep

KEY = bytes(32)
MOST_ITERATIONS = 2**31 - 1


def b64(octets: bytes) -> str:
    return base64.b64encode(octets).decode()


def test_the_limits_are_those_of_the_contract() -> None:
    limits = Limits()
    assert (limits.message, limits.steps) == (64 * 1024, 16)
    assert (limits.error_json, limits.error_json_depth) == (8 * 1024, 16)
    assert (limits.min_iterations, limits.max_iterations, limits.prep_characters) == (4_096, 600_000, 1_024)


@pytest.mark.parametrize(("name", "is_name"), [("", False), ("X", True), ("X" * 20, True), ("X" * 21, False)])
def test_a_name_of_a_mechanism_has_1_to_20_characters(name: str, *, is_name: bool) -> None:
    if is_name:
        assert sasl.registry.canonical(name) == sasl.registry.canonical(name.encode()) == name
    else:
        with pytest.raises(sasl.UsageError, match="not a mechanism name"):
            sasl.registry.canonical(name)


@pytest.mark.parametrize("name", ["joe", "jos\u00e9"], ids=ascii)
def test_saslprep_takes_as_many_characters_as_the_limit(name: str) -> None:
    assert saslprep(name, limit=len(name)) == name
    if not name.isascii():  # printable ASCII is never changed, so it is not counted
        with pytest.raises(sasl.LimitExceeded):
            saslprep(name, limit=len(name) - 1)


# --- names of RFC 5801


@pytest.mark.parametrize("message", [b"n,,", b"n,a=x,", b"p=x,,", b"p=x,a=y,"])
def test_a_gs2_header_of_one_character_each_is_one(message: bytes) -> None:
    assert parse(message)[0].encode() == message


@pytest.mark.parametrize("message", [b"p=,,", b"n,a=,", b"n,a=", b"p=x,a=,"])
def test_a_gs2_header_has_no_empty_part(message: bytes) -> None:
    with pytest.raises(sasl.ProtocolError):
        parse(message)


def test_a_saslname_is_not_empty() -> None:
    assert unescape(b"x") == "x"
    with pytest.raises(sasl.ProtocolError):
        unescape(b"")


# --- keys as they are stored


def dovecot(salt: str = "AAAA", iterations: object = 4_096, stored: str = b64(KEY), more: str = "") -> str:
    return f"{{SCRAM-SHA-256}}{iterations},{salt},{stored},{b64(KEY)}{more}"


def rfc_5803(salt: str = "AAAA", iterations: object = 4_096) -> str:
    return f"SCRAM-SHA-256${iterations}:{salt}${b64(KEY)}:{b64(KEY)}"


def is_read(stored: str) -> bool:
    try:
        ScramKeys.parse(stored)
    except sasl.UsageError:
        return False
    return True


FORMS = pytest.mark.parametrize("form", [dovecot, rfc_5803], ids=["dovecot", "rfc5803"])


@FORMS
@pytest.mark.parametrize(
    ("iterations", "fit"),
    [("0", False), ("1", True), ("9", True), (MOST_ITERATIONS, True), (MOST_ITERATIONS + 1, False), ("", False)],
)
def test_iterations_go_from_one_to_what_pbkdf2_counts_to(form, iterations, *, fit) -> None:  # type: ignore[no-untyped-def]
    assert is_read(form(iterations=iterations)) is fit


@FORMS
@pytest.mark.parametrize(
    ("salt", "fit"),
    [("AAAA", True), ("AAA=", True), ("AA==", True), ("A===", False), ("AA=", False), ("=", False), ("", False)],
)
def test_base64_is_whole_and_padded(form, salt, *, fit) -> None:  # type: ignore[no-untyped-def]
    assert is_read(form(salt=salt)) is fit


@FORMS
@pytest.mark.parametrize(("octets", "fit"), [(1, True), (3_072, True), (3_073, False)])
def test_a_stored_field_has_at_most_4096_characters(form, octets, *, fit) -> None:  # type: ignore[no-untyped-def]
    assert len(b64(bytes(3_072))) == 4_096
    assert is_read(form(salt=b64(bytes(octets)))) is fit


@pytest.mark.parametrize(("more", "fit"), [("", True), (",", False), (",0", False), (",0a", True), (",0a0", False)])
def test_a_salted_password_behind_the_keys_is_whole_octets_in_hex(more: str, *, fit: bool) -> None:
    assert is_read(dovecot(more=more)) is fit


@pytest.mark.parametrize("spaces", ["", " ", "  "])
def test_spaces_around_the_parts_may_be_none_or_many(spaces: str) -> None:
    stored = rfc_5803().replace("$", f"{spaces}${spaces}")
    assert is_read(f"{spaces}{stored}{spaces}")


@pytest.mark.parametrize(("octets", "fit"), [(0, False), (1, True), (4_096, True), (4_097, False)])
def test_a_salt_has_1_to_4096_octets(octets: int, *, fit: bool) -> None:
    if fit:
        assert ScramKeys("sha256", bytes(octets), 1, KEY, KEY).salt == bytes(octets)
    else:
        with pytest.raises(sasl.UsageError, match="salt"):
            ScramKeys("sha256", bytes(octets), 1, KEY, KEY)


def test_a_new_salt_has_16_octets() -> None:
    assert len(ScramKeys.derive("pencil", iterations=1).salt) == 16


@pytest.mark.parametrize("octets", [31, 33])
def test_a_key_is_as_long_as_its_hash(octets: int) -> None:
    with pytest.raises(sasl.UsageError, match="32 octets"):
        ScramKeys("sha256", b"salt", 1, bytes(octets), KEY)
    with pytest.raises(sasl.UsageError, match="32 octets"):
        ScramKeys("sha256", b"salt", 1, KEY, bytes(octets))


@pytest.mark.parametrize("name", sasl.Limits.__match_args__)
@pytest.mark.parametrize("number", ["x", None, -1, True, 1.5])
def test_a_limit_is_a_number(name: str, number: object) -> None:
    with pytest.raises(sasl.UsageError, match="a number"):
        sasl.Limits(**{name: number})  # type: ignore[arg-type]


def test_no_maximum_is_below_its_minimum() -> None:
    for kind in (sasl.Limits, sasl.Policy):
        with pytest.raises(sasl.UsageError, match="not below min_iterations"):
            kind(min_iterations=10_000, max_iterations=5_000)


@pytest.mark.parametrize(
    ("hash_name", "most"),
    [("sha1", 600_000), ("sha256", 600_000), ("sha384", 400_000), ("sha512", 400_000), ("sha3_512", 300_000)],
)
def test_a_slower_hash_has_a_lower_ceiling_unless_a_number_is_given(hash_name: str, most: int) -> None:
    assert sasl.Limits().most_iterations(hash_name) == most
    assert sasl.Limits(max_iterations=500_000).most_iterations(hash_name) == 500_000


@pytest.mark.parametrize("name", ["min_iterations", "max_iterations"])
@pytest.mark.parametrize("number", ["4096", None, -1, True, 1.5, [4_096]])
def test_the_iterations_of_a_policy_are_numbers(name: str, number: object) -> None:
    with pytest.raises(sasl.UsageError, match="a number"):
        sasl.Policy(**{name: number})  # type: ignore[arg-type]
