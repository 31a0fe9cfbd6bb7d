"""The client's side of ManageSieve: quoted strings and literals, response codes, success data, the capabilities."""

from __future__ import annotations

from base64 import b64decode, b64encode
from typing import Any

import pytest

import sasl
from sasl.adapters.wire import LONGEST_LINE, Line, sieve
from sasl.adapters.wire.sieve.grammar import Reply, Response, parse
from sasl.errors import (
    AuthenticationFailed,
    ConnectionLost,
    LimitExceeded,
    PolicyViolation,
    ProtocolError,
    SASLError,
    ServerBusy,
    ServerNotProven,
    UsageError,
)

from ...support.exchanges import knowing

TLS = sasl.Channel(tls=True, service="sieve")
PASSWORD = sasl.Password("alice", "wonderland")
TOKEN = "ya29.token-that-nobody-sees"
PLAIN = b64encode(b"\0alice\0wonderland")


def over(exchange: sasl.ClientExchange, **settings: Any) -> sieve.ClientWire:
    return sieve.ClientWire(exchange, **settings)


def begun(mechanism: str = "PLAIN", credentials: Any = PASSWORD, **settings: Any) -> sieve.ClientWire:
    """A wire that has sent its command."""
    wire = over(sasl.client(mechanism, credentials, channel=TLS), **settings)
    wire.command()
    return wire


def message(octets: bytes | None, *, more: bytes | None = None) -> sasl.ClientExchange:
    """An exchange that sends these octets first, and perhaps others to a challenge."""

    def script() -> Any:
        if more is None:
            yield sasl.Complete(octets or b"")
        else:
            yield octets
            yield sasl.Complete(more)

    return sasl.ClientExchange("X-TEST", script())


def says(wire: sieve.ClientWire, *lines: bytes) -> Line | None:
    line = None
    for each in lines:
        line = wire.receive(each + b"\r\n")
    return line


# --- what the client says


def test_the_initial_response_is_a_quoted_string_behind_the_name() -> None:
    line = over(sasl.client("PLAIN", PASSWORD)).command()
    assert line.octets == b'AUTHENTICATE "PLAIN" "%b"\r\n' % PLAIN
    assert line.shown == 'AUTHENTICATE "PLAIN" <17 octets>'


def test_an_initial_response_that_is_empty_is_an_empty_string() -> None:
    wire = over(message(b""))
    assert wire.command().octets == b'AUTHENTICATE "X-TEST" ""\r\n'
    assert wire.initial_response


def test_without_an_initial_response_the_response_follows_the_first_challenge() -> None:
    wire = over(sasl.client("PLAIN", PASSWORD), initial_response=False)
    assert wire.command().octets == b'AUTHENTICATE "PLAIN"\r\n'
    line = says(wire, b'""')
    assert line is not None
    assert (line.octets, line.shown) == (b'"%b"\r\n' % PLAIN, "<17 octets>")
    says(wire, b"OK")
    assert (wire.done, wire.error, wire.initial_response, wire.turns) == (True, None, False, 2)


@pytest.mark.parametrize(("octets", "quoted"), [(768, True), (769, False), (4_000, False)])
def test_a_string_of_more_than_1024_octets_is_a_literal(octets: int, *, quoted: bool) -> None:
    text = b64encode(b"m" * octets)
    string = b'"%b"' % text if quoted else b"{%d+}\r\n%b" % (len(text), text)

    wire = over(message(b"m" * octets))
    assert wire.command().octets == b'AUTHENTICATE "X-TEST" %b\r\n' % string
    assert quoted == (len(text) <= sieve.LONGEST_QUOTED)

    wire = over(message(b"m" * octets), initial_response=False)
    wire.command()
    line = says(wire, b'""')
    assert line is not None
    assert (line.octets, line.shown) == (string + b"\r\n", f"<{octets} octets>")


