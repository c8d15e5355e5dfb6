"""Callbacks: a URL for an outside service, and a wait for what it sends there."""

from collections.abc import Generator
from typing import Any, Generic, Self, TypeVar, overload

import msgspec

from perdure.deciders.code.context import RunContext
from perdure.deciders.code.loop import current_context
from perdure.deciders.code.places import frame_above, line_of
from perdure.model.call import ActionSpec
from perdure.model.callback import CALLBACK_ACTION
from perdure.model.errors import InvalidOption, Unsupported
from perdure.model.retry import Retry

T = TypeVar("T")


class Callback(Generic[T]):
    """An address at which an outside service answers this run, once. ``await`` it first: from then on it can be answered.

    What `url` gives stands for the URL: the journal, the queue's operator and a log of the run see that alone. Where an action is performed
    that was given it, the real URL takes its place; in what the action returns or raises it is put back. So it means nothing outside of
    calls of this run, and in none of another.
    """

    def __init__(self, context: Any, type: Any, *, schema: dict[str, Any] | None, line: str) -> None:
        self._context: RunContext = context
        self._type = type
        self._schema = schema
        self._line = line
        self._made: dict[str, str] | None = None
        self._answer: tuple[T] | None = None

    def __await__(self) -> Generator[Any, Any, Self]:
        return self._make().__await__()

    async def _make(self) -> Self:
        if self._made is None:
            spec = ActionSpec(name=CALLBACK_ACTION, retry=Retry(cap="10s"), is_chosen=True, returns=dict[str, str])
            self._made = await self._context.run_action(spec, (self._schema,), {}, self._line)
        return self

    @property
    def url(self) -> str:
        """What stands for the URL. Raises `Unsupported` before the callback was awaited."""
        return self._known()["url"]

    async def receive(self) -> T:
        """The answer, of the declared type, kept if it came early. It waits as long as the code lets it (``asyncio.timeout``)."""
        known = self._known()
        if self._answer is None:
            line = line_of(frame_above(1))
            self._answer = (await self._context.receive(known["channel"], self._type, discards_early=False, line=line),)
        return self._answer[0]

    def _known(self) -> dict[str, str]:
        if self._made is None:
            raise Unsupported(what="a callback that was not awaited", why="write: callback = await perdure.callback(…)")
        return self._made


@overload
def callback(type: type[T]) -> Callback[T]: ...
@overload
def callback(type: Any = Any) -> Callback[Any]: ...
def callback(type: Any = Any) -> Callback[Any]:
    """Inside a workflow: ``callback = await perdure.callback(Model)`` gives an address for an outside service, ``callback.url``, and
    ``await callback.receive()`` its answer.

    An answer that does not fit ``type`` is refused to whoever sends it (with the extra ``schema``), and the next one may. Where the HTTP
    API is reached from outside is said by ``PERDURE_API_URL`` or ``Engine(api_url=…)``; without it the callback raises `InvalidOption`.
    """
    context = current_context()
    if context is None:
        raise Unsupported(what="perdure.callback(…) outside a workflow", why="it belongs to a run; call it from workflow code")
    return Callback(context, type, schema=_schema_of(type), line=line_of(frame_above(1)))


def _schema_of(type: Any) -> dict[str, Any] | None:
    if type is Any:
        return None
    try:
        return msgspec.json.schema(type)
    except TypeError as error:
        raise InvalidOption(option="perdure.callback", found=f"{type!r}: {error}", expected="a type of plain values") from None
