"""Put faults into the code, one at a time, and print those that no test notices. A report, and no gate.

    SASLKIT_MUTANTS=100 SASLKIT_SEED=2 tox -e mutants -- [--kind KIND] [PATH ...]

Each fault is one small change of a module's text: a comparison, a bound, a quantifier, `and` for `or`, a guard that is
gone, a value that is not returned, an error that is not raised. The package is copied for it, the checkout stays as it
is. A change that survives is either a gap in the tests or one that nobody can see: a person has to tell.
"""

from __future__ import annotations

import argparse
import ast
import itertools
import os
import queue
import random
import re
import shutil
import subprocess
import sys
import tempfile
import tokenize
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
FOLDERS: Final = {"sasl": "", "mechanisms": "mechanisms", "adapters": "adapters", "spec": "spec"}
"""The folders of the checkout and where the package has them."""

TARGETS: Final = ("sasl", "mechanisms", "adapters/wire", "adapters/binding")

TESTS: Final = {
    "sasl": ("tests/engine", "tests/mechanisms", "tests/adapters/wire"),
    "mechanisms": ("tests/mechanisms", "tests/adapters/wire", "tests/adapters/reference/test_mechanisms.py"),
    "adapters/wire": ("tests/adapters/wire", "tests/adapters/reference", "tests/adapters/test_binding.py"),
    "adapters/binding": ("tests/adapters/test_*.py", "tests/faults/test_cuts.py"),
    "adapters/reference": ("tests/adapters/reference", "tests/adapters/tokens"),
    "adapters/tokens": ("tests/adapters/tokens", "tests/adapters/cli"),
    "adapters/cli": ("tests/adapters/cli",),
    "adapters": ("tests/adapters", "tests/faults/test_cuts.py"),
}
"""The tests of a folder, those first that are quick to notice."""

LONGEST: Final = 600.0  # seconds for the tests of one folder: a fault may be an endless loop
SWAPPED: Final = {"any": "all", "all": "any", "min": "max", "max": "min", "True": "False", "False": "True"}
COMPARISONS: Final = {
    "<": ["<=", ">"],
    "<=": ["<"],
    ">": [">=", "<"],
    ">=": [">"],
    "==": ["!="],
    "!=": ["=="],
    "is": ["is not"],
    "is not": ["is"],
    "in": ["not in"],
    "not in": ["in"],
}


@dataclass(frozen=True, order=True)
class Mutant:
    """One change: the characters from `start` to `end` of a file become another text."""

    path: str
    line: int
    start: int
    end: int
    after: str
    kind: str

    def __str__(self) -> str:
        source = (ROOT / self.path).read_text("utf-8")
        before = source[self.start : self.end]
        shown = [" ".join(text.split())[:60] for text in (before, self.after)]
        return f"{self.path}:{self.line}: {self.kind}: {shown[0]} -> {shown[1]}"

    def applied(self) -> str:
        """The text of the file with the change in it."""
        source = (ROOT / self.path).read_text("utf-8")
        return source[: self.start] + self.after + source[self.end :]