def test_a_challenge_that_cannot_be_read_is_cancelled_by_an_asterisk_in_quotes() -> None:
    wire = begun("SCRAM-SHA-256")
    line = says(wire, b'"!"')
    assert line is not None
    assert (line.octets, line.shown) == (b'"*"\r\n', "*")
    assert wire.cancelled
    says(wire, b'NO "cancelled"')
    assert type(wire.error) is ProtocolError
    assert not wire.must_close


@pytest.mark.parametrize("line", [b"OK", b'OK (SASL "Zg==")', b'OK (SASL "!")', b'"Zg=="', b'"Zg==" "Zg=="', b"what"])
def test_whatever_but_a_no_to_an_asterisk_closes_the_connection(line: bytes) -> None:
    wire = begun("SCRAM-SHA-256")
    says(wire, b'"!"')
    assert says(wire, line) is None
    assert isinstance(wire.error, ProtocolError)
    assert "base64" in str(wire.error)
    assert wire.must_close


# --- challenges


@pytest.mark.parametrize(
    "lines",
    [[b'"Zmlyc3Q="'], [b"{8}", b"Zmlyc3Q="], [b"{8+}", b"Zmlyc3Q="], [b"{08}", b"Zmlyc3Q="]],
    ids=["quoted", "literal", "literal with a plus", "literal with a zero"],
)
def test_a_challenge_is_a_quoted_string_or_a_literal(lines: list[bytes]) -> None:
    heard = []

    def script() -> Any:
        heard.append((yield b"hello"))
        yield sasl.Complete(b"more")

    wire = over(sasl.ClientExchange("X-TEST", script()))
    wire.command()
    line = says(wire, *lines[:-1])
    assert line is None
    line = says(wire, lines[-1])
    assert line is not None
    assert line.octets == b'"bW9yZQ=="\r\n'

    says(wire, *lines[:-1])  # the exchange is complete: one more is an error
    assert wire.error is None


def test_a_literal_that_is_empty_is_a_challenge() -> None:
    wire = begun(initial_response=False)
    assert says(wire, b"{0}") is None
    assert says(wire, b"") is not None


def test_an_error_challenge_is_answered_and_told() -> None:
    wire = begun("XOAUTH2", sasl.Bearer("alice", TOKEN))
    text = b64encode(b'{"status":"401","schemes":"bearer"}')
    assert says(wire, b"{%d}" % len(text)) is None
    line = says(wire, text)
    assert line is not None
    assert line.octets == b'""\r\n'
    says(wire, b'NO "no"')
    assert isinstance(wire.error, AuthenticationFailed)
    assert wire.error.detail["status"] == "401"
    assert not wire.must_close


@pytest.mark.parametrize(
    "line",
    [
        *(
            b"",
            b"+ Zg==",
            b"Zg==",
            b"OKAY",
            b'OK"x"',
            b"OK ",
            b"NO x",
            b"BYE  x",
            b'NO "x" ',
            b'NO "x" "y"',
            b'NO "\\x"',
        ),
        *(b'"Zg==', b'Zg=="', b'"a"b"', b'"Zg==" ', b' "Zg=="', b'"Zg==" "Zg=="', b'"Zg==""Zg=="', b'"a\\"', b'"\\x"'),
        *(b"OK ()", b"OK (", b'OK (SASL "Zg=="', b"OK (X (y) (z)", b"OK (X))", b'NO ("X") "y"', b'OK (X)"y"', b"NO )"),
        *(b"{3", b"{}", b"{-1}", b"{3} x", b"{12345678901}", b"{x}", b"NO {3}x", b"235 2.7.0 ok", b"* OK done"),
        *(b'"\0"', b'OK "a\rb"', b"\0", b"OK \0", b"\r", b'NO "\n"'),
    ],
)
def test_what_is_no_response_ends_it(line: bytes) -> None:
    wire = begun()
    assert says(wire, line) is None
    assert type(wire.error) is ProtocolError
    assert wire.must_close


