"""A question on virtual time, and the people who are asked."""

from typing import Any

from perdure import actions, workflow
from perdure.client.tickets import Tickets
from perdure.model.ticket import Ticket
from perdure.testing import Environment

YES = {"approved": True}


def asking(**options: Any) -> Any:
    """Declare a workflow that asks, and ends with the answer."""
    told: dict[str, Any] = {"title": "Pay {{ amount }}?", "assignees": ["ann"], **options}

    @workflow(name="asking")
    async def run(items: list[dict[str, Any]]) -> Any:
        return await actions.approve(**told)(items)

    return run


def desk(env: Environment) -> Tickets:
    """Give the tickets of the engine of now."""
    return Tickets(env.engine, env.clock)


async def asked(env: Environment, *, run: str = "r", **options: Any) -> Ticket:
    """Give the ticket of a new run."""
    await env.start(asking(**options).options(id=run), [{"amount": 3}])
    (ticket,) = (await desk(env).list()).tickets
    return ticket


async def result(env: Environment, run: str = "r") -> Any:
    """Give the result of the run."""
    await env.settle()
    return await env.get(run).result()
