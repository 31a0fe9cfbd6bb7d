"""The plugin for pytest: servers of each test's own, told by a mark; it costs nothing where nobody asks for them."""

from __future__ import annotations

import asyncio
import contextlib
import imaplib
import os
import re
import subprocess
import sys
import textwrap
import unittest
from importlib.metadata import entry_points
from importlib.util import find_spec, module_from_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import sasl
import sasl.adapters.imaplib
from sasl.adapters.asyncio import authenticate, open_connection
from sasl.adapters.reference import running, serving
from sasl.adapters.tokens.oauth import OAuthTokens
from sasl.adapters.tokens.store import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from sasl.adapters.reference import Servers
    from sasl.adapters.reference.clock import Clock
    from sasl.adapters.reference.mail_user import MailUser
    from sasl.adapters.reference.token_endpoint import TokenEndpoint

PLUGIN = "sasl.adapters.pytest_plugin"


@contextlib.contextmanager
def logged_in(servers: Servers, user: str = "alice", password: str = "wonderland") -> Iterator[imaplib.IMAP4]:
    with connected(servers) as conn:
        sasl.adapters.imaplib.authenticate(conn, sasl.Password(user, password))
        yield conn


def connected(servers: Servers) -> imaplib.IMAP4:
    return imaplib.IMAP4_SSL("localhost", servers.imap.tls_port, ssl_context=servers.client_context())


async def log_in(servers: Servers, user: str, password: str) -> None:
    conn = await open_connection("imap", "localhost", servers.imap.tls_port, tls=servers.client_context())
    await authenticate(conn, sasl.Password(user, password))
    conn.close()


# --- fixtures


def test_a_test_has_servers_that_its_client_can_log_in_at(sasl_servers: Servers) -> None:
    with logged_in(sasl_servers) as conn:
        assert conn.state == "AUTH"
    assert [attempt.outcome for attempt in sasl_servers.imap.sessions[-1].attempts] == ["accepted"]


@pytest.mark.parametrize("number", [1, 2])
def test_no_test_sees_what_another_one_left(number: int, sasl_servers: Servers) -> None:
    assert sasl_servers.mailbox("alice").messages == ()
    assert len(sasl_servers.imap.sessions) == 0
    sasl_servers.deliver("alice", "Subject: left behind\n\n")
    sasl_servers.clock.advance(hours=1)
    with logged_in(sasl_servers):
        pass


def test_a_test_of_asyncio_needs_no_plugin_of_its_own(sasl_servers: Servers) -> None:
    asyncio.run(log_in(sasl_servers, "alice", "wonderland"))
    assert [attempt.outcome for attempt in sasl_servers.imap.sessions[-1].attempts] == ["accepted"]


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """The loops that anyio runs a test in."""
    return str(request.param)


@pytest.mark.anyio
async def test_a_coroutine_function_takes_the_fixtures_as_they_are(sasl_servers: Servers) -> None:
    import anyio

    async with await anyio.connect_tcp("127.0.0.1", sasl_servers.imap.port) as stream:
        assert (await stream.receive()).startswith(b"* OK")


def test_the_users_are_at_hand(sasl_servers: Servers, sasl_accounts: Mapping[str, MailUser]) -> None:
    alice = sasl_accounts["alice"]
    assert (alice.name, alice.password) == ("alice", "wonderland")
    assert "wonderland" not in repr(sasl_accounts)
    message = alice.deliver("Subject: hello\n\n", mailbox="Sent", flags=["\\Seen"])
    assert alice.mailbox("Sent").messages == sasl_servers.mailbox("alice", "Sent").messages == (message,)
    assert message.flags == {"\\Seen"}


def test_the_clock_is_that_of_the_servers(sasl_servers: Servers, sasl_clock: Clock) -> None:
    assert sasl_clock is sasl_servers.clock
    before = sasl_clock.now()
    assert (sasl_clock.advance(hours=1) - before).total_seconds() >= 3_600