def test_several_lines_at_once_are_no_line() -> None:
    wire = begun()
    wire.receive(b'NO "x"\r\nOK\r\n')
    assert type(wire.error) is ProtocolError


# --- what is too long


@pytest.mark.parametrize("begin", [b"", b"NO ", b"OK (SASL "])
def test_a_literal_that_is_too_long_is_refused_before_it_is_read(begin: bytes) -> None:
    wire = begun()
    says(wire, begin + b"{%d}" % LONGEST_LINE)
    assert type(wire.error) is LimitExceeded
    assert wire.must_close


def test_literals_without_end_are_too_long() -> None:
    wire = begun()
    says(wire, b"NO (X {1000}")
    for _ in range(LONGEST_LINE):
        if wire.done:
            break
        says(wire, b"x" * 1000 + b" {1000}")
    assert type(wire.error) is LimitExceeded


def test_a_literal_of_line_ends_is_as_long_as_it_says() -> None:
    wire = begun()
    says(wire, b"NO {80000}")
    for _ in range(40_000):
        assert not wire.done
        says(wire, b"")
    says(wire, b"")
    assert isinstance(wire.error, AuthenticationFailed)


@pytest.mark.parametrize(("octets", "answer"), [(65_536, b'""'), (65_537, b'"*"'), (65_539, b'"*"')])
def test_a_challenge_of_the_largest_size_is_taken_and_a_larger_one_cancelled(octets: int, answer: bytes) -> None:
    text = b64encode(bytes(octets))
    wire = over(message(b"", more=b""))
    wire.command()
    says(wire, b"{%d}" % len(text))
    line = says(wire, text)
    assert line is not None
    assert line.octets == answer + b"\r\n"


# --- the verdict


@pytest.mark.parametrize(
    "lines",
    [[b"OK"], [b"ok"], [b'Ok "done"'], [b"OK (WARNINGS)"], [b'OK (TAG "x") "done"'], [b"OK {4}", b"done"], [b'OK ""']],
)
def test_a_yes_is_ok_with_or_without_code_and_text(lines: list[bytes]) -> None:
    wire = begun()
    assert says(wire, *lines) is None
    assert (wire.done, wire.error, wire.must_close) == (True, None, False)
    assert wire.server_text in ("", "done")


def test_a_text_is_what_is_quoted_in_it() -> None:
    wire = begun()
    says(wire, b'NO "a \\"b\\" \\\\ \xc3\xa9"')
    assert wire.server_text == 'a "b" \\ \u00e9'


@pytest.mark.parametrize(
    ("line", "error", "close"),
    [
        (b"OK", ServerNotProven, True),
        (b'NO "no"', AuthenticationFailed, False),
        (b'BYE "too many"', ConnectionLost, True),
        (b'BYE (TRYLATER) "later"', ServerBusy, True),
    ],
)
def test_what_ends_an_exchange_before_the_response(line: bytes, error: type[SASLError], *, close: bool) -> None:
    wire = begun(initial_response=False)
    says(wire, line)
    assert type(wire.error) is error
    assert wire.must_close == close


def test_whom_a_server_refers_to_is_told() -> None:
    wire = begun()
    says(wire, b'NO (REFERRAL "sieve://other.example") "elsewhere"')
    assert isinstance(wire.error, AuthenticationFailed)
    assert (wire.error.kind, wire.error.response_code) == ("policy", "REFERRAL")
    assert wire.error.detail["referral"] == "sieve://other.example"


@pytest.mark.parametrize("code", [b"REFERRAL", b'referral ""'])
def test_a_referral_to_nowhere_is_one_all_the_same(code: bytes) -> None:
    wire = begun()
    says(wire, b"NO (%b)" % code)
    assert wire.error is not None
    assert (wire.error.kind, wire.error.response_code) == ("policy", "REFERRAL")


