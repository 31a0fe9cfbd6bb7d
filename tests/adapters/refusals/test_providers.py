"""What is known of providers: files of one form, each fact with its source, and the index that a login asks."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
from importlib.resources import files

import jsonschema
import pytest

import sasl.adapters.providers
import sasl.spec
from sasl.adapters.providers import OAuth, Profile, begin_with, profile, profiles

FILES = sorted(
    (path for path in files("sasl.adapters.providers").iterdir() if path.name.endswith(".json")),
    key=lambda path: path.name,
)
SCHEMA = json.loads(files("sasl.spec").joinpath("schema/provider.json").read_text("utf-8"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_file_has_the_form_of_its_schema(path) -> None:
    errors = [
        error.message[:200]
        for error in jsonschema.Draft202012Validator(SCHEMA).iter_errors(json.loads(path.read_text("utf-8")))
    ]
    assert errors == []


def test_the_schema_is_one_and_refuses_something() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert not jsonschema.Draft202012Validator(SCHEMA).is_valid({"name": "x"})


@pytest.mark.parametrize("found", profiles(), ids=lambda found: found.name)
def test_each_fact_has_a_source(found: Profile) -> None:
    advice = {"name", "id", "sources", "password_advice", "bearer_advice", "refusals"}
    stated = {field.name for field in dataclasses.fields(found) if getattr(found, field.name)} - advice
    assert stated <= set(found.sources)
    told = {name.partition(".")[0] for name in found.sources}
    assert told <= {field.name for field in dataclasses.fields(found)}
    of_oauth = {name.partition(".")[2] for name in found.sources if name.startswith("oauth.")}
    assert of_oauth <= {field.name for field in dataclasses.fields(OAuth)}
    if found.password_advice and not found.password:
        assert "password_advice" in found.sources


@pytest.mark.parametrize("found", profiles(), ids=lambda found: found.name)
def test_a_source_has_a_date(found: Profile) -> None:
    entries = [entry for of in found.sources.values() for entry in of] + [row["source"] for row in found.refusals]
    assert [entry for entry in entries if not re.search(r"20[0-9]{2}-[01][0-9]", entry)] == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_file_has_a_client_id(path) -> None:
    text = path.read_text("utf-8")
    assert not re.search(r"[0-9a-f]{8}-[0-9a-f]{4}-|apps\.googleusercontent\.com", text)


def test_there_is_a_profile_for_every_file() -> None:
    assert len(profiles()) == len(FILES) > 10
    hosts = [host for found in profiles() for host in found.hosts]
    assert len(hosts) == len(set(hosts))


def test_the_index_is_that_of_the_files() -> None:
    wanted: dict[str, dict[str, str]] = {}
    for found in profiles():
        for service, mechanism in found.begin_with.items():
            wanted.setdefault(service, {}).update(dict.fromkeys(found.hosts, mechanism))
    assert wanted == sasl.adapters.providers._BEGIN_WITH


@pytest.mark.parametrize(
    "host", ["imap.mail.me.com", "IMAP.MAIL.ME.COM", "p04-imap.mail.me.com.", "imap.mail.icloud.com"]
)
def test_icloud_begins_with_the_command(host: str) -> None:
    assert begin_with("imap", host) == "IMAP-LOGIN"
    assert begin_with("smtp", host) is None


@pytest.mark.parametrize("host", [None, "", ".", "example.com", "me.com.example.com", "notme.com", "com"])
def test_elsewhere_the_strongest_is_begun_with(host: str | None) -> None:
    assert begin_with("imap", host) is None


def test_a_profile_is_that_of_the_nearest_domain() -> None:
    assert profile("imap.gmail.com").name == "Gmail"
    assert profile("outlook.office365.com").name == "Microsoft 365"
    assert profile("imap-mail.outlook.com").name == "Outlook.com"
    assert profile("mail.example.com") is None
    assert profile(None) is None


def test_to_ask_what_to_begin_with_reads_no_file() -> None:
    code = (
        "import sys; from sasl.adapters.providers import begin_with, profiles; begin_with('imap', 'imap.mail.me.com');"
        "assert 'json' not in sys.modules and 'importlib.resources' not in sys.modules, sorted(sys.modules);"
        "assert profiles.cache_info().currsize == 0"
    )
    subprocess.run([sys.executable, "-I", "-c", code], check=True)
