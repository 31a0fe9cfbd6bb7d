"""The command line: `sasl VERB`, with the exit codes of sysexits.h.

A verb is a module in this folder with `configure(parser)`, which says what it takes, and `run(arguments)`, which
returns an exit code; one whose arguments depend on each other names what is missing by `missing(arguments)`. It is
imported when it is asked for, so that a light verb stays light.
"""

from __future__ import annotations

import argparse
import io
import os
import re
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, NoReturn

from sasl import __version__
from sasl.errors import SASLError, UsageError
from sasl.text import printable

from . import exits
from .screen import print_line

if TYPE_CHECKING:
    from collections.abc import Sequence

VERBS: Final = {
    "login": "log in at a mail server, or say in plain words why it refuses",
    "token": "sign in at a provider once, and get tokens from then on",
    "demo": "log in with every mechanism at servers that it brings along",
    "serve": "run servers to test clients against, until interrupted",
    "mechs": "list the mechanisms that are registered",
    "mkpasswd": "print what a server stores instead of a password",
}

_EPILOG: Final = """\
`sasl VERB --help` explains a verb, with an example.

exit codes (sysexits.h):
  0  done                     74  I/O error, or the server hung up
  64 usage                    75  try later
  65 undecodable input        76  the server broke the protocol, or its certificate is not trusted
  68 no such host             77  refused
  69 mechanism unavailable    78  policy or configuration
  70 a bug here               130 interrupted
"""


class _Parser(argparse.ArgumentParser):
    """Ends with 64 where argparse has 2, and notices where its help cannot be written.

    Attributes:
        wrong: what it has against the arguments; "" for nothing.
    """

    wrong: str = ""

    def print_help(self, file: Any = None) -> None:
        print(self.format_help(), end="", file=file)

    def error(self, message: str) -> NoReturn:
        self.wrong = _without_values(message)
        if sys.stderr is not None:
            self.print_usage(sys.stderr)
        self.exit(exits.USAGE, f"{self.prog}: {printable(self.wrong)}\n")


def _without_values(message: str) -> str:
    """Return what argparse says without what was typed, which may be a secret."""
    message = re.sub(r"(?s)(ignored explicit argument) .*", r"\1", message)
    message = re.sub(r"(?s)(invalid choice): .* (\(choose from )", r"\1 \2", message)
    message = re.sub(r"(?s)(invalid choice): .*", r"\1", message)
    return re.sub(r"(?s)(invalid \w+ value): .*", r"\1", message)


def main(argv: Sequence[str]) -> int:
    """Run one verb with its arguments and return the exit code."""
    for stream in (sys.stdout, sys.stderr):  # None where it was closed from the start
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that has no such letter is no reason to fail
    try:
        code = _run(argv)
        print(end="", flush=True)
    except KeyboardInterrupt:
        _say("interrupted")
        return exits.INTERRUPTED
    except SASLError as error:
        hint = getattr(error, "hint", "")
        _say(printable(f"{str(error).rstrip('.')}. {hint}" if hint else str(error)))
        return exits.code(error)
    except ImportError as error:
        _say(f"not installed: {printable(str(error.name))}")
        return exits.UNAVAILABLE
    except OSError as error:
        return _report_io_error(error)
    except Exception as error:
        return _report_bug(error)
    return code


def _run(argv: Sequence[str]) -> int:
    parser = _Parser(
        prog="sasl",
        description="SASL logins by passwords, OAuth tokens and certificates, over IMAP, POP3 and SMTP.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"saslkit {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True, title="verbs")
    wanted = next((word for word in argv if not word.startswith("-")), None)
    module: Any = None
    chosen = parser
    for name, summary in VERBS.items():
        verb = verbs.add_parser(
            name, help=summary, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
        )
        if name == wanted:
            module, chosen = import_module(f".{name}", __name__), verb
            module.configure(verb)
    try:
        arguments, unknown = parser.parse_known_args(argv)
        if unknown:
            # Never what it was set to: somebody will try --password=...
            names = sorted({word.partition("=")[0] for word in unknown if word.startswith("--")})
            chosen.error(f"unknown: {', '.join(names) or 'more arguments than it takes'}")
        if wrong := getattr(module, "missing", _nothing)(arguments):
            chosen.error(f"the following arguments are required: {wrong}")
    except SystemExit as ended:
        if chosen.wrong and wanted == "login" and "--json" in argv:
            from .outcome import Outcome

            print_line(Outcome(error=UsageError(chosen.wrong)).as_json(), file=sys.stdout)
        return int(ended.code or exits.DONE)
    code: int = module.run(arguments)
    return code


def _nothing(_arguments: argparse.Namespace) -> str:
    return ""


def _report_io_error(error: OSError) -> int:
    """Nobody reads the output any more, or there is no room for it."""
    if not isinstance(error, BrokenPipeError):
        _say(f"I/O error: {error.strerror}")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # Python flushes again at its end, and would fail again
    return exits.IO


def _report_bug(error: Exception) -> int:
    """Say so without the exception's text, which may hold a secret; SASL_DEBUG=1 shows where it happened."""
    if os.environ.get("SASL_DEBUG"):
        import traceback

        traceback.print_tb(error.__traceback__)
    _say(f"a bug in sasl: {type(error).__name__}; SASL_DEBUG=1 shows where")
    return exits.BUG


def _say(text: str) -> None:
    try:
        print_line(f"sasl: {text}", file=sys.stderr)
    except OSError:  # nobody listens
        pass
