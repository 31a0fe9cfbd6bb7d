"""What is built is what stands in the folders: nothing left out, nothing besides."""

from __future__ import annotations

import email
import re
import tarfile
import zipfile
from collections import Counter
from typing import TYPE_CHECKING

import pytest

import sasl

if TYPE_CHECKING:
    from email.message import Message
    from pathlib import Path


def files_below(folder: Path) -> list[str]:
    found = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return [path.relative_to(folder).as_posix() for path in found]


@pytest.fixture(scope="session")
def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        return email.message_from_bytes(archive.read(f"saslkit-{sasl.__version__}.dist-info/METADATA"))


def test_the_wheel_holds_exactly_the_files_of_the_folders(
    root: Path, folders: dict[str, str], wheel_names: set[str]
) -> None:
    wanted = {f"{place}/{name}" for folder, place in folders.items() for name in files_below(root / folder)}
    packed = {name for name in wheel_names if ".dist-info/" not in name}
    assert wanted - packed == set(), "left out: name them in [tool.setuptools] packages or package-data"
    assert packed - wanted == set(), "in the wheel, but not in the folders"


def test_the_wheel_holds_one_top_level_package(wheel_names: set[str]) -> None:
    assert {name.split("/")[0] for name in wheel_names} == {"sasl", f"saslkit-{sasl.__version__}.dist-info"}


def test_no_file_is_in_the_wheel_twice(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        assert [name for name, count in Counter(archive.namelist()).items() if count > 1] == []


def test_the_wheel_says_that_it_is_typed(wheel_names: set[str]) -> None:
    assert "sasl/py.typed" in wheel_names


def test_the_wheel_carries_the_license(wheel_names: set[str]) -> None:
    assert f"saslkit-{sasl.__version__}.dist-info/licenses/LICENSE" in wheel_names


@pytest.mark.parametrize("folder", ["sasl", "mechanisms", "adapters", "spec", "tests", "docs", "bench", "examples"])
def test_the_sdist_holds_the_whole_folder(root: Path, sdist: Path, folder: str) -> None:
    with tarfile.open(sdist) as archive:
        packed = {name.partition("/")[2] for name in archive.getnames()}
    assert {f"{folder}/{name}" for name in files_below(root / folder)} - packed == set()


@pytest.mark.parametrize(
    "name",
    ["README.md", "LICENSE", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "pyproject.toml", "tox.ini", ".ci/run"],
)
def test_the_sdist_holds(sdist: Path, name: str) -> None:
    with tarfile.open(sdist) as archive:
        assert f"saslkit-{sasl.__version__}/{name}" in archive.getnames()


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("Name", ["saslkit"]),
        ("Version", [sasl.__version__]),
        ("Requires-Python", [">=3.11"]),
        ("License-Expression", ["MIT"]),
        ("License-File", ["LICENSE"]),
        ("Description-Content-Type", ["text/markdown"]),
        ("Provides-Extra", ["google", "jwt", "tokens", "redis", "psycopg", "keyring", "msal", "serve"]),
    ],
)
def test_the_metadata_say(metadata: Message, field: str, values: list[str]) -> None:
    assert metadata.get_all(field) == values


def test_the_requirements_are_these_and_no_others(metadata: Message) -> None:
    required = {re.sub(r"[<>=~!]+[\d.]+", "", line) for line in metadata.get_all("Requires-Dist", [])}
    assert required == {
        "cryptography",
        "pyasn1",
        'google-auth; extra == "google"',
        'filelock; extra == "google"',
        'PyJWT[crypto]; extra == "jwt"',
        'filelock; extra == "tokens"',
        'redis; extra == "redis"',
        'psycopg; extra == "psycopg"',
        'keyring; extra == "keyring"',
        'filelock; extra == "keyring"',
        'msal; extra == "msal"',
        'h11; extra == "serve"',
    }


def test_the_console_script_is_named_as_the_package_and_the_plugin_of_pytest_as_its_module(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        entries = archive.read(f"saslkit-{sasl.__version__}.dist-info/entry_points.txt").decode()
    assert entries.split("\n") == [
        "[console_scripts]",
        "sasl = sasl.__main__:main",
        "",
        "[pytest11]",
        "sasl.adapters.pytest_plugin = sasl.adapters.pytest_plugin",
        "",
    ]


def test_the_changelog_knows_this_version(root: Path) -> None:
    assert re.search(rf"^## \[{re.escape(sasl.__version__)}\]", (root / "CHANGELOG.md").read_text(), re.MULTILINE)
