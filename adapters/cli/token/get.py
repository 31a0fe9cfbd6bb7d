"""`sasl token get`: print an access token, renewed if it has to be. What is good is printed by `tokens/quick.py`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from sasl.errors import TokenError, UsageError

from ...deadline import Deadline
from .. import exits, screen
from .account import LONGEST_WAIT, add_store, help_for, load, source, store_of

if TYPE_CHECKING:
    import argparse

    from sasl.secret import Secret

_EPILOG: Final = f"""\
The token is all that is printed. One that is good for five minutes and more is printed at once; else it is renewed,
which takes {LONGEST_WAIT:g} seconds at the most. A server that has refused it all the same: --renew.

examples:
  sasl token get me@example.com
  msmtp:      passwordeval sasl token get me@example.com
  mbsync:     PassCmd "sasl token get me@example.com"
  mutt:       set imap_oauth_refresh_command="sasl token get me@example.com"
  fetchmail:  passwd from a script that runs it, with auth oauthbearer

exit codes: 0 a token was printed, 75 try later, 77 sign in again (`sasl token authorize`), 78 the client or the store
is not as it should be.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Say what the verb takes."""
    parser.description = "Print an access token that is good now, for a mail program that asks for it."
    parser.epilog = _EPILOG
    parser.add_argument("account", metavar="ACCOUNT", help="its name, as `sasl token list` shows it")
    parser.add_argument("--force", action="store_true", help="print it on a terminal too")
    parser.add_argument("--renew", action="store_true", help="get a new one, whatever the stored one looks like")
    add_store(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the token."""
    if screen.is_terminal(sys.stdout) and not arguments.force:
        raise UsageError("whoever sees a token can use it: --force prints it on a terminal all the same")
    try:
        token = _token(arguments)
    except TokenError as error:
        error.hint = help_for(error, arguments.account)
        raise
    print(token.reveal())
    return exits.DONE


def _token(arguments: argparse.Namespace) -> Secret:
    store = store_of(arguments.store)
    record = load(store, arguments.account)
    stale = record.access_token.reveal() if arguments.renew and record.access_token is not None else None
    del record
    return source(store, arguments.account, Deadline(LONGEST_WAIT)).token(stale=stale).value
