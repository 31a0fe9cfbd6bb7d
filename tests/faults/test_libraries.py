"""A connection that is cut after any octet of a login, or stalls, or carries junk, through the binding of each library.

A library opens its own sockets, so the cut is made on the way to a real server (`Between`). After each of them: the
error is a documented one, ours and the library's; the credential has left at most once; nobody is taken for logged in;
the connection is closed; the next one logs in; and nothing that can be seen shows the credential.
"""

from __future__ import annotations

import os
import pickle
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pytest

import sasl
from sasl import Bearer, Password

from ..support.leaks import locals_of, reachable, seen, shown_by
from ..support.libraries import Client, clients, librarys_own
from ..support.sieve import running_with_sieve
from ..support.sinks import Sinks, overheard
from .between import Between, between
from .conftest import IN_THE_CLEAR, PASSWORD, SETTINGS, TOKENS, USER, WRONG
from .peer import CLOSE, EVENTS, GARBAGE, RESET, STALL, Fault

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sasl.adapters.reference import Servers

ALL: Final = os.environ.get("SASLKIT_CUTS") == "all"
"""Whether nothing is a sample: `tox -e long` does so, as that takes a quarter of an hour."""
pytestmark = [pytest.mark.once, *([pytest.mark.long] if ALL else [])]
STEP: Final = 1 if ALL else 97
"""How far apart the cuts are; it has nothing in common with base64's four letters."""
STALLS: Final = 5
"""Of so many cuts one is a stall as well, which has to be waited for; within a line they are all the same."""
STALLED: Final = 0.05  # seconds that a login is given where nothing comes any more


@dataclass(frozen=True)
class Login:
    """A login to cut.

    Attributes:
        sent: what of the credential, or of its proof, goes over the wire, perhaps in base64.
        verdict: "" for one that succeeds, else the name of our error.
    """

    name: str
    mechanism: str
    credentials: sasl.Credentials
    sent: bytes
    verdict: str = ""

    @property
    def explained(self) -> bool:
        """Whether the server sends an error challenge: then its end is a refusal."""
        return bool(self.verdict) and self.mechanism == "XOAUTH2"


_NO: Final = "AuthenticationFailed"
LOGINS: Final = [
    Login("PLAIN", "PLAIN", Password(USER, PASSWORD), PASSWORD.encode()),
    Login("PLAIN-wrong", "PLAIN", Password(USER, WRONG), WRONG.encode(), _NO),
    Login("SCRAM", "SCRAM-SHA-256", Password(USER, PASSWORD), b",p="),
    Login("SCRAM-wrong", "SCRAM-SHA-256", Password(USER, WRONG), b",p=", _NO),
    Login("XOAUTH2", "XOAUTH2", Bearer(USER, TOKENS["good"]), TOKENS["good"].encode()),
    Login("XOAUTH2-expired", "XOAUTH2", Bearer(USER, TOKENS["expired"]), TOKENS["expired"].encode(), _NO),
]
SECRETS: Final = (PASSWORD, WRONG, *TOKENS.values())

logins = pytest.mark.parametrize("login", LOGINS, ids=lambda login: login.name)


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    """Servers of their own: what is kept of those that all tests share is looked at elsewhere."""
    with running_with_sieve({USER: PASSWORD}, TOKENS, settings=SETTINGS) as servers:
        yield servers


@pytest.fixture(params=clients())
def client(request: pytest.FixtureRequest) -> Client:
    """Each library in turn."""
    found: Client = request.param
    return found


@pytest.fixture
def middle(client: Client, servers: Servers) -> Iterator[Between]:
    """Stands before the library's server."""
    with between(getattr(servers, client.service).port) as found:
        yield found


@contextmanager
def connected(client: Client, middle: Between) -> Iterator[Any]:
    conn = client.connect("127.0.0.1", middle.port)
    try:
        yield conn
    finally:
        client.close(conn)


