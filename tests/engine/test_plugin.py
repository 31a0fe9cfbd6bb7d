"""A mechanism in a package of its own is built, installed and used; its broken neighbours are survived."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import sasl

PLUGIN = Path(__file__).parent / "plugin"

# Runs in a process of its own: what is installed is looked for once.
LOGIN = """
import json, sys
import sasl

def converse(client, server, verifier):
    message = client.start()
    event = sasl.settle(server, server.start(message), verifier)
    while isinstance(event, sasl.Challenge):
        event = sasl.settle(server, server.receive(client.respond(event.data)), verifier)
    return event

def verifier(question):
    if isinstance(question, sasl.FindSecret):
        return sasl.Record("joe", "pencil") if question.authcid == "joe" else None
    return NotImplemented

def login(authcid, password, success_data):
    client = sasl.client("x-knock", sasl.Password(authcid, password), times=3)
    event = converse(client, sasl.server("X-KNOCK", times=3, success_data=success_data), verifier)
    if isinstance(event, sasl.Success):
        client.succeed(event.data)
        return event.identity
    return [event.kind, str(client.fail(kind=event.kind))]

def reason(name):
    try:
        sasl.lookup(name)
    except sasl.MechanismUnavailable as error:
        return str(error)

joe = sasl.Password("joe", "pencil")
sasl.lookup("PLAIN")
looked = ["importlib.metadata" in sys.modules]
choice = sasl.choose(["PLAIN", "X-KNOCK", "X-BROKEN", "X-LIAR"], joe, channel=sasl.Channel(tls=True))
looked += ["importlib.metadata" in sys.modules]
print(json.dumps({
    "looked": looked,
    "choice": choice.name,
    "passed over": dict(choice.passed_over),
    "right": [login("joe", "pencil", False), login("joe", "pencil", True)],
    "wrong": [login("joe", "guess", False), login("nobody", "pencil", False)],
    "offer": sasl.offer(sasl.Channel(), sasl.Policy(), [sasl.FindSecret]),
    "plain": sasl.lookup("PLAIN").client,
    "broken": [reason("X-BROKEN"), reason("X-LIAR"), reason("X-NONE")],
}))
"""


def run(*command: str, site: Path | None = None, cwd: Path) -> str:
    """Run Python with `site` on its path; return what it prints."""
    environment = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    environment.pop("PYTHONPATH", None)
    if site is not None:
        environment["PYTHONPATH"] = str(site)
    done = subprocess.run([sys.executable, *command], cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder into which pip has installed the plug-in."""
    folder = tmp_path_factory.mktemp("plugin")
    source, target = folder / "source", folder / "site"
    source.mkdir()  # building leaves files behind
    for file in PLUGIN.iterdir():
        if file.is_file():
            (source / file.name).write_bytes(file.read_bytes())
    install = ("install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--target", str(target))
    run("-m", "pip", *install, str(source), cwd=folder)
    return target


@pytest.fixture(scope="module")
def told(site: Path) -> dict[str, Any]:
    """What a process with the plug-in on its path told about it."""
    told: dict[str, Any] = json.loads(run("-c", LOGIN, site=site, cwd=site))
    return told


def test_an_installed_mechanism_is_chosen_and_logs_in(told: dict[str, Any]) -> None:
    assert told["choice"] == "X-KNOCK"
    assert told["right"] == ["joe", "joe"]
    assert told["offer"] == ["X-KNOCK"]


def test_an_installed_mechanism_refuses_alike_who_is_wrong_and_who_is_unknown(told: dict[str, Any]) -> None:
    assert told["wrong"] == [["credentials", "the server refused the credential"]] * 2


def test_what_is_installed_is_not_looked_for_before_a_name_is_missing(told: dict[str, Any]) -> None:
    assert told["looked"] == [False, True]


def test_a_broken_plug_in_is_survived_and_explained(told: dict[str, Any]) -> None:
    broken, liar, none = told["broken"]
    assert "sasl_knock_broken:ROW" in broken
    assert "a_module_that_nobody_has" in broken
    assert liar == "the plug-in sasl_knock:ROW for X-LIAR is not the row of that name"
    assert none == "no mechanism X-NONE is known here"
    assert told["passed over"] == {"PLAIN": "X-KNOCK is stronger", "X-BROKEN": broken, "X-LIAR": liar}


def test_a_plug_in_does_not_take_the_place_of_a_built_in_mechanism(told: dict[str, Any]) -> None:
    assert told["plain"] == sasl.lookup("PLAIN").client


def test_an_installation_with_broken_metadata_is_survived(site: Path, tmp_path: Path) -> None:
    metadata = tmp_path / "somebody-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: somebody\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[sasl.mechanisms]\nX-NOTHING\n\xff = = =\n")
    code = (
        "import sasl\n"
        "try: sasl.lookup('X-NOTHING')\n"
        "except sasl.MechanismUnavailable: print(sasl.lookup('PLAIN').name, len(sasl.known_mechanisms()) >= 3)"
    )
    assert run("-c", code, site=tmp_path, cwd=tmp_path).split() == ["PLAIN", "True"]
