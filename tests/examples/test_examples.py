"""Each example is short, needs nothing of this package but what is public, and stands in the docs as it is."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import sasl

from ..support.code import code_lines
from ..support.examples import FOLDER

EXAMPLES = sorted(FOLDER.glob("*.py"))
PAGE = (FOLDER.parent / "docs/howto/beyond-mail.md").read_text("utf-8")
MOST_LINES = 40
PUBLIC = {"sasl", "sasl.adapters.binding", "sasl.adapters.channel_binding"}
"""The modules that an example may import names from."""

each = pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)


def private_names(source: str) -> list[str]:
    """What a module takes of this package that is not public."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [name.name for name in node.names if name.name.startswith("sasl.") and name.name not in PUBLIC]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "sasl":
            found += [name.name for name in node.names if node.module not in PUBLIC or name.name.startswith("_")]
        elif isinstance(node, ast.Attribute):
            of_sasl = isinstance(node.value, ast.Name) and node.value.id == "sasl"
            dunder = node.attr.startswith("__")
            if (of_sasl and node.attr not in sasl.__all__) or (node.attr.startswith("_") and not dunder):
                found.append(node.attr)
    return found


def test_there_are_examples() -> None:
    assert [path.stem for path in EXAMPLES] == [
        "kafka_mechanism",
        "ldap3_login",
        "ldap_bind",
        "postgresql_scram",
        "slixmpp_mechanism",
    ]


@each
def test_an_example_is_short(path: Path) -> None:
    assert 0 < code_lines(path.read_text("utf-8")) <= MOST_LINES


@each
def test_an_example_takes_public_names_only(path: Path) -> None:
    assert private_names(path.read_text("utf-8")) == []


@each
def test_the_page_shows_an_example_as_it_is(path: Path) -> None:
    assert path.read_text("utf-8") in re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert f"(../../examples/{path.name})" in PAGE


@pytest.mark.parametrize(
    "source",
    [
        "from sasl.engine import thing",
        "from sasl.adapters.binding import _thing",
        "import sasl.registry",
        "import sasl\nsasl.exchange",
        "import sasl\nsasl.client('PLAIN', c)._script",
    ],
)
def test_what_is_not_public_is_found(source: str) -> None:
    assert private_names(source) != []
