"""The OpenAPI document, made from the endpoints and the types of what they take and give."""

import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from perdure.api.endpoint import FORM, IDEMPOTENCY_KEY, Endpoint, Sent
from perdure.api.problems import MEDIA_TYPE, TITLES, Problem

VERSION: Final = "3.1.0"
_REFERENCE: Final = "#/components/schemas/{name}"
_SCHEME: Final = "token"


def document(endpoints: Sequence[Endpoint], version: str) -> bytes:
    """Give the document as JSON."""
    types = [kind for endpoint in endpoints for kind in _types(endpoint)]
    schemas, components = msgspec.json.schema_components([*types, Problem], ref_template=_REFERENCE)
    known = dict(zip([*map(_key, types), _key(Problem)], schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint, known)
    return msgspec.json.encode(
        {
            "openapi": VERSION,
            "info": {"title": "Perdure", "version": version, "description": "Durable processes: runs, calls and workers."},
            "paths": paths,
            "components": {"schemas": components, "securitySchemes": {_SCHEME: {"type": "http", "scheme": "bearer"}}},
        }
    )


def _types(endpoint: Endpoint) -> list[Any]:
    return [kind for kind in (endpoint.body, endpoint.query, *endpoint.answers.values()) if kind not in (None, Sent, str)]


def _key(kind: Any) -> str:
    return repr(kind)


def _operation(endpoint: Endpoint, known: dict[str, Any]) -> dict[str, Any]:
    told: dict[str, Any] = {
        "operationId": endpoint.name,
        "summary": endpoint.summary,
        "tags": [endpoint.tag],
        "parameters": _parameters(endpoint),
        "responses": _responses(endpoint, known),
        "security": [] if endpoint.scope is None else [{_SCHEME: []}],
    }
    if endpoint.scope is not None:
        told["description"] = f"Needs the scope `{endpoint.scope}` where tokens are used."
    if endpoint.body is Sent:
        anything: dict[str, Any] = {"schema": {}}
        told["requestBody"] = {"required": True, "content": {"application/json": anything, FORM: {"schema": {"type": "object"}}}}
    elif endpoint.body is not None:
        content = {"application/json": {"schema": known[_key(endpoint.body)]}}
        told["requestBody"] = {"required": not endpoint.may_lack_body, "content": content}
    return told


def _parameters(endpoint: Endpoint) -> list[dict[str, Any]]:
    found = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for name in re.findall(r"{(\w+)}", endpoint.path)
    ]
    # The fields of a query stand for themselves, one parameter each.
    _, components = msgspec.json.schema_components([endpoint.query], ref_template=_REFERENCE)
    for name, schema in components[endpoint.query.__name__].get("properties", {}).items():
        is_required = name in components[endpoint.query.__name__].get("required", [])
        found.append({"name": name, "in": "query", "required": is_required, "schema": schema})
    if endpoint.is_keyed:
        found.append({"name": IDEMPOTENCY_KEY, "in": "header", "required": False, "schema": {"type": "string", "minLength": 1}})
    return found


def _responses(endpoint: Endpoint, known: dict[str, Any]) -> dict[str, Any]:
    told: dict[str, Any] = {}
    for status, kind in endpoint.answers.items():
        content = {} if kind is None else {"content": _PAGE if kind is str else {"application/json": {"schema": known[_key(kind)]}}}
        told[str(status)] = {"description": _WORDS.get(status, "Done"), **content}
    for status in sorted(problems_of(endpoint)):
        entry = told.setdefault(str(status), {"description": TITLES[status]})
        entry["content"] = {**entry.get("content", {}), MEDIA_TYPE: {"schema": known[_key(Problem)]}}
    return told


_PAGE: Final = {"text/html": {"schema": {"type": "string"}}}
_WORDS: Final = {200: "Done", 201: "Made", 202: "Not yet", 204: "Done, with nothing to say"}


def problems_of(endpoint: Endpoint) -> set[int]:
    """Give the statuses of problems that the endpoint may answer with."""
    found = {*endpoint.problems, 400, 403, 500, 503}
    if endpoint.scope is not None:
        found |= {401, 429}
    if endpoint.body is not None:
        found |= {413, 415, 422}
    if endpoint.query.__struct_fields__:
        found |= {422}
    return found
