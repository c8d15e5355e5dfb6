"""Microservice orchestration: an order asks four services, two of them at the same time, each with the patience that suits it.

The services know nothing of each other.
"""

import asyncio
from dataclasses import dataclass

from perdure import ActionTimedOut, Engine, Retry, action, workflow

STEADY = Retry(attempts=10, first="20ms", cap="10s", jitter=0.2)


@dataclass
class Order:
    item: str
    amount: int
    country: str


@action(retry=STEADY, timeout="2s")
async def reserve(order: Order) -> str:
    return f"{order.amount} × {order.item} reserved"


@action(retry=STEADY, timeout="2s")
async def assess_risk(order: Order) -> float:
    return 0.9 if order.amount > 100 else 0.1


@action(timeout="50ms")
async def quote_shipping(order: Order) -> int:
    await asyncio.sleep(3600 if order.country == "Atlantis" else 0)
    return 12


@action(retry=STEADY)
async def charge(amount: int) -> str:
    return f"charged {amount}"


@workflow
async def fulfil(order: Order) -> str:
    reserved, risk = await asyncio.gather(reserve(order), assess_risk(order))
    if risk > 0.5:
        return f"{reserved}, then looked at by a person"
    try:
        shipping = await quote_shipping(order)
    except ActionTimedOut:
        shipping = 99  # The flat rate.
    return f"{reserved}, {await charge(order.amount * 4 + shipping)}"


async def main() -> None:
    async with Engine("memory://") as engine:
        for order in (Order("tea", 2, "Peru"), Order("cup", 1, "Atlantis"), Order("tea", 500, "Peru")):
            print(await engine.run(fulfil, order))


asyncio.run(main())
