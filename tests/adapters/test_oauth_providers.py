"""Where people sign in at the providers that are known here: by name, by host, by address."""

from __future__ import annotations

import pytest

import sasl
from sasl.adapters.providers import oauth, profiles
from sasl.adapters.providers.oauth import provider


@pytest.mark.parametrize("name", oauth.names())
def test_a_provider_has_endpoints_scopes_and_a_way_to_a_client_id(name: str) -> None:
    found = provider(name)
    assert found is not None
    assert found.metadata.authorization_endpoint
    assert found.metadata.token_endpoint
    assert "{" not in found.metadata.token_endpoint
    assert found.scope(list(found.servers))
    assert "https://" in found.client
    assert {"imap", "smtp"} <= set(found.servers) <= {"imap", "pop", "smtp"}
    assert not found.device or found.metadata.device_authorization_endpoint
    profile = next(each for each in profiles() if each.id == name)
    assert profile.sources["oauth"]


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("gmail", "gmail"),
        ("Gmail", "gmail"),
        ("imap.gmail.com", "gmail"),
        ("me@GoogleMail.com", "gmail"),
        ("Microsoft365", "microsoft365"),
        ("me@hotmail.com", "outlook"),
        ("me@yahoo.co.uk", "yahoo"),
        ("fastmail", "fastmail"),
        ("me@example.org", None),
        ("qq", None),
        ("", None),
    ],
)
def test_a_provider_is_found_by_name_host_and_address(word: str, name: str | None) -> None:
    found = provider(word)
    assert (found and found.id) == name


def test_a_scope_is_that_of_the_protocols() -> None:
    found = provider("microsoft365")
    assert found is not None
    assert found.scope(["smtp"]) == "https://outlook.office.com/SMTP.Send offline_access"
    with pytest.raises(sasl.UsageError, match="nntp"):
        found.scope(["nntp"])


def test_a_tenant_is_that_of_an_organization() -> None:
    found = provider("microsoft365", tenant="example.org")
    assert found is not None
    assert found.metadata.token_endpoint == "https://login.microsoftonline.com/example.org/oauth2/v2.0/token"
    for name, tenant in (("microsoft365", "a/b"), ("microsoft365", ""), ("gmail", "example.org")):
        with pytest.raises(sasl.UsageError, match="tenant"):
            provider(name, tenant=tenant)


def test_gmail_gives_no_device_codes_for_mail() -> None:
    found = provider("gmail")
    assert found is not None
    assert not found.device
