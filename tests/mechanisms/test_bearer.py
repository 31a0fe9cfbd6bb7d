"""XOAUTH2 and OAUTHBEARER (RFC 7628), where the data leaves something to say."""

from __future__ import annotations

import json

import pytest

import sasl
from sasl.gs2 import parse

BOTH = pytest.mark.parametrize("name", ["XOAUTH2", "OAUTHBEARER"])
MESSAGE = {
    "XOAUTH2": b"user=u@example.com\x01auth=Bearer %s\x01\x01",
    "OAUTHBEARER": b"n,a=u@example.com,\x01auth=Bearer %s\x01\x01",
}
PROBE = {name: message.replace(b"Bearer %s", b"") for name, message in MESSAGE.items()}


def refused(name, challenge, *, text=""):
    exchange = sasl.client(name, sasl.Bearer("u@example.com", "S3cr3t.t0ken"))
    exchange.start()
    exchange.respond(challenge)
    return exchange.fail(text)


# --- the client


@BOTH
def test_the_channel_of_a_client_decides_whether_host_and_port_are_sent(name):
    bearer = sasl.Bearer("u@example.com", "t")
    for channel in (None, sasl.Channel(), sasl.Channel(host="")):
        assert sasl.client(name, bearer, channel=channel).start() == MESSAGE[name] % b"t"
    there = sasl.client(name, bearer, channel=sasl.Channel(host="h", port=993)).start()
    assert (b"\x01host=h\x01port=993\x01" in there) == (name == "OAUTHBEARER")


def test_an_authzid_is_sent_even_where_the_token_says_who_it_is():
    header, _ = parse(sasl.client("OAUTHBEARER", sasl.Bearer("a,b=c", "t")).start())
    assert (header.flag, header.authzid) == ("n", "a,b=c")


@pytest.mark.parametrize("host", ["h\u00f6st", "a b", "h" * 256])
def test_a_host_that_is_no_name_is_refused(host):
    with pytest.raises(sasl.UsageError, match="host"):
        sasl.client("OAUTHBEARER", sasl.Bearer("u", "t"), channel=sasl.Channel(host=host)).start()


@pytest.mark.parametrize("port", [-1, 0, 65_536])
def test_a_port_that_is_none_is_refused(port):
    with pytest.raises(sasl.UsageError, match="port"):
        sasl.client("OAUTHBEARER", sasl.Bearer("u", "t"), channel=sasl.Channel(port=port)).start()


@pytest.mark.parametrize("user", ["", "a\x01b", "a\x7fb", "a\ud800"], ids=ascii)
@BOTH
def test_a_user_name_that_could_end_a_field_is_refused(name, user, shows_no_secret):
    with pytest.raises(sasl.UsageError) as caught:
        sasl.client(name, sasl.Bearer(user, "S3cr3t.t0ken")).start()
    shows_no_secret(caught.value, "S3cr3t.t0ken")


def test_a_user_name_with_a_space_goes_into_oauthbearer_alone():
    assert b"a=John Doe," in sasl.client("OAUTHBEARER", sasl.Bearer("John Doe", "t")).start()
    with pytest.raises(sasl.UsageError):
        sasl.client("XOAUTH2", sasl.Bearer("John Doe", "t")).start()


@pytest.mark.parametrize("token", ["a,b", "=", "===="])
def test_a_token_that_reads_as_a_list_or_as_nothing_goes_into_xoauth2_alone(token):
    assert token.encode() in sasl.client("XOAUTH2", sasl.Bearer("u", token)).start()
    with pytest.raises(sasl.UsageError):
        sasl.client("OAUTHBEARER", sasl.Bearer("u", token)).start()


@BOTH
def test_a_token_with_the_line_end_of_its_file_is_refused_with_a_hint(name, shows_no_secret):
    with pytest.raises(sasl.UsageError, match="line end") as caught:
        sasl.client(name, sasl.Bearer("u", "S3cr3t.t0ken\n")).start()
    shows_no_secret(caught.value, "S3cr3t.t0ken")


