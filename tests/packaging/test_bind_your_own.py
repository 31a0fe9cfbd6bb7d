"""docs/howto/bind-your-own.md keeps its promise: less than 60 lines, on public names."""

from __future__ import annotations

import ast
import re
from typing import Final

from sasl.adapters import binding, wire

from ..support.code import code_lines
from ..support.documents import ROOT, blocks

PAGE: Final = (ROOT / "docs" / "howto" / "bind-your-own.md").read_text("utf-8")
BINDING: Final = ("The errors", "The loop", "The description", "The asynchronous twin")


def sections() -> dict[str, str]:
    """The code of each section."""
    parts = re.split(r"^## (.*)$", PAGE, flags=re.MULTILINE)[1:]
    return {title: "\n".join(blocks(text, "python")) for title, text in zip(parts[::2], parts[1::2], strict=True)}


def test_both_twins_take_less_than_60_lines() -> None:
    assert code_lines("\n".join(sections()[title] for title in BINDING)) < 60


def test_a_binding_imports_public_names_only() -> None:
    imports = [node for node in ast.walk(ast.parse(sections()["The errors"])) if isinstance(node, ast.ImportFrom)]
    ours = {str(node.module): {each.name for each in node.names} for node in imports}
    assert ours.pop("sasl.adapters.binding") <= set(binding.__all__)
    assert ours.pop("sasl.adapters.wire") <= {*wire.__all__, "imap", "pop", "smtp", "sieve"}
    assert set(ours) == {"functools"}


def test_the_longest_line_is_the_wires() -> None:
    assert f"{wire.LONGEST_LINE:,} octets" in PAGE
