"""A distributed transaction: flight, hotel and car are booked at three companies, or not at all.

Compensation is ordinary Python: an ``AsyncExitStack`` remembers how to undo each step, and undoes them in reverse order on the way out.
Undoing is itself durable: a crash in the middle of it does not leave a flight booked.
"""

import asyncio
from contextlib import AsyncExitStack

from perdure import Engine, GiveUp, Retry, action, workflow


@action(retry=Retry(attempts=3, first="10ms"))
async def book(what: str, trip: str) -> str:
    if what == "car" and trip == "Oslo":
        raise GiveUp("no cars left in Oslo")
    print(f"booked a {what} for {trip}")
    return f"{what}-{trip}"


@action(retry=Retry(first="1s", cap="1h"))  # No limit of attempts: what was booked must be cancelled.
async def cancel(booking: str) -> None:
    print(f"cancelled {booking}")


@workflow
async def travel(trip: str) -> list[str]:
    bookings: list[str] = []
    async with AsyncExitStack() as undo:
        for what in ("flight", "hotel", "car"):
            booking = await book(what, trip)
            undo.push_async_callback(cancel, booking)
            bookings.append(booking)
        undo.pop_all()  # All three are booked: there is nothing to undo.
    return bookings


async def main() -> None:
    async with Engine("memory://") as engine:
        print(await engine.run(travel, "Rome"))
        try:
            await engine.run(travel, "Oslo")
        except GiveUp as error:
            print(f"no trip: {error}")


if __name__ == "__main__":  # compose.yaml serves this file too.
    asyncio.run(main())
