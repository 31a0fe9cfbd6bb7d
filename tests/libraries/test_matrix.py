"""docs/libraries.md is true: what it says of each library is what comes out now; a binding is as small as promised."""

from __future__ import annotations

from pathlib import Path

import pytest

from ..support import matrix
from ..support.code import code_lines, description_lines
from ..support.documents import ROOT, broken_links
from ..support.libraries import Client, clients, names

pytestmark = pytest.mark.once
LONGEST = 60  # code lines of a description


@pytest.mark.parametrize("client", clients())
def test_what_the_page_says_of_a_library_is_so(client: Client) -> None:
    rows, _ = matrix.kept()
    kept = {row: cells for row, cells in rows.items() if row[1] == client.name}
    assert kept == matrix.measured([client]), f"python tests/matrix.py --write {client}"


def test_the_page_says_something_of_every_library_and_of_no_other() -> None:
    rows, _ = matrix.kept()
    assert {name for _, name, _ in rows} == set(names())
    assert broken_links(matrix.PAGE) == []


def test_with_saslkit_every_promise_holds() -> None:
    rows, _ = matrix.kept()
    for (title, name, how), cells in rows.items():
        if how == "with saslkit":
            said = dict(zip(matrix.COLUMNS[title], cells, strict=True))
            failures = {column: cell for column, cell in said.items() if cell in ("no", "nothing", "accepted")}
            assert failures == {}, name


BINDINGS = [path for path in sorted((ROOT / "adapters").glob("*.py")) if "Binding(" in path.read_text("utf-8")]
BEGIN_TLS = "it also begins TLS, and serves the command line"
LONGER = {
    "imaplib": BEGIN_TLS,
    "poplib": BEGIN_TLS,
    "smtplib": BEGIN_TLS,
    "aioimaplib": "it also lets the commands of other tasks wait for the login",
}
"""What is longer, and why."""


@pytest.mark.parametrize("path", BINDINGS, ids=lambda path: path.stem)
def test_the_description_of_a_library_takes_at_most_60_lines(path: Path) -> None:
    lines = description_lines(path.read_text("utf-8"))
    assert (lines > LONGEST) == (path.stem in LONGER), f"{path.name} describes the library in {lines} lines"


MODULE = '''"""One line that is no code."""

from __future__ import annotations

import socket  # this is code

from sasl.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Final


class Mine(socket.socket):
    """So is the next one."""

    text = "a"


# --- the description


def described(conn):
    """Not this."""
    return """two
lines"""
'''


def test_a_line_of_code_is_one_that_does_something() -> None:
    assert code_lines(MODULE) == 6
    assert code_lines(MODULE, classes=False) == 4
    assert code_lines(MODULE.replace("class Mine", "class _Ours"), classes=False) == 6
    assert description_lines(MODULE) == 3
    assert description_lines(MODULE.replace("# --- the description", "#")) == 4
