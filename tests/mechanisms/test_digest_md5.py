"""DIGEST-MD5 (RFC 2831): vectors, bad inputs, and what real servers and clients say that the RFC does not."""

from __future__ import annotations

import contextlib
import hashlib
import re
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import sasl
import sasl.spec
from sasl.mechanisms import _digest_md5_messages as messages
from sasl.mechanisms import digest_md5
from sasl.prep import has_controls

from ..support.exchanges import Verifier, said
from ..support.properties import changed

VECTORS = sasl.spec.vectors("digest-md5")
CASES = sasl.spec.cases("digest_md5_client")
HOST = "elwood.innosoft.com"
CHANNEL = sasl.Channel(service="imap", host=HOST)
SECRET = "S3cr3t.p4ss/of-20+="
CHALLENGE = b'realm="r",nonce="n",qop="auth",algorithm=md5-sess,charset=utf-8'


def client(authcid="chris", password=SECRET, authzid=None, *, channel=CHANNEL, **options):
    return sasl.client("DIGEST-MD5", sasl.Password(authcid, password, authzid=authzid), channel=channel, **options)


def server(*, channel=CHANNEL, success_data=False, **options):
    return sasl.server("DIGEST-MD5", channel=channel, success_data=success_data, **options)


def response_to(challenge, *arguments, **options):
    exchange = client(*arguments, **options)
    assert exchange.start() is None
    return exchange.respond(challenge)


def directives(message):
    """What a well-formed message holds, read by another way than the parser's; the names in their order."""
    return dict(re.findall(rb'([a-z-]+)=("(?:[^"\\]|\\.)*"|[^",]+)', message))


def digest(user, nonce, cnonce, uri, *, authzid=None, verb=b"AUTHENTICATE"):
    """RFC 2831 section 2.1.2.1 over again; `user` is user:realm:password in the octets to hash."""

    def hexed(data):
        return hashlib.md5(data, usedforsecurity=False).hexdigest().encode()

    a1 = hashlib.md5(user, usedforsecurity=False).digest() + b":" + nonce + b":" + cnonce
    a1 += b"" if authzid is None else b":" + authzid
    return hexed(hexed(a1) + b":" + nonce + b":00000001:" + cnonce + b":auth:" + hexed(verb + b":" + uri))


def with_password(password=SECRET, known=None):
    """A verifier that knows one password, for whoever asks or for some users."""

    def found(question):
        return sasl.Record(question.authcid, password) if known is None or question.authcid in known else None

    return Verifier(found)


def concluded(exchange, response, verifier):
    """The server's next event after a response, when all questions are answered."""
    return sasl.settle(exchange, exchange.receive(response), verifier)


# --- vectors


def channel_of(vector):
    service, _, host = vector.credentials["digest_uri"].partition("/")
    return sasl.Channel(service=service, host=host)


def client_of(vector):
    known, (response, *_) = vector.credentials, said(vector, "client")
    cnonce = directives(response)[b"cnonce"].strip(b'"')
    return client(
        known["authcid"], known["password"], channel=channel_of(vector), realm=known.get("realm"), cnonce=cnonce
    )


@pytest.mark.parametrize("data", [False, True], ids=["challenge", "data"])
@pytest.mark.parametrize("vector", VECTORS, ids=str)
def test_a_client_speaks_as_the_vector_does(vector, data, shows_no_secret):
    exchange = client_of(vector)
    (challenge, proof), (response, *rest) = said(vector, "server"), said(vector, "client")
    assert exchange.start() is None
    assert exchange.respond(challenge) == response
    assert rest in ([], [b""])
    if vector.expected["outcome"] == "failure":
        with pytest.raises(sasl.ServerNotProven) as caught:
            exchange.succeed(proof) if data else exchange.respond(proof)
        assert exchange.state is sasl.State.FAILED
        shows_no_secret(caught.value, vector.credentials["password"], response)
        return
    if data:
        exchange.succeed(proof)
    else:
        assert exchange.respond(proof) == b""
        exchange.succeed()
    assert exchange.state is sasl.State.DONE


@pytest.mark.parametrize("data", [False, True], ids=["challenge", "data"])
@pytest.mark.parametrize("vector", VECTORS, ids=str)
def test_a_server_speaks_as_the_vector_does(vector, data, shows_no_secret):
    known = vector.credentials
    (challenge, proof), (response, *_) = said(vector, "server"), said(vector, "client")
    nonce = directives(challenge)[b"nonce"].strip(b'"')
    exchange = server(channel=channel_of(vector), realm=known.get("realm", HOST), nonce=nonce, success_data=data)
    assert exchange.start() == sasl.Challenge(challenge)
    verifier = with_password(known["password"])
    event = concluded(exchange, response, verifier)
    assert verifier.asked == [sasl.FindSecret(known["authcid"], "DIGEST-MD5", HOST)]
    # The failure is the server's: its proof is not the one that ours sends.
    assert (event.data == proof) is (vector.expected["outcome"] == "success")
    shows_no_secret(event, known["password"], response)
    if not data:
        event = exchange.receive(b"")
    user = known["authcid"]
    assert replace(event, data=None) == sasl.Success(identity=user, authcid=user)


