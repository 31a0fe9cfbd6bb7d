"""`sasl token VERB`: sign in once, and get, show and revoke what came of it.

Each verb has a module here, which is imported when it is asked for.
"""

from __future__ import annotations

import argparse
from importlib import import_module
from typing import Any, Final

VERBS: Final = {
    "authorize": ("authorize", "sign in at a provider, and keep what it grants"),
    "get": ("get", "print an access token that is good now"),
    "list": ("listing", "list the accounts that are kept"),
    "status": ("status", "say how long tokens are good for, and what was refused"),
    "revoke": ("revoke", "give a grant back, and forget the account"),
    "import": ("takeover", "take over what another program has got"),
}
"""The module and the summary of each verb."""

_EPILOG: Final = """\
Accounts are kept in files that nobody else can read: in the folder of --store, of the variable SASLKIT_TOKENS, or in
~/.local/state/saslkit/tokens. `sasl token VERB --help` explains a verb, with an example.

examples:
  sasl token authorize me@example.com --client-id ID
  sasl token get me@example.com
  sasl login --account me@example.com
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Say what the verb takes."""
    parser.description = "Sign in at a provider once; then get tokens from what it granted, renewed when it is time."
    parser.epilog = _EPILOG
    verbs = parser.add_subparsers(dest="token_verb", metavar="VERB", required=True, title="verbs")
    for name, (module, summary) in VERBS.items():
        verb = verbs.add_parser(
            name, help=summary, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
        )
        import_module(f".{module}", __name__).configure(verb)


def run(arguments: argparse.Namespace) -> int:
    """Run the verb."""
    module: Any = import_module(f".{VERBS[arguments.token_verb][0]}", __name__)
    code: int = module.run(arguments)
    return code
