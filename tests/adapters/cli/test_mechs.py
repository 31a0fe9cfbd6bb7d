"""`sasl mechs`: the registry, as a table and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import sasl
from sasl import registry
from sasl.hashes import HASHES

if TYPE_CHECKING:
    from .conftest import Run


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mechanisms of each sort, registered for this test."""
    monkeypatch.setattr(registry, "_registered", {})
    for row in (
        sasl.Mechanism("X-STRONG", "a:b", None, sasl.Password, client_first=True, plaintext=False, rank=90),
        sasl.Mechanism(
            "X-STRONG-PLUS", "a:b", "a:c", sasl.Password, client_first=True, plaintext=False, rank=91, twin="X-STRONG"
        ),
        sasl.Mechanism(
            "X-OLD", None, "a:c", sasl.Anonymous, client_first=False, plaintext=True, rank=1, off_by_default=True
        ),
    ):
        sasl.register(row)


def test_the_table_names_every_mechanism_the_strongest_first(run: Run) -> None:
    result = run("mechs")
    assert result.code == 0
    assert result.err == ""
    names = [line.split()[0] for line in result.out.splitlines()]
    assert names == ["mechanism", *(row.name for row in sasl.known_mechanisms())]
    assert {"PLAIN", "XOAUTH2", "OAUTHBEARER", "LOGIN", "CRAM-MD5", "DIGEST-MD5", "EXTERNAL", "ANONYMOUS"} <= set(names)
    for mechanism in HASHES:
        assert names.index(f"{mechanism}-PLUS") < names.index(mechanism) < names.index("PLAIN")


def test_the_table_fits_a_wide_terminal(run: Run) -> None:
    assert max(map(len, run("mechs").out.splitlines())) <= 120


@pytest.mark.usefixtures("rows")
@pytest.mark.parametrize(
    ("name", "cells"),
    [
        (
            "X-STRONG-PLUS",
            [
                "client, server",
                "Password",
                "client",
                "protected",
                "91",
                "X-STRONG with channel binding",
            ],
        ),
        ("X-STRONG", ["client", "Password", "client", "protected", "90"]),
        ("X-OLD", ["server", "Anonymous", "server", "in the clear", "1", "off unless allowed by name"]),
        ("PLAIN", ["client, server", "Password", "client", "in the clear", "20"]),
        ("SCRAM-SHA-256", ["client, server", "Password", "client", "protected", "52"]),
        (
            "SCRAM-SHA-256-PLUS",
            ["client, server", "Password", "client", "protected", "62", "SCRAM-SHA-256 with channel binding"],
        ),
        ("CRAM-MD5", ["client, server", "Password", "server", "protected", "40", "off unless allowed by name"]),
        ("ANONYMOUS", ["client, server", "Anonymous", "client", "protected", "10", "off unless allowed by name"]),
    ],
)
def test_a_row_says_sides_and_properties(run: Run, name: str, cells: list[str]) -> None:
    (line,) = [line for line in run("mechs").out.splitlines() if line.split()[0] == name]
    assert [cell.strip() for cell in line.split("  ") if cell.strip()] == [name, *cells]


@pytest.mark.usefixtures("rows")
def test_json_has_every_property_of_every_row(run: Run) -> None:
    result = run("mechs", "--json")
    assert (result.code, result.err, result.out.count("\n")) == (0, "", 1)
    found = {row["name"]: row for row in result.report()["mechanisms"]}
    assert list(found) == [row.name for row in sasl.known_mechanisms()]
    assert found["X-STRONG-PLUS"] == {
        "name": "X-STRONG-PLUS",
        "sides": ["client", "server"],
        "credentials": "Password",
        "client_first": True,
        "plaintext": False,
        "rank": 91,
        "off_by_default": False,
        "twin": "X-STRONG",
    }
    assert found["X-OLD"]["sides"] == ["server"]
    assert found["X-OLD"]["off_by_default"] is True
    assert found["PLAIN"]["twin"] is None
