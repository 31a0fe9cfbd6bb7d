"""Measure against a hand-inlined floor and installed peers, as ratios in one run: `tox -e bench`.

Prints a table and writes JSON (`--json FILE`; tox names one). Every contender does the same octets and says whether it
logged in; times of one row are taken in turns, so that what slows the machine slows them all.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import exchanges
import imports
import logins
import provider
import servers

if TYPE_CHECKING:
    from collections.abc import Callable

ROUNDS = 9
SLICE = 0.02  # seconds of one measurement


def measure(contenders: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Return microseconds per call for each contender: the least of ROUNDS rounds, taken in turns."""
    loops = {name: _loops(call) for name, call in contenders.items()}
    best = dict.fromkeys(contenders, float("inf"))
    for _ in range(ROUNDS):
        for name, call in contenders.items():
            best[name] = min(best[name], _timed(call, loops[name]))
    return best


def _timed(call: Callable[[], object], loops: int) -> float:
    start = time.perf_counter()
    for _ in range(loops):
        call()
    return (time.perf_counter() - start) / loops * 1e6


def _loops(call: Callable[[], object]) -> int:
    if not call():
        raise SystemExit("a contender did not log in: the row would compare nothing")
    loops = 1
    while _timed(call, loops) * loops / 1e6 < SLICE:
        loops *= 2
    return loops


def main() -> int:
    """Run all rows; return 0."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the figures there")
    target = parser.parse_args().json
    rows = []
    print(f"Python {platform.python_version()}, microseconds per exchange; x: ours against it, below 1 we are faster\n")
    for title, contenders in exchanges.rows():
        times = measure(contenders)
        ours = times["saslkit"]
        others = ", ".join(f"{name} {t:.2f} (x{ours / t:.2f})" for name, t in times.items() if name != "saslkit")
        print(f"{title:<38} saslkit {ours:.2f}, {others}")
        ratios = {name: ours / t for name, t in times.items() if name != "saslkit"}
        rows.append({"row": title, "microseconds": times, "ours_against": ratios})
    print("\nCold import, milliseconds above a bare interpreter")
    costs = imports.costs()
    for what, cost in costs.items():
        print(f"{what:<38} {cost:.1f}")
    for library in ("imaplib", "smtplib", "poplib"):
        above = costs[f"sasl and its {library} adapter"] - costs[f"import {library}"]
        print(f"{f'ours above {library} alone':<38} {above:.1f}")
    print("\nOctets of an idle exchange")
    sizes = exchanges.idle()
    for what, size in sizes.items():
        print(f"{what:<38} {size}")
    print("\nXOAUTH2 login by imaplib on loopback over TLS, milliseconds, and those of the client's own CPU")
    times, lines = logins.imap_logins(), logins.turns()
    for who, (took, ran) in times.items():
        print(f"{who:<38} {took:.2f}, {ran:.2f}")
    print(f"{'ratio to imaplib.authenticate':<38} x{times['imaplib.authenticate'][0] / times['saslkit'][0]:.0f} faster")
    print(f"{'CPU, to imaplib with TCP_NODELAY':<38} x{times['saslkit'][1] / times['imaplib with TCP_NODELAY'][1]:.2f}")
    print("\nLines that the client sends in an XOAUTH2 login")
    for who, count in lines.items():
        print(f"{who:<38} {count}")
    print("\nPLAIN exchanges per second of an asyncio server, one connection, client and server in one process")
    served = servers.exchanges_per_second()
    for who, count in served.items():
        print(f"{who:<38} {count:.0f} (x{served['saslkit'] / count:.2f})")
    print("\nThe provider to test against, milliseconds, and a floor that answers what was written before")
    provided = provider.costs()
    for what, taken in provided.items():
        print(f"{what:<38} {taken['saslkit']:.2f}, {taken['floor']:.2f} (x{taken['saslkit'] / taken['floor']:.2f})")
    if target is not None:
        figures = {
            "python": platform.python_version(),
            "rows": rows,
            "imports": costs,
            "idle": sizes,
            "login": times,
            "lines": lines,
            "exchanges_per_second": served,
            "provider": provided,
        }
        target.write_text(json.dumps(figures, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
