"""How what an action gave or raised becomes an outcome, wherever it ran."""

from typing import Any

from perdure.model.call import Outcome
from perdure.model.codec import Serializer
from perdure.model.errors import Invalid, InvalidValue
from perdure.model.failure import error_types, failure_of
from perdure.model.payload import Content
from perdure.model.retry import GiveUp, RetryAfter


def content_of_result(serializer: Serializer, value: Any, *, returns: Any, name: str) -> Content:
    """Give the content of what the action ``name`` gave. Raises `GiveUp` if it is not of the declared type, `InvalidValue`."""
    content = serializer.encode(value, "the result", name)
    if returns is not Any:
        try:
            serializer.decode(content, returns, "the result", name)
        except InvalidValue as error:
            raise GiveUp(str(error)) from error
    return content


def failed(error: BaseException, took_us: int) -> Outcome:
    """Give the outcome of an action that raised this."""
    if isinstance(error, RetryAfter):
        why = error.__cause__ or error
        return Outcome(failure=failure_of(why), took_us=took_us, retry_after_us=error.delay_us, error_types=error_types(why))
    if isinstance(error, GiveUp) and error.__cause__ is not None and not isinstance(error.__cause__, InvalidValue):
        return Outcome(failure=failure_of(error.__cause__, is_final=True), took_us=took_us)
    is_final = isinstance(error, GiveUp | Invalid)
    return Outcome(failure=failure_of(error, is_final=is_final), took_us=took_us, error_types=error_types(error))
