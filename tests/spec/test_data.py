"""The data is what its index and its schemas say, every file of it is run by a test, and it agrees with itself."""

from __future__ import annotations

import ast
import base64
import dataclasses
import functools
import json
import re
import unicodedata
import zlib
from collections import Counter
from importlib.resources import files
from pathlib import Path

import jsonschema
import pytest

import sasl.spec

DATA = files("sasl.spec")
TESTS = Path(__file__).parents[1]
INDEX = json.loads(DATA.joinpath("index.json").read_text("utf-8"))
SCHEMAS = {name: name for name in ("base64", "channel-binding", "stringprep")}


def schema_of(name):
    return "protocol-vector" if name.startswith("protocol-") else SCHEMAS.get(name, "vector")


FILES = [
    ("index.json", "index"),
    ("refusals.json", "refusals"),
    *((f"corpus/{name}.json", "case") for name in INDEX["corpus"]),
    *((f"vectors/{name}.json", schema_of(name)) for name in INDEX["vectors"]),
]


def load(path):
    return json.loads(DATA.joinpath(path).read_text("utf-8"))


@pytest.mark.parametrize(("path", "schema"), FILES)
def test_a_file_has_the_form_of_its_schema(path, schema):
    validator = jsonschema.Draft202012Validator(load(f"schema/{schema}.json"))
    errors = [f"{error.json_path}: {error.message[:200]}" for error in validator.iter_errors(load(path))]
    assert errors == []


@pytest.mark.parametrize("schema", sorted({schema for _, schema in FILES}))
def test_a_schema_is_one_and_refuses_something(schema):
    content = load(f"schema/{schema}.json")
    jsonschema.Draft202012Validator.check_schema(content)
    assert not jsonschema.Draft202012Validator(content).is_valid({"unknown": 1})


def test_the_index_names_exactly_the_files_that_are_here():
    listed = {"index.json", *(path for path, _ in FILES), *(f"schema/{schema}.json" for _, schema in FILES)}
    folders = [DATA, *(DATA.joinpath(folder) for folder in ("corpus", "vectors", "schema"))]
    here = {path for folder in folders for path in folder.iterdir() if path.name.endswith(".json")}
    listed |= {"schema/provider.json", "schema/persona.json"}  # of adapters, where their tests are
    assert {
        f"{path.parent.name}/{path.name}" if path.parent.name != DATA.name else path.name for path in here
    } == listed
    assert sasl.spec.corpus_names() == tuple(sorted(INDEX["corpus"]))
    assert sasl.spec.vector_names() == tuple(sorted(INDEX["vectors"]))


@pytest.mark.parametrize(("name", "count"), INDEX["corpus"].items())
def test_a_corpus_file_holds_as_many_cases_as_the_index_says(name, count):
    assert load(f"corpus/{name}.json")["name"] == name
    assert len(sasl.spec.cases(name)) == count


@pytest.mark.parametrize(("name", "count"), INDEX["vectors"].items())
def test_a_vector_file_holds_as_many_vectors_as_the_index_says(name, count):
    assert len(sasl.spec.vectors(name)) == count


@pytest.mark.parametrize("name", INDEX["left_out"])
def test_what_is_left_out_is_not_here(name):
    assert not {f"{name}-{number}" for number in re.findall(r"\b[0-9]{4}\b", INDEX["left_out"][name])} & {
        case.id for case in sasl.spec.cases(name)
    }


def test_the_id_of_a_case_is_unique_and_names_its_file():
    ids = Counter(case.id for name in sasl.spec.corpus_names() for case in sasl.spec.cases(name))
    assert [case for case, count in ids.items() if count > 1] == []
    assert all(case.id.startswith(f"{name}-") for name in sasl.spec.corpus_names() for case in sasl.spec.cases(name))


@pytest.mark.parametrize("name", INDEX["vectors"])
def test_the_name_of_a_vector_is_unique_in_its_file(name):
    names = Counter(map(str, sasl.spec.vectors(name)))
    assert [vector for vector, count in names.items() if count > 1] == []