# --- bad inputs


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_challenge_that_breaks_a_rule_is_refused_by_its_class(case, shows_no_secret):
    channel = sasl.Channel(service=case.params.get("service", "imap"), host=case.params.get("host", HOST))
    exchange = client(
        case.inputs["user"],
        case.inputs["password"],
        channel=channel,
        realm=case.inputs.get("realm"),
        cnonce=case.params.get("cnonce", "x").encode(),
    )
    assert exchange.start() is None
    *before, last = case.steps
    for step in before:
        exchange.respond(step.data)
    if case.expect == "send":
        sent = exchange.respond(last.data)
        user = b"chris:elwood.innosoft.com:secret"
        uri = b"imap/elwood.innosoft.com"
        assert directives(sent)[b"response"] == digest(user, b"OA6MG9tEQGm2hh", b"OA6MHXh6VqTrRA", uri)
        return
    if last.sender == "server-success":
        assert case.expect == "protocol"
        expected = sasl.ServerNotProven
    else:
        expected = {"protocol": sasl.ProtocolError, "limit": sasl.LimitExceeded}[case.expect]
    with pytest.raises(expected) as caught:
        exchange.succeed(last.data) if last.sender == "server-success" else exchange.respond(last.data)
    assert type(caught.value) is expected
    assert "the mechanism failed" not in str(caught.value)  # refused on purpose, not by a crash
    assert caught.value.__context__ is None
    shows_no_secret(caught.value, case.inputs["password"])


BAD_CHALLENGES = {
    "a name with no value": b"nonce=,algorithm=md5-sess",
    "nothing before the sign": b'="n",algorithm=md5-sess',
    "two values": b'nonce="n""m",algorithm=md5-sess',
    "no comma": b'nonce="n" algorithm=md5-sess',
    "a nonce without quotes": b"nonce=n,algorithm=md5-sess",
    "an empty nonce": b'nonce="",algorithm=md5-sess',
    "a realm without quotes": b'realm=r,nonce="n",algorithm=md5-sess',
    "a NUL in quotes": b'realm="a\0b",nonce="n",algorithm=md5-sess',
    "an escaped control character": b'realm="a\\\nb",nonce="n",algorithm=md5-sess',
    "an escaped octet": b'realm="a\\\xe9b",nonce="n",algorithm=md5-sess',
    "a bare line end": b'nonce="n",\nalgorithm=md5-sess',
    "a realm that is no UTF-8": b'realm="\xe9",nonce="n",algorithm=md5-sess,charset=utf-8',
    "qop of separators": b'nonce="n",algorithm=md5-sess,qop="auth;x"',
    "qop without quotes": b'nonce="n",algorithm=md5-sess,qop=auth',
    "maxbuf of 16": b'nonce="n",algorithm=md5-sess,maxbuf=16',
    "maxbuf of 2**24": b'nonce="n",algorithm=md5-sess,maxbuf=16777216',
    "stale=false": b'nonce="n",algorithm=md5-sess,stale=false',
    "two of charset": CHALLENGE + b',charset="utf-8"',
    "two of maxbuf": CHALLENGE + b",maxbuf=17,maxbuf=17",
    "two of stale": CHALLENGE + b",stale=true,STALE=true",
    "two of cipher": CHALLENGE + b',cipher="des",cipher="3des"',
}


@pytest.mark.parametrize("message", BAD_CHALLENGES.values(), ids=BAD_CHALLENGES)
def test_a_challenge_is_read_by_its_grammar(message):
    exchange = client()
    exchange.start()
    with pytest.raises(sasl.ProtocolError) as caught:
        exchange.respond(message)
    assert type(caught.value) is sasl.ProtocolError
    assert "the mechanism failed" not in str(caught.value)


GOOD_CHALLENGES = {
    "Dovecot": b'realm="",nonce="eoKdWyaUH3P+CRFoJTreHA==",qop="auth",charset="utf-8",algorithm="md5-sess"',
    "Cyrus": b'nonce="a+b/c=",realm="host",qop="auth,auth-int,auth-conf",cipher="rc4-40,rc4-56,rc4,des,3des",'
    b"maxbuf=4096,charset=utf-8,algorithm=md5-sess",
    "no qop": b'realm="r",nonce="n",algorithm=md5-sess',
    "any case": b'REALM="r",Nonce="n",QOP="AUTH",ALGORITHM=MD5-Sess,charset=UTF-8,stale=TRUE',
    "space and empty elements": b' , realm = "r" ,\r\n nonce\t=\r\n\t"n",,qop="auth-int, auth",algorithm=md5-sess , ',
    "unknown directives, twice": b'nonce="n",algorithm=md5-sess,rspauth="x",x=y,x="y",opaque="\\"",username=u',
    "the widest maxbuf": b'nonce="n",algorithm=md5-sess,maxbuf=0016777215',
    "the narrowest maxbuf": b'nonce="n",algorithm=md5-sess,maxbuf="17"',
}


