"""docs/howto is true: the code of each page runs, in the page's order, as a script in a process of its own."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from sasl.adapters.reference import Servers, running, token_endpoint
from sasl.adapters.reference.token_endpoint import TokenEndpoint
from sasl.adapters.tokens.stores import FileStore

from ..support.documents import (
    PASSWORD,
    ROOT,
    USER,
    at_servers,
    blocks,
    broken_links,
    languages,
    only_code,
    outcomes,
    printed_otherwise,
    protocols,
)
from ..support.grants import grant_of
from ..support.libraries import modules

PAGES = sorted((ROOT / "docs" / "howto").glob("*.md"))
RUN = {"python", "pycon"}
NOT_RUN = {"text", "ini", "js", "sh", "toml"}

EXAMPLES = {path.read_text("utf-8") for path in (ROOT / "examples").glob("*.py")}
"""What tests/examples and tests/interop run, at servers that are not ours."""

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
to_run = pytest.mark.parametrize(
    "page",
    [page for page in PAGES if not {*blocks(page.read_text("utf-8"), "python")} <= EXAMPLES],
    ids=lambda page: page.stem,
)


@pytest.fixture
def endpoint() -> Iterator[TokenEndpoint]:
    """Where the account of a page has its tokens from."""
    with token_endpoint.running() as endpoint:
        yield endpoint


@pytest.fixture
def servers(endpoint: TokenEndpoint) -> Iterator[Servers]:
    with running(users={USER: PASSWORD}, checks=endpoint.checks) as servers:
        yield servers


@pytest.fixture
def environment(endpoint: TokenEndpoint, tmp_path: Path) -> dict[str, str]:
    """Where an account has been left by a sign-in."""
    FileStore(tmp_path / "state" / "saslkit" / "tokens").put(grant_of(endpoint, USER, USER))
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    return {**os.environ, "XDG_STATE_HOME": str(tmp_path / "state"), "PATH": path}


@pytest.fixture
def daemon(endpoint: TokenEndpoint) -> dict[str, str]:
    """A program that may open the user's mailbox: here it is called as that."""
    endpoint.register(USER, secret="of-the-daemon")
    return {"token_endpoint": endpoint.url, "client_id": USER, "client_secret": "of-the-daemon"}


def missing(script: str) -> list[str]:
    """The packages that a script imports and that are not installed."""
    imported = [node for node in ast.walk(ast.parse(script)) if isinstance(node, ast.Import | ast.ImportFrom)]
    modules = [
        name
        for node in imported
        for name in ([str(node.module)] if isinstance(node, ast.ImportFrom) else [each.name for each in node.names])
    ]
    packages = sorted({module.partition(".")[0] for module in modules})
    return [package for package in packages if find_spec(package) is None]


