"""Regular expressions: none of ours has "$", which matches before a last line end too."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OURS = ("sasl", "mechanisms", "adapters", "spec", "bench", "tests")
SOURCES = sorted(path for folder in OURS for path in (ROOT / folder).rglob("*.py"))
CALLS = {"compile", "match", "fullmatch", "search", "split", "sub", "subn", "findall", "finditer"}


def patterns(source: str) -> list[tuple[int, str | bytes]]:
    """The constants in the pattern of each call to `re`, but for those that are meant to look at each line's end."""
    found: list[tuple[int, str | bytes]] = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute) or node.func.attr not in CALLS:
            continue
        if not (isinstance(node.func.value, ast.Name) and node.func.value.id == "re" and node.args):
            continue
        if any("MULTILINE" in ast.unparse(each) for each in (*node.args[1:], *node.keywords)):
            continue
        constants = [each for each in ast.walk(node.args[0]) if isinstance(each, ast.Constant)]
        found += [(each.lineno, each.value) for each in constants if isinstance(each.value, str | bytes)]
    return found


def has_end_anchor(pattern: str | bytes) -> bool:
    """Whether a pattern has a "$" that is neither escaped nor in a set of characters."""
    text = pattern.decode("latin-1") if isinstance(pattern, bytes) else pattern
    escaped = in_set = False
    for char in text:
        if escaped:
            escaped = False
        elif char == "\\":
            escaped = True
        elif char == "[":
            in_set = True
        elif char == "]":
            in_set = False
        elif char == "$" and not in_set:
            return True
    return False


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_pattern_ends_before_a_line_end(path: Path) -> None:
    used = patterns(path.read_text("utf-8"))
    assert [(line, pattern) for line, pattern in used if has_end_anchor(pattern)] == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ('import re; re.compile("a$")', True),
        ('import re; re.compile(rb"(?: |$)" % x)', True),
        ('import re; re.fullmatch("a" + "$", text)', True),
        (r'import re; re.compile("a\\$")', False),
        ('import re; re.compile("[!#$&]{1,64}")', False),
        (r'import re; re.compile(r"a\Z")', False),
        ('text.split("$")', False),
        ('import re; re.findall("^a$", text, re.MULTILINE)', False),
        ('import re; re.findall("^a$", text, re.DOTALL)', True),
    ],
)
def test_an_anchor_is_told_from_a_character(source: str, found: bool) -> None:
    assert any(has_end_anchor(pattern) for _, pattern in patterns(source)) is found