@pytest.mark.parametrize("message", GOOD_CHALLENGES.values(), ids=GOOD_CHALLENGES)
def test_what_servers_say_and_the_grammar_allows_is_answered(message):
    assert directives(response_to(message))[b"qop"] == b"auth"


def test_a_challenge_is_smaller_than_2048_octets():
    def padded(size):
        return CHALLENGE + b",x=" + b"y" * (size - len(CHALLENGE) - 3)

    assert response_to(padded(2047))
    exchange = client()
    exchange.start()
    with pytest.raises(sasl.LimitExceeded):
        exchange.respond(padded(2048))


# --- what is sent and hashed


def test_a_dialogue_that_dovecot_concluded_is_concluded_alike():
    """Recorded; its client sends no realm where an empty one is offered. Ours sends it, and hashes the same."""
    channel = sasl.Channel(service="pop", host="localhost")
    nonce, cnonce = b"0+lhvPSTb2Vux9YsTluvYg==", b"w6IrebkULDm+gsAy"
    recorded = (
        b'charset=utf-8,username="alice",nonce="0+lhvPSTb2Vux9YsTluvYg==",nc=00000001,cnonce="w6IrebkULDm+gsAy",'
        b'digest-uri="pop/localhost",response=cd3ad1bb678c20c8c8e2471be51418c4,qop=auth'
    )
    challenge = b'realm="",nonce="%s",qop="auth",charset="utf-8",algorithm="md5-sess"' % nonce
    exchange = client("alice", "wonderland", channel=channel, cnonce=cnonce)
    exchange.start()
    sent = exchange.respond(challenge)
    assert directives(sent) == {**directives(recorded), b"realm": b'""'}
    assert exchange.respond(b"rspauth=e73ac001f5274f146e28a8c7b7a8aaf6") == b""

    exchange = server(channel=channel, nonce=nonce)
    assert exchange.start().data == b'realm="",nonce="%s",qop="auth",algorithm=md5-sess,charset=utf-8' % nonce
    event = concluded(exchange, recorded, with_password("wonderland"))
    assert event == sasl.Challenge(b"rspauth=e73ac001f5274f146e28a8c7b7a8aaf6")


@pytest.mark.parametrize(
    ("authcid", "password", "hashed"),
    [
        ("chris", SECRET, b"chris:r:" + SECRET.encode()),
        ("chr\xefs", "p\xe4ss", b"chr\xefs:r:p\xe4ss"),
        ("chr\xefs", "p\u20acss", b"chr\xefs:r:p\xe2\x82\xacss"),
        ("chr\u20acs", "p\xe4ss", b"chr\xe2\x82\xacs:r:p\xe4ss"),
        ('us"er\\', "a:b", b'us"er\\:r:a:b'),
        ("\u2168", "\u00ad\u200d", b"\xe2\x85\xa8:r:\xc2\xad\xe2\x80\x8d"),
    ],
    ids=ascii,
)
def test_each_text_is_hashed_in_latin_1_where_it_can_be_and_neither_prepared_nor_escaped(authcid, password, hashed):
    sent = response_to(CHALLENGE, authcid, password, cnonce=b'c"\\')
    found = directives(sent)
    written = authcid.replace("\\", "\\\\").replace('"', '\\"').encode()
    assert found[b"username"] == b'"%s"' % written
    assert found[b"cnonce"] == rb'"c\"\\"'
    assert found[b"response"] == digest(hashed, b"n", b'c"\\', b"imap/" + HOST.encode())


def test_a_realm_is_hashed_in_latin_1_and_a_nonce_without_its_escapes():
    challenge = 'realm="r\xe4\\"",nonce="\\n\\\\\xe9",algorithm=md5-sess,charset=utf-8'.encode()
    found = directives(response_to(challenge, cnonce=b"c"))
    assert found[b"realm"] == 'r\xe4\\"'.encode().join([b'"', b'"'])
    assert found[b"nonce"] == "n\\\\\xe9".encode().join([b'"', b'"'])
    user = b'chris:r\xe4":' + SECRET.encode()
    assert found[b"response"] == digest(user, "n\\\xe9".encode(), b"c", b"imap/" + HOST.encode())


def test_a_server_without_utf_8_is_sent_latin_1():
    sent = response_to(b'realm="\xe4",nonce="n",algorithm=md5-sess', "chr\xefs", "p\xe4ss", cnonce=b"c")
    found = directives(sent)
    assert b"charset" not in found
    assert (found[b"username"], found[b"realm"]) == (b'"chr\xefs"', b'"\xe4"')
    assert found[b"response"] == digest(b"chr\xefs:\xe4:p\xe4ss", b"n", b"c", b"imap/" + HOST.encode())
    exchange = server(realm="\xe4", nonce=b"n")
    exchange.start()
    assert concluded(exchange, sent, with_password("p\xe4ss")).data.startswith(b"rspauth=")