def test_every_class_of_result_is_explained_for_both_sides_and_used():
    used = {case.expect for name in sasl.spec.corpus_names() for case in sasl.spec.cases(name)}
    assert used == set(sasl.spec.expect_classes())
    assert sasl.spec.invariants()


@pytest.mark.parametrize("name", [*INDEX["corpus"], *INDEX["vectors"]])
def test_a_test_runs_every_file(name):
    """Some test outside this folder names the file where it calls `cases` or `vectors`."""
    running = [path for path in sorted(TESTS.rglob("*.py")) if path.parent != Path(__file__).parent]
    assert any(name in names_loaded(path) for path in running), f"no test runs {name}"


@functools.cache
def names_loaded(path):
    """The string constants of a test module that loads something from the specification."""
    source = path.read_text("utf-8")
    if "spec.cases(" not in source and "spec.vectors(" not in source:
        return set()
    return {node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant)}


def objects(value):
    if isinstance(value, dict):
        yield value
    for child in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from objects(child)


@pytest.mark.parametrize("name", INDEX["corpus"])
def test_octets_are_as_long_as_they_say_and_deflated_only_where_they_are_long(name):
    for item in objects(load(f"corpus/{name}.json")):
        if "zlib_b64" in item:
            assert len(zlib.decompress(base64.b64decode(item["zlib_b64"]))) == item["length"] > 4096
        elif item.get("b64"):
            assert len(base64.b64decode(item["b64"])) <= 4096


def test_a_str_may_hold_a_lone_surrogate_and_bytes_stay_bytes():
    inputs = [case.inputs["name"] for case in sasl.spec.cases("mechanism_names")]
    assert "\ud800" in inputs
    assert b"PLAIN\xff" in inputs


def test_no_message_differs_from_an_empty_one():
    steps = {case.id: case.steps for case in sasl.spec.cases("plain_server")}
    assert steps["plain_server-0137"] == (sasl.spec.Step("client", None),)
    assert steps["plain_server-0138"] == (sasl.spec.Step("client", b""),)


def test_cases_and_vectors_are_frozen():
    for value, field in ((sasl.spec.cases("plain_server")[0], "expect"), (sasl.spec.vectors("plain")[0], "expected")):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(value, field, "accept")


@pytest.mark.parametrize("load_from", [sasl.spec.cases, sasl.spec.vectors])
def test_a_name_that_is_not_there_is_an_error(load_from):
    with pytest.raises(FileNotFoundError):
        load_from("nothing")


def test_what_policy_decided_is_written_down():
    decided = [case for name in INDEX["corpus"] for case in sasl.spec.cases(name) if case.basis == "policy"]
    assert [case.id for case in decided if not (case.note or case.detail or case.family in INDEX["policy"])] == []
    assert set(INDEX["policy"]) <= {case.family for case in decided}


OPAQUE = [vector for vector in sasl.spec.vectors("stringprep") if vector.profile == "OpaqueString"]


@pytest.mark.parametrize("vector", OPAQUE, ids=str)
def test_the_opaque_strings_are_right_although_no_mechanism_uses_them_yet(vector):
    """RFC 8265 section 4.2: spaces to SPACE, NFC, nothing empty, no controls (RFC 8264 section 4.3)."""
    spaced = "".join(" " if unicodedata.category(char) == "Zs" else char for char in vector.text)
    text = unicodedata.normalize("NFC", spaced)
    refused = not text or any(unicodedata.category(char) in ("Cc", "Cs", "Co", "Cn", "Zl", "Zp") for char in text)
    assert vector.output == (None if refused else text)


@pytest.mark.parametrize("item", load("vectors/stringprep.json"), ids=lambda item: ascii(item["input"]))
def test_the_code_points_are_those_of_the_text(item):
    assert item["input_codepoints"] == [f"U+{ord(char):04X}" for char in item["input"]]