@BOTH
def test_a_refusal_without_an_error_challenge_is_the_same_error_without_detail(name):
    exchange = sasl.client(name, sasl.Bearer("u", "t"))
    exchange.start()
    error = exchange.fail("AUTHENTICATE failed.")
    assert type(error) is sasl.AuthenticationFailed
    assert (error.server_text, dict(error.detail)) == ("AUTHENTICATE failed.", {})
    assert error.new_token_may_help


# --- the error challenge


def text(**members):
    return json.dumps(members).encode()


@pytest.mark.parametrize(
    ("challenge", "detail"),
    [
        (b'{"status":"400","schemes":"Bearer","scope":"s"}', {"status": "400", "schemes": "Bearer", "scope": "s"}),
        (b'{"status":"401"}\n', {"status": "401"}),
        (b'\xef\xbb\xbf{"status":"401"}', {"status": "401"}),
        (b'{"status":401}', {"status": "401"}),
        (b'{"status":true}', {}),
        (b'{"status":NaN,"scope":"s"}', {"scope": "s"}),
        (b'{"status":1e999}', {}),
        (b'{"status":' + b"9" * 4000 + b"}", {"status": "9" * 4000}),
        (b'{"status":' + b"9" * 5000 + b"}", {}),
        (b'{"status":["401"],"scope":{"a":"b"}}', {}),
        (b'{"status":"a","status":"b"}', {"status": "b"}),
        (b'{"status":"\\ud800"}', {"status": "\\ud800"}),
        (b'{"status":"\\u202e\\u0000\\u001b[2J"}', {"status": "\\u202e\\x00\\x1b[2J"}),
        (b'{"status":"J\xc3\xb6rg"}', {"status": "J\u00f6rg"}),
        (b'{"Status":"401","error_description":"x","__class__":"y"}', {}),
        (b'{"openid-configuration":"file:///etc/passwd"}', {"openid-configuration": "file:///etc/passwd"}),
        (b'["status"]', {}),
        (b'"status"', {}),
        (b"not JSON", {}),
        (b"\xff\xfe\xfd", {}),
        (text(status="401", scope="s" * (8192 - 30)), {"status": "401", "scope": "s" * (8192 - 30)}),
        (text(status="401", scope="s" * 8192), {}),
        (b"[" * 16 + b"]" * 16, {}),
        (b'{"x":' + b"[" * 15 + b"]" * 15 + b',"status":"16 deep"}', {"status": "16 deep"}),
        (b'{"x":' + b"[" * 16 + b"]" * 16 + b',"status":"17 deep"}', {}),
        (b'{"x":[' + b"[]," * 40 + b'[]],"status":"wide, not deep"}', {"status": "wide, not deep"}),
        (b'{"x":[' + b"[]," * 40 + b"[" * 15 + b"]" * 15 + b'],"status":"wide and deep"}', {}),
        (b'{"scope":"' + b"XYZ" * 40 + b'"}', {"scope": "XYZ" * 40}),
        (b'{"scope":"' + b"XYZ" * 40 + b'","x":' + b"[" * 16 + b"]" * 16 + b"}", {}),
        (b"[" * 8000, {}),
        (b'{"a":' * 1600, {}),
        (b"]" * 8000, {}),
        (b'{"z":"' + b"]" * 500 + b'","x":' + b"[" * 500 + b"]" * 500 + b',"status":"401"}', {}),
        (b'{"scope":"' + b"[" * 20 + b'","status":"401"}', {"scope": "[" * 20, "status": "401"}),
        (b'{"scope":"\\"' + b"[" * 20 + b'","status":"401"}', {"scope": '"' + "[" * 20, "status": "401"}),
        (b'{"scope":"' + b"[" * 20, {}),
        (b'\\"' * 4000 + b"\\", {}),
        ('{"status":"401"}'.encode("utf-16"), {}),
        ('{"status":"401"}'.encode("utf-32-le"), {}),
    ],
    ids=lambda value: ascii(value)[:60] if isinstance(value, bytes) else "",
)
@BOTH
def test_an_error_challenge_leaves_text_and_nothing_else(name, challenge, detail):
    error = refused(name, challenge)
    assert type(error) is sasl.AuthenticationFailed
    assert error.detail == detail


