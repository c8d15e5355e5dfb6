"""What the registry keeps: the actions that were ever seen, and the services behind them. Each is a record, as JSON.

An action record says where an action was seen, never that somebody performs it now: a call of an action that was seen is accepted while its
service is down, a call of one that never was is refused by its name.
"""

from enum import StrEnum
from typing import Final

from msgspec import UNSET, Raw, Struct, UnsetType

ACTION_RECORDS: Final = "action"
"""The kind of record of actions."""
SERVICE_RECORDS: Final = "service"
"""The kind of record of services."""


class Source(StrEnum):
    """How an action came to be known: its worker's heartbeat, the reflection of a gRPC service, or somebody's hand."""

    HEARTBEAT = "heartbeat"
    GRPC = "grpc-reflection"
    STATIC = "static"


class ActionRecord(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """An action that was seen. The schemas are JSON Schema: of an object with one member for each argument, and of the result.

    ``limit``: as `perdure.wire.messages.Limit`. ``service``: the outside service that bears the cost; for gRPC the name under which it was
    registered. ``address``: where it is called (``grpc://HOST:PORT``), empty for workers. ``kind``: of a gRPC method ``unary``,
    ``server_stream``, ``client_stream`` or ``bidi``. Instants are microseconds of Unix time.
    """

    name: str
    version: int = 1
    queue: str = "default"
    source: Source = Source.HEARTBEAT
    description: str = ""
    input_schema: Raw | UnsetType = UNSET
    output_schema: Raw | UnsetType = UNSET
    limit: Raw | UnsetType = UNSET
    cost: float | None = None
    service: str = ""
    address: str = ""
    kind: str = ""
    first_seen_us: int = 0
    last_seen_us: int = 0
    last_worker: str = ""
    last_host: str = ""

    @property
    def key(self) -> str:
        """The key of its record."""
        return action_key(self.name, self.version, self.queue)


def action_key(name: str, version: int, queue: str) -> str:
    """Give the key of an action's record. A name may hold slashes (``users.v1.Users/List``): read a key from its end."""
    return f"{name}/{version}/{queue}"


class ServiceRecord(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A gRPC service whose methods are actions; its record's key is ``name``. ``descriptors``: the serialized ``FileDescriptorSet``, by
    which a node calls it without asking it again. ``options``: of the channel, as `perdure.transports.grpc` reads them: references to
    secrets, never secrets.
    """

    name: str
    address: str
    descriptors: bytes
    methods: list[str]
    options: Raw | UnsetType = UNSET
    first_seen_us: int = 0
    last_seen_us: int = 0


WORKER_RECORDS: Final = "worker"
"""The kind of record of what workers announced, by worker."""
BEAT_RECORDS: Final = "beat"
"""The kind of record of the last word of each worker."""
STALE_AFTER: Final = 3
"""A worker is stale when it was not heard of for so many of its intervals."""


class WorkerRecord(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What a worker announced. ``transport``: where calls reach it, as a scheme (``store``, ``amqp``, ``nats``, ``http``). ``actions``: the
    keys of their action records, with a hash of the schemas that this worker has for it. ``push_url``: calls are sent to it there.
    """

    worker: str
    transport: str
    host: str = ""
    pid: int = 0
    language: str = ""
    started_us: int = 0
    interval_us: int
    slots: int = 1
    actions: dict[str, str] = {}
    push_url: str = ""


class BeatRecord(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The last word of a worker. ``attempts``: those that it has under way. ``details``: what they reported last: plain JSON,
    or ``[codec, base64]``. ``has_left``: it ended as it was told to.
    """

    worker: str
    at_us: int
    interval_us: int
    attempts: list[str] = []
    details: dict[str, Raw] = {}
    has_left: bool = False

    def is_alive(self, now_us: int) -> bool:
        """Tell whether the worker was heard of lately."""
        return not self.has_left and now_us - self.at_us <= STALE_AFTER * self.interval_us
