"""`sasl login`: log in at a mail server, say how, or why not and what to do."""

from __future__ import annotations

import logging
import math
import sys
from argparse import ArgumentTypeError
from contextlib import ExitStack, contextmanager
from time import monotonic
from typing import TYPE_CHECKING, Final

from sasl.credentials import Bearer, Password
from sasl.errors import (
    Cancelled,
    ConnectionLost,
    MechanismUnavailable,
    PolicyViolation,
    ProtocolError,
    SASLError,
    ServerNotProven,
    UsageError,
)
from sasl.policy import Policy
from sasl.text import printable
from sasl.value import replace

from ..binding import log_in, timeout_error
from ..deadline import Deadline, alarm
from ..session import with_new_token
from . import credentials, look, screen, url
from .connection import tls_context
from .outcome import Outcome

if TYPE_CHECKING:
    import argparse
    import ssl
    from collections.abc import Callable, Iterator, Mapping

    from sasl.credentials import Credentials
    from sasl.policy import Choice

    from ..binding.login import LoginOptions
    from ..wire.client import Client
    from .look import Visit
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
  sasl login --account me@example.org
  sasl login smtp://mail.example.org --account me@example.org

An account is one of `sasl token`: it knows the user, and where its provider is known here the host too, so that the URL
may be left out or end behind ://.

The server is looked at before anybody is asked for the password: TLS, its certificate, what it offers.