def test_the_authority_is_on_http_where_it_is_asked_for(
    sasl_servers: Servers, sasl_oauth: TokenEndpoint, sasl_accounts: Mapping[str, MailUser], sasl_clock: Clock
) -> None:
    store = MemoryStore()
    store.put(sasl_accounts["alice"].grant())
    token = OAuthTokens(store, "alice", clock=sasl_clock).token()
    with pytest.raises(imaplib.IMAP4.abort), connected(sasl_servers) as conn:
        sasl.adapters.imaplib.authenticate(conn, sasl.Bearer("alice", token.value))
        sasl_oauth.revoke_consent("alice")
        conn.noop()
    assert sasl_servers.env()["OAUTH_TOKEN_URL"] == sasl_oauth.url


def test_an_authority_that_is_asked_for_when_the_servers_run_is_none(
    request: pytest.FixtureRequest, sasl_servers: Servers
) -> None:
    with pytest.raises(pytest.fail.Exception, match="argument of the test"):
        request.getfixturevalue("sasl_oauth")


def test_there_is_no_http_where_nobody_wants_it(sasl_servers: Servers, sasl_accounts: Mapping[str, MailUser]) -> None:
    assert "OAUTH_TOKEN_URL" not in sasl_servers.env()
    token = sasl_accounts["alice"].token(lifetime=60)
    with connected(sasl_servers) as conn:
        sasl.adapters.imaplib.authenticate(conn, sasl.Bearer("alice", token))
    sasl_servers.clock.advance(minutes=2)
    with connected(sasl_servers) as conn, pytest.raises(sasl.AuthenticationFailed):
        sasl.adapters.imaplib.authenticate(conn, sasl.Bearer("alice", token))


# --- the mark


@pytest.mark.sasl(users={"bob": "builder", "carol": "singer"})
def test_a_mark_says_who_the_users_are(sasl_servers: Servers, sasl_accounts: Mapping[str, MailUser]) -> None:
    assert list(sasl_accounts) == ["bob", "carol"]
    with logged_in(sasl_servers, "carol", "singer") as conn:
        assert conn.state == "AUTH"


@pytest.mark.sasl(mechanisms=["CRAM-MD5", "PLAIN"])
def test_a_mark_says_which_mechanisms_there_are_even_those_that_are_off(sasl_servers: Servers) -> None:
    with imaplib.IMAP4("localhost", sasl_servers.imap.port) as conn:
        conn.starttls(sasl_servers.client_context())
        offered = {name for name in conn.capabilities if name.startswith("AUTH=")}
        assert offered == {"AUTH=CRAM-MD5", "AUTH=PLAIN"}
        assert conn.login_cram_md5("alice", "wonderland")[0] == "OK"


@pytest.mark.sasl(plaintext=True)
def test_a_mark_lets_passwords_go_without_tls(sasl_servers: Servers) -> None:
    with imaplib.IMAP4("localhost", sasl_servers.imap.port) as conn:
        assert conn.login("alice", "wonderland")[0] == "OK"


def test_without_a_mark_no_password_goes_without_tls(sasl_servers: Servers) -> None:
    with imaplib.IMAP4("localhost", sasl_servers.imap.port) as conn, pytest.raises(imaplib.IMAP4.error):
        conn.login("alice", "wonderland")


@pytest.mark.sasl(persona="gmail")
def test_a_mark_says_who_the_servers_behave_like(sasl_servers: Servers) -> None:
    with imaplib.IMAP4("localhost", sasl_servers.imap.port) as conn:
        assert b"Gimap ready" in conn.welcome


@pytest.mark.sasl(users={"bob": "builder"}, plaintext=True)
class TestOfAClass:
    def test_has_the_mark_of_the_class(self, sasl_servers: Servers) -> None:
        assert sasl_servers.users == {"bob": "builder"}

    @pytest.mark.sasl(users={"dave": "dancer"})
    def test_may_have_another_one_which_goes_first_argument_by_argument(self, sasl_servers: Servers) -> None:
        assert sasl_servers.users == {"dave": "dancer"}
        with imaplib.IMAP4("localhost", sasl_servers.imap.port) as conn:
            assert conn.login("dave", "dancer")[0] == "OK"


@pytest.mark.sasl(faults=["imap:NOOP reply NO Later"])
def test_a_mark_says_what_goes_wrong(sasl_servers: Servers) -> None:
    with logged_in(sasl_servers) as conn:
        assert conn.noop() == ("NO", [b"Later"])
        assert conn.noop()[0] == "OK"


# --- unittest


