"""Where a secret comes from: a variable, a command, the terminal. Never from argv, which everybody can read."""

from __future__ import annotations

import os
import re
import shlex
import sys
from typing import TYPE_CHECKING, Final, final

from sasl.credentials import Anonymous, Bearer, External, Password
from sasl.errors import MechanismUnavailable, TokenError, UsageError
from sasl.registry import lookup
from sasl.secret import Secret
from sasl.text import printable
from sasl.value import value

from .exits import NoSecret, Undecodable, UnknownMechanism
from .screen import end_line
from .timely import Timely

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Mapping

    from sasl.credentials import Credentials
    from sasl.registry import Mechanism

    from ..deadline import Deadline
    from ..tokens.command import CommandTokens
    from ..tokens.google import GoogleTokens
    from ..tokens.oauth import OAuthTokens

_NO_CREDENTIAL: Final = (
    "no credential: name one of --password-env, --password-command, --token-env, --token-command, --google, --account"
)
_NAME: Final = re.compile(r"[A-Z_][A-Z0-9_]{0,63}")  # of a variable, as most are written


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options that say where the secret comes from."""
    group = parser.add_argument_group("the credential", "without one of these, the terminal is asked for it")
    source = group.add_mutually_exclusive_group()
    source.add_argument("--password-env", metavar="V", help="the password is in this environment variable")
    source.add_argument("--password-command", metavar="C", help="the password is the first line that this prints")
    source.add_argument("--token-env", metavar="V", help="an access token (OAuth) is in this environment variable")
    source.add_argument("--token-command", metavar="C", help="an access token is the first line that this prints")
    source.add_argument(
        "--google", metavar="FILE", help="get a token by a file of Google's: of an authorized user or a service account"
    )
    source.add_argument("--account", metavar="NAME", help="get a token of this account of `sasl token`")
    group.add_argument("--store", metavar="FOLDER", help="where accounts are kept (default: see `sasl token --help`)")
    group.add_argument(
        "--google-subject", metavar="USER", help="whom the service account acts for (default: the user in the URL)"
    )
    group.add_argument("--authzid", metavar="Z", help="act as this user, with the URL's user's password")


@final
@value
class Plan:
    """How to get what to log in with.

    Attributes:
        kind: the type of the credentials.
        obtain: gets them, by asking whoever has the secret. A command or a request has the time that the deadline
            shows then; it begins anew when somebody has typed. Raises UsageError; TokenError for a file of --google
            that cannot be used. A `Bearer` of --token-command, --google or --account is still to be resolved.
    """

    kind: type
    obtain: Callable[[Deadline], Credentials]


def plan(arguments: argparse.Namespace, user: str | None) -> Plan:
    """Return how to get what to log in with: all is checked that can be before anybody is asked for a secret.

    The mechanism asked for, if any, decides what is asked of the terminal.
    Raises UsageError, UnknownMechanism for a mechanism that nobody provides.
    """
    if arguments.google_subject is not None and arguments.google is None:
        raise UsageError("--google-subject wants the --google file of a service account")
    if arguments.store is not None and arguments.account is None:
        raise UsageError("--store wants the --account in it")
    kind = _kind(arguments)
    if kind in _WITHOUT_SECRET:
        return Plan(kind, lambda _deadline: _WITHOUT_SECRET[kind](arguments.authzid, user))
    if user is None:
        raise UsageError("the URL names no user: imaps://user@imap.example.com")
    if kind is Bearer:
        return Plan(kind, _bearer(arguments, user))
    if kind is not Password and arguments.authzid is not None:
        raise UsageError(f"{kind.__name__} takes no --authzid")
    password = _password(arguments, user)
    if kind is Password:
        return Plan(kind, lambda deadline: Password(user, password(deadline), authzid=arguments.authzid))
    return Plan(kind, lambda deadline: kind(user, password(deadline)))  # of a plug-in


def obtain(arguments: argparse.Namespace, user: str | None, deadline: Deadline) -> Credentials:
    """Return what to log in with, at once. Raises as `plan` does, and what it returns."""
    return plan(arguments, user).obtain(deadline)


_WITHOUT_SECRET: Final[Mapping[type, Callable[[str | None, str | None], Credentials]]] = {
    External: lambda authzid, user: External(authzid or user),
    Anonymous: lambda _, user: Anonymous(user or ""),
}


def _bearer(arguments: argparse.Namespace, user: str) -> Callable[[Deadline], Credentials]:
    if arguments.authzid is not None:
        raise UsageError("a token has no --authzid: the user in the URL is the mailbox to open")
    if arguments.google is not None:
        return lambda deadline: Bearer(user, _google(arguments, user, deadline))
    if arguments.account is not None:
        return lambda deadline: Bearer(user, _account(arguments, deadline))
    if arguments.token_command is not None:
        words = split_command(arguments.token_command, "--token-command")
        return lambda deadline: Bearer(user, _command(words, deadline))
    if arguments.token_env is not None:
        token = Secret(read_variable(arguments.token_env, "--token-env"))
        return lambda _deadline: Bearer(user, token)
    check_terminal()
    return lambda deadline: Bearer(user, _ask_untimed(f"Access token for {printable(user)}: ", deadline))


def _password(arguments: argparse.Namespace, user: str) -> Callable[[Deadline], str]:
    if arguments.password_env is not None:
        password = Secret(read_variable(arguments.password_env, "--password-env"))
        return lambda _deadline: password.reveal()
    if arguments.password_command is not None:
        words = split_command(arguments.password_command, "--password-command")
        return lambda deadline: password_of(words, deadline)
    check_terminal()
    return lambda deadline: _ask_untimed(f"Password for {printable(user)}: ", deadline)


def password_of(words: list[str], deadline: Deadline) -> str:
    """Return the first line that a command of --password-command prints. Raises NoSecret."""
    from ..tokens.command import called, run

    try:
        printed = run(words, deadline.left(), name=called(words, "--password-command"), interactive=True)
        return decode_line(printed.partition(b"\n")[0]) or ""
    except TokenError as error:
        failure = NoSecret(str(error), error.code or "command_failed")
    raise failure


def _command(words: list[str], deadline: Deadline) -> CommandTokens:
    """Return a source whose command may ask at the terminal, and says there what is wrong."""
    from ..tokens.command import CommandTokens

    return CommandTokens(words, timeout=deadline.left, name="--token-command", interactive=True)


def _kind(arguments: argparse.Namespace) -> type:
    """The type of credentials: that of the option given, if the mechanism asked for takes it, or else the mechanism's.

    What takes neither a password nor a token is made of what the option for a password gives.
    """
    wanted = Password if arguments.mechanism is None else _row(arguments.mechanism).credentials
    tokens = (arguments.token_env, arguments.token_command, arguments.google, arguments.account)
    if any(option is not None for option in tokens):
        return Bearer
    if arguments.password_env is None and arguments.password_command is None:
        return wanted
    return Password if wanted is Bearer or wanted in _WITHOUT_SECRET else wanted


def _account(arguments: argparse.Namespace, deadline: Deadline) -> OAuthTokens:
    from .token.account import source, store_of

    return source(store_of(arguments.store), arguments.account, deadline)


def _google(arguments: argparse.Namespace, user: str, deadline: Deadline) -> GoogleTokens:
    """Return a source for the file. A service account of its own has no mailbox, so it acts for the URL's user."""
    from ..tokens import google

    subject = arguments.google_subject
    if subject is None and google.type_of(arguments.google) == google.SERVICE_ACCOUNT:
        subject = user
    request = Timely(google.Request(timeout=deadline.left), deadline)
    return google.from_file(arguments.google, subject=subject, request=request)


