"""`sasl serve`: IMAP, POP3 and SMTP servers and an OAuth token endpoint to test clients against, until interrupted."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from argparse import ArgumentTypeError
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

from sasl.errors import SASLError, TokenError, UsageError
from sasl.value import replace

from ..documents import replace_file, unique_members
from ..reference import token_endpoint
from ..reference.certificates import keep, server_context
from ..reference.conversation import Settings
from ..reference.servers import USERS, Listening, known_tokens
from ..reference.verifier import Verifier
from ..tokens._extra import load
from . import exits

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Mapping

    from ..reference import Checks
    from ..reference.token_endpoint import TokenEndpoint

_EPILOG: Final = """\
examples:
  sasl serve
  sasl serve --imap 1143 --smtp 1587 --tls-dir certs > servers.json &

When all is ready it prints one line of JSON, here in several:
  {"imap": {"host": "127.0.0.1", "port": 1143, "tls_port": 40993}, "pop": {...}, "smtp": {...},
   "http": {"url": "http://127.0.0.1:40080/token", "credentials": FILE},
   "ca": FILE, "users": {"alice": PASSWORD}, "tokens": {"good": TOKEN, "expired": TOKEN, "revoked": TOKEN}}

A "port" begins in the clear and takes STARTTLS, at a "tls_port" TLS comes first; without TLS no login is offered. "ca"
is what a client has to trust: curl --cacert, SSL_CERT_FILE. The tokens are the first user's. "http" is a token
endpoint, there with the extra `serve`; "credentials" is a file in Google's format that gets tokens of the first user
there: sasl login --google.

Names, passwords and tokens are for tests: they are made to be printed, and everybody who reads the line can log in. Put
none into --users that is used anywhere else. The servers listen at 127.0.0.1 only, hold no mail and discard what they
are sent. A client that has not logged in gets 30 seconds for each command, with all that belongs to it.

SIGINT (ctrl-C) ends it with 130, SIGTERM and SIGHUP with 0. 65 is a --users file that is no JSON, 78 one that holds
something else than names and passwords, or a folder for --tls-dir that cannot be used, 69 a port that cannot be had.
"""
_HOST: Final = "127.0.0.1"
_MAIL: Final = ("imap", "pop", "smtp")
_LARGEST_FILE: Final = 1_048_576  # octets of --users
_SETTINGS: Final = Settings(deadline=30.0)


def configure(parser: argparse.ArgumentParser) -> None:
    """Say what the verb takes."""
    parser.description = "Run IMAP, POP3 and SMTP servers and a token endpoint on this machine, until interrupted."
    parser.epilog = _EPILOG
    ports = parser.add_argument_group("servers", "those that are named; all of them without one of these")
    for name, what in (("imap", "IMAP"), ("pop", "POP3"), ("smtp", "SMTP"), ("http", "the token endpoint")):
        ports.add_argument(f"--{name}", metavar="P", type=_port, help=f"{what}, at this port; 0 is one that is free")
    parser.add_argument(
        "--tls-dir", metavar="DIR", type=_path, help="keep the CA and the certificate here, and use them again"
    )
    parser.add_argument(
        "--any-port",
        action="store_true",
        help="do not compare the port that OAUTHBEARER names: for clients that come through a mapped one",
    )
    parser.add_argument("--users", metavar="FILE", type=_path, help="a JSON object of names and passwords")


def run(arguments: argparse.Namespace) -> int:
    """Serve until a signal comes; return 130 for SIGINT and 0 for the others."""
    users = USERS if arguments.users is None else _read_users(arguments.users)
    named = {name: port for name in (*_MAIL, "http") if (port := getattr(arguments, name)) is not None}
    settings = replace(_SETTINGS, check_port=not arguments.any_port)
    number = asyncio.run(_serve(named or _all_ports(), users, arguments.tls_dir, settings))
    return exits.INTERRUPTED if number == signal.SIGINT else exits.DONE


def _all_ports() -> dict[str, int]:
    """Return all servers, at free ports; without h11 the mail servers alone."""
    try:
        load("h11", "serve")
    except TokenError as error:
        print(f"sasl: no token endpoint: {error}", file=sys.stderr)
        return dict.fromkeys(_MAIL, 0)
    return dict.fromkeys((*_MAIL, "http"), 0)


async def _serve(
    ports: Mapping[str, int], users: Mapping[str, str], tls_dir: Path | None, settings: Settings = _SETTINGS
) -> int:
    """Serve at these ports, say so, and return the signal that ended it."""
    async with AsyncExitStack() as stack:
        ending = stack.enter_context(_first_signal())
        verifier, tokens = _verifier(users)
        temporary = Path(stack.enter_context(TemporaryDirectory(prefix="saslkit-")))
        directory = temporary if tls_dir is None else tls_dir.absolute()
        _keep(directory)
        checks: Checks = verifier
        http: dict[str, Any] = {}
        if "http" in ports:
            with _name_port("http", ports):
                endpoint = stack.enter_context(token_endpoint.running(host=_HOST, port=ports["http"]))
            checks = endpoint.checks(verifier)
            http = {"http": {"url": endpoint.url, "credentials": _credentials(endpoint, users, temporary)}}
        listening = Listening(_HOST, ports, checks, settings, server_context(directory), kept=0)
        stack.push_async_callback(listening.stop)
        ready: dict[str, Any] = {}
        for name in filter(ports.__contains__, _MAIL):
            with _name_port(name, ports):
                server = await listening.endpoint(name)
            ready[name] = {"host": server.host, "port": server.port, "tls_port": server.tls_port}
        ready |= {**http, "ca": str(directory / "ca.pem"), "users": dict(users), "tokens": dict(tokens)}
        print(json.dumps(ready), flush=True)
        return await ending


# --- the end


@contextmanager
def _first_signal() -> Iterator[asyncio.Future[int]]:
    """Take the signals that ask for the end: the future gets the first, later ones change nothing."""
    loop = asyncio.get_running_loop()
    first: asyncio.Future[int] = loop.create_future()

    def note(number: int) -> None:
        if not first.done():
            first.set_result(number)

    def on_signal(number: int, _frame: object) -> None:
        loop.call_soon_threadsafe(note, number)

    before = {number: signal.signal(number, on_signal) for number in _signals()}
    try:
        yield first
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _signals() -> list[signal.Signals]:
    """SIGINT, SIGTERM, and SIGHUP where there is one and nohup has not switched it off."""
    hang_up = getattr(signal, "SIGHUP", None)
    asked = [signal.SIGINT, signal.SIGTERM]
    return [*asked, hang_up] if hang_up and signal.getsignal(hang_up) != signal.SIG_IGN else asked


# --- what it serves with


def _keep(directory: Path) -> None:
    try:
        keep(directory)
        return
    except UsageError as error:
        failure = str(error)
    except OSError as error:
        failure = str(error.strerror)
    raise exits.Misconfigured(f"--tls-dir: {failure}")


def _verifier(users: Mapping[str, str]) -> tuple[Verifier, Mapping[Any, str]]:
    """Return who checks, and the first user's tokens."""
    try:
        verifier = Verifier(users)
        return verifier, known_tokens(users, {}, verifier)
    except SASLError:
        pass
    raise exits.Misconfigured("--users: SASLprep refuses a name, or a password is empty or holds a control character")


