"""`sasl demo`: logins with every mechanism at servers that it brings along, a refusal explained, and one cured."""

from __future__ import annotations

import imaplib
import json
import poplib
import ssl
import textwrap
import time
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final, final

from sasl.channel import Channel
from sasl.credentials import Anonymous, Bearer, External, Password
from sasl.errors import AuthenticationFailed, SASLError, TokenError
from sasl.policy import Policy, offer
from sasl.registry import known_mechanisms, lookup
from sasl.resolution import resolve
from sasl.text import printable
from sasl.value import value

from .. import imaplib as imap_binding
from .. import poplib as pop_binding
from .. import smtplib as smtp_binding
from ..binding import connect, log_in
from ..documents import replace_file
from ..session import Session
from . import exits
from .advice import Facts, advice
from .mechs import print_table

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Mapping

    from sasl.credentials import Credentials, Token

    from .. import reference
    from ..binding import Library
    from ..reference import Endpoint, Servers
    from ..reference.token_endpoint import TokenEndpoint
    from ..tokens.google import GoogleTokens

_EPILOG: Final = """\
example:
  sasl demo

It starts an IMAP, a POP3 and a SMTP server on free ports of this machine, with a CA made on the spot, logs in with
imaplib, poplib and smtplib, and stops them again. Nothing leaves the machine. With the extras `google` and `serve`,
tokens come through google-auth from a token endpoint that it brings along too, and one that was revoked is replaced.
The exit code is 0 if every login that must succeed did and every token that must be refused was, else 70.
"""
_HEADINGS: Final = ("protocol", "over", "mechanism", "turns", "milliseconds", "outcome")
_NUMBERS: Final = ("turns", "milliseconds")
_USER: Final = "alice"
_TIMEOUT: Final = 10.0  # seconds
_WIDTH: Final = 100
_BOUND: Final = "TLS 1.2"
_ERRORS: Final = (SASLError, OSError, imaplib.IMAP4.error, poplib.error_proto)


def configure(parser: argparse.ArgumentParser) -> None:
    """Say what the verb takes: nothing."""
    parser.description = "Log in with every mechanism over IMAP, POP3 and SMTP, at servers that it brings along."
    parser.epilog = _EPILOG


def run(_arguments: argparse.Namespace) -> int:
    """Print the table, the refusal and the cure; return 0, or 70 if something was not as it must be."""
    from ..reference import Settings, running

    with ExitStack() as stack:
        endpoint = _endpoint(stack)
        checks = None if isinstance(endpoint, TokenError) else endpoint.checks
        servers = stack.enter_context(running(checks=checks, settings=Settings(policy=_policy())))
        source = _google(endpoint, Path(stack.enter_context(TemporaryDirectory(prefix="saslkit-"))))
        token: Token = servers.tokens["good"] if isinstance(source, TokenError) else source
        stage = _Stage(servers, servers.client_context(), servers.client_context(), token)
        stage.with_certificate.load_cert_chain(*servers.client_certificate(_USER))
        print(f"Logins as {_USER} at {servers.imap.host}, by imaplib, poplib and smtplib.")
        if token is source and not isinstance(endpoint, TokenError):
            print(f"Tokens come through google-auth, from {endpoint.url}.")
        print("Turns are lines that the client sent for the login; connecting is not in the milliseconds.\n")
        rows = [_login(protocol, stage, name, over) for protocol in _LIBRARIES for name, over in _plan(servers)]
        print_table([_HEADINGS, *(row.cells for row in rows)], _NUMBERS)
        refused = _show_refusal(stage)
        cured = _show_cure(stage, source, endpoint)
    return exits.DONE if refused and cured and all(row.ok for row in rows) else exits.BUG


# --- the logins


@final
@value
class _Stage:
    """The servers, how to trust them, with a certificate of the user's and without, and where tokens come from."""

    servers: Servers
    context: ssl.SSLContext
    with_certificate: ssl.SSLContext
    token: Token


@final
@value
class Row:
    """One login of the table: its cells, and whether it succeeded."""

    cells: tuple[str, ...]
    ok: bool


