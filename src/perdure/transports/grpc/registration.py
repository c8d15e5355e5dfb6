"""Writes what a service offers into the registry: a record for each method, and one with which it can be called while it is away.

A method once seen stays known, also when its service no longer lists it or does not answer: whoever uses it is told so by its calls.
"""

from collections.abc import Mapping

from msgspec import Raw, Struct, json
from msgspec.structs import replace

from perdure.model.errors import ActionConflict, ServiceUnavailable
from perdure.model.registry import ACTION_RECORDS, SERVICE_RECORDS, ActionRecord, ServiceRecord, Source, action_key
from perdure.ports.records import ABSENT, Record, RecordChange, Records
from perdure.transports.grpc.addresses import GrpcOptions, address_of
from perdure.transports.grpc.descriptions import Description, MethodDescription

_ROUNDS_MAX = 10
_VERSION, _QUEUE = 1, "default"


class Registration(Struct, frozen=True, kw_only=True):
    """What is to be registered. ``name``: of the service; the address if empty. ``has_precedence``: actions are taken
    from other services.
    """

    address: str
    description: Description
    name: str = ""
    options: GrpcOptions = GrpcOptions()
    has_precedence: bool = False

    @property
    def service(self) -> str:
        """Its name."""
        return self.name or address_of(self.address).target


class Registered(Struct, frozen=True, kw_only=True):
    """What was registered. ``new``: methods that were not known before. ``gone``: those that the service had before and has no more."""

    service: str
    methods: list[MethodDescription]
    new: list[str]
    gone: list[str]


async def register(records: Records, given: Registration, *, now_us: int) -> Registered:
    """The service and all its methods are in the registry. Safe to call again, also for another address or newer descriptors.

    Raises `ActionConflict` if an action is another service's, and then nothing is written.
    """
    for _ in range(_ROUNDS_MAX):
        keys = {method.name: action_key(method.name, _VERSION, _QUEUE) for method in given.description.methods()}
        actions = await records.read(ACTION_RECORDS, keys.values())
        services = await records.read(SERVICE_RECORDS, [given.service])
        if not given.has_precedence:
            _check_free(actions, given.service)
        before = services.get(given.service)
        changes = [_action_change(method, given, actions, now_us=now_us) for method in given.description.methods()]
        changes.append(_service_change(given, before, now_us=now_us))
        if not await records.write(changes):
            had = set() if before is None else {*json.decode(before.value, type=ServiceRecord).methods}
            return Registered(
                service=given.service,
                methods=given.description.methods(),
                new=[name for name, key in keys.items() if key not in actions],
                gone=sorted(had - keys.keys()),
            )
    raise ServiceUnavailable(address=given.address, problem="others kept writing its records; nothing was registered")


async def registered_services(records: Records) -> list[ServiceRecord]:
    """Give every service that was ever registered, by name."""
    found: list[ServiceRecord] = []
    after = ""
    while batch := await records.scan(SERVICE_RECORDS, after=after):
        found += [json.decode(record.value, type=ServiceRecord) for record in batch]
        after = batch[-1].key
    return found


def _check_free(actions: Mapping[str, Record], service: str) -> None:
    for record in actions.values():
        action = json.decode(record.value, type=ActionRecord)
        if action.service != service or action.source is not Source.GRPC:
            address = action.address or f"worker {action.last_worker}"
            raise ActionConflict(name=action.name, service=action.service or action.source.value, address=address)


def _action_change(method: MethodDescription, given: Registration, actions: Mapping[str, Record], *, now_us: int) -> RecordChange:
    action = ActionRecord(
        name=method.name,
        version=_VERSION,
        queue=_QUEUE,
        source=Source.GRPC,
        description=method.description,
        input_schema=method.input_schema,
        output_schema=method.output_schema,
        service=given.service,
        address=address_of(given.address).url,
        kind=method.kind.value,
        first_seen_us=now_us,
        last_seen_us=now_us,
        last_host=address_of(given.address).target,
    )
    before = actions.get(action.key)
    if before is not None:
        known = json.decode(before.value, type=ActionRecord)
        action = replace(action, first_seen_us=known.first_seen_us, cost=known.cost, limit=known.limit)
    return RecordChange(ACTION_RECORDS, action.key, json.encode(action), ABSENT if before is None else before.version)


def _service_change(given: Registration, before: Record | None, *, now_us: int) -> RecordChange:
    first_us = now_us if before is None else json.decode(before.value, type=ServiceRecord).first_seen_us
    service = ServiceRecord(
        name=given.service,
        address=address_of(given.address).url,
        descriptors=given.description.descriptors,
        methods=[method.name for method in given.description.methods()],
        options=Raw(json.encode(given.options)),
        first_seen_us=first_us,
        last_seen_us=now_us,
    )
    return RecordChange(SERVICE_RECORDS, service.name, json.encode(service), ABSENT if before is None else before.version)
