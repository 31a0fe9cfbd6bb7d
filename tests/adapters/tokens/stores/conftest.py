"""What the tests of stores share: programs that run beside them, and a folder as a user sees it who is not root."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_NOBODY = 65_534


@pytest.fixture
def beside() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """beside(code, argument, ...) runs Python, where ./sasl hides nothing, with text for its input and output."""
    with contextlib.ExitStack() as stack:

        def start(code: str, *arguments: object) -> subprocess.Popen[str]:
            command = [sys.executable, "-P", "-c", code, *map(str, arguments)]
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            stack.enter_context(process)
            stack.callback(process.kill)
            return process

        yield start


@pytest.fixture
def own_folder() -> Iterator[Path]:
    """A folder of the user who runs this, who is not root meanwhile: root may write wherever it likes."""
    folder = Path(tempfile.mkdtemp(prefix="saslkit-"))
    try:
        if os.geteuid() != 0:
            yield folder
            return
        os.chown(folder, _NOBODY, -1)
        os.seteuid(_NOBODY)
        try:
            yield folder
        finally:
            os.seteuid(0)
    finally:
        folder.chmod(0o700)
        shutil.rmtree(folder)
