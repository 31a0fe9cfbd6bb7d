"""docs/clients.md is true of Python's libraries: what it says of each is what the servers' log says now."""

from __future__ import annotations

import pytest

from ...support import conduct
from ...support.conduct import Conduct
from ...support.documents import broken_links

pytestmark = pytest.mark.once


@pytest.mark.parametrize("row", conduct.libraries(), ids=str)
def test_what_the_page_says_of_a_library_is_so(row: Conduct) -> None:
    assert row.cells() == conduct.kept()[0].get(row.row), f"python tests/conduct.py {row.client}"


def test_the_right_credential_is_accepted_and_nothing_is_said_against_the_client() -> None:
    rows, _ = conduct.kept()
    assert {cells[0].removeprefix(f"{mechanism} ").split(" ")[-1] for (*_, mechanism), cells in rows.items()} == {
        "accepted"
    }


def test_the_page_has_no_row_that_nobody_measures() -> None:
    measured = {row.row for row in conduct.libraries()}
    here = {client for _, client, *_ in measured}
    assert {row for row in conduct.kept()[0] if row[0] == "Libraries" and row[1] in here} == measured


def test_the_links_of_the_page_lead_somewhere() -> None:
    assert broken_links(conduct.PAGE) == []
