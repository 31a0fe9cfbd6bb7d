"""CPython's own tests of imaplib, poplib and smtplib, with our drop-in classes in the place of the library's.

They run in a process of their own, in which the test modules, and nobody else, see the drop-ins. Plain text is allowed
and certificates are not checked there, which is what the tests' servers want.
"""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from pathlib import Path

EXPECTED: Final = {
    # smtplib counts to five challenges and says "infinite loop"; the engine counts to its own limit and says that.
    "smtplib": {"testAUTH_BUGGY"},
    # Its server sends "<timestamp>", which is no msg-id: whoever hashes that can be made to give the password away.
    "poplib": {"test_apop_normal"},
    "imaplib": set[str](),
}
LEAST: Final = {"smtplib": 60, "poplib": 50, "imaplib": 60}
"""How many tests there are at the least: 3.11 to 3.13 have more."""

RUN: Final = """
import importlib, json, ssl, sys, types, unittest, warnings

name = sys.argv[1]
library, ours = importlib.import_module(name), importlib.import_module(f"sasl.adapters.{name}")
import sasl
from sasl.adapters.binding import tls

warnings.simplefilter("ignore")
tls.create_default_context = ssl._create_unverified_context


class Replaced(types.ModuleType):  # the library with our classes in it; what is set in it is set in the library
    def __getattr__(self, attribute):
        return getattr(library, attribute)

    def __setattr__(self, attribute, value):
        setattr(library, attribute, value)

    def __delattr__(self, attribute):
        delattr(library, attribute)


replaced = Replaced(name)
for each in ("IMAP4", "IMAP4_SSL", "IMAP4_stream", "POP3", "POP3_SSL", "SMTP", "SMTP_SSL", "LMTP"):
    if drop_in := getattr(ours, each, None):
        drop_in.policy = sasl.Policy(plaintext="always", allow=["CRAM-MD5", "DIGEST-MD5", "POP-APOP"])
        vars(replaced)[each] = drop_in
sys.modules[name] = replaced

from test import support

support.use_resources = []  # no network
found = unittest.defaultTestLoader.loadTestsFromName(f"test.test_{name}")
with open("log", "w") as log:
    result = unittest.TextTestRunner(stream=log).run(found)
failed = {str(test).split()[0]: trace for test, trace in result.failures + result.errors}
print(json.dumps({"ran": result.testsRun, "failed": failed}))
"""


@pytest.mark.parametrize("library", list(EXPECTED))
def test_the_librarys_own_tests_pass_with_the_drop_ins(library: str, tmp_path: Path) -> None:
    if find_spec("test") is None or find_spec(f"test.test_{library}") is None:
        pytest.skip(f"this Python came without test.test_{library} (Debian: package libpython3-testsuite)")
    command = [sys.executable, "-W", "ignore", "-c", RUN, library]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    unexpected = {name: trace for name, trace in result["failed"].items() if name not in EXPECTED[library]}
    assert not unexpected, "\n".join(unexpected.values())
    assert set(result["failed"]) == EXPECTED[library]
    assert result["ran"] >= LEAST[library]
