"""Whatever a browser, or a person, brings: it is the one answer, a no, or nothing."""

from __future__ import annotations

import socket
from urllib.parse import urlencode, urlsplit

from hypothesis import example, given
from hypothesis import strategies as st

import sasl
from sasl.adapters.tokens import paste
from sasl.adapters.tokens._authorization import Attempt
from sasl.adapters.tokens._loopback import Listener

from ...support.properties import anything, changed
from .signing_in import CLIENT, ISSUER, SCOPE, fields_of, metadata

HOME = "http://127.0.0.1:5000/"
ATTEMPT = Attempt(metadata(), CLIENT, SCOPE, HOME)
STATE = fields_of(ATTEMPT.url())["state"]
ANSWER = urlencode({"code": "the-code", "state": STATE, "iss": ISSUER})
PIECES = [b"&", b"=", b"%", b"%ff", b"&error=no", b"&code=evil", b"&iss=x", b"\r\n", b" ", b"?", b"#", b"Host: "]


@given(changed(ANSWER.encode(), PIECES))
@example(ANSWER.encode())
def test_an_answer_is_the_one_or_a_no_or_none(query: bytes) -> None:
    error, code = None, None
    try:
        code = ATTEMPT.code(query.decode("latin-1"))
    except sasl.TokenError as raised:
        error = raised
    assert STATE not in str(error)
    assert code is None or code


@given(
    st.one_of(
        anything, st.builds(lambda octets: octets.decode("latin-1"), changed(f"{HOME}?{ANSWER}".encode(), PIECES))
    )
)
def test_what_is_pasted_is_the_redirect_uri_or_is_told_why_not(pasted: str) -> None:
    if not paste._problem(pasted, HOME):
        assert pasted.startswith((HOME, HOME[:-1] + "?"))


@given(changed(f"GET /?{ANSWER} HTTP/1.1\r\nHost: 127.0.0.1:5000\r\nAccept: */*\r\n\r\n".encode(), PIECES))
def test_a_request_is_read_or_refused(octets: bytes) -> None:
    with Listener("http://127.0.0.1/") as listener:
        host = urlsplit(listener.redirect_uri).netloc.encode()
        with socket.create_connection(("127.0.0.1", urlsplit(listener.redirect_uri).port), timeout=10) as sock:
            listener._accept(listener._listening[0])
            connection = listener._connections[0]
            octets = octets.replace(b"127.0.0.1:5000", host)
            sock.sendall(octets)
            sock.shutdown(socket.SHUT_WR)
            query = listener._read(connection)
            if query is not None:
                assert octets.startswith((b"GET /?", b"GET / "))
                assert b"\r\n\r\n" in octets
                assert query.isascii()
                return
            assert connection not in listener._connections or b"\r\n\r\n" not in octets
