"""The OpenAPI document: generated, complete, and true."""

import re
from typing import Any

import msgspec

from tests.api.house import asked


async def test_the_document_has_every_endpoint_and_every_reference_leads_somewhere() -> None:
    async with asked() as (client, _):
        answer = await client.get("/openapi.json")
        found: dict[str, Any] = answer.json()
    assert answer.headers["content-type"] == "application/json"
    assert found["openapi"].startswith("3.1")
    told = {f"{method.upper()} {path}" for path, entry in found["paths"].items() for method in entry}
    assert {"POST /v1/runs", "POST /v1/calls/take", "DELETE /v1/workers/{worker}", "POST /v1/callbacks/{token}", "GET /live"} <= told
    references = set(re.findall(r'"#/components/schemas/(\w+)"', msgspec.json.encode(found).decode()))
    assert references <= found["components"]["schemas"].keys()
    names = [entry["operationId"] for path in found["paths"].values() for entry in path.values()]
    assert len(names) == len(set(names))


async def test_each_operation_tells_its_parameters_its_scope_and_its_problems() -> None:
    async with asked() as (client, _):
        found: dict[str, Any] = (await client.get("/openapi.json")).json()
    for path, entry in found["paths"].items():
        for operation in entry.values():
            in_path = {one["name"] for one in operation["parameters"] if one["in"] == "path"}
            assert in_path == set(re.findall(r"{(\w+)}", path))
            is_open = path in ("/live", "/ready") or path.startswith(("/v1/callbacks", "/v1/tickets/answer"))
            assert (operation["security"] == []) == is_open
            assert "application/problem+json" in operation["responses"]["500"]["content"]
            assert any(int(status) < 300 for status in operation["responses"])
    start = found["paths"]["/v1/runs"]["post"]
    assert [one["name"] for one in start["parameters"]] == ["idempotency-key"]
    assert {"201", "400", "401", "403", "409", "413", "415", "422", "429", "503"} <= start["responses"].keys()