def test_the_end_of_the_connection_is_no_verdict() -> None:
    for line in (b"", b"OK", b'"Zg=="'):
        wire = begun()
        wire.receive(line)
        assert type(wire.error) is ConnectionLost


def test_a_reply_before_the_command_or_after_the_end_is_the_drivers_fault() -> None:
    wire = over(sasl.client("PLAIN", PASSWORD))
    with pytest.raises(UsageError):
        wire.receive(b"OK\r\n")
    wire.command()
    wire.receive(b"OK\r\n")
    with pytest.raises(UsageError):
        wire.receive(b"OK\r\n")


# --- success data


def scram() -> tuple[sieve.ClientWire, bytes]:
    """Run SCRAM up to the server's last message; return the client's wire, and that message in base64."""
    client = over(sasl.client("SCRAM-SHA-256", PASSWORD, channel=TLS))
    server = sasl.server("SCRAM-SHA-256", channel=TLS, success_data=True)
    keys = sasl.ScramKeys.derive("wonderland", iterations=4096)
    said: Any = server.start(_message_in(client.command()))
    while not isinstance(event := sasl.settle(server, said, knowing({"alice": keys})), sasl.Success):
        assert isinstance(event, sasl.Challenge)
        answer = says(client, b'"%b"' % b64encode(event.data))
        assert answer is not None
        said = server.receive(_message_in(answer))
    assert event.data is not None
    return client, b64encode(event.data)


@pytest.mark.parametrize(
    "lines",
    [
        [b'OK (SASL "<data>")'],
        [b'ok (sasl "<data>") "Logged in"'],
        [b"OK (SASL {<size>}", b'<data>) "Logged in"'],
    ],
)
def test_success_data_prove_the_server(lines: list[bytes]) -> None:
    wire, data = scram()
    says(wire, *(line.replace(b"<data>", data).replace(b"<size>", b"%d" % len(data)) for line in lines))
    assert wire.error is None
    assert wire.exchange.state is sasl.State.DONE


def test_the_proof_may_be_the_last_challenge() -> None:
    wire, data = scram()
    line = says(wire, b'"%b"' % data)
    assert line is not None
    assert line.octets == b'""\r\n'
    says(wire, b"OK")
    assert wire.error is None


@pytest.mark.parametrize(
    ("line", "error"),
    [
        (b"OK", ServerNotProven),
        (b'OK (SASL "dj1BQUFB")', ProtocolError),
        (b'OK (SASL "!")', ProtocolError),
        (b"OK (SASL)", ProtocolError),
        (b'OK (SASL "<data>" "<data>")', ProtocolError),
        (b'OK (WARNINGS "<data>")', ServerNotProven),
    ],
)
def test_a_yes_without_proof_is_none(line: bytes, error: type[SASLError]) -> None:
    wire, data = scram()
    says(wire, line.replace(b"<data>", data))
    assert isinstance(wire.error, error)
    assert wire.must_close


def test_success_data_that_nobody_expects_are_an_error() -> None:
    wire = begun()
    says(wire, b'OK (SASL "Zg==")')
    assert type(wire.error) is ProtocolError


# --- what may be shown


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (b'"c2VjcmV0"\r\n', "<6 octets>"),
        (b'""\r\n', "<0 octets>"),
        (b"{8}\r\n", "{8}"),
        (b"c2VjcmV0\r\n", "<6 octets>"),
        (b'OK "Logged in."\r\n', 'OK "Logged in."'),
        (b"OK\r\n", "OK"),
        (b"NO {3}\r\n", "NO {3}"),
        (b'OK (SASL "c2VjcmV0") "done"\r\n', 'OK (SASL <6 octets>) "done"'),
        (b'ok (sasl "c2VjcmV0\r\n', "ok (sasl <6 octets>"),
        (b"OKAY\r\n", "<3 octets>"),
        (b"OKAY!\r\n", "<5 octets that are not base64>"),
        (b'NO "no wonderland here"\r\n', 'NO "no ... here"'),
        (b'BYE "%b"\r\n' % PLAIN, 'BYE "..."'),
        (b"\xff\r\n", "<1 octets that are not base64>"),
    ],
)
def test_lines_are_shown_without_what_must_not_be_seen(line: bytes, shown: str) -> None:
    said = begun().shown(line)
    assert "wonderland" not in said
    assert PLAIN.decode() not in said
    if "..." not in shown:
        assert said == shown


