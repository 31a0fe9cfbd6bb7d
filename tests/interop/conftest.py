"""Dovecot, Postfix and GNU SASL for the session; what is missing has its tests skipped.

They fail instead if SASLKIT_REQUIRE_INTEROP=1.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from types import ModuleType

    from tests.interop.dovecot import Dovecot
    from tests.interop.gsasl import Gsasl
    from tests.interop.postfix import Postfix

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)

HERE = Path(__file__).parent


def _load(name: str) -> ModuleType:
    """Load a helper of this folder, which is no package and not on sys.path."""
    full_name = f"saslkit_interop_{name}"
    spec = importlib.util.spec_from_file_location(full_name, HERE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[full_name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def dovecot_module() -> ModuleType:
    return _load("dovecot")


@pytest.fixture(scope="session")
def dovecot(dovecot_module: ModuleType) -> Iterator[Dovecot]:
    """A server with all mechanisms."""
    yield from _started(dovecot_module)


@pytest.fixture(scope="session")
def tokens_only(dovecot_module: ModuleType) -> Iterator[Dovecot]:
    """A server that knows no mechanism but XOAUTH2: a password is of no use there, LOGIN is disabled."""
    yield from _started(dovecot_module, ("xoauth2",))


@pytest.fixture(scope="session")
def commands_only(dovecot: Dovecot, dovecot_module: ModuleType) -> Iterator[Dovecot]:
    """A server that takes a password by IMAP's LOGIN and POP's USER/PASS, and lists no mechanism for it."""
    with dovecot_module.without_password_mechanisms(dovecot) as server:
        yield server


@pytest.fixture(scope="session")
def cannot_tell(dovecot_module: ModuleType) -> Iterator[Dovecot]:
    """A server that asks another one about tokens, in vain."""
    with dovecot_module.broken_web_server() as url:
        yield from _started(dovecot_module, introspection=url)


@pytest.fixture(scope="session")
def one_at_a_time(dovecot_module: ModuleType) -> Iterator[Dovecot]:
    """A server that grants a user one connection per protocol."""
    yield from _started(dovecot_module, settings="mail_max_userip_connections = 1")


@pytest.fixture(scope="session")
def postfix_module() -> ModuleType:
    return _load("postfix")


@pytest.fixture(scope="session")
def postfix(dovecot: Dovecot, postfix_module: ModuleType) -> Iterator[Postfix]:
    """Submission that leaves the credentials to Dovecot."""
    yield from _started(postfix_module, dovecot)


@pytest.fixture(scope="session")
def gsasl() -> Iterator[Gsasl]:
    """The library, in this process."""
    yield from _started(_load("gsasl"))


@pytest.fixture(scope="session")
def start() -> Callable[..., Iterator[Any]]:
    """What fixtures of the test files start a server with."""
    return _started


def _started(module: ModuleType, *arguments: object, **options: object) -> Iterator[Any]:
    reason = None
    try:
        with module.running(*arguments, **options) as server:
            yield server
    except module.CannotStart as error:
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
    servers = [
        value for value in getattr(item, "funcargs", {}).values() if type(value).__name__ in ("Dovecot", "Postfix")
    ]
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
