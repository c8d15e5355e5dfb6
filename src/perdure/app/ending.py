"""Open calls that are ended from outside, as an engine offers it."""

from abc import ABC, abstractmethod
from typing import Any

from perdure.client.gateway import Gateway
from perdure.model.codec import Serializer
from perdure.model.errors import CallNotFound
from perdure.model.failure import failure_of
from perdure.model.ids import split_call_key
from perdure.model.stimulus import Failed, Succeeded


class CallEnds(ABC):
    """``_serializer``: writes values down."""

    _serializer: Serializer

    @abstractmethod
    def _gateway(self) -> Gateway:
        """Give the way to the runs."""

    async def complete(self, key: str, value: Any = None) -> None:
        """The open call has this value. Raises `CallNotFound`, `CallClosed`; a value of the wrong type raises `InvalidValue` and leaves
        the call open.
        """
        run, base, call = _parts_of(key)
        await self._gateway().give_outcome(run, base, Succeeded(call, self._serializer.encode(value, f"the outcome of {key}")))

    async def fail(self, key: str, error: BaseException | str) -> None:
        """The open call ends with this error, which the workflow sees as an action's error. Raises `CallNotFound`, `CallClosed`."""
        run, base, call = _parts_of(key)
        failure = failure_of(error if isinstance(error, BaseException) else RuntimeError(error), is_final=True)
        await self._gateway().give_outcome(run, base, Failed(call, failure))


def _parts_of(key: str) -> Any:
    parts = split_call_key(key)
    if parts is None:
        raise CallNotFound(key=key)
    return parts
