"""Measure what each library does alone and with saslkit, and print it: the tables of docs/libraries.md.

    python tests/matrix.py [--write] [NAME ...]

`--write` puts the rows into the page. Rows of libraries that are not named, or not installed here, stay as they are.
"""

from __future__ import annotations

import argparse
import platform
import sys
from importlib import import_module
from pathlib import Path

import_module("sasl.adapters")  # first: with the checkout on the path, ./sasl would stand before the whole package
sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.support import matrix  # noqa: E402 -- see above


def main() -> None:
    """Measure, and print or write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", metavar="NAME", nargs="*", help="a library; all by default")
    parser.add_argument("--write", action="store_true", help="put it into docs/libraries.md")
    arguments = parser.parse_args()
    clients = [each for each in matrix.measured_libraries() if not arguments.names or each.name in arguments.names]
    rows = matrix.measured(clients)
    versions = {each.name: each.version or f"of Python {platform.python_version()}" for each in clients}
    if arguments.write:
        matrix.write(rows, versions)
        return
    for title in (*matrix.COLUMNS, matrix.LINES):
        print(f"## {title}\n\n{matrix.markdown(title, rows, versions)}")


if __name__ == "__main__":
    main()
