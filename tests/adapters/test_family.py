"""The errors that `bind` makes: each is ours and a library's, has the attributes of both, and can be pickled."""

from __future__ import annotations

import copy
import pickle
import sys
import traceback
from types import ModuleType
from typing import Any

import pytest

import sasl
from sasl.adapters.binding import Family, LibraryError, bind, run
from sasl.adapters.wire import smtp

TLS = sasl.Channel(tls=True, service="smtp")
PASSWORD = sasl.Password("alice", "wonderland")


class Broken(Exception):
    pass


class Refused(Broken):
    """As smtplib's: it wants a code, and keeps it."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code} {text}")
        self.code = code


class Gone(Broken, ConnectionError):
    pass


class Unknown(Broken):
    pass


def arguments(error: sasl.SASLError, dialogue: Any) -> tuple[Any, ...] | None:
    if not isinstance(error, sasl.AuthenticationFailed | sasl.TemporaryFailure):
        return None
    return int((error.response_code or "0")[:3]), error.server_text


FAMILY = bind(Broken, module=__name__, prefix="Lib", refused=Refused, lost=Gone, unavailable=Unknown, args=arguments)
KINDS = [
    sasl.AuthenticationFailed,
    sasl.AuthorizationFailed,
    sasl.TemporaryFailure,
    sasl.ConnectionLost,
    sasl.ServerBusy,
    sasl.MechanismUnavailable,
    sasl.PolicyViolation,
    sasl.ProtocolError,
    sasl.ServerNotProven,
    sasl.LimitExceeded,
    sasl.Cancelled,
]
THEIRS = {
    sasl.AuthenticationFailed: Refused,
    sasl.AuthorizationFailed: Refused,
    sasl.TemporaryFailure: Refused,
    sasl.ConnectionLost: Gone,
    sasl.ServerBusy: Gone,
    sasl.MechanismUnavailable: Unknown,
}


def refusal_by(reply: bytes, family: Family = FAMILY) -> Any:
    """Return what a refused login raises."""
    wire = smtp.ClientWire(sasl.client("PLAIN", PASSWORD, channel=TLS))
    with pytest.raises(Broken) as caught:
        run(wire, lambda: reply, lambda octets: None, lambda: None, errors=family)
    return caught.value


def test_there_is_one_for_each_of_ours() -> None:
    assert list(FAMILY) == KINDS
    assert not {sasl.UsageError, sasl.TokenError} & {*FAMILY}


@pytest.mark.parametrize("kind", KINDS)
def test_each_is_ours_and_the_librarys(kind: type[sasl.SASLError]) -> None:
    cls = FAMILY[kind]
    assert issubclass(cls, kind)
    assert issubclass(cls, LibraryError)
    assert issubclass(cls, THEIRS.get(kind, Broken))
    assert cls.__name__ == f"Lib{kind.__name__}"
    assert getattr(sys.modules[__name__], cls.__name__) is cls
    assert cls.__doc__ == kind.__doc__


def test_they_are_a_diamond() -> None:
    assert issubclass(FAMILY[sasl.AuthorizationFailed], FAMILY[sasl.AuthenticationFailed])
    assert issubclass(FAMILY[sasl.ServerNotProven], FAMILY[sasl.ProtocolError])
    assert issubclass(FAMILY[sasl.ServerBusy], FAMILY[sasl.TemporaryFailure])
    assert issubclass(FAMILY[sasl.ServerBusy], FAMILY[sasl.ConnectionLost])


def test_an_error_has_the_attributes_of_both() -> None:
    error = refusal_by(b"535 5.7.8 Go away\r\n")
    assert isinstance(error, Refused)
    assert isinstance(error, sasl.AuthenticationFailed)
    assert (error.code, error.args) == (535, ("535 Go away",))
    assert (error.kind, error.server_text, error.response_code) == ("credentials", "Go away", "535 5.7.8")
    assert str(error) == "Go away"


def test_an_error_without_arguments_has_the_sentence() -> None:
    error = refusal_by(b"")
    assert isinstance(error, Gone)
    assert error.args == ("the server ended the connection",)
    plain = bind(Broken, module=__name__, prefix="Plain")
    assert refusal_by(b"535 Go away\r\n", plain).args == ("Go away",)


@pytest.mark.parametrize(
    "reply", [b"535 5.7.8 Go away\r\n", b"454 4.7.0 Later\r\n", b"421 4.7.0 Busy\r\n", b"", b"x\r\n"]
)
@pytest.mark.parametrize("again", [lambda error: pickle.loads(pickle.dumps(error)), copy.copy, copy.deepcopy])
def test_an_error_is_pickled_and_copied_whole(reply: bytes, again: Any) -> None:
    error = refusal_by(reply)
    other = again(error)
    assert type(other) is type(error)
    assert (str(other), other.args, vars(other)) == (str(error), error.args, vars(error))


def test_a_library_may_make_its_errors_by_new() -> None:
    class Made(Broken):
        def __new__(cls, text: str) -> Any:
            made = super().__new__(cls, text)
            made.made_of = text  # type: ignore[attr-defined]
            return made

    error = refusal_by(b"535 5.7.8 no\r\n", bind(Made, module=__name__, prefix="Made"))
    assert (error.made_of, error.args, str(error)) == ("no", ("no",), "no")
    again = copy.copy(error)
    assert (type(again), vars(again), str(again)) == (type(error), vars(error), "no")


def test_an_error_leaves_without_the_frames_of_an_exchange() -> None:
    files = {frame.filename for frame in traceback.extract_tb(refusal_by(b"535 no\r\n").__traceback__)}
    assert files == {__file__, sys.modules[run.__module__].__file__}
    assert refusal_by(b"535 no\r\n").__context__ is None


def test_what_is_about_the_caller_stays_what_it_is() -> None:
    for error in (sasl.UsageError("no"), sasl.TokenError("none")):
        assert FAMILY.translate(error) is error


def test_a_text_of_the_servers_is_made_printable() -> None:
    error = FAMILY.translate(sasl.ConnectionLost("gone \x1b[31m", server_text="a\x07b"))
    assert "\x1b" not in str(error)
    assert "\x07" not in error.server_text


def test_a_name_that_is_taken_is_not_replaced() -> None:
    module = ModuleType("a_library")
    module.XCancelled = sasl.Cancelled  # type: ignore[attr-defined]
    sys.modules["a_library"] = module
    try:
        with pytest.raises(sasl.UsageError, match="a_library has a XCancelled already"):
            bind(Broken, module="a_library", prefix="X")
    finally:
        del sys.modules["a_library"]


def test_a_class_beside_the_base_has_the_base_as_well() -> None:
    family = bind(Broken, module=__name__, prefix="Beside", lost=ConnectionResetError)
    assert issubclass(family[sasl.ConnectionLost], ConnectionResetError)
    assert all(issubclass(cls, Broken) for cls in family.values())


def test_a_constructor_that_takes_no_sentence_wants_arguments() -> None:
    with pytest.raises(sasl.UsageError, match="Refused is not made from a sentence"):
        bind(Broken, module=__name__, prefix="Missing", refused=Refused)


class Kind(Broken):
    """Has an attribute of its own that is called as one of ours."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.kind = "library"


def test_an_attribute_of_ours_is_ours_whatever_the_library_calls_its_own() -> None:
    error = refusal_by(b"535 5.7.8 Go away\r\n", bind(Kind, module=__name__, prefix="Kind"))
    assert error.kind == "credentials"