@to_run
def test_the_code_of_a_page_runs_and_logs_in(
    page: Path, servers: Servers, environment: dict[str, str], daemon: dict[str, str], tmp_path: Path
) -> None:
    text = page.read_text("utf-8")
    code = only_code(text, "python")
    if (lacking := missing(code)) and os.environ.get("SASLKIT_REQUIRE_INTEROP") != "1":
        pytest.skip(f"{', '.join(lacking)} is not installed")
    if '"sieve.example.com"' in code:
        pytest.skip("the page wants a server that keeps scripts: tests/interop/test_sieve.py runs it at Dovecot")
    given = {"user": USER, "password": PASSWORD, "token": servers.tokens["good"], **daemon}
    # The page begins with its title: what the page is given stands in that line, and all others keep their number.
    assert code.startswith("\n"), "a page begins with a title"
    script = tmp_path / page.with_suffix(".py").name.replace("-", "_")
    script = script.with_name(f"howto_{script.name}")
    script.write_text(f"{'; '.join(f'{name} = {value!r}' for name, value in given.items())}{at_servers(code, servers)}")

    tested = ["-m", "pytest", "-q", "-p", "no:cacheprovider"] if re.search(r"^def test_", code, re.MULTILINE) else []
    run = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", *tested, script],
        cwd=tmp_path,
        env={**environment, "SSL_CERT_FILE": str(servers.ca_file)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, f"{page.name}\n{run.stdout}\n{run.stderr}"
    accepted = {protocol for protocol, outcome in outcomes(servers) if outcome == "accepted"}
    assert accepted >= protocols(code), "a page that names a server logs in there"


COMMANDS = [
    pytest.param(line, id=line)
    for page in PAGES
    for block in blocks(page.read_text("utf-8"), "sh")
    for line in block.splitlines()
    if line.startswith("sasl token ")
]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_for_tokens_does_what_its_page_says(command: str, environment: dict[str, str]) -> None:
    run = subprocess.run(command.split(), env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout


@pages
def test_the_interactive_examples_of_a_page_print_what_they_show(page: Path) -> None:
    assert printed_otherwise(page.read_text("utf-8"), page.name)[1] == ""


@pages
def test_a_page_says_by_its_language_whether_a_block_is_run(page: Path) -> None:
    assert languages(page.read_text("utf-8")) <= RUN | NOT_RUN


@pages
def test_the_links_of_a_page_lead_somewhere(page: Path) -> None:
    assert broken_links(page) == []


def test_each_library_has_a_page_with_code() -> None:
    with_code = {page.stem for page in PAGES if blocks(page.read_text("utf-8"), "python")}
    assert set(modules()) - with_code == set()


# --- the rules themselves


@pytest.mark.parametrize(
    ("code", "becomes"),
    [
        ('IMAP4_SSL("imap.example.com")', 'IMAP4_SSL("localhost", 2)'),
        ('IMAP4("imap.example.com", 143)', 'IMAP4("localhost", 1)'),
        ('POP3_SSL("pop.example.com", timeout=5)', 'POP3_SSL("localhost", 4, timeout=5)'),
        ('SMTP("smtp.example.com", 587)', 'SMTP("localhost", 5)'),
        ('SMTP("smtp.example.com", port=465)', 'SMTP("localhost", port=6)'),
        ('SMTP(hostname="smtp.example.com", port=587)', 'SMTP(hostname="localhost", port=5)'),
        ('IMAP4_SSL(host="imap.example.com")', 'IMAP4_SSL(host="localhost", port=2)'),
        ('EMAIL_HOST="smtp.example.com",\n    EMAIL_PORT=587', 'EMAIL_HOST="localhost",\n    EMAIL_PORT=5'),
        ('EMAIL_HOST = "smtp.example.com"\nEMAIL_PORT = 465', 'EMAIL_HOST = "localhost"\nEMAIL_PORT = 6'),
        ('"host": "smtp.example.com", "port": 587', '"host": "localhost", "port": 5'),
        ('open_connection("imap.example.com", 993, ssl=tls)', 'open_connection("localhost", 2, ssl=tls)'),
        ('wrap_socket(sock, server_hostname="imap.example.com")', 'wrap_socket(sock, server_hostname="localhost")'),
        ('host = "imap.example.com"\nconnect(host, 993)', 'host = "localhost"\nconnect(host, 2)'),
        ('"user@example.com"', '"user@example.com"'),
    ],
)
def test_a_server_of_an_example_is_one_of_this_machine(code: str, becomes: str) -> None:
    assert at_servers(code, _Numbered()) == becomes  # type: ignore[arg-type]


class _Numbered:
    def __getattr__(self, protocol: str) -> Any:
        number = 1 + 2 * ["imap", "pop", "smtp"].index(protocol)
        return type("Endpoint", (), {"port": number, "tls_port": number + 1})


def test_the_lines_of_a_script_are_those_of_its_page() -> None:
    page = "# Title\n\n```python\none\n```\n\n```text\nnot code\n```\n\n```python\ntwo\n\nthree\n```\n"
    script = only_code(page, "python")
    assert script.count("\n") == page.count("\n")
    assert Counter(script.split()) == Counter(["one", "two", "three"])
    for line, said in zip(page.splitlines(), script.splitlines(), strict=True):
        assert said in ("", line)


def test_a_link_that_leads_nowhere_is_found(tmp_path: Path) -> None:
    page = ROOT / "docs" / "howto" / "nowhere.md"
    assert [_broken(page, link) for link in ("architecture.md", "../architecture.md", "../../README.md#no-such")] == [
        True,
        False,
        True,
    ]


def _broken(page: Path, link: str) -> bool:
    from ..support import documents

    return not documents._leads(page, link)


def test_what_a_page_imports_is_looked_for() -> None:
    assert missing("import nosuchpackage.part\nfrom nosuchpackage_2 import a\nimport sasl, ssl") == [
        "nosuchpackage",
        "nosuchpackage_2",
    ]
