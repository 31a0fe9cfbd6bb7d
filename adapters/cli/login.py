"""`sasl login`: log in at a mail server, say how, or why not and what to do."""

from __future__ import annotations

import logging
import math
import sys
from argparse import ArgumentTypeError
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from sasl.errors import Cancelled, ConnectionLost, PolicyViolation, SASLError
from sasl.policy import Policy
from sasl.text import printable

from ..binding import log_in
from ..deadline import Deadline, alarm
from ..session import with_new_token
from . import credentials, exits, url
from .connection import connect, library_for, tls_context, tls_facts
from .outcome import Outcome

if TYPE_CHECKING:
    import argparse
    import ssl
    from collections.abc import Iterator

    from sasl.credentials import Credentials
    from sasl.policy import Choice

    from ..binding.login import LoginOptions
    from ..wire.client import Client
    from .connection import AnyLibrary
    from .url import Target

_EPILOG: Final = """\
URL is one of imap, imaps, pop, pops (or pop3, pop3s), smtp, smtps, then ://USER@HOST[:PORT]. What is not a letter, a
digit or one of -._~ in USER is percent-encoded: @ is %40. imap, pop and smtp begin TLS by STARTTLS, and end with 78
where the server has none. Certificates are always checked.

examples:
  sasl login imaps://alice%40example.org@imap.example.org
  PASSWORD=... sasl login smtp://alice@mail.example.org --password-env PASSWORD --trace
  sasl login imaps://me%40gmail.com@imap.gmail.com --token-command "oama access me@gmail.com" --json
  sasl login imaps://me%40gmail.com@imap.gmail.com --google application_default_credentials.json

--json prints one object: ok, protocol, host, port, mechanism, tls {version, cipher}, turns, initial_response,
server_text, error {type, kind, detail, advice}. The exit code says what became of it: see `sasl --help`.
"""
_LONGEST_GOODBYE: Final = 5.0  # seconds
_LONGEST_TIMEOUT: Final = 86_400.0  # seconds