@pytest.mark.parametrize(
    ("authcid", "password", "realm"),
    [("chr\u20acs", SECRET, None), ("chris", SECRET + "\u20ac", None), ("chris", SECRET, "\u20ac")],
    ids=["user name", "password", "realm"],
)
def test_what_latin_1_lacks_is_not_sent_to_a_server_without_utf_8(authcid, password, realm, shows_no_secret):
    exchange = client(authcid, password, realm=realm)
    exchange.start()
    with pytest.raises(sasl.UsageError, match="ISO 8859-1") as refused:
        exchange.respond(b'nonce="n",algorithm=md5-sess')
    assert type(refused.value) is sasl.UsageError
    shows_no_secret(refused.value, password)


def test_an_authzid_is_sent_and_hashed_in_utf_8():
    sent = response_to(CHALLENGE, authzid="j\xf6rg", cnonce=b"c")
    found = directives(sent)
    assert found[b"authzid"] == '"j\xf6rg"'.encode()
    user, uri = b"chris:r:" + SECRET.encode(), b"imap/" + HOST.encode()
    assert found[b"response"] == digest(user, b"n", b"c", uri, authzid="j\xf6rg".encode())


def test_an_empty_authzid_is_none():
    assert b"authzid" not in response_to(CHALLENGE, authzid="")


@pytest.mark.parametrize(
    ("offered", "wanted", "named"),
    [
        (b'realm="a",realm="b",', None, b'"a"'),
        (b'realm="a",realm="b",', "", b'"a"'),
        (b'realm="a",realm="b",', "b", b'"b"'),
        (b'realm="",', None, b'""'),
        (b"", None, b'"elwood.innosoft.com"'),
        (b"", "mine", b'"mine"'),
    ],
)
def test_the_realm_is_one_that_is_offered_or_else_the_host(offered, wanted, named):
    sent = response_to(offered + b'nonce="n",algorithm=md5-sess', realm=wanted)
    assert directives(sent)[b"realm"] == named


def test_a_realm_that_is_not_offered_is_not_sent(shows_no_secret):
    exchange = client(realm="c")
    exchange.start()
    with pytest.raises(sasl.UsageError, match="realm") as refused:
        exchange.respond(CHALLENGE)
    shows_no_secret(refused.value, SECRET)


@pytest.mark.parametrize(
    "arguments",
    [
        {"authcid": ""},
        {"password": ""},
        {"authcid": "a\0b"},
        {"authcid": "a\x85b"},
        {"authcid": "\ud800"},
        {"authzid": "a\r\nb"},
        {"realm": "\x7f"},
        {"password": SECRET + "\0"},
        {"password": SECRET + "\x85"},
        {"password": SECRET + "\ud800"},
        {"channel": None},
        {"channel": sasl.Channel(host=HOST)},
        {"channel": sasl.Channel(service="imap")},
        {"channel": sasl.Channel(service="imap", host="two words")},
        {"channel": sasl.Channel(service="imap", host="\xe9")},
        {"channel": sasl.Channel(service="imap", host="a/b")},
        {"channel": sasl.Channel(service="imap", host="h" * 256)},
    ],
    ids=ascii,
)
def test_what_cannot_be_sent_is_refused_before_the_server_has_spoken(arguments, shows_no_secret):
    exchange = client(**arguments)
    with pytest.raises(sasl.UsageError, match=r"DIGEST-MD5|a password with a control character") as refused:
        exchange.start()
    assert type(refused.value) is sasl.UsageError
    if password := arguments.get("password", SECRET):
        shows_no_secret(refused.value, password)


def test_a_response_is_smaller_than_4096_octets(shows_no_secret):
    size = len(response_to(CHALLENGE, "u", cnonce=b"c"))
    longest = "u" * (4096 - size)
    sent = response_to(CHALLENGE, longest, cnonce=b"c")
    assert len(sent) == 4095
    exchange = server(realm="r", nonce=b"n")
    exchange.start()
    assert isinstance(concluded(exchange, sent, with_password()), sasl.Challenge)
    with pytest.raises(sasl.UsageError, match="too long") as refused:
        response_to(CHALLENGE, longest + "u", cnonce=b"c")
    shows_no_secret(refused.value, SECRET)
    exchange = server(realm="r", nonce=b"n")
    exchange.start()
    assert exchange.receive(sent + b",").kind == "limit"


def test_every_exchange_has_its_own_nonces():
    nonces = {directives(server().start().data)[b"nonce"] for _ in range(20)}
    cnonces = {directives(response_to(CHALLENGE))[b"cnonce"] for _ in range(20)}
    assert len(nonces | cnonces) == 40
    assert all(len(nonce) == 26 for nonce in nonces | cnonces)


# --- the server's proof