class TestWithUnittest(unittest.TestCase):
    def setUp(self) -> None:
        self.servers = self.enterContext(running(users={"bob": "builder"}, persona="gmail"))

    def test_servers_are_a_context_manager(self) -> None:
        with logged_in(self.servers, "bob", "builder") as conn:
            assert conn.state == "AUTH"


class TestWithAsyncUnittest(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self) -> None:
        self.servers = await self.enterAsyncContext(serving(users={"bob": "builder"}))

    async def test_servers_may_be_in_the_loop_of_the_test(self) -> None:
        await log_in(self.servers, "bob", "builder")
        assert self.servers.imap.sessions[-1].attempts[-1].identity == "bob"


# --- what a whole run says

INNER = """
import imaplib
import os
import re
import subprocess
import sys
import textwrap

import pytest
import sasl
import sasl.adapters.imaplib


def log_in(servers, password="wonderland"):
    with imaplib.IMAP4_SSL("localhost", servers.imap.tls_port, ssl_context=servers.client_context()) as conn:
        sasl.adapters.imaplib.authenticate(conn, sasl.Password("alice", password))
        return conn.noop()


@pytest.mark.sasl(faults=["imap:NOOP reply NO Later", "imap:FETCH nth=2 drop"])
def test_unused(sasl_servers):
    assert log_in(sasl_servers)[0] == "NO"


@pytest.mark.sasl(faults="imap:NOOP reply NO Later")
def test_used(sasl_servers):
    assert log_in(sasl_servers)[0] == "NO"


@pytest.mark.sasl(faults=["imap:FETCH drop"])
def test_given_up(sasl_servers):
    sasl_servers.faults.clear()


def test_shown(sasl_servers):
    log_in(sasl_servers)
    with pytest.raises(sasl.AuthenticationFailed):
        log_in(sasl_servers, "a-wrong-password")
    raise AssertionError("as I wanted")


def test_nobody(sasl_servers):
    raise AssertionError("as I wanted")


def marked(name, **arguments):
    return pytest.param(id=name, marks=pytest.mark.sasl(**arguments))


@pytest.mark.parametrize((), [
    marked("fault", faults=["imap:FETCH explode"]),
    marked("number", faults=3),
    marked("persona", persona="gmial"),
    marked("users", users=["alice"]),
    marked("plaintext", plaintext="yes"),
    marked("mechanisms", mechanisms="NOSUCH"),
])
def test_refused(sasl_servers):
    pass


@pytest.mark.sasl(mechanisms="PLAIN", faults={"protocol": "imap", "on": "NOOP", "do": {"reply": "NO Later"}})
def test_one_of_each(sasl_servers):
    assert log_in(sasl_servers)[0] == "NO"


@pytest.mark.parametrize("number", range(8))
def test_alone(number, sasl_servers):
    assert log_in(sasl_servers)[0] == "OK"
    assert len(sasl_servers.attempts) == 1


class TestWithout:
    def test_the_fixtures(self):
        pass
"""


