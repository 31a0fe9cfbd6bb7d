"""The search for secrets finds them: a check that cannot fail would prove nothing."""

from __future__ import annotations

import base64

import pytest

import sasl
from sasl.prep import saslprep

SECRET = "ya29.S3cr3t/T0ken+"


def cause() -> Exception:
    error = sasl.ProtocolError("nothing to see")
    error.__context__ = ValueError(SECRET)
    return error


def attribute() -> Exception:
    return sasl.ProtocolError("nothing to see", server_text=f"you sent {SECRET}")


def local_of_ours() -> BaseException:
    with pytest.raises(sasl.UsageError) as caught:
        saslprep(SECRET + "\x07")  # a pure function: its argument is a local of its frame
    return caught.value


@pytest.mark.parametrize(
    "thing",
    [
        pytest.param(ValueError(SECRET), id="as-it-is"),
        pytest.param(ValueError(base64.b64encode(SECRET.encode())), id="base64"),
        pytest.param(
            ValueError(base64.b64encode(b"user=a\x01auth=" + SECRET.encode() + b"\x01\x01")), id="base64-inside"
        ),
        pytest.param(ValueError(SECRET.encode().hex()), id="hex"),
        pytest.param(ValueError("token=ya29.S3cr3t/T0ken%2B"), id="url"),
        pytest.param(cause(), id="context"),
        pytest.param(attribute(), id="attribute"),
        pytest.param(local_of_ours(), id="local"),
        pytest.param({"detail": SECRET}, id="a-value"),
    ],
)
def test_a_secret_is_found_in_every_form_and_place(thing, shows_no_secret):
    with pytest.raises(AssertionError, match="shows the secret"):
        shows_no_secret(thing, SECRET)


def test_a_secret_that_is_wrapped_is_not_found(shows_no_secret):
    shows_no_secret(sasl.Bearer("a@example.com", SECRET), SECRET)
