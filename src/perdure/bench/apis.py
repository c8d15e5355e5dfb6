"""The HTTP API in a process of its own, as `perdure api` opens it."""

import asyncio
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from perdure.bench.bench import Bench

_OPEN_MAX_S: Final = 30.0
_URL: Final = re.compile(rb"http://[0-9.]+:[0-9]+")


@asynccontextmanager
async def serving(bench: Bench) -> AsyncIterator[str]:
    """The API of the bench's store answers until the end; gives its URL."""
    command = (sys.executable, "-m", "perdure", "api", "--store", bench.url, "--listen", "127.0.0.1:0")
    process = await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE)
    assert process.stderr is not None
    reading: asyncio.Task[bytes] | None = None
    try:
        async with asyncio.timeout(_OPEN_MAX_S):
            url = await _url(process.stderr)
        # Whatever else it says must not fill the pipe.
        reading = asyncio.create_task(process.stderr.read())
        yield url
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
        if reading is not None:
            await reading


async def _url(lines: asyncio.StreamReader) -> str:
    said = b""
    while line := await lines.readline():
        if (found := _URL.search(line)) is not None:
            return found[0].decode()
        said += line
    raise RuntimeError(f"perdure api has ended: {said.decode(errors='replace')}")