def run_pytest(folder: Path, source: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run pytest with the plugin and no other one but those that are named, in a folder of its own."""
    (folder / "test_inner.py").write_text(source)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "COV_"))}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-rA", "--tb=short", "-p", "no:cacheprovider", "-p", PLUGIN, *options],
        cwd=folder,
        env={**environment, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, tuple[str, str]]:
    """The outcome of each test in a run of several processes, and what was said of it if it did not pass."""
    done = run_pytest(tmp_path_factory.mktemp("inner"), INNER, "-p", "xdist", "-n", "2", "--strict-markers")
    summary = done.stdout.rpartition(" short test summary info ")[2]
    found = {name: outcome for outcome, name in re.findall(r"^(\w+) test_inner\.py::(\S+)", summary, re.MULTILINE)}
    sections = re.findall(r"^_{3,} ([\w \[\]]+) _{3,}\n(.*?)(?=^_{3,} |^={3,} )", done.stdout, re.MULTILINE | re.DOTALL)
    said = {name.rpartition(" ")[2]: text for name, text in sections}
    assert found, done.stdout + done.stderr
    return {name: (outcome, said.get(name, "")) for name, outcome in found.items()}


@pytest.mark.once
def test_a_fault_that_never_struck_fails_its_test(told: Mapping[str, tuple[str, str]]) -> None:
    outcome, text = told["test_unused"]
    assert outcome == "FAILED"
    assert "did not happen in this test:\n  imap:FETCH nth=2 drop\n" in text
    assert "imap:NOOP" not in text.partition("mail servers")[0]
    assert (told["test_used"][0], told["test_given_up"][0]) == ("PASSED", "PASSED")


@pytest.mark.once
def test_a_test_that_fails_shows_what_its_client_did(told: Mapping[str, tuple[str, str]]) -> None:
    outcome, text = told["test_shown"]
    assert outcome == "FAILED"
    report = text.partition(" mail servers ")[2]
    assert "* OK" in report
    assert "NOOP" in report
    assert "AUTHENTICATIONFAILED" in report
    for secret in ("wonderland", "a-wrong-password"):
        assert secret not in report
    assert "nobody connected" in told["test_nobody"][1]


@pytest.mark.once
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("fault", "UsageError: "),
        ("number", "UsageError: a rule is an object"),
        ("persona", "UsageError: there is no persona 'gmial'"),
        ("users", "UsageError: users of a mark are a mapping of names to passwords"),
        ("plaintext", "UsageError: plaintext of a mark is True or False"),
        ("mechanisms", "MechanismUnavailable: no mechanism NOSUCH is known here"),
    ],
)
def test_a_mark_that_cannot_be_followed_is_an_error_of_its_test(
    name: str, words: str, told: Mapping[str, tuple[str, str]]
) -> None:
    outcome, text = told[f"test_refused[{name}]"]
    assert outcome == "ERROR"
    assert words in text


@pytest.mark.once
def test_a_single_thing_needs_no_list(told: Mapping[str, tuple[str, str]]) -> None:
    assert told["test_one_of_each"][0] == "PASSED"


@pytest.mark.once
def test_processes_of_xdist_have_servers_of_their_own(told: Mapping[str, tuple[str, str]]) -> None:
    assert {told[f"test_alone[{number}]"][0] for number in range(8)} == {"PASSED"}


def test_a_mark_with_an_argument_that_it_does_not_take_ends_the_run(tmp_path: Path) -> None:
    source = """
        import pytest

        @pytest.mark.sasl("gmail", persone="gmail")
        def test_it():
            pass
    """
    done = run_pytest(tmp_path, textwrap.dedent(source), "--strict-markers")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    [line] = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
    takes = "persona=, mechanisms=, users=, faults=, plaintext="
    assert line == f"ERROR: test_inner.py::test_it: pytest.mark.sasl takes {takes}; not 'gmail', persone"


# --- what it costs


def test_it_loads_nothing_before_a_test_asks_for_a_fixture(tmp_path: Path) -> None:
    source = """
        import sys

        def test_without_a_fixture():
            of_ours = {name for name in sys.modules if name.partition(".")[0] in ("sasl", "cryptography", "h11")}
            assert of_ours == {"sasl", "sasl.adapters", "sasl.adapters.pytest_plugin"}
            assert not {"asyncio", "ssl", "socketserver"} & set(sys.modules)
    """
    done = run_pytest(tmp_path, textwrap.dedent(source))
    assert "1 passed" in done.stdout, done.stdout + done.stderr


def test_importing_it_imports_pytest_and_nothing_else(tmp_path: Path) -> None:
    code = "import sys, pytest, typing; before = set(sys.modules); import sasl.adapters.pytest_plugin; "
    code += "print(*sorted(set(sys.modules) - before))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split() == ["sasl", "sasl.adapters", "sasl.adapters.pytest_plugin"]


def test_the_plugin_is_there_where_the_package_is_installed() -> None:
    assert [entry.value for entry in entry_points(group="pytest11", name=PLUGIN)] == [PLUGIN]


def test_it_is_loaded_with_old_versions_of_pluggy_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def hookimpl_of_pluggy_1_0(
        *, hookwrapper: bool = False, optionalhook: bool = False, tryfirst: bool = False, trylast: bool = False
    ) -> Callable[[object], object]:
        return lambda hook: hook

    monkeypatch.setattr(pytest, "hookimpl", hookimpl_of_pluggy_1_0)
    spec = find_spec(PLUGIN)
    assert spec is not None
    assert spec.loader is not None
    spec.loader.exec_module(module_from_spec(spec))
