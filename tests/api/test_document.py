"""docs/reference/http.md: each line that it shows is run, in its order."""

import asyncio
import os
import re
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import pytest

from perdure import Engine
from perdure.api.opening import api, endpoints_of
from perdure.client.named import NamedWorkflow
from perdure.ports.transport import Packet, calls_address
from perdure.stores.memory import MemoryStore
from perdure.wire.encoding import encode
from tests.api.flows import registry
from tests.api.house import around, open_key
from tests.api.test_workers import call_for

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "http.md"
CURL = "curl --silent --show-error --fail-with-body --noproxy '*' --max-time 30"


def lines() -> list[str]:
    blocks = re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line.startswith("curl ")]


class Terminal:
    """Runs lines with what the lines before have shown."""

    def __init__(self, engine: Engine, store: MemoryStore, url: str) -> None:
        self.engine, self.store, self.known = engine, store, {"API": url}

    async def run(self, line: str) -> None:
        if "/calls/take" in line:
            await self.engine.start(NamedWorkflow(name="sleeper", id="a run"))
            await self.store.put_packets([(calls_address("default", "crop", 1), Packet("p", encode(call_for("a run"))))], 0)
        if "$KEY" in line:
            self.known["KEY"] = quote(await open_key(self.engine, "parcel"), safe="")
        environment = {**os.environ, **self.known}
        process = await asyncio.create_subprocess_exec(
            "bash", "-c", line.replace("curl", CURL, 1), env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        out, err = await process.communicate()
        assert process.returncode == 0, (line, out, err)
        if "/calls/take" in line:
            call: dict[str, Any] = msgspec.json.decode(out)["calls"][0]
            self.known |= {"ID": quote(call["id"], safe=""), "PLAIN_ID": call["id"], "TOKEN_OF_CALL": call["token"]}


async def test_each_line_of_the_page_does_what_it_shows() -> None:
    if shutil.which("bash") is None or shutil.which("curl") is None:
        why = "bash and curl are needed"
        pytest.fail(why) if os.environ.get("CI") else pytest.skip(why)
    store = MemoryStore()
    async with Engine(store, registry=registry) as engine, api(engine, "127.0.0.1", 0, around=around(engine)) as url:
        terminal = Terminal(engine, store, url)
        for line in lines():
            await terminal.run(line)
        assert await engine.get("order 7").result() == 42
        assert await engine.get("parcel").result() == 420
        assert len(lines()) > 15


async def test_every_endpoint_is_on_the_page_or_in_the_document_that_it_names() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert "/openapi.json" in text
    async with Engine(MemoryStore(), registry=registry) as engine:
        for endpoint in endpoints_of(around(engine)):
            verb = endpoint.path.rpartition("/")[2]
            assert verb.startswith("{") or f"/{verb}" in text, endpoint.path
