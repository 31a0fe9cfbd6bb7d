"""Names and numbers in a URL of just the size that there is, and of one more."""

from __future__ import annotations

import pytest

from sasl.adapters.cli.url import parse
from sasl.errors import UsageError

LABEL = "x" * 63
NAME = ".".join([LABEL, LABEL, LABEL, "x" * 61])


@pytest.mark.parametrize("host", ["x", "x.y", LABEL, f"{LABEL}.{LABEL}", f"{LABEL}.org", NAME])
def test_a_host_of_the_longest_parts_is_one(host: str) -> None:
    assert parse(f"imaps://alice@{host}").host == host


@pytest.mark.parametrize("host", ["", "x.", "x" * 64, f"x.{'x' * 64}", f"{'x' * 64}.org", f"{NAME}x"])
def test_a_longer_one_is_none(host: str) -> None:
    with pytest.raises(UsageError, match="names no host"):
        parse(f"imaps://alice@{host}")


def test_nothing_in_brackets_is_no_address() -> None:
    with pytest.raises(UsageError, match="not an IPv6 address"):
        parse("imaps://alice@[]")


@pytest.mark.parametrize("port", [1, 9, 10, 65_535])
def test_a_port_is_a_number_from_1_to_65535(port: int) -> None:
    assert parse(f"imaps://alice@mx.example:{port}").port == port


@pytest.mark.parametrize("port", ["", "0", "01", "65536", "99999", "100000", "-1"])
def test_another_number_is_none(port: str) -> None:
    with pytest.raises(UsageError, match="1 to 65535"):
        parse(f"imaps://alice@mx.example:{port}")