class Finder(ast.NodeVisitor):
    """Finds what can be changed in a module."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.source = (ROOT / path).read_text("utf-8")
        self.found: list[Mutant] = []
        self._lines = [0]
        for line in self.source.splitlines(keepends=True):
            self._lines.append(self._lines[-1] + len(line))
        self._octets = [line.encode() for line in self.source.splitlines(keepends=True)]

    def mutants(self) -> list[Mutant]:
        self.visit(ast.parse(self.source))
        self._quantifiers()
        return [mutant for mutant in self.found if compiles(mutant.applied())]

    def _at(self, line: int, column: int) -> int:
        """The place of a node, which ast gives in octets."""
        return self._lines[line - 1] + len(self._octets[line - 1][:column].decode())

    def _span(self, node: ast.expr | ast.stmt) -> tuple[int, int]:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return self._at(node.lineno, node.col_offset), self._at(node.end_lineno, node.end_col_offset)

    def _add(self, kind: str, line: int, span: tuple[int, int], after: str) -> None:
        self.found.append(Mutant(self.path, line, *span, after, kind))

    def _text(self, node: ast.expr) -> str:
        start, end = self._span(node)
        return self.source[start:end]

    def visit_Compare(self, node: ast.Compare) -> None:
        sides = [node.left, *node.comparators]
        for left, right in itertools.pairwise(sides):
            start, end = self._span(left)[1], self._span(right)[0]
            between = self.source[start:end]
            operator = re.search(r"is\s+not|not\s+in|is|in|[<>=!]=?", between)
            if operator is None:
                continue
            span = (start + operator.start(), start + operator.end())
            for after in COMPARISONS.get(" ".join(operator[0].split()), []):
                self._add("comparison", left.end_lineno or node.lineno, span, after)
            for side in (left, right):
                self._bound(side)
        self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        self._bound(node.value)
        self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self._bound(node.value)
            self.visit(node.value)

    def _bound(self, node: ast.expr) -> None:
        """A number that is a size, or of which one is made."""
        for each in ast.walk(node) if isinstance(node, ast.BinOp) else [node]:
            if isinstance(each, ast.Constant) and type(each.value) is int:
                for value in (each.value + 1, each.value - 1):
                    self._add("bound", each.lineno, self._span(each), str(value))

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        before, after = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
        for left, right in itertools.pairwise(node.values):
            start, end = self._span(left)[1], self._span(right)[0]
            if operator := re.search(rf"\b{before}\b", self.source[start:end]):
                span = (start + operator.start(), start + operator.end())
                self._add("and / or", left.end_lineno or left.lineno, span, after)
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        if isinstance(node.op, ast.Not):
            self._add("not", node.lineno, self._span(node), f"bool({self._text(node.operand)})")
        self.generic_visit(node)

    def visit_If(self, node: ast.If) -> None:
        if "TYPE_CHECKING" in self._text(node.test):
            return
        self._add("guard", node.lineno, self._span(node.test), "False")
        self._add("guard", node.lineno, self._span(node.test), "True")
        self.generic_visit(node)

    def visit_IfExp(self, node: ast.IfExp) -> None:
        self._add("guard", node.lineno, self._span(node.test), "False")
        self._add("guard", node.lineno, self._span(node.test), "True")
        self.generic_visit(node)

    def visit_Return(self, node: ast.Return) -> None:
        if node.value is not None and self._text(node.value) != "None":
            self._add("return", node.lineno, self._span(node.value), "None")
        self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> None:
        self._add("raise", node.lineno, self._span(node), "pass")

    def visit_Name(self, node: ast.Name) -> None:
        if node.id in ("any", "all", "min", "max") and isinstance(node.ctx, ast.Load):
            self._add("quantifier", node.lineno, self._span(node), SWAPPED[node.id])

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, bool):
            self._add("truth", node.lineno, self._span(node), str(not node.value))

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        """Annotations are for people and type checkers."""
        for child in (*node.args.defaults, *(each for each in node.args.kw_defaults if each), *node.body):
            self.visit(child)

    visit_AsyncFunctionDef = visit_FunctionDef

    def _quantifiers(self) -> None:
        """Those of regular expressions, which stand in raw strings; formatted ones are read up to Python 3.11 only."""
        with (ROOT / self.path).open("rb") as file:
            for token in tokenize.tokenize(file.readline):
                if token.type != tokenize.STRING or not re.match("(?i)b?rb?f?", token.string):
                    continue
                start = self._lines[token.start[0] - 1] + token.start[1]
                for place, before, after in quantifiers(token.string):
                    span = (start + place, start + place + len(before))
                    self._add("regular expression", token.start[0], span, after)


def quantifiers(text: str) -> Iterator[tuple[int, str, str]]:
    """Yield the place of each quantifier outside character classes, what it is, and what it may become."""
    place, in_class = 0, False
    while place < len(text):
        character = text[place]
        if character == "\\":
            place += 2
            continue
        if character == "[" and not in_class:
            in_class = True
            place += 2 if text[place + 1 : place + 2] == "^" else 1
            place += 1  # a bracket in the first place is one of the class
            continue
        if character == "]":
            in_class = False
        elif not in_class:
            braces = re.compile(r"\{+(\d+)(?:,(\d+))?\}+").match(text, place)
            if braces:
                yield from _braces(place, braces)
                place = braces.end()
                continue
            if character in "+*" and place > 0 and text[place - 1] not in '("+*|':
                yield place, character, "*" if character == "+" else "+"
            if character == "?" and text[place - 1] not in '("+*?}|':
                yield place, character, ""
        place += 1


def _braces(place: int, braces: re.Match[str]) -> Iterator[tuple[int, str, str]]:
    """A number of times, or from one number to another."""
    for group in (1, 2):
        if braces[group] is None:
            continue
        at = place + braces.start(group) - braces.start()
        for value in {int(braces[group]) + 1, max(0, int(braces[group]) - 1)} - {int(braces[group])}:
            yield at, braces[group], str(value)


def compiles(source: str) -> bool:
    try:
        compile(source, "mutant", "exec")
    except (SyntaxError, ValueError):
        return False
    return True


def modules(targets: tuple[str, ...]) -> list[str]:
    """The files below the folders, and the files that are named themselves."""
    found: set[Path] = set()
    for target in targets:
        path = ROOT / target
        found |= {path} if path.is_file() else set(path.rglob("*.py"))
    return sorted(path.relative_to(ROOT).as_posix() for path in found)


def tests_of(path: str) -> list[str]:
    """What to run for a module: the files that are named like it, then those of its folder's tests."""
    folder = next((name for name in sorted(TESTS, key=len, reverse=True) if path.startswith(f"{name}/")), "adapters")
    stem = Path(path).stem.strip("_").removesuffix("_messages")
    places = [name for pattern in TESTS[folder] for name in _matching(pattern)]
    named = sorted({file.relative_to(ROOT).as_posix() for place in places for file in _named(place, stem)})
    return [*named, *places]


