"""Who gets in: names and passwords as SASLprep has them, tokens by their state, and one path for known and unknown."""

from __future__ import annotations

import dataclasses
import hashlib
import ssl
from typing import TYPE_CHECKING, Any

import pytest

import sasl
from sasl.adapters.reference import Verifier
from sasl.adapters.reference.certificates import Authority

if TYPE_CHECKING:
    from collections.abc import Callable

PASSWORDS = {"alice": "wonderland", "us\u00e9r": "p\u00e4ss w\u00f6rd"}


def password(user: str, text: str) -> sasl.Question:
    return sasl.CheckPassword(user, sasl.Secret(text))


def token(text: str, user: str | None = "alice") -> sasl.Question:
    return sasl.CheckToken(user, sasl.Secret(text), None, None)


@pytest.mark.parametrize(
    ("user", "text", "identity"),
    [
        ("alice", "wonderland", "alice"),
        ("al\u00adice", "wonderland", "alice"),  # a soft hyphen is nothing
        ("use\u0301r", "pa\u0308ss wo\u0308rd", "us\u00e9r"),
        ("us\u00e9r", "p\u00e4ss\u00a0w\u00f6rd", "us\u00e9r"),  # a no-break space is a space
    ],
)
def test_spellings_that_saslprep_makes_equal_are_one_user(user: str, text: str, identity: str) -> None:
    assert Verifier(PASSWORDS)(password(user, text)) == sasl.Accepted(identity)


@pytest.mark.parametrize(
    ("user", "text"),
    [
        ("alice", "Wonderland"),
        ("alice", ""),
        ("Alice", "wonderland"),
        ("mallory", "wonderland"),
        ("", ""),
        ("", "wonderland"),
        ("mallory", "\0"),
        ("mallory", ""),
        ("alice", "wonder\u0007land"),
        ("alice\u0007", "wonderland"),
        ("alice", "\ud800"),
        ("x" * 2000, "wonderland"),
        ("alice", "x" * 2000),
        ("alice' OR '1'='1", "wonderland"),
    ],
)
def test_all_others_get_the_same_no(user: str, text: str) -> None:
    answer = Verifier(PASSWORDS)(password(user, text))
    assert (answer.reason, answer.kind, answer.detail) == ("unknown user or wrong password", "credentials", None)


