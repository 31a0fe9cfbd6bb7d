"""`sasl mechs`: the mechanisms that are registered, and their properties."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sasl.registry import known_mechanisms
from sasl.text import printable

if TYPE_CHECKING:
    import argparse
    from collections.abc import Collection, Sequence

    from sasl.registry import Mechanism

_EPILOG: Final = """\
examples:
  sasl mechs
  sasl mechs --json | jq -r '.mechanisms[].name'

The strongest comes first, and of what a server offers it is the one that is used, for a credential of the kind that it
takes. A -PLUS one wants a connection that gives channel-binding data, and what is sent "in the clear" wants TLS.
`sasl login --trace` says which one was used of those that the server offers. Other packages add mechanisms by an entry
point in the group "sasl.mechanisms".
"""
_HEADINGS: Final = ("mechanism", "sides", "takes", "speaks first", "sent", "rank", "notes")


def configure(parser: argparse.ArgumentParser) -> None:
    """Say what the verb takes."""
    parser.description = "List the mechanisms that are registered: which side, which properties."
    parser.epilog = _EPILOG
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Print the table."""
    rows = known_mechanisms()
    if arguments.json:
        import json

        print(json.dumps({"mechanisms": [_as_json(row) for row in rows]}))
        return 0
    print_table([_HEADINGS, *map(_as_cells, rows)])
    return 0


def print_table(rows: Sequence[tuple[str, ...]], numbers: Collection[str] = ()) -> None:
    """Print rows of cells in columns, the headings first; the columns of `numbers` are flush right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            cell.rjust(width) if heading in numbers else cell.ljust(width)
            for heading, cell, width in zip(rows[0], row, widths, strict=True)
        ]
        print("  ".join(cells).rstrip())


def _sides(row: Mechanism) -> list[str]:
    return [side for side, script in (("client", row.client), ("server", row.server)) if script is not None]


def _as_json(row: Mechanism) -> dict[str, object]:
    return {
        "name": row.name,
        "sides": _sides(row),
        "credentials": row.credentials.__name__,
        "client_first": row.client_first,
        "plaintext": row.plaintext,
        "rank": row.rank,
        "off_by_default": row.off_by_default,
        "twin": row.twin,
    }


def _as_cells(row: Mechanism) -> tuple[str, ...]:
    return (
        row.name,
        ", ".join(_sides(row)),
        printable(row.credentials.__name__),
        "client" if row.client_first else "server",
        "in the clear" if row.plaintext else "protected",
        str(row.rank),
        _notes(row),
    )


def _notes(row: Mechanism) -> str:
    notes = []
    if row.off_by_default:
        notes.append("off unless allowed by name")
    if row.twin is not None:
        notes.append(f"{row.twin} with channel binding")
    return "; ".join(notes)
