"""What clients do with right, wrong and expired credentials, as the reference servers tell it: docs/clients.md."""

from __future__ import annotations

import platform
import re
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sasl import Bearer, Password
from sasl.adapters import reference
from sasl.adapters.reference import Settings
from sasl.adapters.reference.verdicts import VERDICTS

from .documents import ROOT
from .libraries import Client, librarys_own, load
from .matrix import table_in
from .servers import becomes_true

if TYPE_CHECKING:
    from collections.abc import Callable

    from sasl.adapters.reference import Servers

PAGE: Final = ROOT / "docs" / "clients.md"
TABLES: Final = ("Programs", "Libraries")
HEAD: Final = "| verdict | says that the client |\n|---|---|\n"
USER, PASSWORD = "alice", "wonderland"
BEARERS: Final = ("XOAUTH2", "OAUTHBEARER")
STATES: Final = ("right", "wrong", "expired")
ITSELF: Final = "its own choice"
"""What stands for a mechanism where a client is given user and password, and chooses."""


@dataclass(frozen=True)
class Conduct:
    """A client, the protocol, and the mechanism that it is told to use: a row of the table.

    Attributes:
        log_in: log_in(servers, secret) lets it log in, and do the least that can be done then; what it raises is not
            of interest, what the servers saw is.
        deadline: the seconds after which the servers give it up: few for a client that waits for more than there is.
        version: the client's.
    """

    table: str
    client: str
    protocol: str
    mechanism: str
    log_in: Callable[[Servers, str], object]
    deadline: float = 30.0
    version: Callable[[], str] = lambda: ""

    def __str__(self) -> str:
        return f"{self.client}-{self.protocol}-{self.mechanism}"

    @property
    def row(self) -> tuple[str, str, str, str]:
        """Which row it is."""
        return self.table, self.client, self.protocol, self.mechanism

    def cells(self) -> list[str]:
        """What comes of each credential."""
        with reference.running({USER: PASSWORD}, settings=Settings(deadline=self.deadline)) as servers:
            return [self._cell(servers, state) for state in STATES]

    def _cell(self, servers: Servers, state: str) -> str:
        if state == "expired" and self.mechanism not in BEARERS:
            return "-"
        before = len(servers.log.sessions)
        self.log_in(servers, secret(servers, self.mechanism, state))
        # The client may be gone before a server takes notice.
        assert becomes_true(lambda: all(each.ended for each in servers.log.sessions[before:]), within=10)
        mine = {each.number for each in servers.log.sessions[before:]}
        attempts = [self._named(each) for each in servers.log.attempts if each.session in mine]
        verdicts = [each.name for each in servers.log.verdicts if each.session in mine]
        found = ", ".join(counted(attempts)) or "no login"
        return f"{found}: {', '.join(f'`{name}`' for name in dict.fromkeys(verdicts))}" if verdicts else found

    def _named(self, attempt: reference.Attempt) -> str:
        return attempt.outcome if attempt.mechanism == self.mechanism else f"{attempt.mechanism} {attempt.outcome}"


def secret(servers: Servers, mechanism: str, state: str) -> str:
    """The password or token that is sent."""
    if mechanism in BEARERS:
        return {"right": servers.tokens["good"], "wrong": "n0body-kn0ws-1t", **servers.tokens}[state]
    return PASSWORD if state == "right" else "looking-glass"


def counted(words: list[str]) -> list[str]:
    """Each of the words once, with how many times it stands there."""
    return [word if words.count(word) == 1 else f"{words.count(word)} x {word}" for word in dict.fromkeys(words)]


# --- the Python libraries


def _in_loop(name: str) -> Callable[..., object]:
    """Log in by a coroutine function of the library's."""

    def log_in(looped: Any, user: str, password: str) -> object:
        return looped.run(lambda conn: getattr(conn, name)(user, password))

    return log_in


def _by_user_and_pass(conn: Any, user: str, password: str) -> None:
    conn.user(user)
    conn.pass_(password)


