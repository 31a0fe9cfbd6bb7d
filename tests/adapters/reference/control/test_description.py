"""The description is what OpenAPI wants, and says all that is there and nothing besides."""

from __future__ import annotations

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from sasl.adapters.reference.control.routes import ROUTES, TOPICS

from .conftest import API, Controlled


@pytest.mark.once
def test_the_description_is_valid(controlled: Controlled) -> None:
    document = controlled.do("GET", "/openapi.json")
    assert list(OpenAPIV31SpecValidator(document).iter_errors()) == []


def test_the_description_has_each_route_and_nothing_besides(controlled: Controlled) -> None:
    paths = controlled.do("GET", "/openapi.json")["paths"]
    described = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    served = {(route.method, API + route.path) for route in ROUTES}
    assert described == served | {("GET", f"{API}/openapi.json"), ("GET", f"{API}/events")}


def test_every_operation_has_a_name_of_its_own(controlled: Controlled) -> None:
    paths = controlled.do("GET", "/openapi.json")["paths"]
    names = [operation["operationId"] for methods in paths.values() for operation in methods.values()]
    assert sorted(set(names)) == sorted(names)


def test_every_topic_of_the_events_is_a_path(controlled: Controlled) -> None:
    paths = controlled.do("GET", "/openapi.json")["paths"]
    assert all("get" in paths[f"{API}/{topic}"] for topic in TOPICS)
