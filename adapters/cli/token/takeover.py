"""`sasl token import`: take over the grant that another program has got."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sasl.errors import UsageError
from sasl.text import printable

from ...deadline import Deadline
from .. import exits, screen
from ..credentials import ask, check_terminal, password_of, split_command
from . import foreign
from .account import add_client, add_store, client_secret, store_of

if TYPE_CHECKING:
    import argparse

    from ...tokens.record import Record
    from .foreign import Grant

_EPILOG: Final = """\
formats, told by the content where --format is not given:
  google             an authorized user: application_default_credentials.json of gcloud, to_json() of google-auth
  mutt               the token file of mutt_oauth2.py, decrypted
  oama               a record of oama, decrypted; its client stands in oama's configuration, so name it
  email-oauth2-proxy its configuration or its cache; tokens in it are encrypted with the password that mail programs
                     give the proxy, which is asked for

examples:
  sasl token import ~/.config/gcloud/application_default_credentials.json --user me@gmail.com
  gpg --decrypt ~/.mutt/me.tokens | sasl token import -
  secret-tool lookup oama me@gmail.com | sasl token import - --client-id ID --client-secret-file secret.txt
  sasl token import emailproxy.config --account me@example.com

Let the other program rest from now on: where each renewal gives a new refresh token, two programs that renew one grant
lock each other out.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Say what the verb takes."""
    parser.description = "Keep the grant that another program has got, so that nobody has to sign in again."
    parser.epilog = _EPILOG
    parser.add_argument("file", metavar="FILE", help="the file, or - for stdin")
    parser.add_argument("--format", metavar="F", choices=foreign.FORMATS, help=", ".join(foreign.FORMATS))
    parser.add_argument("--account", metavar="NAME", help="what to call it here (default: the user)")
    parser.add_argument("--user", metavar="USER", help="the mailbox, where the file does not say")
    parser.add_argument("--token-endpoint", metavar="URL", help="where tokens are renewed, if not as the file says")
    add_client(parser)
    parser.add_argument(
        "--password-command", metavar="C", help="the proxy's password is the first line of what it prints"
    )
    add_store(parser)


def run(arguments: argparse.Namespace) -> int:
    """Read, complete, store."""
    octets = _read(arguments.file)
    form = arguments.format or foreign.recognise(octets)
    grant = _of_proxy(octets, arguments) if form == foreign.PROXY else foreign.READERS[form](octets)
    del octets
    record = _record(grant, arguments)
    store_of(arguments.store).put(record)
    screen.print_line(f"kept as {printable(record.key)}: let the other program rest from now on", file=sys.stderr)
    return exits.DONE


def _read(name: str) -> bytes:
    """Return the content of a file, or of stdin."""
    if name == "-" and sys.stdin is None:
        raise UsageError("there is no stdin")
    try:
        if name == "-":
            octets = sys.stdin.buffer.read(foreign.LARGEST + 1)
        else:
            with Path(name).open("rb") as file:
                octets = file.read(foreign.LARGEST + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it has no name that can be one"
    else:
        if len(octets) <= foreign.LARGEST:
            return octets
        reason = f"it has more than {foreign.LARGEST} octets"
    raise foreign.bad_file(f"cannot be read: {reason}")


def _of_proxy(octets: bytes, arguments: argparse.Namespace) -> Grant:
    """Return the grant of the one account that is meant."""
    accounts = foreign.proxy_accounts(octets)
    wanted = arguments.user or arguments.account
    if wanted is None and len(accounts) != 1:
        names = ", ".join(map(printable, accounts)) or "no account with a refresh token"
        raise UsageError(f"name the account of the proxy with --user: the file has {names}")
    account = accounts[0] if wanted is None else wanted
    if account not in accounts:
        raise UsageError("the file has no such account with a refresh token")
    if arguments.password_command is not None:
        password = password_of(split_command(arguments.password_command, "--password-command"), Deadline(60))
    else:
        check_terminal("the tokens in the file are encrypted: name --password-command")
        password = ask(f"Password that mail programs give the proxy for {printable(account)}: ")
    try:
        return foreign.read_proxy(octets, account, password)
    finally:
        del password, octets


def _record(grant: Grant, arguments: argparse.Namespace) -> Record:
    """Return what to keep: what the file says, completed by the options."""
    from ...tokens._authorization import check_address
    from ...tokens.record import Record

    address = arguments.account if "@" in (arguments.account or "") else None
    user = _needed(arguments.user or grant.user or address, "--user")
    endpoint = _needed(arguments.token_endpoint or grant.token_endpoint, "--token-endpoint")
    client_id = _needed(arguments.client_id or grant.client_id, "--client-id")
    check_address(endpoint, "the token endpoint")
    secret = client_secret(arguments)
    return Record(
        arguments.account or user,
        user,
        endpoint,
        client_id,
        client_secret=grant.client_secret if secret is None and arguments.client_id is None else secret,
        provider=grant.provider,
        refresh_token=grant.refresh_token,
        access_token=grant.access_token,
        expires_at=grant.expires_at,
        granted_scope=grant.scope,
        granted_at=time.time(),
    )


def _needed(content: str | None, option: str) -> str:
    if not content:
        raise UsageError(f"the file does not say that: name {option}")
    return content
