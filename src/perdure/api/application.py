"""The ASGI application: reads and checks requests, asks the endpoint, writes the answer. Whatever goes wrong is a problem document."""

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import unquote

import msgspec
from msgspec import Struct
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from perdure.api.access import Access
from perdure.api.endpoint import FORM, IDEMPOTENCY_KEY, Asked, Endpoint, Sent
from perdure.api.openapi import document
from perdure.api.problems import MEDIA_TYPE, RETRY_S, TITLES, Problem, Refusal, problem_of
from perdure.control.tokens import Token
from perdure.model.errors import Internal, PerdureError

logger = logging.getLogger("perdure.api")

JSON: Final = "application/json"
PAGE: Final = "text/html; charset=utf-8"


class Bounds(Struct, frozen=True, kw_only=True):
    """``body_bytes_max``: of one request. ``requests_max``: answered at once, long polls too; more are told to come again (G8)."""

    body_bytes_max: int = 16 * 1024 * 1024
    requests_max: int = 5_000


USUAL: Final = Bounds()


def make_application(endpoints: Sequence[Endpoint], access: Access, *, version: str = "", bounds: Bounds = USUAL) -> ASGIApp:
    """Give the application that answers at these endpoints, and at ``/openapi.json`` with their description."""
    by_path: dict[str, dict[str, _Door]] = {}
    for endpoint in endpoints:
        by_path.setdefault(endpoint.path, {})[endpoint.method] = _Door(endpoint, access, bounds.body_bytes_max)
    routes = [Route(path, _by_method(doors), methods=list(doors)) for path, doors in by_path.items()]
    page = document(endpoints, version)

    async def openapi(request: Request) -> Response:
        return Response(page, media_type=JSON)

    application = Starlette(routes=[*routes, Route("/openapi.json", openapi)], exception_handlers={HTTPException: _on_http_exception})
    application.router.redirect_slashes = False
    return _Gate(application, bounds.requests_max)


class _Gate:
    """What every request passes first."""

    def __init__(self, application: ASGIApp, requests_max: int) -> None:
        self._application = application
        self._free = requests_max
        self._requests_max = requests_max

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        raw = scope.get("raw_path")
        if scope["type"] == "http" and raw:
            # Routes match the path as it was sent: a key such as ``run#1#2/1`` is one segment, in which the slash is written ``%2F``.
            scope["path"] = raw.partition(b"?")[0].decode("latin-1")
        if self._free <= 0:
            detail = f"{self._requests_max} requests are under way, which is the limit requests_max. Nothing was done; try again."
            refusal = Refusal(503, "too-many-requests-under-way", detail, {"Retry-After": str(RETRY_S)})
            await _problem(refusal.problem, refusal.headers)(scope, receive, send)
            return
        self._free -= 1
        try:
            await self._application(scope, receive, send)
        finally:
            self._free += 1


def _by_method(doors: Mapping[str, "_Door"]) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        return await doors["GET" if request.method == "HEAD" else request.method].answer(request)

    return answer


class _Door:
    """One endpoint, seen from the outside."""

    def __init__(self, endpoint: Endpoint, access: Access, bytes_max: int) -> None:
        self._endpoint = endpoint
        self._access = access
        self._bytes_max = bytes_max
        is_read_here = endpoint.body is not None and endpoint.body is not Sent
        self._decoder: msgspec.json.Decoder[Any] | None = msgspec.json.Decoder(endpoint.body) if is_read_here else None

    async def answer(self, request: Request) -> Response:
        try:
            scope = self._endpoint.scope
            token = None if scope is None else await self._access.admit(request.headers, scope)
            found = await self._endpoint.handle(await self._asked(request, token))
        except Refusal as refusal:
            return _problem(refusal.problem, refusal.headers)
        except PerdureError as error:
            if error.kind == "internal":
                logger.error("%s failed", self._endpoint.name, exc_info=error)
            return _problem(*problem_of(error))
        except ClientDisconnect:
            return Response(status_code=400)  # Nobody reads it.
        except Exception:
            logger.exception("%s failed", self._endpoint.name)
            return _problem(*problem_of(Internal(what="A request failed in a way that was not foreseen; the server's log has more")))
        if found.status == 204:
            return Response(status_code=204, headers=dict(found.headers))
        if found.page is not None:
            return Response(found.page, found.status, dict(found.headers), PAGE)
        return Response(msgspec.json.encode(found.body), found.status, dict(found.headers), JSON)

    async def _asked(self, request: Request, token: Token | None) -> Asked[Any, Any]:
        path = {name: _segment(name, value) for name, value in request.path_params.items()}
        key = request.headers.get(IDEMPOTENCY_KEY) if self._endpoint.is_keyed else None
        query, body = self._query(request), await self._body(request)
        return Asked(path=path, query=query, body=body, is_gone=request.is_disconnected, key=key, token=token)

    def _query(self, request: Request) -> Any:
        try:
            return msgspec.convert(dict(request.query_params), self._endpoint.query, strict=False)
        except msgspec.ValidationError as error:
            raise Refusal(422, "invalid-query", f"The query does not fit: {error}.") from error

    async def _body(self, request: Request) -> Any:
        found = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if self._endpoint.body is Sent and found in (JSON, FORM):
            return Sent(found, await self._read(request))
        if self._endpoint.body is None:
            return None
        data = await self._read(request)
        if not data and self._endpoint.may_lack_body:
            data = b"{}"
        elif found != JSON or self._decoder is None:
            raise Refusal(415, "not-json", f"The body is {found or 'of no stated type'}; send JSON, with 'Content-Type: {JSON}'.")
        assert self._decoder is not None
        try:
            return self._decoder.decode(data)
        except msgspec.ValidationError as error:
            raise Refusal(422, "invalid-body", f"The body does not fit: {error}.") from error
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Refusal(400, "malformed-body", f"The body is no JSON: {error}.") from error

    async def _read(self, request: Request) -> bytes:
        """Read no more than is allowed, whatever the headers say."""
        data = bytearray()
        async for chunk in request.stream():
            data += chunk
            if len(data) > self._bytes_max:
                raise Refusal(
                    413, "body-too-large", f"The body is larger than {self._bytes_max} bytes. Store it elsewhere and pass a reference."
                )
        return bytes(data)


def _segment(name: str, value: str) -> str:
    try:
        text = unquote(value, errors="strict")
    except UnicodeDecodeError:
        raise Refusal(400, "malformed-path", f"The {name} in the path is no UTF-8.") from None
    if "\0" in text:
        raise Refusal(400, "malformed-path", f"The {name} in the path has a zero byte.")
    return text


def _problem(problem: Problem, headers: Mapping[str, str]) -> Response:
    return Response(msgspec.json.encode(problem), problem.status, dict(headers), MEDIA_TYPE)


async def _on_http_exception(request: Request, error: Exception) -> Response:
    """What the router says: no such path, or not with this method."""
    assert isinstance(error, HTTPException)
    name = "no-such-path" if error.status_code == 404 else "no-such-method"
    detail = f"There is no {request.method} {request.url.path} here; /openapi.json lists what there is."
    title = TITLES.get(error.status_code, "Refused")
    return _problem(Problem(type=f"urn:perdure:{name}", title=title, status=error.status_code, detail=detail), error.headers or {})
