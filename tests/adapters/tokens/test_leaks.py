"""No refresh token, client secret, key, assertion or access token where somebody could see it."""

from __future__ import annotations

import copy
import gc
import http.client
import json
import logging
import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote_plus

import pytest

import sasl
from sasl.adapters.reference.token_endpoint import FAULTS
from sasl.adapters.tokens import google as tokens
from sasl.adapters.tokens import http as _http

from ...support.leaks import locals_of, shown_by
from .conftest import found_in, reply, secrets_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from sasl.adapters.reference.token_endpoint import Fault, TokenEndpoint

SOURCES = ("user_file", "account_file")


@pytest.fixture(params=SOURCES)
def path(request: pytest.FixtureRequest) -> Path:
    found: Path = request.getfixturevalue(request.param)
    return found


def subject_of(path: Path) -> str | None:
    return "alice" if path.name == "account.json" else None


def all_of(error: BaseException | None) -> str:
    """What a report of an error could show: the whole chain, each frame with its locals and what is in them."""
    return "\n".join([*shown_by(error), *locals_of(error, everywhere=True)])


@pytest.mark.parametrize("fault", [None, *(fault for fault in FAULTS if fault not in ("hang", "drip"))])
def test_a_refresh_shows_no_secret(
    endpoint: TokenEndpoint,
    path: Path,
    fault: Fault | None,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    sent: list[bytes] = []
    send = tokens.Request(timeout=5)

    def request(*arguments: Any, **named: Any) -> Any:
        sent.append(named["body"])
        return send(*arguments, **named)

    secrets = secrets_of(json.loads(path.read_text()))
    source = tokens.from_file(path, subject=subject_of(path), request=request)
    first = source.token().value.reveal()
    endpoint.faults += [fault] if fault else []
    error = None
    try:
        given = source.token(stale=first)
    except sasl.TokenError as failure:
        error = failure
        seen = all_of(failure)
    else:
        seen = f"{given} {given!r}"
    assert (error is None) == (fault is None)
    seen += f"{source} {source!r} {caplog.text}" + "".join(capsys.readouterr())
    seen += "".join(repr(record.__dict__) for record in caplog.records)
    assertions = [value for body in sent for name, value in parse_qsl(body.decode()) if name == "assertion"]
    assert len(assertions) == (len(sent) if path.name == "account.json" else 0)
    assert found_in(seen, [first, *secrets, *assertions]) == []


def test_a_failure_that_is_kept_for_others_holds_no_frames(endpoint: TokenEndpoint, path: Path) -> None:
    source = tokens.from_file(path)
    endpoint.faults.append("500")
    with pytest.raises(sasl.TokenError):
        source.token()
    assert source._kept._failure is not None
    assert (source._kept._failure.__traceback__, source._kept._failure.__context__) == (None, None)


def interrupted(*_arguments: object) -> None:
    raise KeyboardInterrupt


def test_an_interruption_of_a_request_shows_no_secret(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports of crashes show the frames of an interruption as well, with their locals."""
    secrets = secrets_of(json.loads(path.read_text()))
    sent: list[bytes] = []

    def send(_sock: object, data: bytes) -> None:
        sent.append(data)
        if b"grant_type" in data:
            raise KeyboardInterrupt

    monkeypatch.setattr(_http._Timed, "sendall", send)
    with pytest.raises(KeyboardInterrupt) as caught:
        tokens.from_file(path, subject=subject_of(path)).token()
    assertions = [value for name, value in parse_qsl(sent[-1].decode()) if name == "assertion"]
    assert len(assertions) == (path.name == "account.json")
    assert found_in(all_of(caught.value), [*secrets, *assertions]) == []


def test_an_interruption_while_a_refresh_token_is_stored_does_not_show_it(
    endpoint: TokenEndpoint, user_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint.rotates = True
    secrets = secrets_of(json.loads(user_file.read_text()))
    source = tokens.from_file(user_file)
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt) as caught:
        patched.setattr(Path, "replace", interrupted)
        source.token()
    source.token()
    secrets += secrets_of(json.loads(user_file.read_text()))
    assert found_in(all_of(caught.value), secrets) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, TimeoutError, http.client.HTTPException])
def test_a_request_that_fails_does_not_show_what_it_sent(
    endpoint: TokenEndpoint, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    def failing(*_arguments: object) -> None:
        raise error

    monkeypatch.setattr(_http._Timed, "sendall", failing)
    with pytest.raises((KeyboardInterrupt, sasl.TokenError)) as caught:
        tokens.Request()(endpoint.url, "POST", b"refresh_token=very-secret", {"Authorization": "Bearer hidden-token"})
    assert found_in(all_of(caught.value), ["very-secret", "hidden-token"]) == []


@pytest.mark.parametrize("form", ["as it is", "encoded", "in the code", "the signature"])
def test_an_endpoint_that_says_a_secret_back_does_not_put_it_into_an_error(
    endpoint: TokenEndpoint, scripted: Callable[..., Any], path: Path, form: str
) -> None:
    info = json.loads(path.read_text())
    if "refresh_token" in info:
        info["refresh_token"] = "1//0gLooksLikeGoogles+and/is&long=="  # it looks otherwise in a form
        path.write_text(json.dumps(info))
    said: list[str] = []
    send = tokens.Request()

    def request(url: str, **named: Any) -> Any:
        fields = dict(parse_qsl(named["body"].decode()))
        secret = fields.get("refresh_token") or fields["assertion"]
        if form == "the signature":
            secret = secret.rpartition(".")[2]
        said.append(secret)
        shown = quote_plus(secret) if form == "encoded" else secret
        error = secret[:64] if form == "in the code" else "invalid_grant"
        document = {"error": error, "error_description": f"the token {shown} is bad"}
        return send(scripted(reply(document, 400)).url, **named)

    source = tokens.from_file(path, subject=subject_of(path), request=request)
    with pytest.raises(sasl.TokenError) as caught:
        source.token()
    assert found_in(all_of(caught.value), [*said, *secrets_of(info)]) == []
    if form != "in the code":
        assert "***" in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        ("user_file", "refresh_token"),
        ("user_file", "token_uri"),
        ("user_file", "scopes"),
        ("account_file", "private_key"),
        ("account_file", "client_email"),
        ("account_file", "token_uri"),
    ],
)
def test_a_file_that_cannot_be_used_is_not_shown(request: pytest.FixtureRequest, kind: str, wrong: str) -> None:
    path: Path = request.getfixturevalue(kind)
    info = json.loads(path.read_text())
    secrets = secrets_of(info)
    seen = ""
    for broken in (7, "", info.get(wrong, "")[:-60]):
        path.write_text(json.dumps(info | {wrong: broken}))
        try:
            tokens.from_file(path, subject=subject_of(path)).token()
        except sasl.TokenError as error:
            seen += all_of(error)
    assert seen
    assert found_in(seen, secrets) == []


def test_a_source_is_neither_pickled_nor_copied_and_has_no_members_to_walk(path: Path) -> None:
    source = tokens.from_file(path)
    for way in (pickle.dumps, copy.copy, copy.deepcopy, vars):
        with pytest.raises(TypeError):
            way(source)  # type: ignore[operator]


def test_a_source_of_a_file_keeps_neither_its_secrets_nor_a_token_in_the_open(
    endpoint: TokenEndpoint, user_file: Path
) -> None:
    endpoint.rotates = True
    secrets = secrets_of(json.loads(user_file.read_text()))
    source = tokens.from_file(user_file)
    token = source.token().value.reveal()
    secrets += secrets_of(json.loads(user_file.read_text()))
    reached, texts, todo = set(), [], [source._keeper, source._kept._held, source._kept._failure]
    while todo:
        thing: Any = todo.pop()
        if id(thing) in reached or isinstance(thing, type | sasl.Secret):
            continue
        reached.add(id(thing))
        texts.append(repr(thing))
        todo += [inner for inner in gc.get_referents(thing) if not callable(inner) and type(inner).__name__ != "module"]
    assert found_in("".join(texts), [token, *secrets]) == []
