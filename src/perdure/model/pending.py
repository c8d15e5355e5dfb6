"""What an action returns whose outcome comes later, from elsewhere."""

from typing import TypeVar

T = TypeVar("T")


class Pending:
    """Returned by an action to say: the outcome comes later, from elsewhere."""


PENDING = Pending()


def pending() -> T:  # type: ignore[type-var]  # pyright: ignore[reportInvalidTypeVarUse]  # Stands for a value of the action's type.
    """Leave the call open: ``return perdure.pending()``. ``engine.complete(key, value)`` or ``engine.fail(key, error)`` ends it later."""
    return PENDING  # type: ignore[return-value]  # pyright: ignore[reportReturnType]
