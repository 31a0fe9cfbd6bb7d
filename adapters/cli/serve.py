"""`sasl serve`: servers for mail and OAuth to test clients against, with control by HTTP, until interrupted."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from argparse import ArgumentTypeError
from contextlib import AsyncExitStack, ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

from sasl.errors import SASLError, TokenError, UsageError
from sasl.policy import Policy
from sasl.registry import canonical, known_mechanisms
from sasl.value import replace, value

from ..documents import replace_file, unique_members
from ..reference.control import serving_control
from ..reference.faults import parse as parse_fault
from ..reference.listening import PortTaken, name_port
from ..reference.personas import DEFAULT, NAMES, load
from ..reference.servers import SERVICES, USERS, serving
from ..reference.settings import Settings
from ..reference.verifier import Verifier
from ..tokens._extra import load as load_extra
from . import exits
from .announce import Lines, print_ready

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from ..reference import Servers

_EPILOG: Final = """\
examples:
  sasl serve
  sasl serve --imap 1143 --smtp 1587 --tls-dir certs > servers.json &
  sasl serve --persona gmail --mechanism XOAUTH2 --fault "imap:FETCH nth=2 reply NO [THROTTLED] Later"

When all is ready it prints a table for whoever looks at it, else one line of JSON, here in several:
  {"imap": {"host": "127.0.0.1", "port": 1143, "tls_port": 40993}, "pop": {...}, "smtp": {...}, "lmtp": {...},
   "http": {"url": "http://127.0.0.1:40080/token", "credentials": FILE},
   "control": {"url": "http://127.0.0.1:40081", "key": KEY, "page": "http://127.0.0.1:40081/#KEY"}, "ca": FILE,
   "users": {"alice": PASSWORD}, "tokens": {"good": TOKEN, "expired": TOKEN, "revoked": TOKEN}, "persona": "rfc"}

A "port" begins in the clear and takes STARTTLS, at a "tls_port" TLS comes first; without TLS no login is offered. "ca"
is what a client has to trust: curl --cacert, SSL_CERT_FILE. The tokens are the first user's. "http" is an OAuth
authority and "control" changes and tells everything by HTTP (its "page" shows it in a browser, its description is at
/api/v1/openapi.json); both are there with the extra `serve`. "credentials" is a file in Google's format that gets
tokens of the first user: sasl login --google. Each login attempt is a line on stderr, and whatever a client did wrong.

Names, passwords and tokens are for tests: they are made to be printed, and everybody who reads the line can log in. Put
none into --users that is used anywhere else. The servers listen at 127.0.0.1 only, unless --allow-remote says otherwise
for mail and OAuth; control never does. Mail is kept in memory. A client that has not logged in gets 30 seconds for each
command, with all that belongs to it.