LOGINS: Final[dict[str, Callable[..., object]]] = {
    "aioimaplib": _in_loop("login"),
    "aiosmtplib": _in_loop("login"),
    "imap_tools": lambda box, user, password: box.login(user, password, initial_folder=None),
    "imapclient": lambda conn, user, password: conn.login(user, password),
    "imaplib": lambda conn, user, password: conn.login(user, password),
    "poplib": _by_user_and_pass,
    "smtplib": lambda conn, user, password: conn.login(user, password),
}
"""How a library logs in that is given user and password, and no more."""
HANGS: Final = {("aioimaplib", "XOAUTH2")}
"""What waits in vain after a refusal, until its own time-out."""


def libraries() -> list[Conduct]:
    """The rows of the libraries that are installed here."""
    found = [client for client in map(load, LOGINS) if isinstance(client, Client)]
    rows = [_library(client, mechanism) for client in found for mechanism in (ITSELF, *client.own)]
    return [*rows, *_django()]


def _library(client: Client, mechanism: str) -> Conduct:
    def log_in(servers: Servers, word: str) -> None:
        endpoint = getattr(servers, client.service)
        conn = client.connect(endpoint.host, endpoint.tls_port, tls=servers.client_context())
        if (client.name, mechanism) in HANGS:
            librarys_own(conn).timeout = 0.6
        try:
            with suppress(Exception):
                if mechanism == ITSELF:
                    LOGINS[client.name](conn, USER, word)
                else:
                    credentials = Bearer(USER, word) if mechanism in BEARERS else Password(USER, word)
                    client.own[mechanism](conn, credentials)
        finally:
            client.close(conn)

    version = client.version or f"of Python {platform.python_version()}"
    return Conduct("Libraries", client.name, client.service, mechanism, log_in, version=lambda: version)


def _django() -> list[Conduct]:
    try:
        import django
        from django.conf import settings
        from django.core.mail.backends.smtp import EmailBackend
    except ModuleNotFoundError:
        return []
    if not settings.configured:
        settings.configure(SECRET_KEY="of-this-test")
        django.setup()

    def log_in(servers: Servers, word: str) -> None:
        backend = EmailBackend(
            servers.smtp.host, servers.smtp.tls_port, USER, word, use_ssl=True, fail_silently=True, timeout=6
        )
        backend.ssl_context = servers.client_context()
        backend.open()
        backend.close()

    return [Conduct("Libraries", "Django", "smtp", ITSELF, log_in, version=django.get_version)]


# --- the page

COLUMNS: Final = ("client", "protocol", "mechanism", *STATES)


def kept() -> tuple[dict[tuple[str, ...], list[str]], dict[str, str]]:
    """The rows that the page has now, and the versions of the clients."""
    rows, versions = {}, {}
    for title in TABLES:
        for line in table_in(PAGE, title)[1].splitlines()[2:]:
            client, protocol, mechanism, *cells = [cell.strip() for cell in line.strip("|").split("|")]
            name, _, versions[name] = client.partition(" ")
            rows[title, name, protocol, mechanism] = cells
    return rows, versions


def write(measured: list[Conduct]) -> None:
    """Measure these, and put them into the page; the rows of others stay."""
    rows, versions = kept()
    rows |= {each.row: each.cells() for each in measured}
    versions |= {each.client: each.version() for each in measured}
    found = {name for cells in rows.values() for cell in cells for name in re.findall(r"`(.+?)`", cell)}
    before, _, after = table_in(PAGE, "Verdicts")
    told = [f"| `{name}` | {words} |\n" for name, words in VERDICTS.items() if name in found]
    PAGE.write_text("".join((before, HEAD, *told, after)), "utf-8")
    for title in TABLES:
        lines = [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
        for (table, name, *where), cells in sorted(rows.items()):
            if table == title:
                lines.append(f"| {' | '.join((f'{name} {versions[name]}'.strip(), *where, *cells))} |")
        before, _, after = table_in(PAGE, title)
        PAGE.write_text("\n".join((before + lines[0], *lines[1:], after)), "utf-8")
