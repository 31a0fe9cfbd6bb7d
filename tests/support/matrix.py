"""What each library does alone and with saslkit, measured at the reference servers: tables for docs/libraries.md."""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import sasl
from sasl import Bearer, Password, Policy
from sasl.adapters.reference import Settings

from ..faults.between import Between, between
from .code import code_lines, description_lines
from .documents import ROOT
from .leaks import seen
from .libraries import Client, load, names
from .sieve import running_with_sieve
from .sinks import Sinks, overheard
from .tls import tls_1_2

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sasl.adapters.reference import Attempt, Endpoint, Servers

    Call = Callable[[Any, sasl.Credentials], object]

PAGE: Final = ROOT / "docs" / "libraries.md"
USER: Final = "user@example.com"
PASSWORD: Final = "Wonder!and+42"
WRONG: Final = "Looking.G1ass"
TOKENS: Final = {
    "good": "ya29.g00d-T0ken_AbCdEfGhIjKl",
    "expired": "ya29.0ld-T0ken_MnOpQrStUvWx",
    "revoked": "ya29.g0ne-T0ken_YzAbCdEfGhIj",
}
LONG: Final = "ya29." + "L0ng-T0ken_" * 363 + "ab"
SENT: Final = {"wrong": "ya29.n0body-kn0ws-1t", **TOKENS}
"""The token that is sent, by its state."""
SECRETS: Final = (PASSWORD, WRONG, *SENT.values())

PASSWORDS: Final = ("PLAIN", "SCRAM-SHA-256")
BEARERS: Final = ("XOAUTH2", "OAUTHBEARER")
PLUS: Final = "SCRAM-SHA-256-PLUS"
LOGINS: Final = (*PASSWORDS, PLUS, *BEARERS)
ANSWERS: Final = {"XOAUTH2": b"", "OAUTHBEARER": b"AQ=="}
"""What a client answers an error challenge, in base64."""

IN_THE_CLEAR: Final = Policy(plaintext="loopback")
SETTINGS: Final = Settings(policy=IN_THE_CLEAR, failures=1_000_000, check_port=False)

YES, NO, NONE = "yes", "no", "-"


@dataclass(frozen=True)
class Way:
    """One way to log in: by the library's own calls, or by ours.

    Attributes:
        calls: by mechanism, how to log in by it.
        refused: what came of logins that were refused, by mechanism and state.
    """

    client: Client
    servers: Servers
    calls: dict[str, Call]
    refused: dict[tuple[str, str], Refusal] = field(default_factory=dict)

    @property
    def server(self) -> Endpoint:
        found: Endpoint = getattr(self.servers, self.client.service)
        return found

    @property
    def attempt(self) -> Attempt | None:
        """The last login, as the server saw it."""
        attempts = self.server.sessions[-1].attempts
        return attempts[-1] if attempts else None

    @contextmanager
    def connected(self, *, port: int = 0, context: ssl.SSLContext | None = None) -> Iterator[Any]:
        """A connection over TLS, or to a port in the clear."""
        tls = {} if port else {"tls": context or self.servers.client_context()}
        conn = self.client.connect(self.server.host, port or self.server.tls_port, **tls)
        try:
            yield conn
        finally:
            self.client.close(conn)


def ways(client: Client, servers: Servers) -> dict[str, Way]:
    """The two ways of a library."""

    def ours(mechanism: str) -> Call:
        options = {"mechanism": mechanism, "policy": IN_THE_CLEAR}
        return lambda conn, credentials: client.authenticate(conn, credentials, **options)

    return {
        "alone": Way(client, servers, dict(client.own)),
        "with saslkit": Way(client, servers, {name: ours(name) for name in LOGINS}),
    }


# --- who gets in


def logs_in(way: Way, mechanism: str) -> str:
    """Whether the right credential is accepted, for this mechanism."""
    if mechanism not in way.calls:
        return NONE
    context = way.servers.client_context()
    with way.connected(context=tls_1_2(context) if mechanism == PLUS else context) as conn:
        error = raised(way, mechanism, conn, credentials_for(mechanism))
    assert error is not None or (way.attempt and way.attempt.mechanism == mechanism), way.attempt
    return YES if error is None else named(error)


def takes_long_tokens(way: Way) -> str:
    """Whether a token of 4,000 octets is accepted."""

    def cell(mechanism: str) -> str:
        with way.connected() as conn:
            error = raised(way, mechanism, conn, Bearer(USER, LONG))
        return YES if error is None else named(error)

    return one_cell({name: cell(name) for name in BEARERS if name in way.calls})


