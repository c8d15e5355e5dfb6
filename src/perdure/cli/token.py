"""``perdure token``: API tokens are made, listed and revoked."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypeVar

from cyclopts import Parameter

from perdure import Engine
from perdure.cli.connection import Place, run_loop
from perdure.cli.values import as_json
from perdure.control.tokens import Token, Tokens
from perdure.model.duration import instant
from perdure.ports.system import SystemClock

T = TypeVar("T")

_PLACE = Place()


def create(
    name: str,
    /,
    *,
    scopes: Annotated[str, Parameter(help="What it allows, with commas between: runs:read, runs:write, calls, people, admin.")],
    expires: Annotated[str | None, Parameter(help="How long it is valid, such as 30d. Default: until it is revoked.")] = None,
    place: Place = _PLACE,
) -> None:
    """Make an API token and print it, for the only time: the store has its hash alone. From then on the API answers with a token only."""
    wanted = [scope.strip() for scope in scopes.split(",") if scope.strip()]
    print(_with(place, lambda tokens: tokens.create(name, wanted, expires=expires)))


def list_all(
    *, json: Annotated[bool, Parameter(negative="", show_default=False, help="Print JSON.")] = False, place: Place = _PLACE
) -> None:
    """List the API tokens, those that expired or were revoked too; their secrets are nowhere."""
    now_us = SystemClock().now_us()
    found = _with(place, lambda tokens: tokens.list())
    if json:
        print(as_json([_row(token, now_us) for token in found]))
        return
    for token in found:
        until = "" if token.expires_us is None else f"  until {instant(token.expires_us):%Y-%m-%d %H:%M} UTC"
        print(f"{token.name}  {','.join(token.scopes)}  {_state(token, now_us)}{until}")


def _state(token: Token, now_us: int) -> str:
    return "valid" if token.is_live(now_us) else "expired" if token.revoked_us is None else "revoked"


def _row(token: Token, now_us: int) -> dict[str, Any]:
    expires = None if token.expires_us is None else instant(token.expires_us)
    told = {"name": token.name, "scopes": token.scopes, "created": instant(token.created_us), "expires": expires}
    return {**told, "state": _state(token, now_us)}


def revoke(name: str, /, *, place: Place = _PLACE) -> None:
    """Revoke an API token; servers take note of it within seconds."""
    _with(place, lambda tokens: tokens.revoke(name))


def _with(place: Place, work: Callable[[Tokens], Awaitable[T]]) -> T:
    async def run() -> T:
        async with Engine(place.url, namespace=place.namespace, is_client=True) as engine:
            return await work(Tokens(engine.store, SystemClock(), engine.store.name))

    return run_loop(run)
