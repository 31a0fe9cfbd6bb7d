"""Text that others wrote, on a terminal."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sasl.text import nesting, printable


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("plain text", "plain text"),
        ("j\u00f6rg \u2603", "j\u00f6rg \u2603"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("two\r\nlines\t", r"two\r\nlines\t"),
        ("\x9b31m", r"\x9b31m"),
        ("\u202eevil", r"\u202eevil"),
        ("\udcff", r"\udcff"),
        ("", ""),
    ],
    ids=ascii,
)
def test_text_of_others_reaches_no_terminal_as_a_control(text: str, seen: str) -> None:
    assert printable(text) == seen


def test_only_the_beginning_of_a_long_text_is_shown() -> None:
    assert printable("abc\x1bdef", limit=4) == r"abc\x1b"
    assert printable("abcdef", limit=3) == "abc"
    assert printable("abc", limit=3) == "abc"


def test_what_is_not_printable_can_be_replaced() -> None:
    assert printable("a\r\n\x1bz", instead=" ") == "a   z"
    assert printable("a\x1bz", instead="") == "az"


@pytest.mark.parametrize(
    ("text", "deep"),
    [
        ("", 0),
        ("1", 0),
        ("{}", 1),
        ('{"a":[[1],[{}]]}', 4),
        ('{"a":"[[[["}', 1),
        (r'["\"[[",[]]', 2),
        (r'["\\",[]]', 2),
        ('["[[[', 1),
        ('["[[[\\', 1),
        ('["[[[\\\n[[', 1),
        ("]]]][", 0),
    ],
)
def test_brackets_nest_outside_of_strings(text: str, deep: int) -> None:
    assert nesting(text) == deep


@given(st.recursive(st.none() | st.text(), lambda each: st.lists(each) | st.dictionaries(st.text(), each)))
def test_the_nesting_of_json_is_that_of_its_values(value: object) -> None:
    assert nesting(json.dumps(value, ensure_ascii=False)) == depth_of(value)


def depth_of(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth_of, value.values()), default=0)
    return 1 + max(map(depth_of, value), default=0) if isinstance(value, list) else 0


@pytest.mark.parametrize("part", ['\\"', '"', "\\", '"\\', "[", '"a', '\\"[', '"\\\n'], ids=ascii)
@pytest.mark.parametrize("end", ["", "\\", '"', "\\\n"], ids=ascii)
def test_no_text_is_gone_over_twice(part: str, end: str) -> None:
    begun = time.process_time()
    nesting(part * 50_000 + end)  # a minute where each quotation mark looks for the end of a string
    assert time.process_time() - begun < 2