--json prints one object: ok, protocol, host, port, user, mechanism, fallback (whose refusal was gone on from), offered
[names], tls {version, cipher}, certificate {subject, issuer, names, not_before, not_after, sha256}, turns,
initial_response, milliseconds, server_text, response_code, new_token_may_help, error {type, kind, detail, advice},
exit. The exit code says what became of it: see `sasl --help`.
"""
_LONGEST_GOODBYE: Final = 5.0  # seconds
_LONGEST_TIMEOUT: Final = 86_400.0  # seconds
_LONGEST_PAUSE: Final = 20.0  # seconds for which a connection is kept while somebody types; servers wait for a minute


def configure(parser: argparse.ArgumentParser) -> None:
    """Say what the verb takes."""
    parser.description = "Log in at a mail server, and say how; or say in plain words why it refuses, and what to do."
    parser.epilog = _EPILOG
    parser.usage = "%(prog)s [URL] [OPTION ...]"
    parser.add_argument("url", metavar="URL", nargs="?", help="for instance imaps://alice@imap.example.org")
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
    parser.add_argument("--ehlo-name", metavar="N", help="what SMTP's EHLO calls this machine (default: [127.0.0.1])")
    parser.add_argument(
        "--no-fallback", action="store_true", help="try no other mechanism after a refusal that is not about the secret"
    )
    parser.add_argument(
        "--no-prepare", action="store_true", help="take the password as it is typed, without SASLprep (RFC 4013)"
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


def missing(arguments: argparse.Namespace) -> str:
    """Return the name of an argument that has to be there."""
    return "URL" if arguments.url is None and arguments.account is None else ""


def run(arguments: argparse.Namespace) -> int:
    """Log in, and tell what became of it."""
    outcome = Outcome()
    try:
        with _trace(arguments.trace):
            _log_in(arguments, outcome)
    except SASLError as error:
        outcome.error = error
    except KeyboardInterrupt:
        screen.end_line()  # behind the ^C
        outcome.error = Cancelled("interrupted")
    if arguments.json:
        screen.print_line(outcome.as_json(), file=sys.stdout)
        return outcome.exit
    outcome.print_facts()
    if sys.stdout is not None:
        sys.stdout.flush()  # before stderr, where both are one terminal
    outcome.print_error()
    return outcome.exit


def _log_in(arguments: argparse.Namespace, outcome: Outcome) -> None:
    outcome.account = arguments.account
    target = outcome.target = _target(arguments)
    if arguments.no_starttls and not (arguments.allow_plaintext or target.implicit_tls):
        raise PolicyViolation("--no-starttls sends the credential in the clear: it wants --allow-plaintext as well")
    plan = credentials.plan(arguments, target.user)
    outcome.token = plan.kind is Bearer
    outcome.authzid = arguments.authzid is not None
    deadline = Deadline(arguments.timeout)
    attempt = _Attempt(arguments, target, outcome, deadline)
    deadline.restart()  # a passphrase may have been typed
    try:
        attempt.look(plan.kind)
        with_new_token(plan.obtain(deadline), attempt)
    finally:
        attempt.close()


def _target(arguments: argparse.Namespace) -> Target:
    """Return where to log in, and as whom: what the URL does not say is known of the account."""
    if arguments.account is None:
        return url.parse(arguments.url)
    from .token.account import host_of, load, store_of

    record = load(store_of(arguments.store), arguments.account)
    target = url.parse(arguments.url or "imaps://", lambda protocol: host_of(record, protocol))
    return target if target.user is not None else replace(target, user=record.user)


class _Attempt:
    """One login on a connection of its own. What is learnt on the way goes into the outcome.

    The first connection is opened before anybody is asked for the credential.
    """

    def __init__(self, arguments: argparse.Namespace, target: Target, outcome: Outcome, deadline: Deadline) -> None:
        self._target = target
        self._outcome = outcome
        self._tried = False
        self._deadline = deadline
        self._says = not arguments.json
        self._open = ExitStack()
        self._visit: Visit | None = None
        self._since = 0.0
        self._context: ssl.SSLContext = tls_context(
            arguments.ca, arguments.client_cert, lambda: credentials.ask("Passphrase of the client's key: ")
        )
        self._name: str | None = arguments.ehlo_name
        self._starttls = "require"
        if arguments.allow_plaintext:
            self._starttls = "never" if arguments.no_starttls else "prefer"
        self._mechanism: str | None = arguments.mechanism
        self._policy = _policy(arguments)
        self._options: LoginOptions = {
            "mechanism": self._mechanism,
            "initial_response": False if arguments.no_initial_response else None,
            "policy": self._policy,
            "options": dict(arguments.option),
        }

    def look(self, kind: type) -> None:
        """Connect, and see whether the server offers anything for credentials of that kind."""
        visit = self._connect()
        if kind in _STAND_INS:
            stand_in, channel = _STAND_INS[kind](self._target.user), visit.library.channel(visit.conn)
            visit.offer.choose(stand_in, policy=self._policy, channel=channel, mechanism=self._mechanism)

    def __call__(self, ready: Credentials) -> None:
        """Log in; on a new connection where the first one has been used, or has waited for long."""
        self._outcome.second_token = self._tried
        self._tried = True
        visit = self._visit
        if visit is None or monotonic() - self._since > _LONGEST_PAUSE:
            visit = self._connect()
        self._outcome.note(ready)
        try:
            with self._timed("to log in"):
                self._authenticate(visit, ready)
            _take_leave(visit, self._deadline)
        finally:
            self.close()

    def close(self) -> None:
        """Close the connection, if there is one."""
        self._visit = None
        self._open.close()

    def _connect(self) -> Visit:
        self.close()
        with self._timed("to answer"):
            opening = look.visit(
                self._target,
                self._context,
                starttls=self._starttls,
                timeout=self._deadline.left(),
                name=self._name,
            )
            visit = self._visit = self._open.enter_context(opening)
        self._since = monotonic()
        self._outcome.look = visit.look
        return visit

    @contextmanager
    def _timed(self, what: str) -> Iterator[None]:
        """Limit the time that the body takes, and say what is waited for."""
        begun = monotonic()
        waiting = f"{self._target.host} port {self._target.port} {what}"
        try:
            with screen.told_what_takes_long(waiting, wanted=self._says), alarm(self._deadline.left()):
                yield
            return
        except TimeoutError:  # between two steps; in one of them it is a ConnectionLost already
            failure: SASLError = timeout_error()
        except ServerNotProven:
            raise
        except (ConnectionLost, MechanismUnavailable, ProtocolError, UsageError) as error:
            failure = self._explain(error)
        finally:
            self._outcome.milliseconds += round((monotonic() - begun) * 1000)
        raise failure

    def _explain(self, error: SASLError) -> SASLError:
        """Return what an error means: where the time is over, the alarm may have rung wherever this side was."""
        if self._deadline.left():
            return error
        if isinstance(error, ConnectionLost):
            error.kind = error.kind or "timeout"
            return error
        late = timeout_error()
        late.mechanism = error.mechanism
        return late

    def _authenticate(self, visit: Visit, ready: Credentials) -> None:
        outcome = self._outcome
        wires: list[Client] = []

        def watch(choice: Choice, wire: Client) -> None:
            outcome.mechanism = choice.name
            outcome.fallback = choice.fallback
            wires.append(wire)
            _log.debug("chose %s of %s", choice.name, " ".join(visit.look.offered) or "no mechanisms")

        try:
            options: LoginOptions = {**self._options, "watch": watch}
            log_in(visit.library, visit.conn, ready, **options)
        finally:
            for wire in wires:
                outcome.turns = wire.turns
                outcome.initial_response = wire.initial_response
                outcome.server_text = wire.server_text
                outcome.revealed = wire.exchange.revealed


_STAND_INS: Final[Mapping[type, Callable[[str | None], Credentials]]] = {
    Password: lambda user: Password(user or "", "stands in"),
    Bearer: lambda user: Bearer(user or "", "stands-in"),
}
"""What a server's offer is tried with before the credential is there."""


def _policy(arguments: argparse.Namespace) -> Policy:
    return Policy(
        plaintext="always" if arguments.allow_plaintext else "never",
        allow=() if arguments.mechanism is None else (arguments.mechanism,),
        pin=arguments.pin,
        fallback=not arguments.no_fallback,
        prepare=not arguments.no_prepare,
    )


def _take_leave(visit: Visit, deadline: Deadline) -> None:
    """End the session as the protocol wants it. It is no matter if that fails: the login is what was asked for."""
    try:
        with alarm(min(_LONGEST_GOODBYE, deadline.left())):
            visit.library.leave(visit.conn)
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