@BOTH
def test_the_limits_of_an_error_challenge_are_those_of_the_exchange(name):
    for limits in (sasl.Limits(error_json=15), sasl.Limits(error_json_depth=0)):
        exchange = sasl.client(name, sasl.Bearer("u", "t"), limits=limits)
        exchange.start()
        exchange.respond(b'{"status":"401"}')
        assert exchange.fail().detail == {}


@BOTH
def test_a_token_that_comes_back_in_an_error_challenge_is_taken_out(name, shows_no_secret):
    error = refused(name, b'{"status":"401","scope":"bad token S3cr3t.t0ken"}', text="S3cr3t.t0ken?")
    assert (error.detail["scope"], error.server_text) == ("bad token ***", "***?")
    shows_no_secret(error, "S3cr3t.t0ken")


# --- the server


def challenge_of(name, *, answer=None, **options):
    exchange = sasl.server(name, **options)
    assert isinstance(exchange.start(MESSAGE[name] % b"expired"), sasl.CheckToken)
    event = exchange.answer(answer or sasl.Rejected("expired"))
    assert isinstance(event, sasl.Challenge)
    failure = exchange.receive(b"\x01")
    assert failure.kind == "credentials"
    return event.data


def test_xoauth2_explains_a_refusal_as_google_does():
    assert challenge_of("XOAUTH2") == b'{"status":"401","schemes":"bearer"}'
    assert b'"scope":"https://mail.google.com/"' in challenge_of("XOAUTH2", scope="https://mail.google.com/")


def test_oauthbearer_explains_a_refusal_as_rfc_7628_section_3_2_2_does():
    assert challenge_of("OAUTHBEARER") == b'{"status":"invalid_token"}'
    configuration = "https://example.com/.well-known/openid-configuration"
    explained = challenge_of("OAUTHBEARER", scope="mail", openid_configuration=configuration)
    start = b'{"status":"invalid_token","scope":"mail","openid-configuration":"'
    assert explained == start + configuration.encode() + b'"}'


@BOTH
def test_a_verifier_says_more_about_its_refusal_than_the_default(name):
    rejected = sasl.Rejected("too little", detail={"status": "insufficient_scope", "scope": "\u00fc\ud800"})
    explained = challenge_of(name, answer=rejected)
    assert explained.isascii()
    assert json.loads(explained)["status"] == "insufficient_scope"


@BOTH
def test_a_detail_that_is_no_text_does_not_undo_a_refusal(name):
    exchange = sasl.server(name)
    exchange.start(MESSAGE[name] % b"t")
    event = exchange.answer(sasl.Rejected("no", detail={"status": object()}))
    assert (type(event), event.kind) == (sasl.Failure, "credentials")


@BOTH
def test_a_server_may_have_its_own_words_in_the_error_challenge(name):
    seen = []

    def error_challenge(rejected):
        seen.append(rejected.kind)
        return {"status": "400", "schemes": "Bearer", "scope": "https://mail.google.com/"}

    exchange = sasl.server(name, error_challenge=error_challenge)
    exchange.start(MESSAGE[name] % b"t")
    event = exchange.answer(sasl.Rejected("no", "expired", {"scope": "mail"}))
    assert json.loads(event.data) == {"status": "400", "schemes": "Bearer", "scope": "https://mail.google.com/"}
    assert exchange.receive(b"\x01").kind == "expired"
    assert seen == ["expired"]


@BOTH
def test_a_server_may_refuse_without_an_error_challenge_as_microsofts_do(name):
    exchange = sasl.server(name, error_challenge=lambda _rejected: None)
    exchange.start(MESSAGE[name] % b"t")
    event = exchange.answer(sasl.Rejected("no", "expired"))
    assert (type(event), event.kind) == (sasl.Failure, "expired")


@BOTH
def test_an_empty_auth_value_asks_for_the_scope_and_asks_no_verifier(name):
    exchange = sasl.server(name, scope="mail")
    assert json.loads(exchange.start(PROBE[name]).data)["scope"] == "mail"
    assert exchange.receive(b"\x01").kind == "credentials"


@BOTH
def test_a_verifier_that_cannot_tell_is_no_refusal_to_explain(name):
    exchange = sasl.server(name)
    exchange.start(MESSAGE[name] % b"t")
    assert exchange.answer(sasl.Unavailable("no network")) == sasl.Failure("unavailable", "no network")


