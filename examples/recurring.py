"""A job that comes round for ever, in a journal that does not grow: every hundred rounds the run continues as new.

``continue_as_new`` ends this incarnation and begins the next with new arguments; the id and signals not yet read stay.
"""

import asyncio

import perdure
from perdure import Engine, action, workflow

ROUNDS_PER_JOURNAL = 100


@action
async def sync(number: int) -> int:
    return number * number


@workflow
async def nightly(pause_s: float, until: int, number: int = 0, total: int = 0) -> dict[str, int]:
    for _ in range(ROUNDS_PER_JOURNAL):
        if number == until:
            return {"rounds": number, "total": total, "rows": perdure.info().journal_rows}
        number += 1
        total += await sync(number)
        await asyncio.sleep(pause_s)  # A day, in earnest.
    return perdure.continue_as_new(pause_s, until, number, total)


async def main() -> None:
    async with Engine("memory://") as engine:
        result = await engine.run(nightly, 0.0001, 1000)
        print(f"{result['rounds']} rounds, total {result['total']}")
        print(f"the journal of the last incarnation is small: {result['rows'] < 5 * ROUNDS_PER_JOURNAL}")


asyncio.run(main())
