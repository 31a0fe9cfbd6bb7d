"""Which import may name what, and what an import costs."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("sasl", "mechanisms", "adapters", "spec")
MODULES = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
HEAVY = {"google", "cryptography", "pyasn1", "jwt", "asyncio", "importlib.metadata"}

MAY_NAME_MODULES_IN_STRINGS = {"sasl/registry.py", "sasl/__main__.py"}
"""What finds the other folders by name, when somebody asks for them."""


def violations(path: str, source: str) -> list[str]:
    """What a module does against "every import that crosses a folder points into sasl/"."""
    folder, *inside = path.split("/")
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            wrong = [alias.name for alias in node.names if crosses_wrongly(folder, alias.name)]
        elif isinstance(node, ast.ImportFrom) and node.level:
            wrong = ["a folder above its own"] if node.level > len(inside) else []
        elif isinstance(node, ast.ImportFrom):
            names = [f"sasl.{alias.name}" for alias in node.names] if node.module == "sasl" else [node.module or ""]
            wrong = [name for name in names if crosses_wrongly(folder, name)]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            wrong = (
                [node.value] if path not in MAY_NAME_MODULES_IN_STRINGS and names_another(folder, node.value) else []
            )
        else:
            continue
        found += [f"{path}:{node.lineno} names {name}" for name in wrong]
    return found


def crosses_wrongly(folder: str, name: str) -> bool:
    """Whether an absolute import leads anywhere but from another folder into sasl/."""
    top, _, rest = name.partition(".")
    if top in FOLDERS[1:]:
        return True  # works in the checkout only
    return top == "sasl" and (folder == "sasl" or rest.split(".")[0] in FOLDERS[1:])


def names_another(folder: str, text: str) -> bool:
    """Whether a string is one for importlib that leads into another folder."""
    return re.fullmatch(rf"sasl\.(?!{folder}\b)({'|'.join(FOLDERS[1:])})(\.\w+)*(:\w+)?", text) is not None


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_what_crosses_a_folder_points_into_sasl(module: Path) -> None:
    assert violations(module.relative_to(ROOT).as_posix(), module.read_text()) == []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("mechanisms/plain.py", "from sasl.adapters.wire import base64"),
        ("mechanisms/plain.py", "from sasl import adapters"),
        ("mechanisms/plain.py", "import sasl.mechanisms.xoauth2"),
        ("mechanisms/plain.py", "from adapters import wire"),
        ("mechanisms/plain.py", "from ..adapters import wire"),
        ("adapters/imaplib.py", "from sasl.mechanisms import plain"),
        ("adapters/imaplib.py", "from sasl import spec"),
        ("adapters/imaplib.py", "def f():\n    import mechanisms.plain"),
        ("adapters/imaplib.py", "from sasl.adapters.wire import imap"),
        ("adapters/wire/imap.py", "from ... import mechanisms"),
        ("adapters/wire/imap.py", "MODULE = 'sasl.mechanisms.plain:plain_client'"),
        ("sasl/policy.py", "from sasl.registry import lookup"),
        ("sasl/policy.py", "from . import mechanisms\nfrom .. import adapters"),
        ("sasl/policy.py", "MODULE = 'sasl.adapters.cli'"),
        ("spec/__init__.py", "import sasl.adapters"),
    ],
)
def test_an_import_that_points_elsewhere_is_found(path: str, source: str) -> None:
    assert len(violations(path, source)) == 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("mechanisms/plain.py", "from sasl.prep import saslprep\nfrom ._bearer import pairs\nimport sasl"),
        ("adapters/wire/imap.py", "from ..tokens import google\nfrom .base64 import decode\nfrom sasl import Channel"),
        ("adapters/imaplib.py", "import imaplib\nfrom .wire import imap"),
        ("mechanisms/__init__.py", "SCRIPT = 'sasl.mechanisms.plain:plain_client'"),
        ("sasl/policy.py", "from . import errors\nfrom .registry import lookup"),
        ("sasl/__main__.py", "MODULE = 'sasl.adapters.cli'"),
    ],
)
def test_an_import_that_points_into_sasl_is_fine(path: str, source: str) -> None:
    assert violations(path, source) == []


def imported_by(statement: str) -> set[str]:
    """The modules that a fresh process loads for a statement."""
    code = f"import json, sys; before = set(sys.modules); {statement}; print(json.dumps([*set(sys.modules) - before]))"
    run = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(run.stdout))


LIGHT = ["sasl", "sasl.mechanisms", "sasl.spec", "sasl.adapters", "sasl.adapters.wire"]
WIRES = [path.relative_to(ROOT).with_suffix("") for path in sorted((ROOT / "adapters/wire").rglob("[!_]*.py"))]
LIGHT += [".".join(("sasl", *path.parts)) for path in WIRES]
LIGHT += [f"sasl.adapters.{name}" for name in ("imaplib", "poplib", "smtplib")]


@pytest.mark.parametrize("module", LIGHT)
def test_importing_it_loads_nothing_heavy(module: str) -> None:
    assert imported_by(f"import {module}") & HEAVY == set()


def test_importing_sasl_loads_neither_mechanisms_nor_adapters() -> None:
    loaded = imported_by("from sasl import *")
    assert "sasl.exchange" in loaded
    assert [name for name in loaded if name.startswith(("sasl.mechanisms", "sasl.adapters", "sasl.spec"))] == []


def test_importing_sasl_loads_only_the_standard_library() -> None:
    tops = {name.split(".")[0] for name in imported_by("from sasl import *")}
    assert tops - sys.stdlib_module_names == {"sasl"}