@pytest.mark.parametrize("user", ["alice", "mallory", "alice\u0007"])
def test_known_and_unknown_users_cost_one_comparison(user: str, monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []
    equal = sasl.Secret.__eq__

    def counted(self: sasl.Secret, other: object) -> bool:
        compared.append(user)
        return equal(self, other)

    verifier = Verifier(PASSWORDS)
    question = password(user, "looking-glass")
    monkeypatch.setattr(sasl.Secret, "__eq__", counted)
    verifier(question)
    assert len(compared) == 1


@pytest.mark.parametrize(
    ("text", "kind", "reason"),
    [
        ("token-expired", "expired", "the token has expired"),
        ("token-revoked", "credentials", "the token was revoked"),
        ("token-unknown", "credentials", "unknown token"),
        ("token-goo", "credentials", "unknown token"),
        ("TOKEN-GOOD", "credentials", "unknown token"),
    ],
)
def test_a_token_that_is_not_good_is_refused_with_the_scope_that_is_wanted(text: str, kind: str, reason: str) -> None:
    answer = with_tokens()(token(text))
    assert (answer.reason, answer.kind, answer.detail) == (reason, kind, {"scope": "mail"})


@pytest.mark.parametrize("user", ["alice", "bob", None, ""])
def test_a_token_tells_whose_it_is_whatever_the_client_says(user: str | None) -> None:
    assert with_tokens()(token("token-good", user)) == sasl.Accepted("alice")


def test_a_token_may_change_its_state() -> None:
    verifier = with_tokens()
    verifier.add_token("token-good", "alice", "revoked")
    assert isinstance(verifier(token("token-good")), sasl.Rejected)
    verifier.add_token("token-good", "us\u00e9r")
    assert verifier(token("token-good")) == sasl.Accepted("us\u00e9r")


@pytest.mark.parametrize(
    ("authzid", "accepted"),
    [(None, True), ("", True), ("us\u00e9r", True), ("use\u0301r", True), ("alice", False), ("\u0007", False)],
)
def test_nobody_acts_as_another_user(authzid: str | None, accepted: bool) -> None:
    answer = Verifier(PASSWORDS)(sasl.Authorize("us\u00e9r", authzid))
    if accepted:
        assert answer == sasl.Accepted("us\u00e9r")
    else:
        assert answer.kind == "authorization"


def test_questions_that_it_does_not_serve_get_their_default() -> None:
    verifier = Verifier(PASSWORDS)
    assert verifier(sasl.CheckAnonymous("me")) is NotImplemented
    assert verifier.answers == {
        sasl.CheckPassword,
        sasl.CheckToken,
        sasl.CheckCertificate,
        sasl.FindKeys,
        sasl.FindSecret,
    }


# --- SCRAM, and the mechanisms that need the password


KEPT = sasl.ScramKeys.derive("wonderland", "sha256", salt=b"s" * 16, iterations=5_000)


@pytest.mark.parametrize("hash_name", ["sha1", "sha256", "sha512"])
def test_the_keys_of_a_password_are_made_when_they_are_asked_for_and_kept(hash_name: str) -> None:
    verifier = Verifier(PASSWORDS)
    record = verifier(sasl.FindKeys("use\u0301r", hash_name))
    assert (record.identity, record.value.hash, record.value.iterations) == ("us\u00e9r", hash_name, 4_096)
    assert record.value.verifies("p\u00e4ss w\u00f6rd")
    assert verifier(sasl.FindKeys("us\u00e9r", hash_name)).value is record.value


def test_each_user_and_each_hash_has_a_salt_of_its_own() -> None:
    verifier = Verifier({"alice": "same", "bob": "same"})
    salts = {verifier(sasl.FindKeys(user, name)).value.salt for user in ("alice", "bob") for name in ("sha1", "sha256")}
    assert len(salts) == 4


def test_a_secret_makes_the_same_keys_in_each_run() -> None:
    one, other, third = (Verifier(PASSWORDS, secret=secret) for secret in (b"s" * 32, b"s" * 32, None))
    question = sasl.FindKeys("alice", "sha256")
    assert one(question) == other(question) != third(question)
    assert one.decoy == other.decoy == (b"s" * 32, ((4_096, 16),))


def test_a_user_may_be_given_by_stored_keys() -> None:
    verifier = Verifier({"alice": KEPT})
    assert verifier(sasl.FindKeys("alice", "sha256")) == sasl.Record("alice", KEPT)
    assert verifier(password("alice", "wonderland")) == sasl.Accepted("alice")
    assert verifier(password("alice", "looking-glass")).reason == "unknown user or wrong password"
    assert verifier(password("mallory", "wonderland")).reason == "unknown user or wrong password"
    assert verifier(sasl.FindKeys("alice", "sha1")).reason == "the keys that are kept of this user are for sha256"
    assert verifier(sasl.FindSecret("alice", "CRAM-MD5", None)).reason == "the password of this user is not kept"
    assert sasl.FindSecret not in verifier.answers


@pytest.mark.parametrize("text", ["", "\ud800", "\u0007", "x" * 2_000])
def test_a_password_that_cannot_be_prepared_is_a_wrong_one_to_stored_keys_too(text: str) -> None:
    assert Verifier({"alice": KEPT})(password("alice", text)).reason == "unknown user or wrong password"


def test_the_password_is_there_for_the_mechanisms_that_need_it() -> None:
    verifier = Verifier({**PASSWORDS, "carol": KEPT})
    assert sasl.FindSecret in verifier.answers
    assert verifier(sasl.FindSecret("use\u0301r", "CRAM-MD5", None)) == sasl.Record(
        "us\u00e9r", sasl.Secret("p\u00e4ss w\u00f6rd")
    )


@pytest.mark.parametrize("question", [sasl.FindKeys("mallory", "sha256"), sasl.FindSecret("mallory", "CRAM-MD5", None)])
@pytest.mark.parametrize("user", ["mallory", "", "alice\u0007", "x" * 2_000])
def test_of_an_unknown_user_nothing_is_found(question: Any, user: str) -> None:
    assert Verifier(PASSWORDS)(dataclasses.replace(question, authcid=user)) is None


def test_a_stranger_is_refused_where_one_of_the_users_would_be() -> None:
    """Who has only keys of another hash is refused at once; were no stranger, whoever is would be a user."""
    verifier = Verifier({"alice": "wonderland", "bob": KEPT})
    answers = {type(verifier(sasl.FindKeys(f"stranger {number}", "sha1"))) for number in range(50)}
    assert answers == {type(None), sasl.Rejected}
    again = [verifier(sasl.FindSecret("stranger", "CRAM-MD5", None)) for _ in range(5)]
    assert len({type(answer) for answer in again}) == 1


def kept(*pairs: tuple[int, int]) -> dict[str, sasl.ScramKeys]:
    """Users with stored keys of so many iterations and octets of salt."""
    return {
        f"user {number}": sasl.ScramKeys.derive("x", salt=b"s" * octets, iterations=count)
        for number, (count, octets) in enumerate(pairs)
    }


def test_the_decoys_have_the_iterations_and_the_salts_of_the_users() -> None:
    pairs = ((4_096, 16), (10_000, 28), (10_000, 28))
    assert Verifier({"alice": "wonderland", **kept(*pairs[1:])}, secret=b"s" * 32).decoy == (b"s" * 32, pairs)
    assert Verifier({"alice": "wonderland", **kept((4_096, 16))}).decoy[1] == ((4_096, 16),)


def test_a_stranger_costs_scram_what_it_costs_who_sends_the_password(derivations: list[tuple[Any, ...]]) -> None:
    """Or the two would tell that there is no such user."""
    verifier = Verifier(kept((4_096, 16), (5_000, 16), (6_000, 16)), secret=b"s" * 32)
    derivations.clear()
    for name in ("mallory", "trudy", "oscar", "eve"):
        exchange = sasl.server("SCRAM-SHA-256", decoy=verifier.decoy)
        event = sasl.settle(exchange, exchange.start(b"n,,n=%s,r=abc" % name.encode()), verifier)
        assert isinstance(event, sasl.Challenge)
        verifier(password(name, "x"))
        assert event.data.endswith(b",i=%d" % derivations[-1][3])


@pytest.mark.parametrize(
    ("users", "hashes"),
    [
        ({}, {"sha1", "sha224", "sha256", "sha384", "sha512", "sha3_512"}),
        ({"alice": "wonderland"}, {"sha1", "sha224", "sha256", "sha384", "sha512", "sha3_512"}),
        ({"alice": "wonderland", **kept((1, 1))}, {"sha256"}),
        ({**kept((1, 1)), "alice": sasl.ScramKeys.derive("x", "sha1", iterations=1)}, set()),
    ],
)
def test_the_hashes_are_those_that_every_user_can_use(users: Any, hashes: set[str]) -> None:
    assert Verifier(users).hashes == hashes


@pytest.mark.parametrize("text", ["p\U0001f511word", "\u20b9rupee", "a\u05d0b", "x\ue000", "y\u00e9" * 600])
def test_a_password_that_cannot_be_prepared_is_kept_as_it_is(text: str) -> None:
    verifier = Verifier({"alice": text})
    assert verifier(password("alice", text)) == sasl.Accepted("alice")
    assert verifier(password("alice", text + "x")).reason == "unknown user or wrong password"
    keys = verifier(sasl.FindKeys("alice", "sha256")).value
    assert keys == sasl.ScramKeys.derive(text, salt=keys.salt, prepare=False)


@pytest.mark.parametrize("text", ["\xbdpint", "pa\xb4ss", "a\u00a0b", "\uff41bc"])
@pytest.mark.parametrize("prepare", [True, False])
def test_stored_keys_of_either_form_of_a_password_let_in(text: str, *, prepare: bool) -> None:
    verifier = Verifier({"alice": sasl.ScramKeys.derive(text, iterations=1, prepare=prepare)})
    for mechanism, message in (("PLAIN", b"\0alice\0" + text.encode()), ("IMAP-LOGIN", None)):
        exchange = sasl.server(mechanism)
        event = exchange.start(b"alice" if message is None else message)
        event = sasl.settle(exchange, event if message else exchange.receive(text.encode()), verifier)
        assert event == sasl.Success("alice", "alice")


@pytest.mark.parametrize("authzid", ["alice", "ALICE", "al\u00adice", None])
def test_whoever_is_named_in_another_spelling_is_the_same(authzid: str | None) -> None:
    assert Verifier(PASSWORDS)(sasl.Authorize("alice", authzid)) == sasl.Accepted("alice")


def test_without_users_the_decoy_is_that_of_a_password() -> None:
    assert Verifier({}).decoy[1] == ((4_096, 16),)


@pytest.fixture
def derivations(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What PBKDF2 is asked for."""
    asked: list[tuple[Any, ...]] = []
    pbkdf2 = hashlib.pbkdf2_hmac

    def counted(*arguments: Any) -> bytes:
        asked.append(arguments)
        return pbkdf2(*arguments)

    monkeypatch.setattr(hashlib, "pbkdf2_hmac", counted)
    return asked


@pytest.mark.parametrize("first", ["alice", "us\u00e9r", "mallory", "", "alice\u0007"])
@pytest.mark.parametrize("hash_name", ["sha1", "sha256"])
def test_the_first_question_for_a_hash_derives_the_keys_of_all_users_and_no_other_does(
    first: str, hash_name: str, derivations: list[tuple[Any, ...]]
) -> None:
    """So a probe takes the same time whoever is asked for, and whoever logged in before."""
    verifier = Verifier({**PASSWORDS, "carol": KEPT})
    verifier(sasl.FindKeys(first, hash_name))
    assert [asked[0] for asked in derivations] == [hash_name] * len(PASSWORDS)
    derivations.clear()
    for user in ("alice", "us\u00e9r", "carol", *(f"stranger {number}" for number in range(2_000))):
        verifier(sasl.FindKeys(user, hash_name))
    assert derivations == []


def test_of_users_with_stored_keys_nothing_is_derived(derivations: list[tuple[Any, ...]]) -> None:
    verifier = Verifier({"alice": KEPT})
    for user in ("alice", "mallory"):
        verifier(sasl.FindKeys(user, "sha256"))
    assert derivations == []


@pytest.mark.parametrize("user", ["alice", "mallory"])
def test_a_hash_that_scram_has_not_is_an_error_for_everybody(user: str) -> None:
    with pytest.raises(sasl.UsageError, match="a hash is one of"):
        Verifier(PASSWORDS)(sasl.FindKeys(user, "md5"))


# --- certificates, and nobody


# --- users that come and go


def test_a_login_derives_no_keys_for_a_user_who_came_after_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is asked for, known or not, takes as long as before."""
    verifier = Verifier({"alice": "wonderland"})
    verifier(sasl.FindKeys("alice", "sha256"))
    verifier.add_user("bob", "secret")
    verifier.set_password("alice", "changed")

    def derive(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr("sasl.ScramKeys.derive", derive)
    for name in ("alice", "bob"):
        assert isinstance(verifier(sasl.FindKeys(name, "sha256")), sasl.Record)
    assert verifier(sasl.FindKeys("mallory", "sha256")) is None


def test_strangers_look_like_the_users_that_there_are_now() -> None:
    verifier = Verifier({"alice": "wonderland"})
    before = verifier.decoy
    keys = sasl.ScramKeys.derive("secret", "sha256", salt=b"8 octets", iterations=10_000)
    verifier.add_user("bob", keys)
    assert set(verifier.decoy[1]) == {before[1][0], (10_000, 8)}
    assert verifier.hashes == {"sha256"}
    verifier.remove_user("bob")
    assert verifier.decoy == before
    assert {"sha1", "sha256"} <= verifier.hashes


def test_a_user_who_is_removed_is_a_stranger() -> None:
    verifier = Verifier({"alice": "wonderland", "bob": "secret"})
    verifier.add_token("token", "bob")
    stranger = verifier(sasl.CheckPassword("mallory", sasl.Secret("secret")))
    verifier.remove_user("bob")
    assert verifier(sasl.CheckPassword("bob", sasl.Secret("secret"))).reason == stranger.reason
    assert verifier(sasl.CheckToken("bob", sasl.Secret("token"), None, None)).reason == "unknown token"
    assert verifier(sasl.FindKeys("bob", "sha256")) is None


def test_all_users_may_go() -> None:
    verifier = Verifier({"alice": "wonderland"})
    verifier.remove_user("alice")
    assert isinstance(verifier(sasl.CheckPassword("alice", sasl.Secret("wonderland"))), sasl.Rejected)
    verifier.add_user("alice", "wonderland")
    assert verifier(sasl.CheckPassword("alice", sasl.Secret("wonderland"))) == sasl.Accepted("alice")


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority("CA")


def shown(authority: Authority, user: str, *, common_name: bool = False) -> bytes:
    return ssl.PEM_cert_to_DER_cert(authority.client(user, common_name=common_name)[0].decode())


@pytest.mark.parametrize("user", ["alice", "us\u00e9r", "bob@example.org"])
def test_a_certificate_names_a_user_by_the_mailbox(authority: Authority, user: str) -> None:
    verifier = Verifier({**PASSWORDS, "bob@example.org": "x"})
    assert verifier(sasl.CheckCertificate(shown(authority, user), None)) == sasl.Accepted(user)


@pytest.mark.parametrize("user", ["alice@localhost", "alice@LOCALHOST"])
def test_a_user_without_a_domain_is_at_localhost(authority: Authority, user: str) -> None:
    assert Verifier(PASSWORDS)(sasl.CheckCertificate(shown(authority, user), None)) == sasl.Accepted("alice")


def test_a_user_who_is_named_with_localhost_is_that_one(authority: Authority) -> None:
    verifier = Verifier({"alice": "x", "alice@localhost": "y"})
    answer = verifier(sasl.CheckCertificate(shown(authority, "alice"), None))
    assert answer == sasl.Accepted("alice@localhost")


@pytest.mark.parametrize("authzid", [None, "alice@Example.ORG"])
def test_the_domain_of_a_user_may_be_written_in_upper_case(authority: Authority, authzid: str | None) -> None:
    verifier = Verifier({"alice@Example.ORG": "x"})
    answer = verifier(sasl.CheckCertificate(shown(authority, "alice@example.org"), authzid))
    assert answer == sasl.Accepted("alice@Example.ORG")


@pytest.mark.parametrize(
    ("users", "identity"),
    [
        (["alice@Example.ORG", "alice@example.org"], "alice@example.org"),
        (["alice@Example.ORG", "alice@EXAMPLE.org"], None),
        (["Alice@example.org"], None),
    ],
)
def test_a_mailbox_is_one_users_or_nobodys(authority: Authority, users: list[str], identity: str | None) -> None:
    verifier = Verifier(dict.fromkeys(users, "x"))
    answer = verifier(sasl.CheckCertificate(shown(authority, "alice@EXAMPLE.ORG"), "alice@EXAMPLE.org"))
    if identity is None:
        assert "who is no user here" in answer.reason or "names nobody" in answer.reason
    else:
        assert answer == sasl.Accepted(identity)


@pytest.mark.parametrize("name", ["bob@example.org@localhost", "alice@localhost@localhost", "alice@", "@localhost"])
def test_only_a_name_without_a_domain_is_at_localhost(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    named(monkeypatch, [name])
    answer = Verifier({**PASSWORDS, "bob@example.org": "x"})(sasl.CheckCertificate(b"certificate", None))
    assert "who is no user here" in answer.reason or "names nobody" in answer.reason


@pytest.mark.parametrize(
    "name",
    ["\uff41lice@localhost", "al\u00adice@localhost", "use\u0301r@localhost", "\uff41lice", "alice@local\u00adhost"],
)
def test_a_name_in_a_certificate_is_not_prepared(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its CA vouches for what stands there."""
    named(monkeypatch, [name])
    answer = Verifier(PASSWORDS)(sasl.CheckCertificate(b"certificate", None))
    assert "who is no user here" in answer.reason or "names nobody" in answer.reason


@pytest.mark.parametrize("user", ["bob", "mallory@example.org"])
def test_the_common_name_is_not_believed_beside_a_mailbox(user: str) -> None:
    der = ssl.PEM_cert_to_DER_cert(Authority("CA").client(user)[0].decode())
    verifier = Verifier({"saslkit reference client": "x"}, common_name=True)
    answer = verifier(sasl.CheckCertificate(der, "saslkit reference client"))
    assert "who is no user here" in answer.reason or "names nobody" in answer.reason


@pytest.mark.parametrize("user", ["mallory", "alice@example.org", "Alice"])
def test_a_certificate_that_names_no_user_is_refused(authority: Authority, user: str) -> None:
    answer = Verifier(PASSWORDS)(sasl.CheckCertificate(shown(authority, user), None))
    assert "who is no user here" in answer.reason or "names nobody" in answer.reason


@pytest.mark.parametrize("certificate", [None, b"", b"no certificate"])
def test_without_a_certificate_that_can_be_read_nobody_is_named(certificate: bytes | None) -> None:
    assert isinstance(Verifier(PASSWORDS)(sasl.CheckCertificate(certificate, "alice")), sasl.Rejected)


def test_the_common_name_is_believed_only_where_the_caller_says_so(authority: Authority) -> None:
    question = sasl.CheckCertificate(shown(authority, "alice", common_name=True), None)
    assert Verifier(PASSWORDS, common_name=True)(question) == sasl.Accepted("alice")
    assert isinstance(Verifier(PASSWORDS)(question), sasl.Rejected)


@pytest.mark.parametrize(
    ("authzid", "identity"), [(None, "alice"), ("", "alice"), ("alice", "alice"), ("bob", "bob"), ("mallory", "alice")]
)
def test_of_several_users_it_is_the_one_that_the_client_wants_to_be(
    authzid: str | None, identity: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    named(monkeypatch, ["x@y", "alice@localhost", "bob@localhost"])
    verifier = Verifier({"alice": "x", "bob": "x"})
    assert verifier(sasl.CheckCertificate(b"certificate", authzid)) == sasl.Accepted(identity)


def named(monkeypatch: pytest.MonkeyPatch, names: list[str]) -> None:
    """Let every certificate name these."""
    monkeypatch.setattr("sasl.adapters.reference.verifier.identities", lambda _, common_name: names)


def test_who_has_no_name_gets_in_only_where_that_is_allowed() -> None:
    verifier = Verifier(PASSWORDS, anonymous=True)
    assert verifier(sasl.CheckAnonymous("me")) == sasl.Accepted("anonymous")
    assert sasl.CheckAnonymous in verifier.answers
    with pytest.raises(sasl.UsageError, match="is a user's name here"):
        Verifier({"anonymous": "x"}, anonymous=True)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Verifier({"": "x"}),
        lambda: Verifier({"alice": ""}),
        lambda: Verifier({"alice": "\u00ad"}),
        lambda: Verifier({"alice": "bell\u0007"}),
        lambda: Verifier({"alice": "\ud800"}),
        lambda: with_tokens().add_token("x", "mallory"),
        lambda: with_tokens().add_token("x", "alice", "stale"),  # type: ignore[arg-type]
    ],
)
def test_what_could_never_log_in_is_the_callers_mistake(wrong: Callable[[], Any]) -> None:
    with pytest.raises(sasl.UsageError):
        wrong()


def with_tokens() -> Verifier:
    verifier = Verifier(PASSWORDS)
    verifier.add_token("token-good", "alice")
    verifier.add_token("token-expired", "alice", "expired")
    verifier.add_token("token-revoked", "alice", "revoked")
    return verifier
