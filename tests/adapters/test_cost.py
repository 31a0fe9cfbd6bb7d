"""What a login costs: how many functions of ours it runs, what it imports, how often a name is looked up."""

from __future__ import annotations

import contextlib
import gc
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sasl
import sasl.adapters
import sasl.mechanisms
from sasl import fit, policy, registry

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest
    import trustme

OURS = tuple(f"{Path(module.__file__ or '').parent}/" for module in (sasl, sasl.adapters, sasl.mechanisms))
MOST = 150
"""Functions of ours in a PLAIN login by imaplib. One that yields counts once for each time that it goes on."""


@contextlib.contextmanager
def _no_garbage() -> Iterator[None]:
    """Have nothing of ours run because what other tests have left is collected just then."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def play(imap: Any, stage: Any, *names: str) -> Any:
    conn, _ = stage.play(imap, [*imap.offer(*names), (imap.command("PLAIN", b"\0alice\0wonderland"), imap.yes)])
    return conn


def test_a_login_runs_few_functions_of_ours(imap: Any, stage: Any) -> None:
    called: Counter[str] = Counter()

    def profile(frame: Any, event: str, _argument: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(OURS):
            called[f"{frame.f_code.co_filename}:{frame.f_code.co_qualname}"] += 1

    password = sasl.Password("alice", "wonderland")
    for _ in range(3):  # the last one is warm
        conn = play(imap, stage, "PLAIN", "XOAUTH2")
        called.clear()
        with _no_garbage():
            sys.setprofile(profile)
            try:
                imap.binding.authenticate(conn, password)
            finally:
                sys.setprofile(None)
    assert called, "nothing was counted"
    assert called.total() <= MOST, called.most_common(20)


def test_a_name_that_a_server_offers_is_looked_up_once_to_choose(
    imap: Any, stage: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: Counter[str] = Counter()

    def lookup(name: str) -> sasl.Mechanism:
        asked[name] += 1
        return found(name)

    found = registry.lookup
    for module in (policy, fit):
        monkeypatch.setattr(module, "lookup", lookup)
    conn = play(imap, stage, "PLAIN", "XOAUTH2", "X-UNKNOWN")
    imap.binding.authenticate(conn, sasl.Password("alice", "wonderland"))
    assert asked == Counter({"PLAIN": 1, "XOAUTH2": 1, "X-UNKNOWN": 1, "IMAP-LOGIN": 1})


LOGIN = """
import ssl, sys
import sasl
from sasl.adapters import imaplib

port, ca = sys.argv[1:]
context = ssl.create_default_context(cafile=ca)
conn = imaplib.IMAP4_SSL("127.0.0.1", int(port), ssl_context=context)
imaplib.authenticate(conn, sasl.Bearer("alice", "token"))
conn.shutdown()
print(sorted(name for name in sys.modules if name.startswith("cryptography")))
"""


def test_a_login_with_a_token_over_tls_looks_at_no_channel_binding_and_imports_no_cryptography(
    imap: Any, stage: Any, authority: trustme.CA, tmp_path: Path
) -> None:
    server = stage.serve(imap, [*imap.offer("XOAUTH2", "SCRAM-SHA-256-PLUS"), (None, imap.yes)])
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    command = [sys.executable, "-c", LOGIN, str(server.port), str(tmp_path / "ca.pem")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[]\n", "")