def waits_to_be_asked(way: Way) -> str:
    """Whether no initial response goes to a server of IMAP that has not advertised SASL-IR."""
    if way.client.service != "imap":
        return NONE

    def cell(mechanism: str) -> str:
        with between(way.server.port) as middle:
            middle.plan(rewrite=lambda octets: octets.replace(b" SASL-IR", b""))
            with way.connected(port=middle.port) as conn:
                error = raised(way, mechanism, conn, credentials_for(mechanism))
            if error is not None:
                return named(error)
        assert way.attempt is not None
        return NO if way.attempt.initial_response else YES

    return one_cell({name: cell(name) for name in (*PASSWORDS, *BEARERS) if name in way.calls})


# --- what else comes of it


EXPIRED: Final = tuple((mechanism, "expired") for mechanism in BEARERS)
USED_AFTER: Final = (*((mechanism, "wrong") for mechanism in PASSWORDS), *EXPIRED)
"""The refusals after which the connection is used: one for each mechanism."""


@dataclass(frozen=True)
class Refusal:
    """What comes of a login that the server refuses.

    Attributes:
        raised: the exception, in a cell.
        answer: what the client says to the error challenge; "" for a mechanism that has none.
        usable: whether the connection answers after it, or the exception that comes then.
        clean: whether nothing that the library shows meanwhile has the credential in it.
    """

    raised: str
    answer: str
    usable: str
    clean: bool


def refusal(way: Way, mechanism: str, state: str) -> Refusal:
    """Log in with what is refused, in the clear: what the client says is listened to."""
    sinks, answer, usable = Sinks(), "", NONE
    with between(way.server.port) as middle:
        with overheard(sinks), way.connected(port=middle.port) as conn:
            way.client.debug(conn)
            error = raised(way, mechanism, conn, credentials_for(mechanism, state))
            if (mechanism, state) in USED_AFTER:  # where a library hangs, it hangs for long
                usable = answers(way, conn)
        assert middle.wait()
        if mechanism in BEARERS:
            answer = said_to_error_challenge(middle, mechanism, SENT[state])
    cell = "accepted" if error is None else named(error)
    return Refusal(cell, answer, usable, clean=not seen(sinks.texts(), *SECRETS))


def answers(way: Way, conn: Any) -> str:
    try:
        way.client.noop(conn)
    except AssertionError:  # another answer than yes
        return NO
    except Exception as error:
        return named(error)
    return YES


def said_to_error_challenge(middle: Between, mechanism: str, token: str) -> str:
    """The mechanism's answer, the token once more, or something else."""
    tokens = middle.words_with(token.encode())
    if len(tokens) > 1:
        return "the token again"
    answer = middle.line_after(tokens[0])
    if answer == b"*":
        return "cancels"
    return YES if answer == ANSWERS[mechanism] else NO


def refusals(way: Way, *cases: tuple[str, str]) -> dict[str, Refusal]:
    """What comes of each of these mechanisms and states, where the way has the mechanism; measured once."""
    cases = tuple(case for case in cases if case[0] in way.calls)
    for case in cases:
        if case not in way.refused:
            way.refused[case] = refusal(way, *case)
    return {case[0]: way.refused[case] for case in cases}


def refuses(way: Way, mechanisms: tuple[str, ...], state: str) -> str:
    """What is raised for a credential that is refused."""
    found = refusals(way, *[(mechanism, state) for mechanism in mechanisms])
    return one_cell({name: each.raised for name, each in found.items()})


def answers_error_challenges(way: Way) -> str:
    return one_cell({name: each.answer for name, each in refusals(way, *EXPIRED).items()})


def stays_usable(way: Way) -> str:
    return one_cell({name: each.usable for name, each in refusals(way, *USED_AFTER).items()})


def shows_nothing(way: Way) -> str:
    """Whether log, debug output and warnings are without the credential, after a yes and after a no."""
    found = refusals(way, *USED_AFTER)
    return one_cell({name: YES if each.clean and is_clean(way, name) else NO for name, each in found.items()})


def is_clean(way: Way, mechanism: str) -> bool:
    sinks = Sinks()
    with overheard(sinks), way.connected() as conn:
        way.client.debug(conn)
        raised(way, mechanism, conn, credentials_for(mechanism))
    return not seen(sinks.texts(), *SECRETS)


# --- helpers of the cells


def credentials_for(mechanism: str, state: str = "good") -> sasl.Credentials:
    if mechanism in BEARERS:
        return Bearer(USER, SENT[state])
    return Password(USER, PASSWORD if state == "good" else WRONG)


def raised(way: Way, mechanism: str, conn: Any, credentials: sasl.Credentials) -> Exception | None:
    """What a login raises."""
    try:
        way.calls[mechanism](conn, credentials)
    except Exception as error:
        return error
    assert way.attempt is not None
    return None if way.attempt.outcome == "accepted" else Silence(way.attempt.outcome)


class Silence(Exception):
    """A library says nothing of a login that was refused."""


def named(error: Exception) -> str:
    """An error in a cell."""
    if isinstance(error, Silence):
        return "nothing"
    kind = f" ({error.kind})" if isinstance(error, sasl.SASLError) else ""
    return f"`{type(error).__qualname__}`{kind}"


