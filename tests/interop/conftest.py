"""Dovecot, Postfix and GNU SASL for the session; what is missing has its tests skipped.

They fail instead if SASLKIT_REQUIRE_INTEROP=1.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from ..support.servers import CannotStart, Running
from . import dovecot as dovecot_module
from . import gsasl as gsasl_module
from . import node as node_module
from . import postfix as postfix_module

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from contextlib import AbstractContextManager

    from .dovecot import Dovecot
    from .gsasl import Gsasl
    from .postfix import Postfix

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def dovecot() -> Iterator[Dovecot]:
    """A server with all mechanisms."""
    yield from _started(dovecot_module.running)


@pytest.fixture(scope="session")
def tokens_only() -> Iterator[Dovecot]:
    """A server that knows no mechanism but XOAUTH2: a password is of no use there, LOGIN is disabled."""
    yield from _started(dovecot_module.running, ("xoauth2",))


@pytest.fixture(scope="session")
def commands_only(dovecot: Dovecot) -> Iterator[Dovecot]:
    """A server that takes a password by IMAP's LOGIN and POP's USER/PASS, and lists no mechanism for it."""
    with dovecot_module.without_password_mechanisms(dovecot) as server:
        yield server


@pytest.fixture(scope="session")
def cannot_tell() -> Iterator[Dovecot]:
    """A server that asks another one about tokens, in vain."""
    with dovecot_module.broken_web_server() as url:
        yield from _started(dovecot_module.running, introspection=url)


@pytest.fixture(scope="session")
def one_at_a_time() -> Iterator[Dovecot]:
    """A server that grants a user one connection per protocol."""
    yield from _started(dovecot_module.running, settings="mail_max_userip_connections = 1")


@pytest.fixture(scope="session")
def postfix(dovecot: Dovecot) -> Iterator[Postfix]:
    """Submission that leaves the credentials to Dovecot."""
    yield from _started(postfix_module.running, dovecot)


@pytest.fixture(scope="session")
def gsasl() -> Iterator[Gsasl]:
    """The library, in this process."""
    yield from _started(gsasl_module.running)


@pytest.fixture(scope="session")
def node_example(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of the example in node, with its packages."""
    yield from _started(node_module.installed, tmp_path_factory.mktemp("node"))


@pytest.fixture(scope="session")
def start() -> Callable[..., Iterator[Any]]:
    """What fixtures of the test files start a server with."""
    return _started


def _started(
    running: Callable[..., AbstractContextManager[Any]], *arguments: object, **options: object
) -> Iterator[Any]:
    reason = None
    try:
        with running(*arguments, **options) as server:
            yield server
    except CannotStart as error:
        reason = str(error)
    if reason is not None:
        pytest.skip(reason)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.interop)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = _required((yield))
    servers = [value for value in getattr(item, "funcargs", {}).values() if isinstance(value, Running)]
    if report.failed:
        report.sections += [(f"what {server!r} wrote last", server.log()[-1000:]) for server in servers]
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    return _required((yield))


def _required(report: Report) -> Report:
    """Turn a skip into a failure where the tests of this folder are required."""
    if report.skipped and os.environ.get("SASLKIT_REQUIRE_INTEROP", "") not in ("", "0"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"SASLKIT_REQUIRE_INTEROP is set, and this was skipped: {reason}"
    return report
