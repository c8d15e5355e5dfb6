"""The API beside whatever else a command does."""

import contextlib
from collections.abc import AsyncIterator

from perdure import Engine
from perdure.cli.exits import CommandEnds, Exit


@contextlib.asynccontextmanager
async def opened_api(engine: Engine, address: str | None) -> AsyncIterator[None]:
    """The API answers at ``HOST:PORT``, if one is given. Ends the command without the extra ``api``. Raises `InvalidOption`."""
    if address is None:
        yield
        return
    try:
        from perdure.api.opening import api
        from perdure.api.server import address_of
    except ModuleNotFoundError as error:
        if error.name not in ("starlette", "uvicorn"):
            raise
        raise CommandEnds(Exit.USAGE, "perdure: the API needs an extra, which is not installed: pip install 'perdure[api]'") from error
    host, port = address_of(address)
    async with api(engine, host, port):
        yield
