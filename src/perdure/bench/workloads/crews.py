"""W1 on one, two and four nodes, each a process, with a client in another: what a step costs must not grow with their number."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import msgspec

from perdure.bench.bench import Bench, commits_of, until_none_is_open
from perdure.bench.gauge import Gauge, memory_mb
from perdure.bench.metering import metered, settle
from perdure.bench.result import Result
from perdure.bench.workflows import chain

NODES = (1, 2, 4)
RUNS, STEPS = 1_000, 10
BALANCE_MAX_S = 60.0
ANSWER_MAX_S = 60.0
BEGIN, END = b"begin\n", b"end\n"


class Price(msgspec.Struct, frozen=True):
    """What a node has used between ``begin`` and ``end``."""

    cpu_s: float
    commits: int
    round_trips: int
    rss_mb: float


async def node(bench: Bench) -> list[Result]:
    """Be a node until standard input ends; between the lines ``begin`` and ``end`` count, and print what was used."""
    from perdure.bench.postgres.meter import counted

    lines = await lines_of_input()
    with counted() as trips:
        async with bench.engine() as engine:
            say(b"ready")
            gauge, commits, before = Gauge(), 0, 0
            while line := await lines.readline():
                if line == BEGIN:
                    commits, before = commits_of(engine), trips.count
                    gauge.__enter__()
                    say(b"begun")
                elif line == END:
                    gauge.__exit__()
                    say(msgspec.json.encode(Price(gauge.cpu_s, commits_of(engine) - commits, trips.count - before, memory_mb())))
    return []


async def lines_of_input() -> asyncio.StreamReader:
    """Give standard input, which ends with whoever started this process."""
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    return lines


def say(line: bytes) -> None:
    """The line is on standard output."""
    sys.stdout.buffer.write(line + b"\n")
    sys.stdout.buffer.flush()


class Member:
    """A node in a process of its own. It ends with its standard input, so also with this process, however that ends."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def ask(self, line: bytes) -> bytes:
        assert self._process.stdin is not None
        self._process.stdin.write(line)
        return await self.answer()

    async def answer(self) -> bytes:
        """Give the next line that it says; raises `RuntimeError` if it has ended."""
        assert self._process.stdout is not None
        async with asyncio.timeout(ANSWER_MAX_S):
            line = await self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"a node's process ended with {await self._process.wait()}")
        return line


@asynccontextmanager
async def member(bench: Bench, loop: str, role: str = "node", *, connect: str = "") -> AsyncIterator[Member]:
    """Give a process that is ready. ``role``: its workload; ``connect``: the URL that it is given."""
    where = ["--store", bench.store, "--folder", str(bench.folder), "--server", bench.server, "--schema", bench.schema, "--loop", loop]
    where += ["--connect", connect]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "perdure.bench.child",
        role,
        *where,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        found = Member(process)
        await found.answer()
        yield found
        assert process.stdin is not None
        process.stdin.close()
        async with asyncio.timeout(ANSWER_MAX_S):
            await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def crews(bench: Bench) -> list[Result]:
    """W1 with more and more nodes: a thousand runs for each of them, then a thousand in all.

    What is ready at once shares a commit, so the price of a step is that of a node with so many runs, and more where they are spread thin.
    """
    results: list[Result] = []
    async with AsyncExitStack() as stack:
        members: list[Member] = []
        for count in NODES:
            while len(members) < count:
                members.append(await stack.enter_async_context(member(bench, bench.settings["loop"])))
            results.append(await _chains(bench, members, f"nodes_{count}", runs=bench.sized(RUNS) * count))
            if count > 1:
                results.append(await _chains(bench, members, f"nodes_{count}_sharing", runs=bench.sized(RUNS)))
    return results


async def _chains(bench: Bench, members: list[Member], name: str, *, runs: int) -> Result:
    total = runs * STEPS
    async with metered(bench, is_client=True) as (client, meter):
        await settle(client)
        await _balanced(bench, len(members))
        await settle(client)
        await meter.begin()
        await asyncio.gather(*(found.ask(BEGIN) for found in members))
        with bench.gauge() as gauge:
            await asyncio.gather(*(client.start(chain, STEPS) for _ in range(runs)))
            await until_none_is_open(client)
        answers = await asyncio.gather(*(found.ask(END) for found in members))
        await meter.end()
    prices = [msgspec.json.decode(answer, type=Price) for answer in answers]
    use = meter.use(total)
    more = {
        "nodes": len(members),
        "runs": runs,
        "node_us_per_step": round(sum(price.cpu_s for price in prices) / total * 1e6, 1),
        "node_commits_per_step": round(sum(price.commits for price in prices) / total, 4),
        # Both counted here: those of the nodes, and those of the client that starts the runs and looks whether they have ended.
        "node_round_trips_per_step": round(sum(price.round_trips for price in prices) / total, 4),
        "client_round_trips_per_step": use.pop("round_trips_per_step"),
        "nodes_that_worked": sum(price.commits > 0 for price in prices),
        "rss_mb": max(price.rss_mb for price in prices),
    }
    return bench.result(name, total / gauge.wall_s, "steps/s", **more, **gauge.use(total), **use)


async def _balanced(bench: Bench, count: int) -> None:
    """Each node has its share of the partitions."""
    from perdure.bench.postgres.meter import until
    from perdure.bench.postgres.server import shares

    async def is_even() -> bool:
        found = await shares(bench.server, bench.schema)
        return len(found) == count and max(found) - min(found) <= 1

    await until(is_even, BALANCE_MAX_S, pause_s=0.2)
