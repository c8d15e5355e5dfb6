"""Tells the nodes which worker this is, and which actions it performs."""

import os
import socket
from collections.abc import Iterable

from msgspec import Raw, Struct, structs

from perdure.deciders.code.signature import Signature
from perdure.model.call import ActionSpec, Limit
from perdure.wire import messages as wire
from perdure.wire.schema import input_schema, output_schema

LANGUAGE = "python"
DEFAULT_QUEUE = "default"


class Presence(Struct, frozen=True, kw_only=True):
    """What a worker says of itself. ``worker``: unique for each start."""

    worker: str
    started_ms: int
    interval_ms: int
    slots: int


def announcement(presence: Presence, specs: Iterable[ActionSpec]) -> wire.Announce:
    """Give the message that announces these actions."""
    return wire.Announce(
        v=wire.VERSION,
        worker=presence.worker,
        host=socket.gethostname(),
        pid=os.getpid(),
        language=LANGUAGE,
        started_ms=presence.started_ms,
        interval_ms=presence.interval_ms,
        slots=presence.slots,
        actions=[announced(spec) for spec in specs],
    )


def announced(spec: ActionSpec) -> wire.AnnouncedAction:
    """Give what others know of an action."""
    told = wire.AnnouncedAction(
        name=spec.name,
        version=spec.version,
        queue=spec.queue or DEFAULT_QUEUE,
        description=spec.description,
        limit=None if spec.limit is None else _limit(spec.limit),
        cost=spec.cost,
        service=spec.service,
    )
    signature = spec.signature
    if not isinstance(signature, Signature):
        return told
    return structs.replace(told, input_schema=Raw(input_schema(signature.parameters)), output_schema=Raw(output_schema(signature.returns)))


def _limit(limit: Limit) -> wire.Limit:
    return wire.Limit(
        concurrency=limit.concurrency,
        rate=limit.rate,
        burst=limit.burst,
        key=limit.key if isinstance(limit.key, str) else None,
        key_concurrency=limit.key_concurrency,
    )
