"""W1 on a database in which many finished runs lie: what a step costs must not grow with their number."""

from perdure.bench.bench import Bench
from perdure.bench.result import Result
from perdure.bench.workflows import chain
from perdure.bench.workloads.chains import IN_FLIGHT, chains_in_flight

STORED = (1_000, 100_000)
STORED_FULL = (*STORED, 1_000_000)


async def stored(bench: Bench) -> list[Result]:
    """W1 after a thousand, a hundred thousand and, at full size, a million finished runs."""
    from perdure.bench.postgres.filling import fill, stored_bytes

    async with bench.engine() as engine:
        sample = await engine.start(chain, 1)
        await sample.result()
    results, present = list[Result](), 0
    for nominal in STORED_FULL if bench.is_full else STORED:
        wanted = bench.sized(nominal)
        await fill(bench.server, bench.schema, sample.id, present + 1, wanted)
        present = wanted
        size_mb = round(await stored_bytes(bench.server, bench.schema) / 1e6, 1)
        results.append(await chains_in_flight(bench, IN_FLIGHT[0], name=f"stored_{nominal}", stored=wanted, stored_mb=size_mb))
    return results
