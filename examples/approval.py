"""A payment waits for a person, for a week if need be, and holds neither a thread nor memory meanwhile.

The wait is ``asyncio.timeout`` around ``signal.receive``; both are durable. A signal that comes early is kept.
"""

import asyncio
from dataclasses import dataclass

from perdure import Engine, action, signal, workflow

WEEK_S = 7 * 24 * 3600.0


@dataclass
class Decision:
    ok: bool
    by: str


decision = signal("decision", Decision)


@action
async def pay(amount: int) -> str:
    return f"paid {amount}"


@workflow
async def payment(amount: int, patience_s: float = WEEK_S) -> str:
    try:
        async with asyncio.timeout(patience_s):
            answer = await decision.receive()
    except TimeoutError:
        return "nobody decided in time"
    return f"{await pay(amount)}, approved by {answer.by}" if answer.ok else f"refused by {answer.by}"


async def main() -> None:
    async with Engine("memory://") as engine:
        approved = await engine.start(payment, 300)
        await approved.send(decision, Decision(ok=True, by="Ann"))
        refused = await engine.start(payment, 9000)
        await refused.send(decision, Decision(ok=False, by="Bob"))
        overdue = await engine.start(payment, 5, patience_s=0.05)
        for run in (approved, refused, overdue):
            print(await run.result())


asyncio.run(main())