def _matching(pattern: str) -> list[str]:
    return sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob(pattern))


def _named(place: str, stem: str) -> list[Path]:
    folder = ROOT / place
    if folder.is_file():
        return [folder] if stem in folder.stem else []
    named = folder.rglob(f"test_*{stem}*.py") if len(stem) > 2 else ()
    return [*named, *folder.glob("test_bounds.py")]


class Copies:
    """Copies of the package, one for each process that tests at the same time."""

    def __init__(self, folder: Path, count: int) -> None:
        self._free: queue.Queue[Path] = queue.Queue()
        for number in range(count):
            site = folder / str(number)
            for source, place in FOLDERS.items():
                unwanted = shutil.ignore_patterns("__pycache__")
                shutil.copytree(ROOT / source, site / "sasl" / place, dirs_exist_ok=True, ignore=unwanted)
            subprocess.run([sys.executable, "-m", "compileall", "-q", site], check=True)
            self._free.put(site)

    def is_noticed(self, mutant: Mutant) -> bool:
        """Whether a test fails with the change in place."""
        site = self._free.get()
        folder, _, rest = mutant.path.partition("/")
        file = site / "sasl" / FOLDERS[folder] / rest
        before = file.read_bytes()
        try:
            file.write_text(mutant.applied(), "utf-8")
            os.utime(file, (1, 1))  # another time than that of the compiled one
            return any(not passes(site, place) for place in tests_of(mutant.path))
        finally:
            file.write_bytes(before)
            self._free.put(site)

    def is_green(self, place: str) -> bool:
        """Whether the tests of a place pass without any change."""
        site = self._free.get()
        try:
            return passes(site, place)
        finally:
            self._free.put(site)


def passes(site: Path, place: str) -> bool:
    """Whether the tests of a place pass with the package that is in a folder."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(site),
        "PYTHONDONTWRITEBYTECODE": "1",
        "SASLKIT_DIALOGUES": "500",
    }
    command = [sys.executable, "-c", "import pytest; raise SystemExit(pytest.main())"]
    options = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-o", "faulthandler_timeout=60", place]
    try:
        run = subprocess.run(
            [*command[:1], "-P", *command[1:], *options],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            timeout=LONGEST,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False
    return run.returncode == 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="*", default=TARGETS, help="folders or files, from the root of the checkout")
    parser.add_argument("--kind", help="only changes of this kind")
    parser.add_argument("--list", action="store_true", help="print the changes and run nothing")
    arguments = parser.parse_args()
    count, seed = int(os.environ.get("SASLKIT_MUTANTS", "40")), os.environ.get("SASLKIT_SEED", "1")
    everything = [mutant for path in modules(tuple(arguments.paths)) for mutant in Finder(path).mutants()]
    everything = [mutant for mutant in everything if arguments.kind in (None, mutant.kind)]
    chosen = sorted(random.Random(seed).sample(everything, min(count, len(everything))))
    if arguments.list:
        print(*chosen, sep="\n")
        return
    processes = int(os.environ.get("SASLKIT_PROCESSES") or os.cpu_count() or 1)
    with tempfile.TemporaryDirectory(prefix="saslkit-mutants-") as folder, ThreadPoolExecutor(processes) as pool:
        copies = Copies(Path(folder), processes)
        places = sorted({place for mutant in chosen for place in tests_of(mutant.path)})
        print(f"{len(chosen)} of {len(everything)} changes (seed {seed}); first the tests without any", flush=True)
        green = pool.map(copies.is_green, places)
        if red := [place for place, is_green in zip(places, green, strict=True) if not is_green]:
            sys.exit(f"these fail without any change: {', '.join(red)}")
        survived: list[Mutant] = []
        for mutant, noticed in zip(chosen, pool.map(copies.is_noticed, chosen), strict=True):
            print("." if noticed else f"\n{mutant}\n", end="", flush=True)
            survived += [] if noticed else [mutant]
    print(f"\n{len(survived)} survived:")
    print(*(f"  {kind}: {number}" for kind, number in Counter(each.kind for each in survived).items()), sep="\n")


if __name__ == "__main__":
    main()
