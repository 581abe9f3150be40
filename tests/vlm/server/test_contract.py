"""The server keeps to what its own OpenAPI says, whatever is sent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode, openapi
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi import checks
from serving import Served, scripted

KEY = "sesame"
CHECKS: Any = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
    checks.negative_data_rejection,
    checks.unsupported_method,
    checks.ignored_auth,
]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with scripted(tmp_path_factory.mktemp("contract"), api_key=KEY) as (served, _):
        yield served


@pytest.fixture(scope="module")
def api(served: Served) -> Any:
    headers = {"Authorization": f"Bearer {KEY}"}
    return openapi.from_url(f"{served.url}/openapi.json", headers=headers)


ROUTES = [
    *("GET /health", "GET /metrics", "POST /tokenize", "GET /v1/models", "GET /v1/models/{name}"),
    *("POST /v1/chat/completions", "POST /v1/responses"),
]


@pytest.mark.slow
@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize("route", ROUTES)
def test_whatever_is_sent_is_answered_as_described(api: Any, route: str, mode: GenerationMode) -> None:
    method, path = route.split()
    operation = api[path][method]
    if mode.is_negative and method == "GET" and "{" not in path:
        pytest.skip("nothing in it can be wrong")

    @settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
    @given(operation.as_strategy(generation_mode=mode))
    def whatever(case: Any) -> None:
        case.call_and_validate(headers={"Authorization": f"Bearer {KEY}"}, checks=CHECKS)

    whatever()


def test_the_description_names_every_route_and_its_key(served: Served) -> None:
    told = served.http.get("/openapi.json", headers={"Authorization": f"Bearer {KEY}"}).json()
    assert set(told["paths"]) == {
        "/health",
        "/metrics",
        "/tokenize",
        "/v1/models",
        "/v1/models/{name}",
        "/v1/chat/completions",
        "/v1/responses",
    }
    assert told["security"] == [{"key": []}] and told["paths"]["/health"]["get"]["security"] == []
    for path in told["paths"].values():
        for operation in path.values():
            assert "422" not in operation["responses"] and "4XX" in operation["responses"]
