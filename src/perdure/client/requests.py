"""What a start asks for: a row, and the first stimulus."""

from collections.abc import Sequence
from typing import Any

from perdure.client.gateway import StartRequest
from perdure.deciders.code.authoring import StartOptions, Workflow
from perdure.deciders.code.definition import Bindings
from perdure.model.codec import Serializer
from perdure.model.ids import RunId
from perdure.model.run import HELD, RunRow
from perdure.model.stimulus import Begun
from perdure.ports.clock import Clock, Entropy


class StartRequests:
    """Makes requests of what users call a workflow with."""

    def __init__(self, serializer: Serializer, registry: Bindings, clock: Clock, entropy: Entropy) -> None:
        self._serializer = serializer
        self._registry = registry
        self._clock = clock
        self._entropy = entropy

    def make(self, workflow: Workflow[..., Any] | str, options: StartOptions, args: Sequence[Any], kwargs: dict[str, Any]) -> StartRequest:
        """Give the request for a run; its arguments fit. Raises `InvalidArguments`, `InvalidValue`, `DefinitionConflict`."""
        if isinstance(workflow, str):
            name, version = workflow, 0
            contents = tuple(self._serializer.encode(value, "an argument") for value in args)
            keywords = {key: self._serializer.encode(value, "an argument") for key, value in kwargs.items()}
        else:
            self._registry.bind(workflow.definition)
            name, version = workflow.definition.name, options.version or 0
            contents, keywords = workflow.definition.encode_arguments(self._serializer, args, kwargs)
        now_us = self._clock.now_us()
        row = RunRow(
            id=options.id or RunId(self._entropy.token()),
            definition=name,
            version=version,
            input_hash=self._serializer.digest(args, kwargs) if options.id is not None else "",
            tags=options.tags,
            created_us=now_us,
            updated_us=now_us,
            wake_us=HELD,
        )
        end_us = None if options.timeout_us is None else now_us + options.timeout_us
        begun = Begun(contents, keywords, self._entropy.seed(), end_us=end_us)
        return StartRequest(row, begun, is_checked=options.id is not None, replaces=options.on_ended == "restart")
