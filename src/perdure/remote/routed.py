"""Parts attempts between this process and others: what is declared here, and for no queue elsewhere, is performed here."""

from collections.abc import Callable, Collection

from perdure.model.call import ActionSpec, Attempt, Outcome
from perdure.model.payload import Content
from perdure.ports.performer import Performance, Performer, PlainPerformer
from perdure.ports.store import Batch


class RoutedPerformer:
    """``queues``: those that this process serves itself; ``is_serving``: it performs actions at all."""

    def __init__(self, here: Performer, elsewhere: Performer, *, queues: Collection[str] = (), is_serving: bool = True) -> None:
        self._here = here
        self._elsewhere = elsewhere
        self._queues = frozenset(queues)
        self._is_serving = is_serving
        self.here: PlainPerformer | None = here if is_serving else None

    def _performer(self, spec: ActionSpec) -> Performer:
        is_here = self._is_serving and spec.function is not None and (spec.queue is None or spec.queue in self._queues)
        return self._here if is_here else self._elsewhere

    def takes(self, spec: ActionSpec) -> bool:
        return self._performer(spec).takes(spec)

    def is_elsewhere(self, spec: ActionSpec) -> bool:
        return self._performer(spec).is_elsewhere(spec)

    def perform(
        self, attempt: Attempt, deliver: Callable[[Attempt, Outcome], None], beat: Callable[[Attempt, Content], None]
    ) -> Performance:
        return self._performer(attempt.spec).perform(attempt, deliver, beat)

    def listen(self, heard: Callable[[], None]) -> None:
        self._here.listen(heard)
        self._elsewhere.listen(heard)

    def prove(self, attempt: Attempt, outcome: Outcome, worker: str) -> Outcome:
        return self._elsewhere.prove(attempt, outcome, worker)

    def keep_with(self, keep: Callable[[Attempt, Outcome], Batch]) -> None:
        self._here.keep_with(keep)
        self._elsewhere.keep_with(keep)

    async def close(self) -> None:
        await self._elsewhere.close()
        await self._here.close()