def test_a_credential_that_the_server_says_back_is_nowhere() -> None:
    wire = begun()
    says(wire, b'NO (REFERRAL "sieve://wonderland.example") "wonderland, %b, alice"' % PLAIN)
    assert wire.error is not None
    for text in (str(wire.error), repr(wire.error), wire.error.server_text, wire.server_text, str(wire.error.detail)):
        assert "wonderland" not in text
        assert PLAIN.decode() not in text


def test_a_credential_in_a_response_code_or_in_broken_lines_is_nowhere() -> None:
    for line in (b"NO (WONDERLAND)", b"wonderland", b'"wonderland', b'NO "wonderland', b"NO {9999999}wonderland"):
        wire = begun()
        says(wire, line)
        assert wire.error is not None
        told = f"{wire.error!r} {wire.error} {wire.error.server_text} {wire.error.response_code} {wire.error.detail}"
        assert "wonderland" not in told.lower()


# --- the grammar


@pytest.mark.parametrize(
    ("octets", "found"),
    [
        (b"OK\r\n", Reply("OK", None, (), "")),
        (b"no\n", Reply("NO", None, (), "")),
        (b'BYE (X/Y) "z"\r\n', Reply("BYE", "X/Y", (), "z")),
        (b'OK (TAG {3}\r\na"b) "z"\r\n', Reply("OK", "TAG", (b'a"b',), "z")),
        (b'OK (x 1 "a" (b ("c") ()))\r\n', Reply("OK", "X", (b"1", b"a", b"b", b"c"), "")),
        (b'"SASL" "PLAIN"\r\n', [b"SASL", b"PLAIN"]),
        (b"{4}\r\nSASL {7}\r\nPLA\r\nIN\r\n", [b"SASL", b"PLA\r\nIN"]),
        (b'""\r\n', [b""]),
    ],
)
def test_a_response_is_a_reply_or_strings(octets: bytes, found: object) -> None:
    response = Response()
    complete = [response.receive(line) for line in octets.splitlines(keepends=True)]
    assert complete == [False] * (len(complete) - 1) + [True]
    assert parse(bytes(response.octets)) == found


# --- capabilities


def capabilities(*lines: bytes) -> sieve.CapabilityWire:
    wire = sieve.CapabilityWire()
    assert wire.command().octets == b"CAPABILITY\r\n"
    for line in lines:
        assert not wire.done
        wire.receive(line)
    return wire


LISTED = (
    b'"IMPLEMENTATION" "Dovecot Pigeonhole"\r\n',
    b'"sasl" "PLAIN SCRAM-SHA-1"\r\n',
    b'"STARTTLS"\r\n',
    b'"SIEVE" {8}\r\n',
    b"fileinto\r\n",
    b'"SASL" "LOGIN"\r\n',
)


def test_capabilities_are_names_and_what_stands_behind_them() -> None:
    wire = capabilities(*LISTED, b'OK "ready"\r\n')
    assert (wire.done, wire.error) == (True, None)
    assert wire.capabilities == {
        "IMPLEMENTATION": "Dovecot Pigeonhole",
        "SASL": "PLAIN SCRAM-SHA-1",
        "STARTTLS": "",
        "SIEVE": "fileinto",
    }
    assert sieve.mechanisms(wire.capabilities) == ["PLAIN", "SCRAM-SHA-1"]
    assert sieve.mechanisms({}) == []