@pytest.mark.parametrize(
    ("proof", "expected"),
    [
        (b"rspauth=" + b"0" * 32, sasl.ServerNotProven),
        (b"", sasl.ProtocolError),
        (b"rspauth=", sasl.ProtocolError),
        (b"rspauth=" + b"A" * 32, sasl.ProtocolError),
        (b"x=y", sasl.ProtocolError),
        (CHALLENGE, sasl.ProtocolError),
        (b"rspauth=" + b"0" * 32 + b",rspauth=" + b"0" * 32, sasl.ProtocolError),
        (b"rspauth=" + b"0" * 32 + b",x=" + b"y" * 2048, sasl.LimitExceeded),
    ],
    ids=ascii,
)
@pytest.mark.parametrize("call", ["respond", "succeed"])
def test_a_server_without_the_right_rspauth_is_not_believed(call, proof, expected, shows_no_secret):
    exchange = client()
    exchange.start()
    exchange.respond(CHALLENGE)
    with pytest.raises(expected) as caught:
        getattr(exchange, call)(proof)
    assert type(caught.value) is expected
    assert exchange.state is sasl.State.FAILED
    shows_no_secret(caught.value, SECRET)


def test_a_yes_before_the_rspauth_is_not_a_login():
    for challenges in ([], [CHALLENGE]):
        exchange = client()
        exchange.start()
        for challenge in challenges:
            exchange.respond(challenge)
        with pytest.raises(sasl.ServerNotProven):
            exchange.succeed()


# --- the server


def sent_to(exchange, **options):
    """The server's first challenge answered by our client."""
    return response_to(exchange.start().data, **options)


GOOD = (
    b'charset=utf-8,username="chris",realm="r",nonce="n",nc=00000001,cnonce="c",digest-uri="imap/elwood.innosoft.com",'
    b"response=00000000000000000000000000000000,qop=auth"
)
MALFORMED = {
    "nothing": b"",
    "octets": b"\xff\0",
    "no username": GOOD.replace(b'username="chris",', b""),
    "an empty username": GOOD.replace(b"chris", b""),
    "a username without quotes": GOOD.replace(b'"chris"', b"chris"),
    "a control character": GOOD.replace(b"chris", b"ch\xc2\x85ris"),
    "a control character in the authzid": GOOD + b',authzid="\xe2\x80\xa8"',
    "no UTF-8": GOOD.replace(b"chris", b"chr\xefs"),
    "no UTF-8 in the authzid": GOOD.replace(b"charset=utf-8,", b"") + b',authzid="\xef"',
    "no nonce": GOOD.replace(b'nonce="n",', b"", 1),
    "no cnonce": GOOD.replace(b'cnonce="c",', b""),
    "an empty cnonce": GOOD.replace(b'"c"', b'""'),
    "no nc": GOOD.replace(b"nc=00000001,", b""),
    "a short nc": GOOD.replace(b"00000001", b"1"),
    "no digest-uri": GOOD.replace(b'digest-uri="imap/elwood.innosoft.com",', b""),
    "a digest-uri without a host": GOOD.replace(b"/elwood.innosoft.com", b""),
    "a digest-uri of four parts": GOOD.replace(b"imap/", b"imap//"),
    "a digest-uri that is not ASCII": GOOD.replace(b"elwood", b"elw\xc3\xb6d"),
    "no response": GOOD.replace(b"response=00000000000000000000000000000000,", b""),
    "a short response": GOOD.replace(b"response=0", b"response="),
    "a response in capitals": GOOD.replace(b"response=0", b"response=A"),
    "charset": GOOD.replace(b"utf-8", b"utf-7"),
    "maxbuf": GOOD + b",maxbuf=1",
    **{
        f"two of {name.decode()}": GOOD + b"," + name + b"=" + text
        for name, text in directives(GOOD + b',maxbuf=17,cipher=des,authzid="a"').items()
        if name not in (b"maxbuf", b"cipher", b"authzid")
    },
    "two of authzid": GOOD + b',authzid="a",authzid="a"',
    "two of cipher": GOOD + b",cipher=des,cipher=des",
    "two of maxbuf": GOOD + b",maxbuf=17,maxbuf=17",
}


