"""What a start asks for: a row, and the first stimulus."""

from collections.abc import Sequence
from typing import Any

from perdure.client.gateway import StartRequest
from perdure.client.named import NamedWorkflow
from perdure.deciders.code.authoring import StartOptions, Workflow
from perdure.deciders.code.definition import Bindings
from perdure.deciders.code.standalone import choice_of
from perdure.model.codec import Serializer
from perdure.model.errors import InvalidOption, RunConflict, RunEnded
from perdure.model.ids import RunId
from perdure.model.run import HELD, RunRow
from perdure.model.stimulus import Begun
from perdure.ports.clock import Clock, Entropy
from perdure.ports.store import Store


class StartRequests:
    """Makes requests of what users call a workflow with."""

    def __init__(self, serializer: Serializer, registry: Bindings, clock: Clock, entropy: Entropy, *, store: Store) -> None:
        self._serializer = serializer
        self._registry = registry
        self._clock = clock
        self._entropy = entropy
        self._store = store

    async def make(self, workflow: Workflow[..., Any] | NamedWorkflow | str, args: Sequence[Any], kwargs: dict[str, Any]) -> StartRequest:
        """Give the request for a run; its arguments fit, and the store can give it the durability that it asks for.

        Raises `InvalidArguments`, `InvalidValue`, `DefinitionConflict`, `Unsupported`.
        """
        options = StartOptions() if isinstance(workflow, str) else workflow.start_options
        if isinstance(workflow, str | NamedWorkflow):
            name, version = (workflow, 0) if isinstance(workflow, str) else (workflow.name, workflow.version or 0)
            contents = tuple(self._serializer.encode(value, "an argument") for value in args)
            keywords = {key: self._serializer.encode(value, "an argument") for key, value in kwargs.items()}
        else:
            self._registry.bind(workflow.definition)
            name, version = workflow.definition.name, options.version or 0
            contents, keywords = workflow.definition.encode_arguments(self._serializer, args, kwargs)
        for text in (name, options.id or "", *options.tags):
            if "\0" in text:
                # A node that finds out only when it commits has to stop.
                raise InvalidOption(option="an id, name or tag", found=repr(text), expected="text without a NUL character")
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
            durability=self._store.grants(options.durability),
        )
        end_us = None if options.timeout_us is None else now_us + options.timeout_us
        begun = Begun(contents, keywords, self._entropy.seed(), end_us=end_us)
        if options.on_ended == "restart":
            row.base = await self._base_after(row.id)
        return StartRequest(row, begun, is_checked=options.id is not None, on_ended=options.on_ended)

    def task(self, action: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> tuple[str, Any, Any]:
        """Give what a standalone task of an action, or of an action's name, is made of: the name, the options of its call, and the type of
        its value. The arguments fit, if the action is known here; raises `InvalidArguments`, `InvalidValue`.
        """
        name = action if isinstance(action, str) else action.spec.name
        declared = self._registry.action(name)
        signature = (declared.signature if declared is not None else None) if isinstance(action, str) else action.signature
        if signature is not None:
            signature.encode(self._serializer, args, kwargs)
        choice = None if isinstance(action, str) else choice_of(action, declared)
        return name, choice, Any if signature is None else signature.returns

    async def _base_after(self, run: RunId) -> int:
        """Give the first row number of a run that replaces another: idempotency keys of the two must differ."""
        loaded = await self._store.load([run])
        return loaded[0].row.base + len(loaded[0].transitions) if loaded else 1


def check_known(request: StartRequest, known: RunRow) -> None:
    """The run that is there already is the one that was asked for; raises `RunConflict`, `RunEnded` if not."""
    if known.definition != request.row.definition or known.input_hash != request.row.input_hash:
        raise RunConflict(run=known.id, definition=known.definition, status=known.status)
    if known.status.is_final and request.on_ended == "refuse":
        raise RunEnded(run=known.id, status=known.status, asked="the start")