def attempt(client: Client, conn: Any, login: Login, fault: Fault | None = None) -> sasl.SASLError | None:
    """Log in; return the error, if there is one."""
    timeout = {"timeout": STALLED} if fault is not None and fault.event == STALL else {}
    try:
        client.authenticate(conn, login.credentials, mechanism=login.mechanism, policy=IN_THE_CLEAR, **timeout)
    except sasl.SASLError as error:
        return error
    return None


def kind_of(error: sasl.SASLError | None) -> str:
    """The name of our error that an error is; "" for none."""
    return next((base.__name__ for base in type(error).__mro__ if base.__module__ == "sasl.errors"), "")


def uncut(client: Client, middle: Between, login: Login) -> None:
    """Log in without a fault, and expect what comes of it."""
    middle.plan()
    with connected(client, middle) as conn:
        error = attempt(client, conn, login)
        assert kind_of(error) == login.verdict, login.name
        client.noop(conn)
    assert middle.wait()


def faults(client: Client, middle: Between, login: Login, event: str) -> list[Fault]:
    """The cuts of a login in both directions, from its command on, or a sample."""
    middle.plan()
    with connected(client, middle) as conn:
        attempt(client, conn, login)
        heard, said = len(middle.heard), len(middle.said)
    assert middle.wait()
    sent, told = middle.before_login()
    offsets = [("client", offset) for offset in range(sent + 1, heard, STEP)]
    offsets += [("server", offset) for offset in range(told, said, STEP)]
    return [Fault(event, *each) for each in (offsets[::STALLS] if event == STALL else offsets)]


def allowed(login: Login, fault: Fault) -> set[str]:
    """What may come of it. A reset may overtake what was said before."""
    found = {"ConnectionLost"}
    if login.explained:
        found |= {_NO}
    return found | {"ProtocolError", "ServerNotProven", _NO, ""} if fault.event == GARBAGE else found


def assert_as_documented(client: Client, login: Login, fault: Fault, error: sasl.SASLError | None) -> None:
    where = f"{client}: {login.name}: {fault}: {error!r}"
    name = kind_of(error)
    assert name in allowed(login, fault), where
    if name:
        assert isinstance(error, client.error), where
    if name == "ConnectionLost":
        assert isinstance(error, client.lost), where
        assert fault.event != STALL or error.kind == "timeout", where  # type: ignore[union-attr]
    if name == _NO:
        assert isinstance(error, client.refused), where


@pytest.mark.parametrize("event", EVENTS)
@logins
def test_a_cut_is_a_documented_error_and_the_next_login_works(
    client: Client, middle: Between, login: Login, event: str
) -> None:
    planned = faults(client, middle, login, event)
    assert planned
    for fault in planned:
        middle.plan(fault)
        with connected(client, middle) as conn:
            error = attempt(client, conn, login, fault)
            assert_as_documented(client, login, fault, error)
            if kind_of(error) not in ("", _NO):
                assert event == RESET or middle.wait(), f"{client}: {login.name}: {fault}: it is not closed"
                with pytest.raises(Exception):  # noqa: B017 -- poplib has an AttributeError for it
                    client.noop(conn)
        assert middle.wait()
        assert len(middle.words_with(login.sent)) <= 1, f"{client}: {login.name}: {fault}: sent twice"
        uncut(client, middle, login)


@logins
def test_nothing_that_can_be_seen_of_a_login_shows_the_credential(
    client: Client, middle: Between, login: Login
) -> None:
    cuts = [fault for event in (CLOSE, STALL, GARBAGE) for fault in faults(client, middle, login, event)[::3]]
    for fault in (None, *cuts):
        middle.plan(fault)
        sinks, texts = Sinks(), []
        with overheard(sinks), connected(client, middle) as conn:
            client.debug(conn)
            error = attempt(client, conn, login, fault)
            if error is not None:
                texts += [*shown_by(error), *locals_of(error, everywhere=True), pickle.dumps(error).decode("latin-1")]
                assert (error.__cause__, error.__context__) == (None, None)
            texts += [repr(conn), str(conn), *reachable(librarys_own(conn), collect=False)]
        assert middle.wait()
        assert seen([*texts, *sinks.texts()], *SECRETS) == [], f"{client}: {login.name}: {fault}"