@pytest.mark.parametrize("message", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_response_reaches_no_verifier(message, shows_no_secret):
    exchange = server(realm="r", nonce=b"n")
    exchange.start()
    event = exchange.receive(message)
    assert (type(event), event.kind) == (sasl.Failure, "malformed")
    assert "the mechanism failed" not in event.reason
    if message:
        shows_no_secret(event, message)


MISMATCHES = {
    "nonce": GOOD.replace(b'"n"', b'"m"'),
    "nc": GOOD.replace(b"00000001", b"00000002"),
    "qop": GOOD.replace(b"qop=auth", b"qop=auth-int"),
    "realm": GOOD.replace(b'"r"', b'"q"'),
    "no realm": GOOD.replace(b'realm="r",', b""),
    "service": GOOD.replace(b"imap/", b"smtp/"),
    "host": GOOD.replace(b"elwood.innosoft.com", b"elwood.innosoft.example"),
    "the host is the service's name": GOOD.replace(b"elwood", b"x/elwood"),
}


@pytest.mark.parametrize("message", MISMATCHES.values(), ids=MISMATCHES)
def test_a_response_to_something_else_is_refused_without_a_question(message):
    exchange = server(realm="r", nonce=b"n")
    exchange.start()
    event = exchange.receive(message)
    assert (type(event), event.kind) == (sasl.Failure, "credentials")


def test_the_message_that_these_are_made_of_is_asked_about():
    exchange = server(realm="r", nonce=b"n")
    exchange.start()
    assert exchange.receive(GOOD) == sasl.FindSecret("chris", "DIGEST-MD5", "r")


@pytest.mark.parametrize(
    ("channel", "hosts", "meant"),
    [
        (sasl.Channel(), (), "imap/anything"),
        (sasl.Channel(service="imap"), (), "IMAP/anything"),
        (sasl.Channel(service="IMAP"), (), "imap/anything"),
        (sasl.Channel(service="imap", host="h.example"), (), "imap/H.EXAMPLE"),
        (sasl.Channel(service="imap", host="h.example"), ["A.example", "b.example"], "imap/a.example"),
        (sasl.Channel(service="imap", host="h.example"), "b.example", "imap/b.example"),
        (sasl.Channel(service="imap", host="h.example"), "", "imap/h.example"),
        (sasl.Channel(), (), "imap/h.example/service.example"),
    ],
)
def test_service_and_host_are_compared_where_they_are_known(channel, hosts, meant):
    exchange = server(channel=channel, hosts=hosts, realm="r", nonce=b"n")
    exchange.start()
    event = exchange.receive(GOOD.replace(b"imap/elwood.innosoft.com", meant.encode()))
    assert isinstance(event, sasl.FindSecret)


@pytest.mark.parametrize("hosts", [["a.example"], "a.example"])
def test_the_channels_host_is_not_ours_where_hosts_are_given(hosts):
    exchange = server(hosts=hosts, realm="r", nonce=b"n")
    exchange.start()
    assert exchange.receive(GOOD).kind == "credentials"


def test_a_response_without_qop_is_one_for_authentication():
    exchange = server()
    assert concluded(exchange, sent_to(exchange).replace(b",qop=auth", b""), with_password()).data.startswith(
        b"rspauth="
    )


def test_a_client_may_quote_more_than_it_has_to():
    exchange = server()
    quoted = re.sub(rb"(nc|response|qop|charset)=([^,]+)", rb'\1="\2"', sent_to(exchange))
    assert concluded(exchange, quoted, with_password()).data.startswith(b"rspauth=")


def test_who_acts_as_another_user_has_to_be_authorized():
    exchange = server()
    question = exchange.receive(sent_to(exchange, authzid="boss"))
    assert question == sasl.FindSecret("chris", "DIGEST-MD5", "")
    assert exchange.answer(sasl.Record("chris@x", SECRET)) == sasl.Authorize("chris@x", "boss", "chris")
    assert exchange.answer(NotImplemented).kind == "authorization"


def test_an_unknown_user_and_a_wrong_password_look_alike():
    failures = []
    for verifier in (with_password(known=()), with_password("another")):
        exchange = server()
        challenge = exchange.start()
        assert type(challenge) is sasl.Challenge
        event = exchange.receive(response_to(challenge.data))
        assert isinstance(event, sasl.FindSecret)
        event = exchange.answer(verifier(event))
        failures.append((type(event), event.kind, event.detail))
    assert failures == [(sasl.Failure, "credentials", None)] * 2


def test_the_password_of_an_unknown_user_cannot_be_guessed_either():
    """Not even one that the decoy would prove."""
    from sasl.mechanisms import digest_md5

    exchange = server()
    sent = sent_to(exchange, password=digest_md5._DECOY)
    assert concluded(exchange, sent, with_password(known=())).kind == "credentials"


@pytest.mark.parametrize("password", [SECRET, sasl.Secret(SECRET)], ids=["str", "Secret"])
def test_a_record_holds_the_password_as_it_is_or_wrapped(password):
    exchange = server()
    assert concluded(exchange, sent_to(exchange), with_password(password)).data.startswith(b"rspauth=")


def test_an_empty_password_is_nobodys():
    exchange = server()
    challenge = exchange.start().data
    nonce = directives(challenge)[b"nonce"].strip(b'"')
    message = GOOD.replace(b'"r"', b'""').replace(b'"n"', b'"%s"' % nonce)
    value = digest(b"chris::", nonce, b"c", b"imap/" + HOST.encode())
    assert concluded(exchange, message.replace(b"0" * 32, value), with_password("")).kind == "credentials"


@pytest.mark.parametrize("held", [SECRET.encode(), None, 7])
def test_a_record_without_a_password_is_the_verifiers_fault(held, shows_no_secret):
    exchange = server()
    failure = concluded(exchange, sent_to(exchange), with_password(held))
    assert failure.kind == "unavailable"
    assert "password" in failure.reason
    shows_no_secret(failure, SECRET)


@pytest.mark.parametrize("realm", ["a\0b", "\ud800", "r" * 2048], ids=["NUL", "surrogate", "long"])
def test_a_realm_that_no_client_can_take_is_the_servers_fault(realm):
    assert server(realm=realm).start().kind == "unavailable"


def test_a_response_without_a_challenge_is_refused():
    assert server(nonce=b"n").start(GOOD).kind == "unexpected_ir"
    assert server(nonce=b"n").start(b"").kind == "unexpected_ir"


def test_success_data_is_answered_by_nothing():
    exchange = server()
    event = concluded(exchange, sent_to(exchange), with_password())
    assert type(event) is sasl.Challenge
    assert exchange.receive(b"x").kind == "malformed"


# --- MD5


def test_md5_is_used_as_no_security_function(monkeypatch):
    real, uses = hashlib.md5, []

    def md5(data, *, usedforsecurity=True):
        uses.append(usedforsecurity)
        return real(data, usedforsecurity=False)

    monkeypatch.setattr(hashlib, "md5", md5)
    assert response_to(CHALLENGE)
    assert set(uses) == {False}


@pytest.fixture
def unknown_md5():
    """A process finds out once whether there is MD5."""
    digest_md5._has_md5.cache_clear()
    yield
    digest_md5._has_md5.cache_clear()


@pytest.mark.usefixtures("unknown_md5")
@pytest.mark.parametrize("how", ["refused", "absent"])
def test_a_python_without_md5_says_so(monkeypatch, how):
    def md5(data, **options):
        raise ValueError("unsupported hash type md5")

    if how == "absent":
        monkeypatch.delattr(hashlib, "md5")
    else:
        monkeypatch.setattr(hashlib, "md5", md5)
    with pytest.raises(sasl.MechanismUnavailable, match="no MD5") as refused:
        client().start()
    assert refused.value.__context__ is None
    failure = server().start()
    assert failure.kind == "unavailable"
    assert "no MD5" in failure.reason


# --- whatever either side sends

likely = st.text(
    st.sampled_from('abZ09 @.,=:\\"/\u00aa\u00ad\u00e9\u0627\u200b\u200d\u2168\u20ac\U0001f600'), max_size=9
)
names = st.one_of(likely, st.text(st.characters(), max_size=9))


@given(
    authcid=names,
    password=names,
    authzid=st.one_of(st.none(), names),
    realm=names,
    named=st.booleans(),
    wrong=st.booleans(),
    bare=st.booleans(),
)
@example(authcid="a", password="b", authzid="c", realm="", named=False, wrong=True, bare=False)
def test_both_sides_agree(authcid, password, authzid, realm, *, named, wrong, bare):
    serving = server(realm=realm)
    challenge = serving.start()
    if has_controls(realm):
        assert challenge.kind == "unavailable"
        return
    exchange = client(authcid, password, authzid, realm=realm if named else None)
    offer = challenge.data.replace(b",charset=utf-8", b"") if bare else challenge.data
    response = None
    with contextlib.suppress(sasl.UsageError):
        exchange.start()
        response = exchange.respond(offer)
    unclean = any(map(has_controls, (authcid, authzid or "")))
    if response is None:
        assert unclean or bare or not authcid or not password or not password.isprintable()
        return
    verifier = with_password(password + "x" if wrong else password)
    question = serving.receive(response)
    latin = realm.encode().decode("latin-1") if bare else realm  # what UTF-8 says to whom it is not announced
    if latin != realm:
        assert isinstance(question, sasl.Failure)
        return
    assert question == sasl.FindSecret(authcid, "DIGEST-MD5", realm)
    event = serving.answer(verifier(question))
    if wrong:
        assert event.kind == "credentials"
        return
    assert event == sasl.Authorize(authcid, authzid or None, authcid)
    assert exchange.respond(serving.answer(sasl.Accepted("whoever")).data) == b""
    exchange.succeed()
    assert serving.receive(b"") == sasl.Success(identity="whoever", authcid=authcid)


PIECES = [b"", b"\0", b'"', b",", b"\\", b" ", b"=", b",x=y", b',authzid="x"', b"\xc3\xa4"]
SENT = response_to(CHALLENGE, "j\xf6rg", authzid="boss", cnonce=b"cnonce")


@given(changed(SENT, PIECES, longest=9))
@example(SENT.replace(b"boss", b"b\\oss"))
@example(SENT + b", x=y")
def test_a_changed_response_succeeds_only_if_it_says_the_same(message):
    exchange = server(realm="r", nonce=b"n", success_data=True)
    exchange.start()
    event = exchange.receive(message)
    while isinstance(event, sasl.Question):
        allowed = isinstance(event, sasl.Authorize)
        event = exchange.answer(sasl.Accepted(event.authzid) if allowed else sasl.Record(event.authcid, SECRET))
    if isinstance(event, sasl.Success):
        assert (event.authcid, event.identity) == ("j\xf6rg", "boss")
        assert messages.parse_response(message) == messages.parse_response(SENT)
    else:
        assert event.kind in ("malformed", "credentials")


def test_the_response_that_is_changed_succeeds_as_it_is():
    exchange = server(realm="r", nonce=b"n")
    exchange.start()
    exchange.receive(SENT)
    assert exchange.answer(sasl.Record("j\xf6rg", SECRET)) == sasl.Authorize("j\xf6rg", "boss", "j\xf6rg")


RIGHT = b"rspauth=" + digest(b"chris:r:" + SECRET.encode(), b"n", b"c", b"imap/elwood.innosoft.com", verb=b"")


@given(changed(RIGHT, PIECES, longest=9))
@example(RIGHT)
@example(b" rspauth = %s , x=y" % RIGHT[8:])
def test_a_changed_proof_is_believed_only_if_it_says_the_same(proof):
    exchange = client(cnonce=b"c")
    exchange.start()
    exchange.respond(CHALLENGE)
    try:
        exchange.succeed(proof)
    except sasl.ProtocolError:
        assert exchange.state is sasl.State.FAILED
    else:
        assert messages.parse_rspauth(proof) == RIGHT[8:]


octets = st.one_of(
    st.binary(max_size=40),
    st.sampled_from([b"", CHALLENGE, GOOD, SENT, RIGHT, bytes(70_000), b'nonce="n",algorithm=md5-sess', b'a="\\']),
    changed(CHALLENGE, PIECES, longest=9),
)
client_calls = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["respond", "succeed"]), octets),
        st.sampled_from([("succeed", None), ("fail",), ("cancel",), ("defer",), ("start",)]),
    ),
    max_size=5,
)