_LIBRARIES: Mapping[str, Library[Any, Any]] = {
    "IMAP": imap_binding.LIBRARY,
    "POP3": pop_binding.LIBRARY,
    "SMTP": smtp_binding.LIBRARY,
}


def _connect(library: Library[Any, Any], stage: _Stage, context: ssl.SSLContext, over: str) -> Any:
    """Return a block with a connection of the standard library's, over TLS or STARTTLS."""
    server: Endpoint = getattr(stage.servers, library.service)
    if over != "STARTTLS":
        return connect(library, server.host, server.tls_port, tls=context, timeout=_TIMEOUT)
    return connect(library, server.host, server.port, starttls=context, timeout=_TIMEOUT)


def _plan(servers: Servers) -> list[tuple[str, str]]:
    """Every mechanism that the servers offer over TLS, and the strongest without certificate over STARTTLS too.

    Those with channel binding go over TLS 1.2: under TLS 1.3 Python's ssl has not what clients bind to by default.
    """
    channel = Channel(tls=True, loopback=True, bindings={"tls-unique": b""})
    offered = offer(channel, _policy(), servers.verifier.answers)
    names = [name for name in offered if lookup(name).client is not None and lookup(name).credentials in _CREDENTIALS]
    free = [name for name in names if lookup(name).twin is None]
    strongest = next(name for name in free if lookup(name).credentials is not External)
    return [*((name, "TLS" if name in free else _BOUND) for name in names), (strongest, "STARTTLS")]


def _policy() -> Policy:
    """What is off by default is on here."""
    return Policy(allow=[row.name for row in known_mechanisms() if row.off_by_default])


_CREDENTIALS: Final[Mapping[type, Callable[[_Stage], Credentials]]] = {
    Password: lambda stage: Password(_USER, stage.servers.users[_USER]),
    Bearer: lambda stage: resolve(Bearer(_USER, stage.token)),
    External: lambda _: External(),
    Anonymous: lambda _: Anonymous("sasl demo"),
}


def _login(protocol: str, stage: _Stage, name: str, over: str) -> Row:
    library = _LIBRARIES[protocol]
    endpoint: Endpoint = getattr(stage.servers, library.service)
    known = len(endpoint.sessions)
    begun = time.perf_counter()
    try:
        kind = lookup(name).credentials
        credentials = _CREDENTIALS[kind](stage)
        context = stage.with_certificate if kind is External else stage.context
        if over == _BOUND:
            context = stage.servers.client_context()
            context.maximum_version = ssl.TLSVersion.TLSv1_2
        with _connect(library, stage, context, over) as conn:
            begun = time.perf_counter()
            log_in(library, conn, credentials, mechanism=name, policy=_policy())
            took = time.perf_counter() - begun
    except _ERRORS as error:
        took = time.perf_counter() - begun
        outcome, ok = _failure(error), False
    else:
        outcome, ok = "logged in", True
    attempts = [attempt for session in list(endpoint.sessions)[known:] for attempt in session.attempts]
    turns = str(attempts[-1].turns) if attempts else "-"
    return Row((protocol, over, name, turns, f"{took * 1000:.1f}", outcome), ok)


def _failure(error: Exception) -> str:
    return f"FAILED: {type(error).__name__}: {printable(str(error))}"


# --- the refusal


