"""LOGIN (draft-murchison-sasl-login): its vectors, its bad inputs, and where they leave something to say."""

from __future__ import annotations

import pytest

import sasl
import sasl.spec

from ..support.exchanges import accept, prompt, said

VECTORS = sasl.spec.vectors("login")
CASES = sasl.spec.cases("login_mech")
USERNAME, PASSWORD = sasl.Challenge(b"Username:"), sasl.Challenge(b"Password:")
SECRET = "S3cr3t pa55word"


def started(authcid="tim", password=SECRET, *, authzid=None, **options):
    exchange = sasl.client("LOGIN", sasl.Password(authcid, password, authzid=authzid), **options)
    assert exchange.start() is None
    return exchange


def served(user, password, *, initial=False, **options):
    """The server's event after both messages."""
    exchange = sasl.server("LOGIN", **options)
    if initial:
        event = exchange.start(user)
    else:
        assert prompt(exchange.start()) == USERNAME.data
        event = exchange.receive(user)
    return (exchange, exchange.receive(password)) if isinstance(event, sasl.Challenge) else (exchange, event)


# --- the data


@pytest.mark.parametrize("vector", [vector for vector in VECTORS if "client" in vector.sides], ids=str)
def test_a_client_answers_what_the_vector_says(vector, shows_no_secret):
    exchange = started(vector.credentials["authcid"], vector.credentials["password"])
    for challenge, answer in zip(said(vector, "server"), said(vector, "client"), strict=True):
        assert exchange.respond(challenge) == answer
    shows_no_secret(exchange, vector.credentials["password"])
    exchange.succeed()
    assert exchange.state is sasl.State.DONE


@pytest.mark.parametrize("initial", [False, True], ids=["prompted", "initial"])
@pytest.mark.parametrize("vector", [vector for vector in VECTORS if "server" in vector.sides], ids=str)
def test_a_server_takes_what_the_client_of_the_vector_sends(vector, initial):
    """The prompts are its own: a client does not look at them."""
    exchange, question = served(*said(vector, "client"), initial=initial)
    known = vector.credentials
    assert question == sasl.CheckPassword(known["authcid"], sasl.Secret(known["password"]))
    expected = vector.expected["authcid"]
    assert sasl.settle(exchange, question, accept) == sasl.Success(identity=expected, authcid=expected)


@pytest.mark.parametrize("initial", [False, True], ids=["prompted", "initial"])
@pytest.mark.parametrize("case", [case for case in CASES if case.role == "server"], ids=str)
def test_a_server_takes_or_refuses_what_the_corpus_says(case, initial, shows_no_secret):
    absent, user, password, *more = (step.data for step in case.steps)
    assert absent is None
    exchange, event = served(user, password, initial=initial)
    shows_no_secret(event, user, password)
    if case.expect in ("reject", "limit"):
        assert (type(event), event.kind) == (sasl.Failure, "limit" if case.expect == "limit" else "credentials")
        assert "the mechanism failed" not in event.reason
        return
    assert case.expect in ("accept", "state")
    assert event == sasl.CheckPassword("tim", sasl.Secret("pw"))
    assert sasl.settle(exchange, event, accept) == sasl.Success(identity="tim", authcid="tim")
    if case.expect == "state":
        with pytest.raises(sasl.UsageError):
            exchange.receive(*more)
        assert exchange.state is sasl.State.DONE


@pytest.mark.parametrize("case", [case for case in CASES if case.role == "client"], ids=str)
def test_a_client_answers_or_refuses_what_the_corpus_says(case, shows_no_secret):
    exchange = started(case.inputs["user"], case.inputs["password"])
    prompts = [step.data for step in case.steps]
    answers = [case.inputs["user"].encode(), case.inputs["password"].encode()]
    if case.expect == "send":
        assert [exchange.respond(challenge) for challenge in prompts] == answers
        exchange.succeed()
        return
    assert case.expect in ("protocol", "abort")
    told = []
    with pytest.raises(sasl.ProtocolError) as refused:
        for challenge in prompts:
            told.append(exchange.respond(challenge))
    assert type(refused.value) is sasl.ProtocolError
    assert told == ([] if case.expect == "protocol" else answers)
    shows_no_secret(refused.value, case.inputs["password"])


def test_every_case_is_run():
    assert {case.role for case in CASES} == {"client", "server"}
    assert {case.mechanism for case in CASES} == {"LOGIN"}


# --- the client


def test_the_password_is_not_sent_before_the_second_prompt():
    exchange = started()
    assert exchange.respond(b"Username:") == b"tim"
    with pytest.raises(sasl.ServerNotProven):
        exchange.succeed()


