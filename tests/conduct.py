"""Measure what clients do with right, wrong and expired credentials, and write the tables of docs/clients.md.

    python tests/conduct.py [NAME ...]

Rows of clients that are not named, or not installed here, stay as they are.
"""

from __future__ import annotations

import sys
import tempfile
from importlib import import_module
from pathlib import Path

import_module("sasl.adapters")  # first: with the checkout on the path, ./sasl would stand before the whole package
sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.interop import node  # noqa: E402
from tests.interop.logins import programs  # noqa: E402 -- see above
from tests.support.conduct import libraries, write  # noqa: E402


def main() -> None:
    """Measure and write."""
    names = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder, node.installed(Path(folder)) as example, node.running(example) as it:
        rows = [*programs(), *it.rows(), *libraries()]
        write([each for each in rows if not names or each.client in names])


if __name__ == "__main__":
    main()
