"""The store that `sasl token` and `sasl login --account` use, and what they share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from sasl.errors import TokenError, UsageError
from sasl.secret import Secret
from sasl.text import printable

from ...tokens.quick import folder_of
from ..credentials import decode_line, read_variable
from ..exits import NoSecret
from ..timely import Timely

if TYPE_CHECKING:
    import argparse

    from ...deadline import Deadline
    from ...tokens.oauth import OAuthTokens
    from ...tokens.record import Record
    from ...tokens.store import Store

LONGEST_WAIT: Final = 10.0
"""Seconds that a token may take, the lock of another process and the request together."""

_LONGEST_SECRET: Final = 4_096  # octets


def add_store(parser: argparse.ArgumentParser) -> None:
    """Add the option that names the folder."""
    parser.add_argument("--store", metavar="FOLDER", help="where accounts are kept (default: see `sasl token --help`)")


def store_of(named: str | None) -> Store:
    """Return the store in the folder that an option names, if any. Raises UsageError where no folder can be told."""
    from ...tokens.stores.file import FileStore

    try:
        folder = folder_of(named)
    except KeyError:
        folder = ""
    if not folder:
        raise UsageError("nobody knows where this user's files are: name a folder with --store")
    return FileStore(folder)


def load(store: Store, account: str) -> Record:
    """Return the record of an account. Raises TokenError (no_grant) if there is none."""
    record = store.load(account)
    if record is None:
        shown = printable(account)
        hint = f"`sasl token list` says which there are, `sasl token authorize {shown}` signs in."
        raise TokenError(f"there is no account {shown}", code="no_grant", needs_user=True, hint=hint)
    return record


def help_for(error: TokenError, account: str) -> str:
    """Return what to do about an account's token that cannot be had: what the source of it says, and the command."""
    if error.retryable or error.code == "no_grant":
        return error.hint or "Try again later."
    command = "authorize" if error.needs_user else "status"
    does = "signs in again" if error.needs_user else "shows what is kept"
    return f"{error.hint} `sasl token {command} {printable(account)}` {does}.".lstrip()


def host_of(record: Record, protocol: str) -> str:
    """Return the mail server of an account's provider. Raises UsageError where it is not known."""
    from ...providers.oauth import provider

    known = None if record.provider is None else provider(record.provider)
    if known is None or protocol not in known.servers:
        raise UsageError(f"name the server in the URL: nobody here knows that of {printable(record.user)}")
    return known.servers[protocol]


def source(store: Store, account: str, deadline: Deadline) -> OAuthTokens:
    """Return a source of an account's tokens that gives up at a deadline."""
    from ...tokens.oauth import OAuthTokens

    return OAuthTokens(store, account, request=request_until(deadline))


def request_until(deadline: Deadline) -> Timely:
    """Return what sends requests until a deadline."""
    from ...tokens.http import Request

    return Timely(Request(timeout=deadline.left), deadline)


def add_client(parser: argparse.ArgumentParser) -> None:
    """Add the options that name a client and its secret."""
    parser.add_argument("--client-id", metavar="ID", help="of the application that was registered with the provider")
    secret = parser.add_mutually_exclusive_group()
    secret.add_argument("--client-secret-file", metavar="FILE", help="its secret is the first line of this file")
    secret.add_argument("--client-secret-env", metavar="V", help="its secret is in this environment variable")


def client_secret(arguments: argparse.Namespace) -> Secret | None:
    """Return the client's secret, None for none. Raises UsageError where it is named and cannot be had."""
    if arguments.client_secret_env is not None:
        return Secret(read_variable(arguments.client_secret_env, "--client-secret-env"))
    if arguments.client_secret_file is None:
        return None
    try:
        with Path(arguments.client_secret_file).open("rb") as file:
            text = decode_line(file.readline(_LONGEST_SECRET))
    except (OSError, ValueError):
        text = None
    if not text:
        raise NoSecret("the file of --client-secret-file cannot be read, or is empty", "bad_file")
    return Secret(text)