@pytest.mark.parametrize("kind", ["credentials", "expired", "disabled", "policy", "authorization"])
@BOTH
def test_the_kind_of_a_refusal_outlives_its_error_challenge(name, kind):
    for end in (lambda exchange: exchange.receive(b""), lambda exchange: exchange.cancel()):
        exchange = sasl.server(name)
        exchange.start(MESSAGE[name] % b"t")
        assert isinstance(exchange.answer(sasl.Rejected("no", kind)), sasl.Challenge)
        assert end(exchange).kind == kind


@pytest.mark.parametrize("answer", [b"", b"\x01", b"*", b"x" * 1000, MESSAGE["OAUTHBEARER"] % b"good"])
@BOTH
def test_no_answer_to_an_error_challenge_is_a_second_chance(name, answer):
    exchange = sasl.server(name)
    exchange.start(MESSAGE[name] % b"expired")
    exchange.answer(sasl.Rejected("expired"))
    assert exchange.receive(answer) == sasl.Failure("credentials", "expired")


def asked(message, *, channel=None, **options):
    return sasl.server("OAUTHBEARER", channel=channel, **options).start(message)


SENT_TO = b"n,,\x01host=Mail.Example.com\x01port=993\x01auth=Bearer t\x01\x01"


@pytest.mark.parametrize(
    ("channel", "hosts"),
    [
        (None, ()),
        (None, ["other.example", "mail.example.com"]),
        (None, frozenset({"MAIL.example.COM"})),
        (None, "mail.example.com"),
        (sasl.Channel(host="mail.example.com"), ()),
        (sasl.Channel(host="mail.example.com", port=993), ()),
        (sasl.Channel(host="10.0.0.1", port=993), ["mail.example.com"]),
    ],
    ids=str,
)
def test_a_token_for_this_host_and_port_is_checked(channel, hosts):
    assert asked(SENT_TO, channel=channel, hosts=hosts) == sasl.CheckToken(
        None, sasl.Secret("t"), "Mail.Example.com", 993
    )


def test_names_that_are_none_are_the_servers_fault():
    event = sasl.server("OAUTHBEARER", hosts=5).start(MESSAGE["OAUTHBEARER"] % b"t")
    assert event == sasl.Failure("unavailable", "the mechanism failed with TypeError")


@pytest.mark.parametrize(
    ("channel", "hosts"),
    [
        (None, ["example.com"]),
        (None, "example.com"),
        (sasl.Channel(host="imap.example.com"), ()),
        (sasl.Channel(host="mail.example.com"), ["imap.example.com"]),
        (sasl.Channel(port=143), ()),
        (sasl.Channel(host="mail.example.com", port=143), ()),
    ],
    ids=str,
)
def test_a_token_for_another_host_or_port_is_refused_unseen(channel, hosts):
    event = asked(SENT_TO, channel=channel, hosts=hosts)
    assert json.loads(event.data) == {"status": "invalid_request"}


@pytest.mark.parametrize("authzid", [b"a\x01b", b"a\x02b", b"a\r\nb", b"a\x7fb", "a\u0085b".encode()], ids=ascii)
def test_a_control_character_in_the_authzid_never_reaches_the_verifier(authzid):
    event = asked(b"n,a=%s,\x01auth=Bearer t\x01\x01" % authzid)
    assert (type(event), event.kind) == (sasl.Failure, "malformed")


def test_a_server_that_knows_its_name_takes_a_message_without_one():
    event = asked(MESSAGE["OAUTHBEARER"] % b"t", hosts=["mail.example.com"], channel=sasl.Channel(port=143))
    assert event == sasl.CheckToken("u@example.com", sasl.Secret("t"), None, None)


@BOTH
def test_whose_token_it_is_and_whom_it_opens_are_authorized_apart(name):
    exchange = sasl.server(name)
    exchange.start(MESSAGE[name] % b"t")
    assert exchange.answer(sasl.Accepted("me@example.com")) == sasl.Authorize("me@example.com", "u@example.com")
    assert exchange.answer(NotImplemented).kind == "authorization"
