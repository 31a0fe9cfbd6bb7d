"""A client id for whoever asks (RFC 7591): asked for once, kept, and never of another kind than was asked for."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

import sasl
from sasl.adapters.reference import token_endpoint
from sasl.adapters.tokens.messages import Client
from sasl.adapters.tokens.registration import SOFTWARE, kept_client, register, registered_client
from sasl.adapters.tokens.stores.names import name_of

from .conftest import reply
from .signing_in import SCOPE, all_of, metadata

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

GIVEN = {"client_id": "new-client", "client_id_issued_at": 1, "token_endpoint_auth_method": "none"}
BASIC = {"token_endpoint_auth_method": "client_secret_basic"}
SECRET = {"client_id": "new-client", "client_secret": "s3cr3t", "client_secret_expires_at": 0}


@pytest.mark.parametrize("status", [200, 201])
def test_a_public_native_client_is_asked_for(scripted: Callable[..., Any], status: int) -> None:
    server = scripted(reply(GIVEN, status))
    client = register(metadata(registration_endpoint=server.url), SCOPE)
    assert (client.client_id, client.secret, client.assertion) == ("new-client", None, None)
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    assert b"Content-Type: application/json" in head
    asked = json.loads(body)
    assert asked.pop("software_version") == sasl.__version__
    assert asked == {
        "client_name": "saslkit",
        "software_id": SOFTWARE,
        "application_type": "native",
        "redirect_uris": ["http://127.0.0.1/"],
        "token_endpoint_auth_method": "none",
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "scope": SCOPE,
    }


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (reply(b"", 201), "bad_response"),
        (reply([], 201), "bad_response"),
        (reply({}, 201), "bad_response"),
        (reply({"client_id": 5}, 201), "bad_response"),
        (reply({"client_id": ""}, 201), "bad_response"),
        (reply({"client_id": "a\nb"}, 201), "bad_response"),
        (reply({"client_id": "x" * 1_025}, 201), "bad_response"),
        (reply({**SECRET, "client_secret": 5}, 201), "bad_response"),
        (reply({**SECRET, "token_endpoint_auth_method": "private_key_jwt"}, 201), "bad_response"),
        (reply({**SECRET, "token_endpoint_auth_method": ["client_secret_post"]}, 201), "bad_response"),
        (reply({**SECRET, "client_secret_expires_at": "never"}, 201), "bad_response"),
        (reply({**GIVEN, "token_endpoint_auth_method": "client_secret_basic"}, 201), "bad_response"),
        (reply({"error": "invalid_redirect_uri"}, 400), "invalid_redirect_uri"),
        (reply({"error": "access_denied"}, 403), "access_denied"),
    ],
)
def test_what_gives_no_such_client_is_told(scripted: Callable[..., Any], answer: bytes, code: str) -> None:
    with pytest.raises(sasl.TokenError) as caught:
        register(metadata(registration_endpoint=scripted(answer).url), SCOPE)
    assert caught.value.code == code
    assert "s3cr3t" not in all_of(caught.value)


def test_a_server_that_registers_nobody_is_told() -> None:
    with pytest.raises(sasl.TokenError) as caught:
        register(metadata(), SCOPE)
    assert caught.value.code == "not_offered"


@pytest.mark.parametrize(
    ("method", "basic"), [({}, True), (BASIC, True), ({"token_endpoint_auth_method": "client_secret_post"}, False)]
)
def test_a_secret_that_a_server_gives_unasked_is_kept_and_shown_nowhere(
    scripted: Callable[..., Any], tmp_path: Path, method: dict[str, str], basic: bool
) -> None:
    here = metadata(registration_endpoint=scripted(reply({**SECRET, **method}, 201)).url)
    wanted = Client("new-client", secret=sasl.Secret("s3cr3t"), basic=basic)
    assert registered_client(tmp_path, here, SCOPE) == wanted
    assert kept_client(tmp_path, here, SCOPE) == wanted
    assert "s3cr3t" not in repr(wanted)


def test_a_secret_of_a_public_client_stays_unused(scripted: Callable[..., Any]) -> None:
    server = scripted(reply({**GIVEN, "client_secret": "s3cr3t"}, 201))
    assert register(metadata(registration_endpoint=server.url), SCOPE) == Client("new-client")


def test_a_client_is_registered_once_for_its_server_redirect_uri_and_scope(
    scripted: Callable[..., Any], tmp_path: Path
) -> None:
    server = scripted(*[reply({**GIVEN, "client_id": f"client-{number}"}, 201) for number in range(9)])
    here = metadata(registration_endpoint=server.url)
    ids = [
        registered_client(tmp_path, each, scope, redirect_uri=uri).client_id
        for each, scope, uri in [
            (here, SCOPE, "http://127.0.0.1/"),
            (here, SCOPE, "http://127.0.0.1/"),
            (here, SCOPE.split()[0], "http://127.0.0.1/"),  # it may ask for less
            (here, f"{SCOPE} contacts", "http://127.0.0.1/"),
            (here, SCOPE, "http://127.0.0.1/"),
            (here, SCOPE, "http://localhost/"),
            (metadata(issuer="https://other.example", registration_endpoint=server.url), SCOPE, "http://127.0.0.1/"),
            (metadata(registration_endpoint=server.url.replace("localhost", "127.0.0.1")), SCOPE, "http://127.0.0.1/"),
        ]
    ]
    assert ids == [f"client-{number}" for number in (0, 0, 0, 1, 1, 2, 3, 4)]
    files = [path for path in (tmp_path / "clients").iterdir() if path.suffix == ".json"]
    assert [stat.S_IMODE(path.stat().st_mode) for path in files] == [0o600, 0o600]
    assert stat.S_IMODE((tmp_path / "clients").stat().st_mode) == 0o700


def test_what_was_kept_and_is_over_or_broken_is_registered_anew(scripted: Callable[..., Any], tmp_path: Path) -> None:
    server = scripted(reply({**SECRET, "client_secret_expires_at": 1}, 201), reply(GIVEN, 201))
    here = metadata(registration_endpoint=server.url)
    assert registered_client(tmp_path, here, SCOPE).secret is not None
    assert registered_client(tmp_path, here, SCOPE).secret is None
    (file,) = (path for path in (tmp_path / "clients").iterdir() if path.suffix == ".json")
    for content in ("{", '{"client_id": 5}', json.dumps({**json.loads(file.read_text()), "client_id": ""})):
        file.write_text(content)
        assert kept_client(tmp_path, here, SCOPE) is None
    assert registered_client(tmp_path, here, SCOPE) == Client("new-client")
    assert len(server.requests) == 3


def test_of_threads_that_ask_at_once_one_registers(scripted: Callable[..., Any], tmp_path: Path) -> None:
    server = scripted(reply({**GIVEN, "client_id": "first"}, 201), reply({**GIVEN, "client_id": "second"}, 201))
    here = metadata(registration_endpoint=server.url)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: registered_client(tmp_path, here, SCOPE), range(8)))
    assert {client.client_id for client in found} == {"first"}
    assert len(server.requests) == 1


_ASK = """
import sys
from sasl.adapters.tokens.metadata import discover
from sasl.adapters.tokens.registration import registered_client
print("ready", flush=True)
sys.stdin.readline()
print(registered_client(sys.argv[1], discover(sys.argv[2]), "mail offline_access").client_id)
"""


@pytest.mark.once
def test_of_processes_that_ask_at_once_one_registers(tmp_path: Path) -> None:
    with token_endpoint.running() as authority:
        command = [sys.executable, "-I", "-c", _ASK, str(tmp_path), authority.issuer]
        started = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(3)
        ]
        for each in started:
            assert each.stdout is not None
            assert each.stdout.readline() == "ready\n"
        for each in started:
            assert each.stdin is not None
            each.stdin.write("\n")
            each.stdin.flush()
        ids = [each.communicate(timeout=30)[0].strip() for each in started]
    assert [each.returncode for each in started] == [0, 0, 0]
    assert len(set(ids)) == 1
    assert ids[0]


def test_where_nobody_can_tell_the_server_nothing_is_kept(scripted: Callable[..., Any], tmp_path: Path) -> None:
    here = metadata(issuer=None, registration_endpoint=scripted(reply(GIVEN, 201)).url)
    assert registered_client(tmp_path, here, SCOPE) == Client("new-client")
    assert kept_client(tmp_path, here, SCOPE) is None
    assert list(tmp_path.iterdir()) == []


def test_a_client_that_cannot_be_kept_is_not_asked_for(scripted: Callable[..., Any], tmp_path: Path) -> None:
    server = scripted(reply(GIVEN, 201))
    (tmp_path / "clients").touch()
    with pytest.raises(sasl.TokenError) as caught:
        registered_client(tmp_path, metadata(registration_endpoint=server.url), SCOPE)
    assert caught.value.code == "not_stored"
    assert server.requests == []


def test_a_secret_that_cannot_be_kept_is_not_shown(scripted: Callable[..., Any], tmp_path: Path) -> None:
    here = metadata(registration_endpoint=scripted(reply(SECRET, 201)).url)
    (tmp_path / "clients" / name_of(here.issuer or "")).mkdir(parents=True)
    with pytest.raises(sasl.TokenError) as caught:
        registered_client(tmp_path, here, SCOPE)
    assert caught.value.code == "not_stored"
    assert "s3cr3t" not in all_of(caught.value)
