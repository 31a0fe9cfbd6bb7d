"""The search for secrets finds them: a check that cannot fail would prove nothing."""

from __future__ import annotations

import base64
import json
import urllib.parse
import urllib.request

import pytest
from hypothesis import given
from hypothesis import strategies as st

import sasl
from sasl.prep import saslprep

from ..support.leaks import forms, locals_of, objects_behind, reachable, seen, shown, walked

SECRET = "ya29.S3cr3t/T0ken+?~"
OTHERS = ["p\u00e4ss\u20acw\u00f6rd", "a\ud800lone'surrogate\"", bytes(range(250, 256)) + b"key"]


def octets_of(secret):
    return secret if isinstance(secret, bytes) else secret.encode("utf-8", "surrogatepass")


def text_of(secret):
    return secret.decode("latin-1") if isinstance(secret, bytes) else secret


WAYS = {
    "as it is": text_of,
    "escaped": lambda secret: repr(text_of(secret)),
    "escaped to ASCII": lambda secret: ascii(text_of(secret)),
    "octets": lambda secret: repr(octets_of(secret)),
    "octets as UTF-8": lambda secret: secret.decode("utf-8", "replace") if isinstance(secret, bytes) else secret,
    "JSON": lambda secret: json.dumps({"detail": text_of(secret)}),
    "backwards": lambda secret: text_of(secret)[::-1],
    "capitals": lambda secret: text_of(secret).upper(),
    "hex": lambda secret: octets_of(secret).hex(),
    "hex in capitals": lambda secret: octets_of(secret).hex().upper(),
    "hex with blanks": lambda secret: octets_of(secret).hex(" "),
    "a path": lambda secret: f"/{urllib.parse.quote(octets_of(secret))}/",
    "a parameter": lambda secret: f"?token={urllib.parse.quote(octets_of(secret), safe='')}&",
    "a form": lambda secret: urllib.parse.urlencode({"token": octets_of(secret)}),
    "small letters in a URL": lambda secret: urllib.parse.quote(octets_of(secret), safe="").lower(),
    "a URL in a URL": lambda secret: urllib.parse.quote(urllib.parse.quote(octets_of(secret), safe=""), safe=""),
    "base64": lambda secret: base64.b64encode(octets_of(secret)).decode(),
    "base64 behind an octet": lambda secret: base64.b64encode(b"\0" + octets_of(secret) + b"\x01").decode(),
    "base64 behind two": lambda secret: base64.b64encode(b"\xff\xff" + octets_of(secret) + b"\xff").decode(),
    "base64 for URLs": lambda secret: base64.urlsafe_b64encode(octets_of(secret)).decode(),
    "base64 in a URL": lambda secret: urllib.parse.quote(base64.b64encode(octets_of(secret)), safe=""),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("secret", [SECRET, *OTHERS], ids=["token", "unicode", "surrogate", "octets"])
def test_a_secret_is_found_in_whatever_form(secret, way):
    text = WAYS[way](secret)
    assert seen(["nothing here", f"before {text} behind"], secret) != []
    assert seen([text], "another" + SECRET) == []


@given(before=st.binary(max_size=5), secret=st.binary(min_size=4), behind=st.binary(max_size=5))
def test_base64_is_found_whatever_is_around_it(before, secret, behind):
    assert seen([base64.b64encode(before + secret + behind)], secret) != []


def test_what_is_in_any_text_by_chance_is_not_looked_for():
    assert forms("") == forms("ab") == frozenset()
    assert min(map(len, forms("abcd"))) == 4


# --- places


def cause() -> Exception:
    error = sasl.ProtocolError("nothing to see")
    error.__context__ = ValueError(SECRET)
    return error


def far_cause() -> Exception:
    error = sasl.ProtocolError("nothing to see")
    error.__cause__ = cause()
    return error


def attribute() -> Exception:
    return sasl.ProtocolError("nothing to see", server_text=f"you sent {SECRET}")


def note() -> Exception:
    error = sasl.ProtocolError("nothing to see")
    error.add_note(SECRET)
    return error


def not_encoded() -> Exception:
    with pytest.raises(UnicodeError) as caught:
        f"{SECRET}\ud800".encode()
    return caught.value


def local_of_ours() -> BaseException:
    with pytest.raises(sasl.UsageError) as caught:
        saslprep(SECRET + "\x07")  # a pure function: its argument is a local of its frame
    return caught.value


def local_of_a_cause() -> Exception:
    error = sasl.ProtocolError("nothing to see")
    error.__context__ = local_of_ours()
    return error


@pytest.mark.parametrize(
    "thing",
    [
        pytest.param(ValueError(SECRET), id="as-it-is"),
        pytest.param(ValueError(base64.b64encode(SECRET.encode())), id="base64"),
        pytest.param(
            ValueError(base64.b64encode(b"user=a\x01auth=" + SECRET.encode() + b"\x01\x01")), id="base64-inside"
        ),
        pytest.param(ValueError(SECRET.encode().hex()), id="hex"),
        pytest.param(ValueError("token=ya29.S3cr3t/T0ken%2B%3F~"), id="url"),
        pytest.param(cause(), id="context"),
        pytest.param(far_cause(), id="context-of-a-cause"),
        pytest.param(ExceptionGroup("several", [ValueError("one"), cause()]), id="group"),
        pytest.param(attribute(), id="attribute"),
        pytest.param(note(), id="note"),
        pytest.param(not_encoded(), id="not-encoded"),
        pytest.param(local_of_ours(), id="local"),
        pytest.param(local_of_a_cause(), id="local-of-a-cause"),
        pytest.param({"detail": SECRET}, id="a-value"),
    ],
)
def test_a_secret_is_found_in_every_form_and_place(thing, shows_no_secret):
    with pytest.raises(AssertionError, match="shows the secret"):
        shows_no_secret(thing, SECRET)


def test_a_secret_that_is_wrapped_is_not_found(shows_no_secret):
    shows_no_secret(sasl.Bearer("a@example.com", SECRET), SECRET)


def test_the_frames_of_other_libraries_count_where_they_are_asked_for():
    with pytest.raises(ValueError, match="unknown url type") as caught:
        urllib.request.Request(SECRET)
    assert seen(locals_of(caught.value), SECRET) == []
    assert seen(locals_of(caught.value, everywhere=True), SECRET) != []


def test_the_frames_of_the_tests_do_not_count():
    known = SECRET
    with pytest.raises(KeyError) as caught:
        {}[len(known)]
    assert seen(shown(caught.value), SECRET) == []
    assert list(locals_of(caught.value, everywhere=True)) == []


class Holder:
    """Has an attribute, and a repr that does not show it."""

    def __init__(self, value):
        self.value = value

    def __repr__(self):
        return "Holder()"


def test_what_an_object_holds_is_found():
    known = SECRET
    for holder in (Holder(SECRET), [Holder({"a": SECRET})], Holder((SECRET.encode(),))):
        assert seen(walked(holder), SECRET) != []
        assert seen(reachable(holder), SECRET) != []
        assert seen([repr(holder)], SECRET) == []
    assert seen(reachable(lambda: known), SECRET) != []
    assert seen(reachable(sasl.client("XOAUTH2", sasl.Bearer("user", SECRET))), SECRET) != []
    assert any(isinstance(each, sasl.Secret) for each in objects_behind(Holder(sasl.Bearer("user", SECRET))))


def test_an_object_does_not_hold_what_belongs_to_the_program():
    assert seen(reachable(Holder(test_what_an_object_holds_is_found)), SECRET) == []
    assert seen(reachable(Holder(type(Holder(SECRET)))), SECRET) == []