SIGINT (ctrl-C) ends it with 130, SIGTERM and SIGHUP with 0. 65 is a --users file that is no JSON, 78 one that holds
something else than names and passwords, a persona's file or a folder for --tls-dir that cannot be used, 69 a port that
cannot be had.
"""
_HTTP: Final = ("http", "control")
_PORTS: Final = (*SERVICES, *(f"{name}s" for name in SERVICES), *_HTTP)
_HELP: Final = {
    "imap": "IMAP",
    "pop": "POP3",
    "smtp": "SMTP",
    "lmtp": "LMTP",
    "http": "the OAuth authority",
    "control": "control by HTTP, and its page",
}
_LARGEST_FILE: Final = 1_048_576  # octets of --users
_SETTINGS: Final = Settings(deadline=30.0)
_HOST: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,250}[A-Za-z0-9])?")


@value
class _Wanted:
    """What is to be served.

    Attributes:
        services: the mail servers.
        ports: of those that are wanted at one of their own, and of "http" and "control" if they are wanted.
    """

    services: Sequence[str]
    ports: Mapping[str, int]
    users: Mapping[str, str]
    tls_dir: Path | None
    settings: Settings
    persona: str
    faults: Sequence[str]
    remote: str


def configure(parser: argparse.ArgumentParser) -> None:
    """Say what the verb takes."""
    parser.description = "Run servers for mail and OAuth on this machine, to test clients against, until interrupted."
    parser.epilog = _EPILOG
    ports = parser.add_argument_group("servers", "those that are named; all of them without one of these")
    for name, what in _HELP.items():
        ports.add_argument(f"--{name}", metavar="P", type=_port, help=f"{what}, at this port; 0 is one that is free")
        if name in SERVICES:
            ports.add_argument(f"--{name}s", metavar="P", type=_port, help=f"{what}, where TLS comes first")
    manner = parser.add_argument_group("how they behave")
    manner.add_argument(
        "--persona", metavar="P", type=_persona, default=DEFAULT, help=f"as {', '.join(NAMES)}, or as a file says"
    )
    manner.add_argument(
        "--mechanism", metavar="M", type=_mechanism, action="append", help="offer this mechanism alone; may come again"
    )
    manner.add_argument(
        "--fault", metavar="F", type=_fault, action="append", default=[], help="what goes wrong; may come again"
    )
    manner.add_argument("--users", metavar="FILE", type=_path, help="a JSON object of names and passwords")
    place = parser.add_argument_group("where they are")
    place.add_argument(
        "--tls-dir", metavar="DIR", type=_path, help="keep the CA and the certificate here, and use them again"
    )
    place.add_argument(
        "--any-port",
        action="store_true",
        help="do not compare the port that OAUTHBEARER names: for clients that come through a mapped one",
    )
    place.add_argument(
        "--allow-remote",
        metavar="NAME",
        type=_host,
        nargs="?",
        const="localhost",
        help="let other machines in to mail and OAuth, never to control; they call this one NAME, else localhost",
    )


def run(arguments: argparse.Namespace) -> int:
    """Serve until a signal comes; return 130 for SIGINT and 0 for the others."""
    users = USERS if arguments.users is None else _read_users(arguments.users)
    _check_users(users)
    _check_persona(arguments.persona)
    named = {name: port for name in _PORTS if (port := getattr(arguments, name)) is not None}
    services = [name for name in SERVICES if not named or name in named or f"{name}s" in named]
    wanted = _Wanted(
        services,
        named or _free_ports(),
        users,
        arguments.tls_dir,
        _settings(arguments),
        arguments.persona,
        arguments.fault,
        arguments.allow_remote or "",
    )
    number = asyncio.run(_serve(wanted))
    return exits.INTERRUPTED if number == signal.SIGINT else exits.DONE


def _settings(arguments: argparse.Namespace) -> Settings:
    """Return how the servers behave: a mechanism that is off by default is on for who names it."""
    mechanisms = arguments.mechanism
    settings = replace(_SETTINGS, check_port=not arguments.any_port, mechanisms=mechanisms)
    return settings if mechanisms is None else replace(settings, policy=Policy(allow=mechanisms))


def _free_ports() -> dict[str, int]:
    """Return the ports of what is served besides mail, all of them free; without h11 there is nothing besides."""
    try:
        load_extra("h11", "serve")
    except TokenError as error:
        print(f"sasl: neither OAuth nor control: {error}", file=sys.stderr)
        return {}
    return dict.fromkeys(_HTTP, 0)


async def _serve(wanted: _Wanted) -> int:
    """Serve at these ports, say so, and return the signal that ended it."""
    async with AsyncExitStack() as stack:
        ending = stack.enter_context(_first_signal())
        with _name_failures():
            servers = await stack.enter_async_context(
                serving(
                    wanted.users,
                    ports={name: port for name, port in wanted.ports.items() if name != "control"},
                    services=wanted.services,
                    settings=wanted.settings,
                    oauth="http" in wanted.ports,
                    persona=wanted.persona,
                    tls_directory=wanted.tls_dir,
                    remote=wanted.remote,
                )
            )
        for fault in wanted.faults:
            servers.faults.add(fault)
        temporary = Path(stack.enter_context(TemporaryDirectory(prefix="saslkit-")))
        ready = {name: _place(servers, name) for name in wanted.services}
        if "http" in wanted.ports:
            ready["http"] = {"url": servers.oauth.url, "credentials": _credentials(servers, wanted.users, temporary)}
        if "control" in wanted.ports:
            with _name_failures(), name_port("control", wanted.ports["control"]):
                control = await stack.enter_async_context(serving_control(servers, port=wanted.ports["control"]))
            key = control.key.reveal()
            ready["control"] = {"url": control.url, "key": key, "page": f"{control.url}/#{key}"}
        lines = Lines(sys.stderr)
        stack.callback(lines.close)
        stack.callback(servers.watch(lines.tell))
        print_ready(
            {
                **ready,
                "ca": str(servers.ca_file.absolute()),
                "users": dict(servers.users),
                "tokens": dict(servers.tokens),
                "persona": servers.persona.id,
            }
        )
        return await ending


def _place(servers: Servers, name: str) -> dict[str, Any]:
    server = getattr(servers, name)
    return {"host": server.host, "port": server.port, "tls_port": server.tls_port}


# --- the end


@contextmanager
def _first_signal() -> Iterator[asyncio.Future[int]]:
    """Take the signals that ask for the end: the future gets the first, later ones change nothing."""
    loop = asyncio.get_running_loop()
    first: asyncio.Future[int] = loop.create_future()

    def note(number: int) -> None:
        if not first.done():
            first.set_result(number)

    with ExitStack() as stack:
        for number in _signals():
            stack.enter_context(_told(loop, number, note))
        yield first


@contextmanager
def _told(loop: asyncio.AbstractEventLoop, number: int, note: Callable[[int], None]) -> Iterator[None]:
    """Have the loop call a function when a signal comes; then the signal has the handler that it had before.

    A handler of Python's alone wakes no loop: a signal that came just as the loop went to sleep would wait for the
    next client. Windows's loop wakes by itself, and takes no handlers.
    """
    before = signal.getsignal(number)
    if sys.platform == "win32":
        signal.signal(number, lambda *_: loop.call_soon_threadsafe(note, number))
    else:
        loop.add_signal_handler(number, note, number)
    try:
        yield
    finally:
        if sys.platform != "win32":
            loop.remove_signal_handler(number)
        signal.signal(number, before)


def _signals() -> list[signal.Signals]:
    """SIGINT, SIGTERM, and SIGHUP where there is one and nohup has not switched it off."""
    hang_up = getattr(signal, "SIGHUP", None)
    asked = [signal.SIGINT, signal.SIGTERM]
    return [*asked, hang_up] if hang_up and signal.getsignal(hang_up) != signal.SIG_IGN else asked


# --- what it serves with


def _check_users(users: Mapping[str, str]) -> None:
    """Raise Misconfigured for users that nobody can log in as."""
    try:
        Verifier(users)
        return
    except SASLError:
        pass
    raise exits.Misconfigured("--users: SASLprep refuses a name, or a password is empty or holds a control character")


def _check_persona(name: str) -> None:
    failure = ""
    try:
        load(name)
        return
    except UsageError as error:
        failure = str(error)
    raise exits.Misconfigured(f"--persona: {failure}")


def _credentials(servers: Servers, users: Mapping[str, str], directory: Path) -> str:
    """Write the file by which the first user gets tokens; return its name."""
    path = directory / "credentials.json"
    replace_file(path, json.dumps(servers.oauth.authorized_user(next(iter(users)))).encode())
    return str(path)


@contextmanager
def _name_failures() -> Iterator[None]:
    """Say which port it is that cannot be had, or that the folder of certificates cannot be used."""
    unavailable, unusable = "", ""
    try:
        yield
        return
    except PortTaken as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        unavailable = f"--{error.server} {error.port}: {reason}"
    except UsageError as error:
        unusable = str(error)
    except OSError as error:
        unusable = str(error.strerror)
    if unavailable:
        raise exits.CannotListen(unavailable)
    raise exits.Misconfigured(f"--tls-dir: {unusable}")


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


def _mechanism(text: str) -> str:
    try:
        name = canonical(text)
    except UsageError:
        name = ""
    if name not in {row.name for row in known_mechanisms()}:
        raise ArgumentTypeError("no mechanism of that name is known: `sasl mechs` lists them")
    return name


def _fault(text: str) -> str:
    try:
        parse_fault(text)
        return text
    except UsageError as error:
        reason = str(error)
    raise ArgumentTypeError(reason)


def _persona(text: str) -> str:
    if not text or (text.isidentifier() and text not in NAMES):
        raise ArgumentTypeError(f"one of {', '.join(NAMES)}, or the path of a file")
    return text


def _host(text: str) -> str:
    if not _HOST.fullmatch(text):
        raise ArgumentTypeError("the name of a host, or an address")
    return text


def _path(text: str) -> Path:
    if not text:
        raise ArgumentTypeError("a path is not empty")
    return Path(text)
