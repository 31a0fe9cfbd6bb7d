"""Where a secret comes from: a variable, a command, the terminal. Never from argv, which everybody can read."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Final, final

from sasl.credentials import AccessToken, Anonymous, Bearer, External, Password
from sasl.errors import MechanismUnavailable, TokenError, UsageError
from sasl.registry import lookup
from sasl.secret import Secret
from sasl.text import printable
from sasl.value import value

from ..deadline import alarm
from .exits import TRY_LATER, NoSecret, Undecodable, UnknownMechanism
from .screen import end_line

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Mapping

    from sasl.credentials import Credentials
    from sasl.registry import Mechanism

    from ..deadline import Deadline
    from ..tokens.google import GoogleTokens, Request

_LONGEST: Final = 65_536  # octets of a secret, as of a SASL message
_LONGEST_NAME: Final = 100  # characters of a program's name
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
            that cannot be used. A `Bearer` of --token-command or --google is still to be resolved.
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
    if arguments.token_command is not None:
        words = _words(arguments.token_command, "--token-command")
        return lambda deadline: Bearer(user, CommandToken(words, deadline))
    if arguments.token_env is not None:
        token = Secret(_variable(arguments.token_env, "--token-env"))
        return lambda _deadline: Bearer(user, token)
    check_terminal()
    return lambda deadline: Bearer(user, _ask_untimed(f"Access token for {printable(user)}: ", deadline))


def _password(arguments: argparse.Namespace, user: str) -> Callable[[Deadline], str]:
    if arguments.password_env is not None:
        password = Secret(_variable(arguments.password_env, "--password-env"))
        return lambda _deadline: password.reveal()
    if arguments.password_command is not None:
        words = _words(arguments.password_command, "--password-command")
        return lambda deadline: _password_of(words, deadline)
    check_terminal()
    return lambda deadline: _ask_untimed(f"Password for {printable(user)}: ", deadline)


def _password_of(words: list[str], deadline: Deadline) -> str:
    try:
        return _output(words, deadline.left(), "--password-command")
    except TokenError as error:
        failure = NoSecret(str(error), error.code or "command_failed")
    raise failure


@final
class CommandToken:
    """Asks a command for a token, anew each time."""

    def __init__(self, words: list[str], deadline: Deadline) -> None:
        self._words = words
        self._deadline = deadline

    def token(self, *, stale: str | None = None) -> AccessToken:  # noqa: ARG002 -- the command is not told
        """Run the command. Raises TokenError if that gives no token."""
        return AccessToken(_output(self._words, self._deadline.left(), "--token-command"))


def _kind(arguments: argparse.Namespace) -> type:
    """The type of credentials: that of the option given, if the mechanism asked for takes it, or else the mechanism's.

    What takes neither a password nor a token is made of what the option for a password gives.
    """
    wanted = Password if arguments.mechanism is None else _row(arguments.mechanism).credentials
    if arguments.token_env is not None or arguments.token_command is not None or arguments.google is not None:
        return Bearer
    if arguments.password_env is None and arguments.password_command is None:
        return wanted
    return Password if wanted is Bearer or wanted in _WITHOUT_SECRET else wanted


def _google(arguments: argparse.Namespace, user: str, deadline: Deadline) -> GoogleTokens:
    """Return a source for the file. A service account of its own has no mailbox, so it acts for the URL's user."""
    from ..tokens import google

    subject = arguments.google_subject
    if subject is None and google.type_of(arguments.google) == google.SERVICE_ACCOUNT:
        subject = user
    request = _Timely(google.Request(timeout=deadline.left), deadline)
    return google.from_file(arguments.google, subject=subject, request=request)


class _Timely:
    """Sends requests for google-auth, and gives up in time also where a name is looked up.

    The deadline is for them alone: one that rang while a new refresh token is stored would lose it.
    """

    def __init__(self, send: Request, deadline: Deadline) -> None:
        self.timeout = deadline.left
        self._send = send

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        with alarm(self.timeout()):
            return self._send(*arguments, **named)


def _row(name: str) -> Mechanism:
    try:
        return lookup(name)
    except MechanismUnavailable as error:
        failure = UnknownMechanism(str(error), mechanism=error.mechanism)
    raise failure


def _variable(name: str, option: str) -> str:
    """Read a variable. What does not look like the name of one is not shown: it may be the secret itself."""
    text = decode_line(os.fsencode(os.environ.get(name, "")))
    shown = f"the variable {name} of {option}" if _NAME.fullmatch(name) else f"the variable that {option} names"
    if text is None:
        raise Undecodable(f"{shown} does not hold UTF-8")
    if not text:
        raise NoSecret(f"{shown} is not set, or is empty", "variable_not_set")
    return text


def _words(command: str, option: str) -> list[str]:
    try:
        words = shlex.split(command)
    except ValueError:
        words = []
    if not words:
        raise NoSecret(f"the command of {option} is empty, or a quote in it is not closed", "command_not_run")
    return words


def _called(words: list[str], option: str) -> str:
    """Return how a command is named. One word that is no path may be the secret itself."""
    named = len(words) > 1 or "/" in words[0]
    return f"{option} ({printable(words[0], limit=_LONGEST_NAME)})" if named else option


def _output(words: list[str], timeout: float, option: str) -> str:
    """Run a command without a shell and return the first line that it prints.

    Raises TokenError: retryable if it ends with 75 (sysexits.h) or takes too long, needs_user for any other exit
    code: somebody has to look at what it said on stderr.
    """
    source = _called(words, option)
    try:
        status, line = _first_line(words, timeout)
    except TimeoutError:
        failure = TokenError(f"{source} took too long", code="command_timeout", retryable=True)
    except (OSError, ValueError) as error:
        failure = TokenError(f"{source} cannot run: {_why(error)}", code="command_not_run")
    else:
        text = decode_line(line)
        if not status and text:
            return text
        failure = TokenError(f"{source} printed no text in UTF-8 on its first line", code="no_token")
        if status:
            failure = TokenError(
                f"{source} failed with exit code {status}",
                code="try_later" if status == TRY_LATER else "command_failed",
                retryable=status == TRY_LATER,
                needs_user=status != TRY_LATER,
            )
    raise failure


def _why(error: OSError | ValueError) -> str:
    if isinstance(error, FileNotFoundError):
        return "there is no such program"
    return str(error.strerror) if isinstance(error, OSError) else "it holds a NUL"


def _first_line(words: list[str], timeout: float) -> tuple[int, bytes]:
    """Run a command; return its exit code and the first line that it printed.

    Its stdin and stderr are ours: it may ask for a passphrase, and say what is wrong.
    Raises OSError or ValueError if it cannot run, TimeoutError if it takes too long; it is killed then.
    """
    with subprocess.Popen(words, stdout=subprocess.PIPE) as process:  # noqa: S603 -- the user's own command
        assert process.stdout is not None  # noqa: S101 -- for mypy: it is a pipe
        try:
            with alarm(timeout):
                line = process.stdout.readline(_LONGEST)
                while process.stdout.read(_LONGEST):
                    pass  # it may have more to say, and would fail if nobody took it
                return process.wait(), line
        except BaseException:
            process.kill()
            raise


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


def check_terminal() -> None:
    """Raise UsageError where there is no terminal to ask."""
    if sys.stdin is None or not sys.stdin.isatty():
        raise UsageError(
            "no credential: name one of --password-env, --password-command, --token-env, --token-command, --google"
        )


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
