"""docs/clients.md is true of programs: what it says of each is what the servers' log says now."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sasl.adapters import reference

from ..support.conduct import PASSWORD, USER, Conduct, kept
from ..support.servers import CannotStart
from . import node as node_module
from .logins import programs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from .node import Node

pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def node(start: Callable[..., Iterator[Node]], node_example: Path) -> Iterator[Node]:
    yield from start(node_module.running, node_example)


def measured(row: Conduct) -> list[str]:
    """The cells of a row; the test is skipped where the program is missing."""
    try:
        return row.cells()
    except CannotStart as missing:
        reason = str(missing)
    pytest.skip(reason)


@pytest.mark.parametrize("row", programs(), ids=str)
def test_what_the_page_says_of_a_program_is_so(row: Conduct) -> None:
    assert measured(row) == kept()[0].get(row.row), f"python tests/conduct.py {row.client}"


def test_what_the_page_says_of_the_libraries_of_node_is_so(node: Node) -> None:
    rows, _ = kept()
    found = {row.row: row.cells() for row in node.rows()}
    assert found == {row: cells for row, cells in rows.items() if row in found}
    named = {row for row in rows if row[0] == "Programs"}
    assert named == {row.row for row in programs()} | set(found), "the page has a row that nobody measures"


def test_imapflow_is_told_of_a_delivery_while_it_waits(node: Node) -> None:
    with reference.running({USER: PASSWORD}) as servers:
        assert node.sees_a_delivery(servers) == "INBOX 0 -> 1"
        assert servers.verdicts == ()
