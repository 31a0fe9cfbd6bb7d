"""Names of files: each key has one, no two keys share one, and every file system takes it."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sasl.adapters.tokens.stores import names
from sasl.adapters.tokens.stores.names import is_digest, key_of, name_of, state_folder

LONG = "x" * 196


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("alice@example.org", "alice@example.org.json"),
        ("google:123.apps:Alice@x.org", "google%3A123.apps%3A%41lice@x.org.json"),
        ("../x", "%2E.%2Fx.json"),
        (".new-abc", "%2Enew-abc.json"),
        ("", ".json"),
        ("nul", "%6Eul.json"),
        ("com1.work", "%63om1.work.json"),
        ("null", "null.json"),
        ("a\0b", "a%00b.json"),
        ("j\u00f6rg", "j%C3%B6rg.json"),
        ("\udcff", "%ED%B3%BF.json"),
        ("x" * 195, "x" * 195 + ".json"),
        (LONG, "sha256=" + hashlib.sha256(LONG.encode()).hexdigest() + ".json"),
    ],
)
def test_a_key_has_this_name(key: str, name: str) -> None:
    assert name_of(key) == name
    assert key_of(name) == (None if is_digest(name) else key)


@given(st.text(st.characters()))
def test_a_name_is_short_ascii_without_capitals_and_leads_back_to_its_key(key: str) -> None:
    name = name_of(key)
    letters = name.replace("%", "")
    assert len(name) <= 200
    assert name.isascii()
    assert "/" not in name
    assert not name.startswith(".new-")
    assert set(letters) <= set("abcdefghijklmnopqrstuvwxyz0123456789@._-+=ABCDEF")
    assert key_of(name) == (None if is_digest(name) else key)


@given(st.lists(st.text("aAbB%2EeE=.", max_size=6), unique=True, min_size=2, max_size=5))
def test_no_two_keys_share_a_file_even_where_capitals_do_not_count(keys: list[str]) -> None:
    assert len({name_of(key).casefold() for key in keys}) == len(keys)


@pytest.mark.parametrize(
    "name", ["a", "A.json", "%61.json", "%2e.json", "%.json", "%4.json", "%FF.json", ".x.json", "\u00e4.json"]
)
def test_a_file_of_another_name_is_no_key(name: str) -> None:
    assert key_of(name) is None


@pytest.mark.parametrize(
    ("platform", "environment", "folder"),
    [
        ("linux", {"HOME": "/own"}, "/own/.local/state/saslkit"),
        ("linux", {"HOME": "/own", "XDG_STATE_HOME": "/state"}, "/state/saslkit"),
        ("linux", {"HOME": "/own", "XDG_STATE_HOME": "state"}, "/own/.local/state/saslkit"),
        ("darwin", {"HOME": "/own"}, "/own/Library/Application Support/saslkit"),
        ("win32", {"LOCALAPPDATA": "C:"}, "C:/saslkit"),
    ],
)
def test_each_platform_has_its_folder(
    platform: str, environment: dict[str, str], folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HOME", "XDG_STATE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, content in environment.items():
        monkeypatch.setenv(name, content)
    monkeypatch.setattr(names.sys, "platform", platform)
    assert state_folder() == folder


def test_a_name_is_found_without_any_import() -> None:
    code = (
        "import os, sys; before = set(sys.modules); source = open(sys.argv[1]).read(); names = {'__name__': 'names'};"
        "exec(compile(source, 'names', 'exec'), names); names['name_of']('a:B'); names['state_folder']();"
        "print(set(sys.modules) - before)"
    )
    ran = subprocess.run([sys.executable, "-I", "-c", code, names.__file__], check=True, capture_output=True, text=True)
    assert ran.stdout.strip() in ("set()", "{'__future__'}")
