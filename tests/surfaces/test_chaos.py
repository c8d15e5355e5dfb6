"""``perdure serve --chaos``: services that fail and die by chance are started again, and lose nothing (M33)."""

import asyncio

import pytest

from perdure import Engine, connect
from perdure.cli.exits import Exit
from perdure.model.errors import Unavailable
from perdure.stores.chaos import SUICIDE_CODE
from tests.surfaces.processes import Service, Shell

pytestmark = pytest.mark.covers("M33")

RUNS, RUNS_MAX, WAVE = 40, 400, 5
PATIENCE_S = 45
DEATHS_MIN = 3


def test_wrong_chances_are_refused(shell: Shell) -> None:
    said = shell.run("serve", "shop.py", "--chaos", "storage=2")
    assert said.code == 2
    assert "storage=0.05,suicide=0.01" in said.err


def test_services_under_chaos_finish_every_start_that_was_acknowledged(shell: Shell) -> None:
    crew = Crew(shell)
    acknowledged = asyncio.run(asyncio.wait_for(soak(f"sqlite:///{shell.folder}/perdure.db", crew), PATIENCE_S))
    assert len(acknowledged) >= RUNS
    assert crew.deaths >= DEATHS_MIN
    assert "nothing found" in shell.ok("audit")


async def soak(url: str, crew: "Crew") -> list[str]:
    """Start runs until services have died often enough, and see each of them finish with the right result."""
    async with connect(url) as client:
        keeping = asyncio.create_task(crew.keep())
        try:
            ids: list[str] = []
            results: list[int] = []
            while len(ids) < RUNS or (crew.deaths < DEATHS_MIN and len(ids) < RUNS_MAX):
                wave = [await start(client, number) for number in range(len(ids), len(ids) + WAVE)]
                results += await asyncio.gather(*(client.get(id).result() for id in wave))
                ids += wave
        finally:
            await crew.end(keeping)
        assert results == [number * 2**5 for number in range(len(ids))]
    return ids


async def start(client: Engine, number: int) -> str:
    while True:
        try:
            return (await client.start("doubled", number, 5)).id
        except Unavailable:
            continue


class Crew:
    """Two services on one file, of which one stands by; whichever dies is started again. ``deaths``: those that chance wanted."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self._lives = 0
        self._live: list[Service] = []
        self._is_over = False
        self.deaths = 0

    async def keep(self) -> None:
        await asyncio.gather(*(self._keep_one() for _ in range(2)))

    async def end(self, keeping: "asyncio.Task[None]") -> None:
        self._is_over = True
        for service in self._live:
            service.process.kill()
        await keeping

    async def _keep_one(self) -> None:
        while not self._is_over:
            self._live.append(service := self._begin())
            code = await asyncio.to_thread(service.process.wait)
            self._live.remove(service)
            # A node that cannot open its store, by chance, ends in good order.
            assert self._is_over or code in {SUICIDE_CODE, Exit.UNAVAILABLE}
            self.deaths += code == SUICIDE_CODE

    def _begin(self) -> Service:
        self._lives += 1
        # A seed for each life: with one for all, each would die at the same number of commits.
        chaos = f"storage=0.05,suicide=0.08,slow=0.1,seed={self._lives}"
        return self._shell.serve("shop.py", "--chaos", chaos)
