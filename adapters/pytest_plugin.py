"""The plugin for pytest: mail servers and an OAuth authority of each test's own, which fail on demand.

    @pytest.mark.sasl(persona="gmail", users={"me@gmail.com": "secret"}, faults=["imap:FETCH nth=2 drop"])
    def test_my_client(sasl_servers, sasl_accounts, sasl_oauth, sasl_clock): ...

It imports nothing of the package before a test asks for one of the fixtures. They need no service and no event loop:
the servers run in a thread. A fault that never struck fails its test; a test that fails shows what its client did.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping

    from pluggy import Result

    from .reference import Servers
    from .reference.clock import Clock
    from .reference.faults import Rule
    from .reference.mail_user import MailUser
    from .reference.token_endpoint import TokenEndpoint

_TAKES: Final = ("persona", "mechanisms", "users", "faults", "plaintext")
_SERVERS: Final = pytest.StashKey["Servers"]()


# --- fixtures


@pytest.fixture
def sasl_servers(request: pytest.FixtureRequest) -> Iterator[Servers]:
    """Mail servers of this test's own, as `pytest.mark.sasl` wants them: `sasl.adapters.reference.Servers`."""
    from .reference import running

    wanted = _wanted(request.node)
    options, rules = _options(wanted), _rules(wanted.get("faults", ()))
    if "sasl_oauth" in request.fixturenames:
        options["oauth"] = True
    with running(**options) as servers:
        for rule in rules:
            servers.faults.add(rule)
        request.node.stash[_SERVERS] = servers
        yield servers
        del request.node.stash[_SERVERS]


@pytest.fixture
def sasl_accounts(sasl_servers: Servers) -> Mapping[str, MailUser]:
    """The users of the servers by their names: `sasl.adapters.reference.MailUser`."""
    from .reference.mail_user import MailUser

    return {name: MailUser(name, password, sasl_servers) for name, password in sasl_servers.users.items()}


@pytest.fixture
def sasl_oauth(sasl_servers: Servers) -> TokenEndpoint:
    """The OAuth authority of the servers, which also answers on HTTP: that takes the package h11."""
    if not sasl_servers.oauth.url:
        pytest.fail("sasl_oauth is to be an argument of the test, or of a fixture that is one", pytrace=False)
    return sasl_servers.oauth


@pytest.fixture
def sasl_clock(sasl_servers: Servers) -> Clock:
    """What time it is at the servers and the authority; `advance(hours=1)` puts it forward."""
    return sasl_servers.clock


# --- the mark


def pytest_configure(config: pytest.Config) -> None:
    """Make the mark known."""
    config.addinivalue_line(
        "markers",
        f"sasl({', '.join(f'{name}=' for name in _TAKES)}): how the mail servers of the fixture sasl_servers are",
    )


def pytest_itemcollected(item: pytest.Item) -> None:
    """Refuse a mark with arguments that it does not take."""
    for mark in item.iter_markers("sasl"):
        if mark.args or set(mark.kwargs) - set(_TAKES):
            wrong = [*map(repr, mark.args), *(name for name in mark.kwargs if name not in _TAKES)]
            raise pytest.UsageError(
                f"{item.nodeid}: pytest.mark.sasl takes {', '.join(f'{name}=' for name in _TAKES)}; "
                f"not {', '.join(wrong)}"
            )


def _wanted(node: pytest.Item) -> dict[str, Any]:
    """Return the arguments of a test's marks; of those that stand in several, the one nearest to the test."""
    wanted: dict[str, Any] = {}
    for mark in node.iter_markers("sasl"):
        wanted = {**mark.kwargs, **wanted}
    return wanted


def _options(wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `running` takes for the arguments of marks. Raises UsageError for what they cannot be."""
    from collections.abc import Mapping

    from sasl.errors import UsageError
    from sasl.policy import Policy
    from sasl.registry import lookup

    from .reference import Settings

    options = {name: value for name, value in wanted.items() if name in ("persona", "users")}
    if not isinstance(options.get("users", {}), Mapping):
        raise UsageError("users of a mark are a mapping of names to passwords")
    plaintext = wanted.get("plaintext", False)
    if not isinstance(plaintext, bool):
        raise UsageError("plaintext of a mark is True or False")
    mechanisms = wanted.get("mechanisms")
    names = None if mechanisms is None else [lookup(name).name for name in _each(mechanisms)]
    policy = Policy(plaintext="loopback" if plaintext else "never", allow=names or ())
    return {**options, "settings": Settings(mechanisms=names, policy=policy)}


def _rules(faults: object) -> list[Rule | str]:
    """Return what `Faults.add` takes for texts, rules, and objects of JSON. Raises UsageError for anything else."""
    from .reference.faults import Rule

    return [fault if isinstance(fault, str | Rule) else Rule.from_json(fault) for fault in _each(faults)]


def _each(given: object) -> list[Any]:
    """Return what was given: one, or several in a list, tuple or set."""
    return list(given) if isinstance(given, list | tuple | set | frozenset) else [given]


# --- what became of it


# This is loaded wherever the package is installed: hooks are such as old versions of pluggy know too.


@pytest.hookimpl(trylast=True)
def pytest_runtest_call(item: pytest.Item) -> None:
    """Fail a test that has passed, and in which a fault was to strike and did not."""
    servers = item.stash.get(_SERVERS, None)
    if servers is not None and (unused := servers.faults.unused):
        rules = "\n".join(f"  {rule}" for fault in unused for rule in fault.rules)
        pytest.fail(f"what should have gone wrong did not happen in this test:\n{rules}", pytrace=False)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Result[pytest.TestReport], None]:
    """Show what the client did, and what is wrong with that, where a test failed."""
    report = (yield).get_result()
    servers = item.stash.get(_SERVERS, None)
    if servers is not None and report.failed:
        report.sections.append(("mail servers", _told(servers)))


def _told(servers: Servers) -> str:
    """Return the verdicts and the dialogues, which hold no secret."""
    log = servers.log
    verdicts = [f"! {verdict}" for verdict in log.verdicts]
    dialogues = [log.dialogue(session.number) for session in log.sessions]
    return "\n".join([*verdicts, *dialogues]) or "nobody connected"