def one_cell(cells: dict[str, str]) -> str:
    """The cells of several mechanisms in one: one word if it is the same for all of them."""
    if len(set(cells.values())) <= 1:
        return next(iter(cells.values()), NONE)
    return ", ".join(f"{name} {found}" for name, found in cells.items())


# --- the tables

COLUMNS: Final[dict[str, dict[str, Callable[[Way], str]]]] = {
    "Who gets in": {
        "PLAIN": lambda way: logs_in(way, "PLAIN"),
        "SCRAM-SHA-256": lambda way: logs_in(way, "SCRAM-SHA-256"),
        "-PLUS": lambda way: logs_in(way, PLUS),
        "XOAUTH2": lambda way: logs_in(way, "XOAUTH2"),
        "OAUTHBEARER": lambda way: logs_in(way, "OAUTHBEARER"),
        "token of 4,000 octets": takes_long_tokens,
        "no initial response without SASL-IR": waits_to_be_asked,
    },
    "What else comes of it": {
        "wrong password": lambda way: refuses(way, PASSWORDS, "wrong"),
        "wrong token": lambda way: refuses(way, BEARERS, "wrong"),
        "expired token": lambda way: refuses(way, BEARERS, "expired"),
        "answers the error challenge": answers_error_challenges,
        "usable after a refusal": stays_usable,
        "debug output without the credential": shows_nothing,
    },
}


def measured_libraries() -> list[Client]:
    """The libraries that can be measured here."""
    return [client for client in map(load, names()) if isinstance(client, Client)]


def rows_of(client: Client, servers: Servers) -> dict[tuple[str, str, str], list[str]]:
    """The rows of a library by table, library and way."""
    return {
        (title, client.name, how): [measure(way) for measure in columns.values()]
        for how, way in ways(client, servers).items()
        for title, columns in COLUMNS.items()
    }


def lines_of(client: Client) -> list[str]:
    """How much code the binding of a library is, and its file in tests/libraries."""
    binding = (ROOT / "adapters" / f"{client.module}.py").read_text("utf-8")
    entry = (ROOT / "tests" / "libraries" / f"{client.name}.py").read_text("utf-8")
    counts = description_lines(binding), code_lines(binding, classes=False), code_lines(binding), code_lines(entry)
    return [str(count) for count in counts]


LINES: Final = "What a binding takes"
COUNTED: Final = ("description", "module without public classes", "module", "file for the tests")


def measured(clients: list[Client]) -> dict[tuple[str, str, str], list[str]]:
    """All rows of these libraries, measured now."""
    rows: dict[tuple[str, str, str], list[str]] = {}
    with running_with_sieve({USER: PASSWORD}, TOKENS, settings=SETTINGS) as servers:
        servers.verifier.add_token(LONG, USER)
        for client in clients:
            rows |= rows_of(client, servers)
            rows[LINES, client.name, "code lines"] = lines_of(client)
    return rows


def markdown(title: str, rows: dict[tuple[str, str, str], list[str]], versions: dict[str, str]) -> str:
    """A table of the docs."""
    columns = COUNTED if title == LINES else tuple(COLUMNS[title])
    lines = [f"| library | | {' | '.join(columns)} |", "|---" * (len(columns) + 2) + "|"]
    for (table, name, how), cells in sorted(rows.items()):
        if table == title:
            library = f"{name} {versions.get(name, '')}".strip()
            lines.append(f"| {library} | {how} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def kept() -> tuple[dict[tuple[str, str, str], list[str]], dict[str, str]]:
    """The rows that the page has now, and the versions that they were measured with."""
    rows, versions = {}, {}
    for title in (*COLUMNS, LINES):
        for line in table_in(PAGE, title)[1].splitlines()[2:]:
            library, how, *cells = [cell.strip() for cell in line.strip("|").split("|")]
            name, _, versions[name] = library.partition(" ")
            rows[title, name, how] = cells
    return rows, versions


def write(rows: dict[tuple[str, str, str], list[str]], versions: dict[str, str]) -> None:
    """Put rows into the page; those of other libraries stay."""
    old_rows, old_versions = kept()
    for title in (*COLUMNS, LINES):
        before, _, after = table_in(PAGE, title)
        table = markdown(title, {**old_rows, **rows}, {**old_versions, **versions})
        PAGE.write_text(f"{before}{table}{after}", "utf-8")


def table_in(page: Path, title: str) -> tuple[str, str, str]:
    """A page before a table, the table, and the page behind it."""
    found = re.search(rf"(?s)(.*<!-- {title} -->\n)(.*?)(<!-- end -->.*)", page.read_text("utf-8"))
    assert found is not None, f"{page.name} has no place for the table {title!r}"
    return found[1], found[2], found[3]
