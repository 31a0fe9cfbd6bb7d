"""Hold what logins cost against budgets, by counts that no other load changes: `tox -e gate`, on Python 3.12.

Counted are Python calls, C calls and bytecode instructions of a warm exchange and of a warm command exchange, the
modules that each import loads, and the octets of an idle exchange. Counts do not see what a call costs inside C, so
what a longer token costs is measured in time, both lengths in turns, and judged generously.
The budgets stand in `budgets.json`; `--write` replaces them by what is counted now.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import exchanges
import wires

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BUDGETS = Path(__file__).parent / "budgets.json"
SLACK = 1.03
WARM = 50  # rounds before the one that is counted
TURNS = 25  # of the two lengths of a token
IMPORTS = {
    "import sasl": "import sasl",
    "sasl and a first PLAIN login": (
        "import sasl; c = sasl.client('PLAIN', sasl.Password('tim', 'tanstaaf')); c.start(); c.succeed()"
    ),
    "sasl and a first XOAUTH2 login": (
        "import sasl; c = sasl.client('XOAUTH2', sasl.Bearer('tim', 'token')); c.start(); c.succeed()"
    ),
    "the imaplib adapter, above imaplib": "import sasl.adapters.imaplib",
    "the poplib adapter, above poplib": "import sasl.adapters.poplib",
    "the smtplib adapter, above smtplib": "import sasl.adapters.smtplib",
}


def counts() -> dict[str, dict[str, int]]:
    """Return Python calls, C calls and instructions of each row of the bench."""
    return {title: _counted(call) for title, call in _rows()}


def modules() -> dict[str, list[str]]:
    """Return the modules that each import loads beyond a bare interpreter, or beyond the library that it is above."""
    bare = _loaded("pass")
    found = {}
    for title, code in IMPORTS.items():
        above = title.partition(", above ")[2]
        before = _loaded(f"import {above}") if above else bare
        found[title] = sorted(_loaded(code) - before)
    return found


def growth() -> dict[str, float]:
    """Return how many times as long a token of 2,500 octets takes as one of 200: the median of TURNS turns."""
    rows = dict(_rows())
    found = {}
    for title in [title for title in rows if title.endswith(", 200")]:
        short, long = rows[title], rows[f"{title.removesuffix('200')}2500"]
        turns = [(_seconds(short), _seconds(long)) for _ in range(TURNS)]
        found[title.removesuffix(", 200")] = statistics.median(longer / shorter for shorter, longer in turns)
    return found


def main() -> int:
    """Print each figure beside its budget; return 1 if one is over it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="make today's figures the budgets")
    write = parser.parse_args().write
    if sys.version_info[:2] != (3, 12):
        raise SystemExit("counts differ between versions of Python: the budgets are for 3.12")
    found = {"counts": counts(), "modules": modules(), "idle": exchanges.idle()}
    if write:
        BUDGETS.write_text(json.dumps(found | {"growth": _GROWTH}, indent=1) + "\n")
    budgets = json.loads(BUDGETS.read_text())
    over = [*_over(found, budgets), *_grown(growth(), budgets["growth"])]
    for line in over:
        print(f"over budget: {line}")
    print(f"{len(over)} over budget" if over else "all within their budgets")
    return 1 if over else 0


_GROWTH = {"XOAUTH2 client and server": 5.0, "OAUTHBEARER client and server": 5.0}


def _rows() -> Iterator[tuple[str, Callable[[], object]]]:
    for title, contenders in exchanges.rows():
        yield title, contenders["saslkit"]
    yield from wires.rows()


def _counted(call: Callable[[], object]) -> dict[str, int]:
    for _ in range(WARM):
        if not call():
            raise SystemExit("a row does not log in: there is nothing to count")
    monitoring, tool = sys.monitoring, sys.monitoring.PROFILER_ID
    events = monitoring.events
    seen = {"python": 0, "c": 0, "instructions": 0}

    def entered(*_: object) -> None:
        seen["python"] += 1

    def called(_code: object, _offset: int, function: object, _first: object) -> None:
        seen["c"] += not hasattr(function, "__code__") and not hasattr(function, "__func__")

    def executed(*_: object) -> None:
        seen["instructions"] += 1

    monitoring.use_tool_id(tool, "gate")
    monitoring.register_callback(tool, events.PY_START, entered)
    monitoring.register_callback(tool, events.PY_RESUME, entered)
    monitoring.register_callback(tool, events.CALL, called)
    monitoring.register_callback(tool, events.INSTRUCTION, executed)
    try:
        monitoring.set_events(tool, events.PY_START | events.PY_RESUME | events.CALL | events.INSTRUCTION)
        call()
        monitoring.set_events(tool, 0)
    finally:
        monitoring.free_tool_id(tool)
    return seen


def _loaded(code: str) -> set[str]:
    """Return the modules of a fresh process after some code. Away from the checkout, whose folders shadow."""
    command = [sys.executable, "-I", "-c", f"{code}; import sys; print(*sys.modules, sep='\\n')"]
    process = subprocess.run(command, cwd=tempfile.gettempdir(), capture_output=True, text=True, check=True)
    return set(process.stdout.split())


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    for _ in range(WARM):
        call()
    return time.perf_counter() - start


def _over(found: dict[str, dict], budgets: dict[str, dict]) -> Iterator[str]:
    """Print counts and sizes; yield what is over its budget."""
    for title, seen in found["counts"].items():
        allowed = budgets["counts"].get(title, {})
        print(f"{title:<38} {', '.join(f'{what} {seen[what]} of {allowed.get(what)}' for what in seen)}")
        for what, count in seen.items():
            if count > allowed.get(what, 0) * SLACK:
                yield f"{title}: {count} {what}, not {allowed.get(what)}"
    for title, names in found["modules"].items():
        more = sorted(set(names) - set(budgets["modules"].get(title, [])))
        print(f"{title:<38} {len(names)} modules")
        if more:
            yield f"{title}: loads {', '.join(more)}"
    for title, octets in found["idle"].items():
        print(f"{title:<38} {octets} of {budgets['idle'].get(title)} octets, idle")
        if octets > budgets["idle"].get(title, 0) * SLACK:
            yield f"{title}: {octets} octets, not {budgets['idle'].get(title)}"


def _grown(found: dict[str, float], budgets: dict[str, float]) -> Iterator[str]:
    """Print what a longer token costs; yield what costs too much more."""
    for title, factor in found.items():
        print(f"{title:<38} x{factor:.1f} from 200 to 2,500 octets, of x{budgets[title]:.1f}")
        if factor > budgets[title]:
            yield f"{title}: x{factor:.1f}, not x{budgets[title]:.1f}"


if __name__ == "__main__":
    sys.exit(main())