def test_a_yes_before_anything_was_asked_is_no_login():
    with pytest.raises(sasl.ServerNotProven):
        started().succeed()


@pytest.mark.parametrize("third", [b"", b"Password:", b"Username:"])
def test_nothing_is_sent_in_answer_to_a_third_prompt(third, shows_no_secret):
    exchange = started()
    assert [exchange.respond(b"Username:"), exchange.respond(b"Password:")] == [b"tim", SECRET.encode()]
    with pytest.raises(sasl.ProtocolError) as refused:
        exchange.respond(third)
    assert type(refused.value) is sasl.ProtocolError
    shows_no_secret(refused.value, SECRET)


@pytest.mark.parametrize(
    "prompt", [b"Password:", b"Password", b"Password\0", b"password:", b" PASSWORD: ", b"Password:\0", b"Passwd:"]
)
def test_a_password_that_is_asked_for_first_is_refused(prompt, shows_no_secret):
    """What is sent would stand where the server reads a name, and logs it."""
    exchange = started()
    with pytest.raises(sasl.ProtocolError, match="before the user name"):
        exchange.respond(prompt)
    assert not exchange.revealed


@pytest.mark.parametrize("prompt", [b"Username:", b"User Name\0", b"username", b"USER:", b"Login: "])
def test_a_user_name_that_is_asked_for_twice_is_refused(prompt):
    exchange = started()
    assert exchange.respond(b"Username:") == b"tim"
    with pytest.raises(sasl.ProtocolError, match="user name twice"):
        exchange.respond(prompt)
    assert not exchange.revealed


@pytest.mark.parametrize(
    "prompts", [(b"", b""), (b"Go ahead", b"Go ahead"), (b"\xff", b"Kennwort:"), (b"?", b"Password for Username:")]
)
def test_any_other_text_is_a_prompt(prompts):
    exchange = started()
    assert [exchange.respond(prompt) for prompt in prompts] == [b"tim", SECRET.encode()]


def test_names_go_out_as_they_are():
    exchange = started("\u2168", "p\u00aass")
    assert exchange.respond(b"Username:") == "\u2168".encode()
    assert exchange.respond(b"Password:") == "p\u00aass".encode()


@pytest.mark.parametrize("prepare", [True, False])
@pytest.mark.parametrize("place", ["authcid", "password"])
@pytest.mark.parametrize("text", ["", "a\0b", "a\r\nb", "a\tb", "\x7f", "a\x85b", "a\ud800b"], ids=ascii)
def test_a_client_refuses_what_has_no_form_before_anything_is_sent(text, place, prepare, shows_no_secret):
    names = {"authcid": "tim", "password": SECRET, place: text}
    exchange = sasl.client("LOGIN", sasl.Password(**names), prepare=prepare)
    with pytest.raises(sasl.UsageError, match=r"not empty|with a control character|prohibits|UTF-8") as refused:
        exchange.start()
    assert type(refused.value) is sasl.UsageError
    shows_no_secret(refused.value, names["password"])


@pytest.mark.parametrize(
    ("place", "text"),
    [("authcid", "\u00ad"), ("authcid", "\ue000"), ("authcid", "\u00fc" * 1025), ("password", "\u00ad")],
    ids=["no-name-left", "private-name", "long-name", "no-password-left"],
)
def test_a_client_refuses_what_no_server_can_prepare_unless_told_so(text, place, shows_no_secret):
    names = {"authcid": "tim", "password": SECRET, place: text}
    with pytest.raises(sasl.UsageError) as refused:
        sasl.client("LOGIN", sasl.Password(**names)).start()
    assert type(refused.value) is sasl.UsageError
    shows_no_secret(refused.value, names["password"])
    exchange = started(**names, prepare=False)
    sent = [exchange.respond(b"Username:"), exchange.respond(b"Password:")]
    assert sent == [name.encode() for name in names.values()]


@pytest.mark.parametrize("password", ["\ue000", "\u0627a", "p\U0001f511word", "\u00fc" * 1025, "p" * 1500], ids=ascii)
def test_a_password_goes_out_as_it_was_typed_although_saslprep_refuses_it(password):
    exchange = started(password=password)
    assert [exchange.respond(b"Username:"), exchange.respond(b"Password:")] == [b"tim", password.encode()]


def test_a_client_cannot_act_as_another_user():
    with pytest.raises(sasl.UsageError, match="act as"):
        sasl.client("LOGIN", sasl.Password("tim", SECRET, authzid="tim")).start()
    assert started(authzid="").respond(b"") == b"tim"


def test_there_is_no_initial_response_to_defer():
    with pytest.raises(sasl.UsageError):
        started().defer()


