"""What `import sasl` and a first login load: lists of modules, because a list does not flake as milliseconds do."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

import sasl

ROOT = Path(__file__).parents[2]
HEAVY = ("google", "cryptography", "pyasn1", "jwt", "asyncio", "importlib.metadata", "logging", "ssl", "socket", "json")

ENGINE = {
    *("sasl", "sasl.channel", "sasl.client_exchange", "sasl.credentials", "sasl.errors", "sasl.exchange"),
    *("sasl.hashes", "sasl.limits", "sasl.mechanisms", "sasl.prep", "sasl.registry", "sasl.secret"),
    *("sasl.server_exchange", "sasl.steps", "sasl.typed", "sasl.value"),
}
"""What any exchange needs of ours."""
STANDARD = {
    *("__future__", "importlib", "enum", "functools", "collections", "types", "itertools", "operator", "keyword"),
    *("reprlib", "warnings"),
}
"""What any exchange may need of the standard library. Never dataclasses and inspect, never typing."""

LOADED = {
    "PLAIN client": (
        "sasl.client('PLAIN', sasl.Password('joe', 'pencil')).start()",
        {"sasl.mechanisms.plain", "sasl.mechanisms._password", "re", "copyreg"},
    ),
    "PLAIN server": (
        "sasl.server('PLAIN').start(bytes([0]) + b'joe' + bytes([0]) + b'pencil')",
        {"sasl.mechanisms.plain", "sasl.mechanisms._password", "re", "copyreg"},
    ),
    "XOAUTH2 client": (
        "sasl.client('XOAUTH2', sasl.Bearer('joe', 'token')).start()",
        {"sasl.mechanisms.xoauth2", "sasl.mechanisms._bearer"},
    ),
    "choose": (
        "sasl.choose(['PLAIN'], sasl.Password('joe', 'pencil'), channel=sasl.Channel(tls=True))",
        {"sasl.fit", "sasl.policy"},
    ),
}


def loaded_by(code: str) -> set[str]:
    """Run code in a fresh interpreter without site, which loads much itself, and return the modules it loaded.

    Modules in C and parts of packages of the standard library are left out: they differ from version to version.
    """
    script = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); before = set(sys.modules); import sasl\n"
        f"sasl.__path__.append({str(ROOT)!r})\n{code}\nprint(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-c", script], capture_output=True, text=True, check=True)
    return {
        name if name.startswith("sasl") else name.split(".")[0]
        for name in done.stdout.split()
        if not name.startswith("_") or name == "__future__"
    }


def test_importing_sasl_loads_itself_and_nothing_else() -> None:
    assert loaded_by("") == {"__future__", "sasl"}


@pytest.mark.parametrize("what", LOADED)
def test_a_first_exchange_loads_what_it_uses(what: str) -> None:
    code, own = LOADED[what]
    loaded = loaded_by(code)
    assert sorted(name for name in loaded if name.startswith("sasl") and name not in ENGINE | own) == []
    assert sorted(name for name in loaded if not name.startswith("sasl") and name not in STANDARD | own) == []


@pytest.mark.parametrize("name", ["SCRAM-SHA-256", "CRAM-MD5", "EXTERNAL", "OAUTHBEARER", "LOGIN"])
@pytest.mark.parametrize("side", ["client", "server"])
def test_no_mechanism_loads_anything_heavy(side: str, name: str) -> None:
    loaded = loaded_by(f"sasl.lookup({name!r}).script({side!r})")
    assert sorted(loaded & {*HEAVY, "dataclasses", "inspect"}) == []


@pytest.mark.parametrize("library", ["imaplib", "poplib", "smtplib"])
def test_an_adapter_loads_little_that_its_library_does_not(library: str) -> None:
    above = loaded_by(f"import sasl.adapters.{library}") - loaded_by(f"import {library}")
    assert sorted(name for name in above if not name.startswith("sasl")) in (["importlib"], ["contextlib", "importlib"])
    assert sorted(name for name in above if name.startswith(("sasl.mechanisms", "sasl.adapters.cli"))) == []


def test_importing_the_engine_loads_no_mechanism_and_no_adapter() -> None:
    loaded = loaded_by("from sasl import *")
    assert sorted(name for name in loaded if name.startswith(("sasl.mechanisms", "sasl.adapters", "sasl.spec"))) == []
    assert sorted(loaded & {*HEAVY, "dataclasses", "inspect"}) == []


# --- the names


def test_the_package_is_the_same_when_it_is_loaded_anew() -> None:
    """The plugin of pytest has loaded it before a test runs, and before anybody measures what tests cover."""
    spec = spec_from_file_location("sasl_anew", sasl.__file__)
    assert spec is not None
    assert spec.loader is not None
    anew = module_from_spec(spec)
    spec.loader.exec_module(anew)
    assert set(anew.__all__) == set(sasl.__all__) <= set(dir(anew))
    assert anew.__version__ == sasl.__version__


def test_every_public_name_is_there() -> None:
    assert sorted(sasl.__all__) == sorted(set(sasl.__all__))
    assert [name for name in sasl.__all__ if not hasattr(sasl, name)] == []
    assert set(sasl.__all__) <= set(dir(sasl))


def test_type_checkers_see_the_names_that_are_loaded_on_demand() -> None:
    tree = ast.parse(Path(sasl.__file__).read_text())
    seen = {
        (alias.name, node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level
        for alias in node.names
    }  # fmt: skip
    assert seen == {(name, module) for module, names in sasl._MODULES.items() for name in names.split()}
    assert {name for name, _ in seen} | {"__version__"} == set(sasl.__all__)


@pytest.mark.parametrize("name", ["registry", "steps", "settlement"])
def test_a_module_of_the_engine_is_an_attribute(name: str) -> None:
    assert "sasl.registry" in loaded_by("sasl.registry.lookup")
    assert getattr(sasl, name).__name__ == f"sasl.{name}"


@pytest.mark.parametrize("name", ["nothing", "Answer", "__wrapped__"])
def test_another_name_is_an_attribute_error(name: str) -> None:
    with pytest.raises(AttributeError, match=f"module 'sasl' has no attribute '{name}'"):
        getattr(sasl, name)


@pytest.mark.parametrize("name", ["Client", "saslwrapper"])
def test_names_of_the_binding_to_cyrus_are_an_import_error(name: str) -> None:
    with pytest.raises(ImportError, match="this one is saslkit"):
        getattr(sasl, name)
    with pytest.raises(ImportError):
        exec(f"from sasl import {name}")
    assert name not in dir(sasl)
