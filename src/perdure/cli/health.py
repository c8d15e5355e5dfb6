"""``perdure health``: the nodes of a store, as the store knows them."""

from typing import Annotated, Any

from cyclopts import Parameter

from perdure import Engine
from perdure.cli.connection import Place, ask
from perdure.cli.exits import Exit
from perdure.cli.transport import Carriage, ask_transport
from perdure.cli.values import as_json
from perdure.cli.wording import plural
from perdure.control import DeadLetters
from perdure.model.duration import instant
from perdure.ports.system import SystemClock
from perdure.ports.transport import DEAD

_PLACE = Place()


def health(
    *,
    connect: Annotated[str | None, Parameter(help="URL of a broker whose dead letters are counted besides.")] = None,
    json: Annotated[bool, Parameter(negative="", show_default=False, help="Print JSON.")] = False,
    place: Place = _PLACE,
) -> Exit:
    """Tell which nodes a store has: names, epochs, partitions, leases; and how many dead letters there are.

    Exit code 0 if a node is live, 5 if none is or the store does not answer. How a node itself is, serve --health-port tells.
    """
    nodes, free, letters = ask(place, _look)
    if connect is not None:
        letters += ask_transport(Carriage(connect=connect), lambda transport: DeadLetters(transport).count())
    if json:
        print(as_json({"nodes": nodes, "partitions_free": free, "dead_letters": letters}, indent=2))
    else:
        for node in nodes:
            state = "live" if node["is_live"] else "its lease has ended"
            print(f"{node['name']}: {state}, epoch {node['epoch']}, {plural(node['partitions'], 'partition')}")
        print(f"{plural(free, 'partition')} held by no live node." if free or not nodes else "Every partition is held by a live node.")
        if letters:
            print(f"{plural(letters, 'dead letter')}: see perdure dead list")
    return Exit.OK if any(node["is_live"] for node in nodes) else Exit.UNAVAILABLE


async def _look(engine: Engine) -> tuple[list[dict[str, Any]], int, int]:
    survey = await engine.store.survey()
    now_us = SystemClock().now_us() if survey.now_us is None else survey.now_us
    nodes = [
        {
            "name": seat.name,
            "epoch": seat.epoch,
            "is_live": seat.until_us >= now_us,
            "until": instant(seat.until_us),
            "partitions": survey.holders.count(seat.epoch),
        }
        for seat in survey.nodes
    ]
    live = {node["epoch"] for node in nodes if node["is_live"]}
    free = sum(holder not in live for holder in survey.holders)
    return nodes, free, await engine.store.count_packets(DEAD, SystemClock().now_us())
