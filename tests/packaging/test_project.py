"""The project's own files: nothing of one machine in them, and what they say about each other is true."""

from __future__ import annotations

import importlib
import os
import re
import runpy
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest

import sasl

HOME = "https://github.com/saslkit/saslkit"
ROOT = Path(__file__).parents[2]
NOT_OURS = {".git", ".tox", ".venv", ".hypothesis", "__pycache__", "build", "dist", "saslkit.egg-info"}
A_MACHINES_PATH = re.compile(rb"(?<![A-Za-z0-9_./-])(?:/(?:root|home|tmp|work|Users)/[A-Za-z0-9_.-]+|[A-Z]:\\Users\\)")


def own_files() -> list[Path]:
    """What git tracks or would track; without git (an sdist), all that is there."""
    if (ROOT / ".git").exists():
        command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
        return [ROOT / name for name in listed if (ROOT / name).is_file()]
    return [path for path in ROOT.rglob("*") if path.is_file() and not NOT_OURS & set(path.relative_to(ROOT).parts)]


def test_no_file_names_a_path_of_a_machine() -> None:
    files = own_files()
    assert len(files) > 40
    found = {path.relative_to(ROOT).as_posix(): A_MACHINES_PATH.findall(path.read_bytes()) for path in files}
    assert {name: paths for name, paths in found.items() if paths} == {}


@pytest.mark.parametrize("path", ["/{}/me/x", 'cd "/{}/me"', "file:///{}/me"])
@pytest.mark.parametrize("place", ["root", "home", "tmp"])
def test_a_path_of_a_machine_is_found(path: str, place: str) -> None:
    assert A_MACHINES_PATH.search(path.format(place).replace("file://", "file: ").encode())


def test_tox_tests_the_wheel_and_not_the_checkout() -> None:
    """The trap of this layout: ./sasl shadows the installed package for whatever puts the current folder first."""
    place = Path(sasl.__file__).parent
    if "TOX_ENV_NAME" in os.environ:
        assert place.parent == Path(sysconfig.get_path("purelib"))
    else:
        assert place in (ROOT / "sasl", Path(sysconfig.get_path("purelib")) / "sasl")


@pytest.mark.parametrize("command", [[sys.executable, "-m", "sasl"], [f"{sysconfig.get_path('scripts')}/sasl"]])
def test_the_command_line_runs_outside_the_checkout(command: list[str], tmp_path: Path) -> None:
    run = subprocess.run([*command, "--help"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (0, "")
    assert "usage: sasl" in run.stdout


def test_the_console_script_returns_the_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["sasl", "mechs"])
    assert importlib.import_module("sasl.__main__").main() == 0


def test_the_module_exits_with_the_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "sasl.__main__", raising=False)
    monkeypatch.setattr(sys, "argv", ["sasl", "mechs"])
    with pytest.raises(
        SystemExit
    ) as ended:  # by its path: pytest rewrites what a wheel with a plugin has, and runpy cannot
        runpy.run_path(str(Path(sasl.__file__ or "").with_name("__main__.py")), run_name="__main__")
    assert ended.value.code == 0


def test_ci_runs_the_test_command_of_the_readme() -> None:
    commands = re.findall(r"^python3 -m venv .*$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert [command for command in commands if command in (ROOT / ".ci/run").read_text().splitlines()] != []


def test_ci_does_not_read_its_standard_input_and_stops_at_the_first_error() -> None:
    script = (ROOT / ".ci/run").read_text()
    assert script.startswith("#!/usr/bin/env bash\n")
    assert "\nset -euo pipefail\n" in script
    assert "\nexec </dev/null\n" in script
    assert subprocess.run(["bash", "-n", ROOT / ".ci/run"], check=False).returncode == 0


DECISIONS = sorted((ROOT / "docs/decisions").glob("*.md"))


@pytest.mark.parametrize("record", DECISIONS, ids=lambda path: path.stem)
def test_a_decision_record_asks_chooses_argues_and_counts_the_cost(record: Path) -> None:
    text = record.read_text()
    assert re.findall(r"^\*\*(\w+)\.\*\*", text, re.MULTILINE) == ["Question", "Choice", "Why", "Cost"]
    assert text.startswith(f"# {record.stem[:4]}: ")


def test_decisions_are_numbered_without_a_gap() -> None:
    assert [int(record.stem[:4]) for record in DECISIONS] == list(range(1, len(DECISIONS) + 1))


PROSE = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


@pytest.mark.parametrize("document", PROSE, ids=lambda path: path.name)
def test_a_link_within_the_project_leads_somewhere(document: Path) -> None:
    text = document.read_text()
    links = re.findall(r"\]\((?!https?:|mailto:|#)([^)#]+)", text)
    assert [link for link in links if not (document.parent / link).exists()] == []
    absolute = re.findall(rf"{re.escape(HOME)}/blob/main/([^)#\s]+)", text)
    assert [link for link in absolute if not (ROOT / link).exists()] == []


def test_the_readme_is_read_elsewhere_too() -> None:
    """On PyPI, where a relative link leads nowhere."""
    text = (ROOT / "README.md").read_text()
    assert re.findall(r"\]\((?!https?:|mailto:)[^)]+\)", text) == []
    assert set(re.findall(r"\]\[([\w-]+)\]", text)) == set(re.findall(r"^\[([^\]]+)\]: https:", text, re.MULTILINE))
    assert text.count(f"{HOME}/blob/main/") > 5
    urls = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]
    assert {url.partition("/blob")[0].removesuffix("/issues") for url in urls.values()} == {HOME}
    assert "\npip install saslkit\n" in text.partition("\n## ")[0]


@pytest.mark.parametrize("document", PROSE, ids=lambda path: path.name)
def test_prose_keeps_to_120_columns(document: Path) -> None:
    prose = re.sub(r"^```.*?^```$", "", document.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    assert [line for line in prose.splitlines() if len(line) >= 120 and not line.startswith("|")] == []


def test_a_document_that_a_source_file_names_exists() -> None:
    named = {
        (path.relative_to(ROOT).as_posix(), name)
        for path in own_files()
        if path.suffix in (".py", ".toml", ".ini")
        for name in re.findall(r"docs/[\w/-]+\.md", path.read_text())
    }
    assert named
    assert [entry for entry in named if not (ROOT / entry[1]).exists()] == []