@pytest.mark.parametrize(
    ("line", "error", "says"),
    [
        (b"* OK IMAP4rev1 ready\r\n", ProtocolError, "this port speaks IMAP"),
        (b"hello\r\n", ProtocolError, "not a greeting of ManageSieve"),
        (b'"A" "B" "C"\r\n', ProtocolError, "more than one value"),
        (b'NO "what?"\r\n', ProtocolError, "what?"),
        (b'BYE "go away"\r\n', ConnectionLost, "go away"),
        (b'BYE (TRYLATER) "busy"\r\n', ServerBusy, "busy"),
        (b'BYE "Too many connections"\r\n', ServerBusy, "Too many connections"),
        (b"", ConnectionLost, "ended the connection"),
        (b'"STARTTLS"', ConnectionLost, "ended the connection"),
        (b"{70000}\r\n", None, ""),
        (b"{99999}\r\n", LimitExceeded, "more than"),
        (b"x" * 65_537, LimitExceeded, "more than"),
    ],
)
def test_an_answer_that_is_no_list_is_an_error(line: bytes, error: type[SASLError] | None, says: str) -> None:
    wire = capabilities(line)
    assert type(wire.error) is (error or type(None))
    assert says in str(wire.error or "")
    assert wire.capabilities == {}


def test_a_list_that_breaks_in_the_middle_is_an_error() -> None:
    wire = capabilities(b'"STARTTLS"\r\n', b"hello\r\n")
    assert type(wire.error) is ProtocolError
    assert "greeting" not in str(wire.error)


def test_a_list_without_end_is_too_long() -> None:
    wire = sieve.CapabilityWire()
    for _ in range(10_000):
        if wire.done:
            break
        wire.receive(b'"A" "B"\r\n')
    assert type(wire.error) is LimitExceeded


def test_a_list_may_end_by_being_told_so() -> None:
    wire = capabilities(b'"STARTTLS"\r\n')
    wire.lost()
    assert type(wire.error) is ConnectionLost
    wire = capabilities(b"OK\r\n")
    wire.lost()
    assert wire.error is None


# --- the choice


def test_the_strongest_mechanism_that_fits_is_chosen_and_its_wire_made() -> None:
    offered = {"SASL": "PLAIN SCRAM-SHA-256 XOAUTH2"}
    choice = sieve.choose(offered, PASSWORD, channel=TLS)
    assert choice.name == "SCRAM-SHA-256"
    assert sieve.client_wire(choice, PASSWORD).command().octets.startswith(b'AUTHENTICATE "SCRAM-SHA-256" "')
    with pytest.raises(PolicyViolation):
        sieve.choose({"SASL": "PLAIN"}, PASSWORD, channel=sasl.Channel(service="sieve"))
    with pytest.raises(sasl.MechanismUnavailable):
        sieve.choose({}, PASSWORD, channel=TLS)


# --- STARTTLS


@pytest.mark.parametrize("line", [b"OK", b"ok", b'OK "Begin TLS"'])
def test_tls_begins_after_a_plain_yes(line: bytes) -> None:
    wire = sieve.StartTlsWire()
    assert wire.command().octets == b"STARTTLS\r\n"
    wire.receive(line + b"\r\n")
    assert (wire.done, wire.error, wire.must_close) == (True, None, False)


@pytest.mark.parametrize(
    "octets",
    [b'NO "no"\r\n', b"BYE\r\n", b'OK "go"\r\n"SASL" "PLAIN"\r\n', b"OK {2}\r\ngo\r\n", b"OKAY\r\n", b"OK\0\r\n"],
)
def test_tls_begins_after_nothing_else(octets: bytes) -> None:
    wire = sieve.StartTlsWire()
    wire.receive(octets)
    assert type(wire.error) is PolicyViolation
    assert wire.must_close


# --- helpers


def _message_in(line: Line) -> bytes:
    return b64decode(line.octets.split()[-1].strip(b'"'), validate=True)
