"""Calls services as the registry knows them: by their records, so that a node that was never told of a service can call it."""

from msgspec import json

from perdure.model.registry import SERVICE_RECORDS, ActionRecord, ServiceRecord
from perdure.ports.records import Records
from perdure.transports.grpc.services import GrpcServices
from perdure.wire.messages import Call, Outcome


class RegisteredServices:
    """``services`` are opened and closed by whoever made them."""

    def __init__(self, records: Records, services: GrpcServices) -> None:
        self._records = records
        self._services = services
        self._learned: dict[str, int] = {}

    async def perform(self, call: Call, address: str, record: ActionRecord | None) -> Outcome:
        """Perform an attempt of the method that the call names, and give its outcome; cancelled, it cancels the call at the service.

        ``record``: of that method or of any other of its service; registered anew, the service is looked up again. Without it the service
        is asked by reflection. Raises `StoreUnavailable`, `InvalidDescriptors` and `InvalidOption` for a record that cannot be used.
        """
        if record is not None and self._learned.get(record.service) != record.last_seen_us:
            await self._learn(record)
        return await self._services.perform(call, address, call.action)

    async def _learn(self, record: ActionRecord) -> None:
        found = (await self._records.read(SERVICE_RECORDS, [record.service])).get(record.service)
        if found is not None:
            self._services.learn(json.decode(found.value, type=ServiceRecord))
        self._learned[record.service] = record.last_seen_us
