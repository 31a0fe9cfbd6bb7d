"""CONTRIBUTING.md is true: its row is that of the plug-in which tests/engine installs, its steps name what is there."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

import sasl

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "CONTRIBUTING.md").read_text()
FENCES = dict(re.findall(r"^```(\w+)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL))
PLUGIN = ROOT / "tests" / "engine" / "plugin"


def test_the_entry_point_is_that_of_a_plug_in_that_is_installed_and_used() -> None:
    told = tomllib.loads(FENCES["toml"])["project"]["entry-points"]["sasl.mechanisms"]
    used = tomllib.loads((PLUGIN / "pyproject.toml").read_text())["project"]["entry-points"]["sasl.mechanisms"]

    assert told
    assert told.items() <= used.items()


def test_the_row_is_that_of_the_same_plug_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(PLUGIN))
    names: dict[str, Any] = {"sasl": sasl}
    exec(FENCES["python"], names)
    row = names["ROW"]
    import sasl_knock

    assert (row.name, row.credentials, row.questions) == ("X-KNOCK", sasl.Password, (sasl.FindSecret,))
    assert row.script("client") is sasl_knock.knock_client
    assert row.script("server") is sasl_knock.knock_server
    assert row.rank == sasl_knock.ROW.rank
    weakest = min(each.rank for each in sasl.known_mechanisms() if each.name.startswith("SCRAM-"))
    assert sasl.lookup("CRAM-MD5").rank < row.rank < weakest


def test_every_path_that_it_names_is_there() -> None:
    paths = re.findall(r"`((?:sasl|mechanisms|adapters|spec|tests|bench|docs)/[\w./-]*)`", TEXT)

    assert paths
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_every_environment_that_it_names_is_there() -> None:
    settings = (ROOT / "tox.ini").read_text()
    named = {name for names in re.findall(r"tox -e ([\w,]+)", TEXT) for name in names.split(",")}

    assert named
    sections = re.findall(r"^\[testenv:(.+)\]$", settings, re.MULTILINE)
    known = {part for section in sections for part in re.findall(r"\w+", section)}
    assert {name for name in named if name not in known and not re.fullmatch(r"py3\d+", name)} == set()