def configure(parser: argparse.ArgumentParser) -> None:
    """Say what the verb takes."""
    parser.description = "Log in at a mail server, and say how; or say in plain words why it refuses, and what to do."
    parser.epilog = _EPILOG
    parser.add_argument("url", metavar="URL", help="for instance imaps://alice@imap.example.org")
    parser.add_argument(
        "--mechanism", metavar="M", help="use this mechanism, or IMAP-LOGIN, POP-USER, POP-APOP; no other"
    )
    parser.add_argument("--pin", metavar="M", help="use no mechanism that is weaker than this one")
    credentials.configure(parser)
    tls = parser.add_argument_group("TLS")
    tls.add_argument("--ca", metavar="FILE", help="trust the CAs in this PEM file, and no others")
    tls.add_argument("--client-cert", metavar="FILE", help="a PEM file with a certificate and its key, for this side")
    tls.add_argument("--no-starttls", action="store_true", help="begin no TLS; only with --allow-plaintext")
    tls.add_argument(
        "--allow-plaintext", action="store_true", help="send the credential even where TLS is not to be had"
    )
    parser.add_argument("--no-initial-response", action="store_true", help="never send one with the command")
    parser.add_argument(
        "--option",
        metavar="NAME=VALUE",
        type=_option,
        action="append",
        default=[],
        help="an option of the mechanism: realm=example.org, prepare=false",
    )
    parser.add_argument(
        "--timeout", metavar="S", type=_seconds, default=30.0, help="seconds for all but typing (default: %(default)g)"
    )
    parser.add_argument("--trace", action="store_true", help="show the exchange, without its secrets, on stderr")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Log in, and tell what became of it."""
    outcome = Outcome()
    try:
        with _trace(arguments.trace):
            _log_in(arguments, outcome)
    except SASLError as error:
        outcome.error = error
    except KeyboardInterrupt:
        outcome.error = Cancelled("interrupted")
    if arguments.json:
        print(outcome.as_json())
    else:
        outcome.print_facts()
        sys.stdout.flush()  # before stderr, where both are one terminal
        outcome.print_error()
    return exits.DONE if outcome.error is None else exits.code(outcome.error)


def _log_in(arguments: argparse.Namespace, outcome: Outcome) -> None:
    target = outcome.target = url.parse(arguments.url)
    if arguments.no_starttls and not (arguments.allow_plaintext or target.implicit_tls):
        raise PolicyViolation("--no-starttls sends the credential in the clear: it wants --allow-plaintext as well")
    deadline = Deadline(arguments.timeout)
    attempt = _Attempt(arguments, target, outcome, deadline)
    deadline.restart()  # a passphrase may have been typed
    given = credentials.obtain(arguments, target.user, deadline)
    outcome.token = given.is_token
    outcome.authzid = arguments.authzid is not None
    with_new_token(given, attempt)


class _Attempt:
    """One login on a connection of its own. What is learnt on the way goes into the outcome."""

    def __init__(self, arguments: argparse.Namespace, target: Target, outcome: Outcome, deadline: Deadline) -> None:
        self._target = target
        self._library = library_for(target.protocol)
        self._outcome = outcome
        self._tried = False
        self._deadline = deadline
        self._context: ssl.SSLContext = tls_context(
            arguments.ca, arguments.client_cert, lambda: credentials.ask("Passphrase of the client's key: ")
        )
        self._starttls = "require"
        if arguments.allow_plaintext:
            self._starttls = "never" if arguments.no_starttls else "prefer"
        self._options: LoginOptions = {
            "mechanism": arguments.mechanism,
            "initial_response": False if arguments.no_initial_response else None,
            "policy": Policy(
                plaintext="always" if arguments.allow_plaintext else "never",
                allow=() if arguments.mechanism is None else (arguments.mechanism,),
                pin=arguments.pin,
            ),
            "options": dict(arguments.option),
        }

    def __call__(self, ready: Credentials) -> None:
        """Connect and log in."""
        self._outcome.second_token = self._tried
        self._tried = True
        seconds = self._deadline.left()
        try:
            with (
                alarm(seconds),
                connect(self._target, self._context, starttls=self._starttls, timeout=seconds) as conn,
            ):
                self._outcome.connected = True
                tls = self._outcome.tls = tls_facts(conn.sock)
                _log.debug("connected with %s", f"{tls['version']} {tls['cipher']}" if tls else "no TLS")
                self._authenticate(conn, ready)
                _take_leave(self._library, conn, self._deadline)
            return
        except TimeoutError:  # between two steps; in one of them it is a ConnectionLost already
            failure = ConnectionLost("the server did not answer in time")
        except ConnectionLost as error:
            failure = error
        if failure.kind is None and not self._deadline.left():
            failure.kind = "timeout"
        raise failure

    def _authenticate(self, conn: Any, ready: Credentials) -> None:
        outcome = self._outcome
        wires: list[Client] = []

        def watch(choice: Choice, wire: Client) -> None:
            outcome.mechanism = choice.name
            wires.append(wire)
            for name, reason in choice.passed_over.items():
                _log.debug("passed over %s: %s", name, reason)

        try:
            options: LoginOptions = {**self._options, "watch": watch}
            log_in(self._library, conn, ready, **options)
        finally:
            for wire in wires:
                outcome.turns = wire.turns
                outcome.initial_response = wire.initial_response
                outcome.server_text = wire.server_text


def _take_leave(library: AnyLibrary, conn: Any, deadline: Deadline) -> None:
    """End the session as the protocol wants it. It is no matter if that fails: the login is what was asked for."""
    try:
        with alarm(min(_LONGEST_GOODBYE, deadline.left())):
            library.leave(conn)
    except Exception:
        pass


_log: Final = logging.getLogger("sasl")


@contextmanager
def _trace(wanted: bool) -> Iterator[None]:  # noqa: FBT001 -- an option
    """Show what the bindings log, on stderr: lines without their secrets."""
    if not wanted:
        yield
        return
    handler = logging.StreamHandler()
    handler.setFormatter(_Escaped())
    level = _log.level
    _log.addHandler(handler)
    _log.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        _log.removeHandler(handler)
        _log.setLevel(level)


class _Escaped(logging.Formatter):
    """One line for each record, nothing in it a control."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(record.getMessage())


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= _LONGEST_TIMEOUT:
        raise ArgumentTypeError("seconds, more than 0")
    return seconds


def _option(text: str) -> tuple[str, str | bool]:
    """Read NAME=VALUE; "true" and "false" are what they say."""
    name, separator, value = text.partition("=")
    if not separator or not name.isidentifier():
        raise ArgumentTypeError("an option is NAME=VALUE")
    return name, {"true": True, "false": False}.get(value, value)
