"""Retry policies, and the idempotency key that makes a repeated attempt harmless.

The key is the same for every attempt of a call, over crashes and replays; a service that remembers keys charges once.
"""

import asyncio

import perdure
from perdure import Engine, GiveUp, Retry, RetryAfter, action, workflow


class CardRefused(Exception): ...


charges: dict[str, int] = {}


def bank(key: str, amount: int) -> None:
    """Stand for a service elsewhere: it charges once for each key, and sometimes its answers get lost."""
    if amount > 1000:
        raise CardRefused(f"{amount} is too much")
    charges.setdefault(key, amount)
    if perdure.attempt().number < 3:
        raise ConnectionError("the line went dead")


@action(retry=Retry(attempts=5, first="10ms", factor=2, cap="1s", jitter=0.2, never=[CardRefused]), timeout="5s")
async def charge(amount: int) -> str:
    bank(perdure.attempt().key, amount)
    return f"charged {amount} at attempt {perdure.attempt().number}"


@action(retry=Retry(delays=["10ms", "20ms"], attempts=3))
async def send_receipt() -> str:
    if perdure.attempt().number == 1:
        raise RetryAfter("5ms", "the mail server is busy")
    raise GiveUp("there is no such address")


@workflow
async def checkout(amount: int) -> str:
    receipt = asyncio.create_task(send_receipt())
    charged = await charge(amount)
    try:
        return f"{charged}, {await receipt}"
    except GiveUp as error:
        return f"{charged}, no receipt: {error}"


async def main() -> None:
    async with Engine("memory://") as engine:
        print(await engine.run(checkout, 70))
        print(f"the bank charged {len(charges)} time")
        try:
            await engine.run(checkout, 5000)
        except CardRefused as error:
            print(f"refused at once: {error}")


asyncio.run(main())