def test_a_refusal_that_says_the_password_back_is_cleaned():
    exchange = started()
    exchange.respond(b"Username:")
    exchange.respond(b"Password:")
    error = exchange.fail(f"{SECRET} is wrong")
    assert type(error) is sasl.AuthenticationFailed
    assert error.server_text == "*** is wrong"


# --- the server


def test_a_server_asks_for_the_user_name_then_for_the_password():
    exchange = sasl.server("LOGIN")
    assert prompt(exchange.start()) == USERNAME.data
    assert exchange.receive(b"tim") == PASSWORD


def test_a_server_that_got_the_user_name_asks_for_the_password_only():
    assert sasl.server("LOGIN").start(b"tim") == PASSWORD


def test_names_reach_the_verifier_prepared_unless_told_so():
    names = "\u2168".encode(), "p\u00aass".encode()
    assert served(*names)[1] == sasl.CheckPassword("IX", sasl.Secret("pass"))
    assert served(*names, prepare=False)[1] == sasl.CheckPassword("\u2168", sasl.Secret("p\u00aass"))


def test_the_verifier_sees_how_a_password_was_typed():
    password = served(b"tim", "p\u00aass".encode())[1].password
    assert (password.reveal(), password.typed.reveal()) == ("pass", "p\u00aass")
    assert password == "pass"
    assert password == "p\u00aass"
    assert password != "p\u00aasses"
    assert served(b"tim", b"pass")[1].password.typed is None


def test_what_saslprep_drops_is_no_control_character():
    assert served("ti\u200dm".encode(), "p\u00adw".encode())[1] == sasl.CheckPassword("tim", sasl.Secret("pw"))


@pytest.mark.parametrize("names", [("\ue000", "pw"), ("\u00ad", "pw"), ("tim", "\u00ad")])
def test_a_name_that_cannot_be_prepared_fails_as_a_wrong_password_does(names, shows_no_secret):
    user, password = (name.encode() for name in names)
    exchange = sasl.server("LOGIN")
    assert exchange.start(user) == PASSWORD
    failure = exchange.receive(password)
    assert (type(failure), failure.kind) == (sasl.Failure, "credentials")


@pytest.mark.parametrize("password", ["\ue000", "\u0627a", "p\U0001f511word"], ids=ascii)
def test_a_password_that_saslprep_refuses_reaches_the_verifier_as_it_was_typed(password):
    assert served(b"tim", password.encode())[1] == sasl.CheckPassword("tim", sasl.Secret(password))


def test_what_is_too_long_to_prepare_is_a_limit_and_ascii_needs_no_preparing():
    long = "\u00fc" * 1025
    assert served(b"tim", long.encode())[1].kind == "limit"
    assert served(b"tim", long.encode(), prepare=False)[1] == sasl.CheckPassword("tim", sasl.Secret(long))
    assert sasl.server("LOGIN").start(b"t" * 1025).kind == "limit"  # which is kept until the password comes
    assert served(b"tim", b"p" * 1500)[1] == sasl.CheckPassword("tim", sasl.Secret("p" * 1500))


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (b"", "is empty"),
        (b"\xc0\x80", "is not UTF-8: a client that sends ISO 8859-1?"),
        (b"w\xf6nd", "is not UTF-8: a client that sends ISO 8859-1?"),
        *((bad, "holds a control character") for bad in (b"\0", b"a\0", b"\r\n", b"a\x1bb", b"\x7f", b"a\xc2\x85b")),
    ],
)
def test_a_server_refuses_what_is_no_name_whether_it_prepares_or_not(bad, why, shows_no_secret):
    for options in ({}, {"prepare": False}):
        assert sasl.server("LOGIN", **options).start(bad) == sasl.Failure("credentials", f"the user name {why}")
        assert served(b"tim", bad, **options)[1] == sasl.Failure("credentials", f"the password {why}")


def test_a_wrong_password_is_refused(shows_no_secret):
    exchange, question = served(b"tim", SECRET.encode())
    shows_no_secret(question, SECRET)
    shows_no_secret(exchange, SECRET)
    assert exchange.answer(sasl.Rejected("wrong", "disabled")) == sasl.Failure("disabled", "wrong")


def test_nobody_acts_as_another_user():
    exchange, _ = served(b"tim", b"pw")
    assert exchange.answer(sasl.Accepted("tim")) == sasl.Authorize("tim", None, "tim")


def test_an_option_that_login_does_not_have_is_refused():
    with pytest.raises(sasl.UsageError):
        sasl.client("LOGIN", sasl.Password("u", "p"), encoding="latin-1")
    with pytest.raises(sasl.UsageError):
        sasl.server("LOGIN", encoding="latin-1")