def _credentials(endpoint: TokenEndpoint, users: Mapping[str, str], directory: Path) -> str:
    """Write the file by which the first user gets tokens; return its name."""
    path = directory / "credentials.json"
    replace_file(path, json.dumps(endpoint.authorized_user(next(iter(users)))).encode())
    return str(path)


@contextmanager
def _name_port(name: str, ports: Mapping[str, int]) -> Iterator[None]:
    """Say which port it is that cannot be had."""
    try:
        yield
        return
    except OSError as error:
        failure = os.strerror(error.errno) if error.errno else str(error)
    raise exits.CannotListen(f"--{name} {ports[name]}: {failure}")


# --- what it is told


def _read_users(path: Path) -> Mapping[str, str]:
    """Read names and passwords. No error shows anything of them."""
    octets, failure = b"", ""
    try:
        with path.open("rb") as file:
            octets = file.read(_LARGEST_FILE + 1)
    except OSError as error:
        failure = str(error.strerror)
    if failure or len(octets) > _LARGEST_FILE:
        raise exits.Misconfigured(f"--users: {failure or f'more than {_LARGEST_FILE} octets'}")
    users: Any = None
    try:
        users = json.loads(octets.decode("utf-8-sig"), object_pairs_hook=unique_members)
    except (ValueError, RecursionError):
        failure = "not JSON in UTF-8, or a name that comes twice"
    if failure:
        raise exits.Undecodable(f"--users: {failure}")
    if not isinstance(users, dict) or not users or not all(isinstance(password, str) for password in users.values()):
        raise exits.Misconfigured("--users: a JSON object is wanted, names to passwords, and one user at least")
    return users


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 5 or int(text) > 65_535:
        raise ArgumentTypeError("a port is a number from 0 to 65535")
    return int(text)


def _path(text: str) -> Path:
    if not text:
        raise ArgumentTypeError("a path is not empty")
    return Path(text)