def _row(name: str) -> Mechanism:
    try:
        return lookup(name)
    except MechanismUnavailable as error:
        failure = UnknownMechanism(str(error), mechanism=error.mechanism)
    raise failure


def read_variable(name: str, option: str) -> str:
    """Read a variable. What does not look like the name of one is not shown: it may be the secret itself."""
    text = decode_line(os.fsencode(os.environ.get(name, "")))
    shown = f"the variable {name} of {option}" if _NAME.fullmatch(name) else f"the variable that {option} names"
    if text is None:
        raise Undecodable(f"{shown} does not hold UTF-8")
    if not text:
        raise NoSecret(f"{shown} is not set, or is empty", "variable_not_set")
    return text


def split_command(command: str, option: str) -> list[str]:
    """Return the words of a command, as a shell tells them apart. Raises NoSecret."""
    try:
        words = shlex.split(command)
    except ValueError:
        words = []
    if not words:
        raise NoSecret(f"the command of {option} is empty, or a quote in it is not closed", "command_not_run")
    return words


def decode_line(octets: bytes) -> str | None:
    """Return a line without its end, or None if it is not UTF-8."""
    try:
        return octets.decode("utf-8").rstrip("\r\n")
    except UnicodeError:
        return None


def _ask_untimed(prompt: str, deadline: Deadline) -> str:
    """Ask the terminal; the time that somebody types does not count."""
    secret = ask(prompt)
    deadline.restart()
    return secret


def check_terminal(said: str = _NO_CREDENTIAL) -> None:
    """Raise UsageError, which says this, where there is no terminal to ask."""
    if sys.stdin is None or not sys.stdin.isatty():
        raise UsageError(said)


def ask(prompt: str) -> str:
    """Ask the terminal for a secret, without echo. Raises UsageError where there is no terminal."""
    check_terminal()
    import getpass
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("error", getpass.GetPassWarning)
        try:
            secret = getpass.getpass(prompt)
        except (EOFError, getpass.GetPassWarning):
            end_line()
            secret = ""
        except UnicodeError:
            secret = None
    if secret is None:
        raise Undecodable("what was typed is not UTF-8")
    if not secret:
        raise UsageError("no credential was given")
    return secret
