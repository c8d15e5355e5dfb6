"""What strangers announced of their actions' arguments and results. Protects a run from a value that nobody has checked.

Our own workers check by the types of their functions; others may check nothing, and a node is the last that can. A schema is compiled once.
"""

import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import Final, TypeVar

from msgspec import UNSET, Raw, UnsetType, structs

from perdure.model.call import ActionSpec, Attempt, Outcome
from perdure.model.errors import InvalidMessage, InvalidValue
from perdure.model.failure import error_types, failure_of
from perdure.model.registry import ActionRecord, WorkerRecord
from perdure.remote.enrolling import schemas_digest
from perdure.wire.checking import InputCheck, OutputCheck, input_check, output_check

logger = logging.getLogger("perdure.remote")

OURS: Final = "python"
"""The language that our own workers announce; they check themselves."""
COMPILED_MAX: Final = 500
SCHEMA_BYTES_MAX: Final = 262_144
"""A larger schema is left to its worker."""

C = TypeVar("C", InputCheck, OutputCheck)
Make = Callable[[str, bytes], C | None]


class Schemas:
    """Where workers of one action have announced different schemas, only a worker's own is believed of its results, and none of the
    arguments.
    """

    def __init__(self) -> None:
        self._inputs: dict[str, ActionRecord] = {}
        self._results: dict[str, dict[str, ActionRecord]] = {}
        self._results_before: dict[str, dict[str, ActionRecord]] = {}
        self._input_checks: OrderedDict[bytes, InputCheck | None] = OrderedDict()
        self._output_checks: OrderedDict[bytes, OutputCheck | None] = OrderedDict()

    def renew(self, workers: Iterable[WorkerRecord], actions: Iterable[ActionRecord]) -> None:
        """These are the live workers, and what is known of actions."""
        workers = list(workers)
        strangers = [worker for worker in workers if worker.language != OURS]
        wanted = {key for worker in strangers for key in worker.actions}
        records = {record.key: (record, schemas_digest(record)) for record in actions if record.key in wanted} if wanted else {}
        # A worker may leave before what it said last is heard.
        self._results_before, self._results = self._results, {}
        for worker in strangers:
            own = {key: records[key][0] for key, digest in worker.actions.items() if key in records and records[key][1] == digest}
            # One that is called at its URL is known by that.
            self._results[worker.worker] = self._results[worker.push_url or worker.worker] = own
        self._inputs = {
            key: record for key, (record, digest) in records.items() if all(worker.actions.get(key, digest) == digest for worker in workers)
        }

    def check_input(self, key: str, attempt: Attempt) -> None:
        """Raise `InvalidArguments` for arguments that do not fit what a stranger announced of the action of this key."""
        record = self._inputs.get(key)
        if record is not None:
            check = _check(self._input_checks, record.name, record.input_schema, input_check)
            if check is not None:
                check.check(attempt.args, attempt.kwargs)

    def prove(self, attempt: Attempt, outcome: Outcome, worker: str) -> Outcome:
        """Give the outcome; a failure, if it does not fit what the stranger who performed it has announced."""
        own = self._results.get(worker) or self._results_before.get(worker)
        if outcome.content is None or not own:
            return outcome
        record = _performed(own, attempt.spec)
        check = None if record is None else _check(self._output_checks, record.name, record.output_schema, output_check)
        if check is None:
            return outcome
        try:
            check.check(outcome.content, f"the result of {attempt.spec.name} by the worker {worker}, which announced a schema of it")
        except InvalidValue as error:
            return structs.replace(outcome, content=None, failure=failure_of(error, is_final=True), error_types=error_types(error))
        return outcome


def _performed(own: Mapping[str, ActionRecord], spec: ActionSpec) -> ActionRecord | None:
    """Give the only action that the worker can have performed, ``None`` if it may have been one of several."""
    found = [
        record
        for record in own.values()
        if record.name == spec.name
        and (spec.queue is None or record.queue == spec.queue)
        and (not spec.is_chosen or record.version == spec.version)
    ]
    return found[0] if len(found) == 1 else None


def _check(known: OrderedDict[bytes, C | None], action: str, schema: Raw | UnsetType, make: Make[C]) -> C | None:
    """Give the check of a schema; ``None`` if there is none, it is none, or nothing here can check it."""
    if schema is UNSET:
        return None
    text = bytes(schema)
    if text in known:
        known.move_to_end(text)
        return known[text]
    found = None
    if len(text) > SCHEMA_BYTES_MAX:
        logger.warning("a schema of %s has %d bytes, more than %d: it is left to its worker", action, len(text), SCHEMA_BYTES_MAX)
    else:
        try:
            found = make(action, text)
        except InvalidMessage as error:
            logger.warning("%s It is left to its worker.", error)
    known[text] = found
    if len(known) > COMPILED_MAX:
        known.popitem(last=False)
    return found
