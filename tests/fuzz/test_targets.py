"""The targets of the fuzzers, with what Hypothesis draws; `tox -e fuzz` does it with many more, and with atheris."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from .targets import CUT, PIECES, TARGETS

octets = st.lists(st.one_of(st.sampled_from(PIECES), st.binary(max_size=4)), max_size=24).map(b"".join)


@pytest.mark.parametrize("name", TARGETS)
@given(choice=st.integers(0, 255), data=octets)
def test_what_has_to_hold_for_any_octets(name: str, *, choice: int, data: bytes) -> None:
    TARGETS[name](bytes([choice]) + data)


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0",
        b"\0A1 LOGIN a b\n\n\r\n",
        b"\0A1 LOGIN {1}\r\n" + CUT + b"a pw\n\r\n",
        b"\0a b\n\n\r\n",
        b"\0a pw\n\r\n",
        b"\0+\r\n" + CUT + b"A1 OK\n\r\n",
        b"\x80" + CUT.join([b"220 x\n", b"235 in\r\n"]),
        b"\0" + b'("' * 40,
        b"\0" + b"{99999999999999999999}\r\n",
    ],
)
def test_what_once_was_found_stays_found(name: str, data: bytes) -> None:
    TARGETS[name](data)