@given(calls=client_calls)
def test_nothing_but_sasl_errors_leaves_a_client_and_none_shows_the_secret(calls, shows_no_secret):
    exchange = client(cnonce=b"c")
    assert exchange.start() is None
    failed = None
    for call, *arguments in calls:
        try:
            result = getattr(exchange, call)(*arguments)
        except sasl.SASLError as error:
            failed = error
            shows_no_secret(error, SECRET)
        else:
            assert call != "succeed" or arguments == [RIGHT] or exchange.state is sasl.State.DONE
            if call == "respond":
                assert SECRET.encode() not in result
        shows_no_secret(exchange, SECRET)
        assert "the mechanism failed" not in str(failed)  # refused on purpose, not by a crash


answers = st.sampled_from(
    [sasl.Record("chris", SECRET), sasl.Record("x", None), sasl.Accepted("x"), sasl.Rejected(), None, NotImplemented]
)
server_calls = st.lists(
    st.one_of(st.tuples(st.just("receive"), octets), st.tuples(st.just("answer"), answers), st.just(("cancel",))),
    max_size=5,
)


@given(first=st.one_of(st.none(), st.none(), octets), calls=server_calls)
@example(first=None, calls=[("receive", GOOD), ("answer", sasl.Record("chris", SECRET))])
def test_a_server_answers_any_octets_by_events(first, calls, shows_no_secret):
    exchange = server(realm="r", nonce=b"n")
    events = [exchange.start(first)]
    for call, *arguments in calls:
        with contextlib.suppress(sasl.UsageError):
            events.append(getattr(exchange, call)(*arguments))
    for event in events:
        assert isinstance(event, sasl.Challenge | sasl.Question | sasl.Failure | sasl.Success)
        assert not isinstance(event, sasl.Failure) or "the mechanism failed" not in event.reason
        shows_no_secret(event, SECRET)


