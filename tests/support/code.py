"""How much code there is, as a reader counts it: no blank, no comment, no docstring, no import for types alone."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_NO_CODE: Final = frozenset(
    {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
)
_DESCRIPTION: Final = re.compile(r"^# --- the description.*\n", re.MULTILINE)


def code_lines(text: str, *, classes: bool = True) -> int:
    """How many lines of a module are code; without `classes`, outside of the classes that have a public name."""
    left_out = {line for first, last in _left_out(ast.parse(text), classes=classes) for line in range(first, last + 1)}
    tokens = [each for each in tokenize.generate_tokens(io.StringIO(text).readline) if each.type not in _NO_CODE]
    return len({line for each in tokens for line in range(each.start[0], each.end[0] + 1)} - left_out)


def description_lines(text: str) -> int:
    """How many lines of a binding describe the library: the part that says so, or else all of it.

    A class with a public name does not count: users call or catch it, it is a drop-in or an error.
    """
    return code_lines(_DESCRIPTION.split(text)[-1], classes=False)


def _left_out(tree: ast.Module, *, classes: bool) -> Iterator[tuple[int, int]]:
    for node in ast.walk(tree):
        public = isinstance(node, ast.ClassDef) and not node.name.startswith("_")
        if _is_text(node) or _is_for_types(node) or (public and not classes):
            yield node.lineno, node.end_lineno or node.lineno  # type: ignore[attr-defined]


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _is_for_types(node: ast.AST) -> bool:
    if isinstance(node, ast.If):
        return ast.unparse(node.test) == "TYPE_CHECKING"
    return isinstance(node, ast.ImportFrom) and node.module in ("typing", "sasl.typed", "__future__")
