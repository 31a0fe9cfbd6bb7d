"""What an import costs in a cold process, above a bare interpreter."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time

ROUNDS = 7
STATEMENTS = {
    "import imaplib": "import imaplib",
    "import sasl": "import sasl",
    "sasl and its imaplib adapter": "import sasl.adapters.imaplib",
    "import smtplib": "import smtplib",
    "sasl and its smtplib adapter": "import sasl.adapters.smtplib",
    "import poplib": "import poplib",
    "sasl and its poplib adapter": "import sasl.adapters.poplib",
    "pysasl": "import pysasl",
    "pure-sasl": "import puresasl.client",
}


def costs() -> dict[str, float]:
    """Return milliseconds for each statement that can be run here, the least of ROUNDS, taken in turns."""
    runnable = {title: code for title, code in STATEMENTS.items() if _run(code) is not None}
    best = dict.fromkeys(["", *runnable], float("inf"))
    for _ in range(ROUNDS):
        for title in best:
            took = _run(runnable.get(title, "pass"))
            best[title] = min(best[title], took if took is not None else float("inf"))
    return {title: best[title] - best[""] for title in runnable}


def _run(code: str) -> float | None:
    """Return the milliseconds of a process, or None if it fails. Away from the checkout, whose folders shadow."""
    start = time.perf_counter()
    command = [sys.executable, "-I", "-c", code]
    process = subprocess.run(command, cwd=tempfile.gettempdir(), capture_output=True, check=False)
    return (time.perf_counter() - start) * 1e3 if process.returncode == 0 else None