# --- it costs what it is long


class Counted:
    """A pattern that notes which part of a message each of its matches took."""

    def __init__(self, pattern):
        self.pattern = pattern
        self.spans = []

    def match(self, message, place):
        found = self.pattern.match(message, place)
        self.spans.append((place, found.end() if found else len(message)))
        return found


PIECES = [
    b",",
    b" ",
    b"\r\n ",
    b"a",
    b"a=",
    b'a="',
    b'"',
    b"\\",
    b'\\"',
    b'a="\\\\",',
    b"a=b,",
    b'a="b" ',
    b"a ",
    b"\t,",
]


@given(st.lists(st.sampled_from(PIECES), min_size=1, max_size=3).map(b"".join), st.sampled_from(PIECES))
def test_no_octet_of_a_message_is_read_twice(piece, last):
    counted = Counted(messages._ELEMENT)
    message = (piece * 4095)[: 4095 - len(last)] + last
    with pytest.MonkeyPatch.context() as patch, contextlib.suppress(sasl.ProtocolError):
        patch.setattr(messages, "_ELEMENT", counted)
        messages.parse_response(message)
    for (start, end), (following, _) in zip(counted.spans, counted.spans[1:], strict=False):
        assert start < end == following


@pytest.mark.parametrize("piece", PIECES, ids=ascii)
@pytest.mark.parametrize("before", [b"", b"a", b"a=", b'a="', b"a=b "], ids=ascii)
def test_an_element_of_a_million_octets_is_matched_or_not(before, piece):
    """Who tried it again from each place would be at it for days."""
    message = before + piece * (1_000_000 // len(piece)) + b"\0"
    found = messages._ELEMENT.match(message)
    assert found is None or found.end() < len(message)


def test_quotes_and_escapes_of_many_octets_are_printed_and_read():
    octets = b'\\"' * 50_000
    assert messages._PAIR.sub(rb"\1", messages._quote(octets)[1:-1]) == octets
