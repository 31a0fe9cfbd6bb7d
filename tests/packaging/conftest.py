"""The project as it is built: a wheel and an sdist, made once for all tests of the packaging."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = {"sasl": "sasl", "mechanisms": "sasl/mechanisms", "adapters": "sasl/adapters", "spec": "sasl/spec"}
"""The folders of the checkout and where the wheel has them (docs/decisions/0001-folders.md)."""


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def folders() -> dict[str, str]:
    return FOLDERS


@pytest.fixture(scope="session")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sdist of a copy of the project, so that nothing is left behind in it."""
    copy = tmp_path_factory.mktemp("project") / "saslkit"
    unwanted = shutil.ignore_patterns(
        ".git", ".tox", ".venv*", "__pycache__", ".*_cache", "build", "dist", "*.egg-info"
    )
    shutil.copytree(ROOT, copy, ignore=unwanted)
    return _built("sdist", copy, tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="session")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the sdist: what the sdist lacks is missing here too."""
    unpacked = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        # Debian 12 has Python 3.11.2, which knows no filters and needs none for what was just built here.
        archive.extraction_filter = getattr(tarfile, "data_filter", lambda member, _path: member)
        archive.extractall(unpacked)
    return _built("wheel", next(unpacked.iterdir()), tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session")
def wheel_names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if not name.endswith("/")}


def _built(kind: str, source: Path, out: Path) -> Path:
    """Call the build backend as pip does (PEP 517), but without an environment of its own, which needs a network."""
    code = f"import sys; from setuptools.build_meta import build_{kind} as build; print(build(sys.argv[1]))"
    run = subprocess.run([sys.executable, "-c", code, out], cwd=source, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return out / run.stdout.splitlines()[-1]
