"""`sasl token revoke`: give a grant back (RFC 7009), and forget the account."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from ...deadline import Deadline
from .. import exits, screen
from .account import LONGEST_WAIT, add_store, load, request_until, store_of

if TYPE_CHECKING:
    import argparse

_EPILOG: Final = """\
example:
  sasl token revoke me@example.com

Not every provider can be told (Microsoft cannot): then the account is forgotten here all the same, and what to do about
the rest is said. Where the provider cannot be reached nothing is forgotten; --forget does that without telling it.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Say what the verb takes."""
    parser.description = "Tell the provider that a grant is over, and delete the account here."
    parser.epilog = _EPILOG
    parser.add_argument("account", metavar="ACCOUNT", help="its name, as `sasl token list` shows it")
    parser.add_argument("--forget", action="store_true", help="delete it here, and tell nobody")
    add_store(parser)


def run(arguments: argparse.Namespace) -> int:
    """Revoke and delete."""
    from ...tokens.revocation import revoke

    store = store_of(arguments.store)
    if arguments.forget:
        store.delete(arguments.account)  # also of a record that is broken
        return exits.DONE
    load(store, arguments.account)
    done = revoke(store, arguments.account, request=request_until(Deadline(LONGEST_WAIT)))
    said = "revoked, and deleted here" if done.at_server else "deleted here"
    screen.print_line(f"{said}. {done.hint}".rstrip(". ") + ".", file=sys.stdout)
    return exits.DONE