def _show_refusal(stage: _Stage) -> bool:
    """Log in with a token that has expired and explain what happens; return whether it was refused."""
    print("\nA token that has expired, by XOAUTH2 over IMAP:\n")
    servers = stage.servers
    error: Exception | None = None
    try:
        with _connect(imap_binding.LIBRARY, stage, stage.context, "TLS") as conn:
            imap_binding.authenticate(conn, Bearer(_USER, servers.tokens["expired"]), mechanism="XOAUTH2")
    except _ERRORS as raised:
        error = raised
    if not isinstance(error, AuthenticationFailed):
        print(_failure(error) if error else "FAILED: the server took it")
        return False
    _print_login(servers.imap.sessions[-1])
    challenge = ", ".join(f"{key} {value!r}" for key, value in error.detail.items())
    print()
    _explain("sent", "The user name and the token went out with the command. No trace shows more of them than a size.")
    told = printable(challenge)
    _explain("challenge", f"The server did not just say no, it said why in a challenge of JSON: {told}.")
    _explain("answer", "XOAUTH2 answers that by an empty line (OAUTHBEARER by a single ^A), never by the token again.")
    _explain("verdict", f"Then it refused: {printable(error.response_code or '')}, {printable(error.server_text)!r}.")
    _explain(
        "raised",
        f"{exits.public_name(error)}, which is an imaplib.IMAP4.error too: kind {error.kind!r}, "
        f"new_token_may_help {error.new_token_may_help}.",
    )
    _explain("what to do", advice(error, Facts(host=servers.imap.host, token=True, tls=True)))
    return True


# --- the cure


def _endpoint(stack: ExitStack) -> TokenEndpoint | TokenError:
    """Return a token endpoint, or why there is none: without h11."""
    from ..reference import token_endpoint

    try:
        return stack.enter_context(token_endpoint.running())
    except TokenError as error:
        if error.code != "missing_extra":
            raise
        return error


def _google(endpoint: TokenEndpoint | TokenError, folder: Path) -> GoogleTokens | TokenError:
    """Return a source of the user's tokens, or why there is none: without google-auth, or without the endpoint."""
    from ..tokens import google

    if isinstance(endpoint, TokenError):
        return endpoint
    path = folder / "token.json"
    replace_file(path, json.dumps(endpoint.authorized_user(_USER)).encode())
    try:
        return google.from_file(path)
    except TokenError as error:
        if error.code != "missing_extra":
            raise
        return error


def _show_cure(stage: _Stage, source: GoogleTokens | TokenError, endpoint: TokenEndpoint | TokenError) -> bool:
    """Log in with a token that was revoked, see it replaced, and explain that; return whether it went so.

    Without google-auth or h11 there is nothing to show, which is no failure.
    """
    if isinstance(source, TokenError) or isinstance(endpoint, TokenError):
        print(f"\nA token that is revoked and replaced is left out: {source}")
        return True
    print("\nA token of google-auth's that was revoked, by XOAUTH2 over IMAP, and the one that replaces it:\n")
    server = stage.servers.imap

    def connect() -> imaplib.IMAP4:
        return imap_binding.LIBRARY.open(server.host, server.tls_port, tls=stage.context, timeout=_TIMEOUT)

    known = len(server.sessions)
    try:
        endpoint.revoke(source.token().value.reveal())
        asked = len(endpoint.requests)
        with Session(connect, imap_binding.authenticate, Bearer(_USER, source), mechanism="XOAUTH2").connected():
            pass
    except _ERRORS as error:
        print(_failure(error))
        return False
    sessions = list(server.sessions)[known:]
    if [session.identity for session in sessions] != [None, _USER] or len(endpoint.requests) != asked + 1:
        print("FAILED: it was not refused once and replaced once")
        return False
    for session in sessions:
        _print_login(session)
        print()
    _explain("refused", "The server knows that the token was revoked, and says no: new_token_may_help is True.")
    _explain("renewed", f"The source was told which token is stale, and google-auth got another at {endpoint.url}.")
    _explain("retried", "Session logged in with that one, on a new connection. It does so once; `sasl login` too.")
    return True


# --- how it is printed


def _print_login(session: reference.Conversation) -> None:
    """Print the lines of a login."""
    who = {"C": "client", "S": "server"}
    lines = [(who[side], text) for side, text in list(session.transcript)]
    first = next(index for index, (_, text) in enumerate(lines) if " AUTHENTICATE " in text)
    for side, text in lines[first : first + 4]:
        print(f"  {side}  {printable(text, limit=_WIDTH - 10)}")


def _explain(what: str, text: str) -> None:
    indent = " " * 14
    print(textwrap.fill(text, _WIDTH, initial_indent=f"  {what:<12}", subsequent_indent=indent))
