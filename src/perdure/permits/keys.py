"""What of a call's arguments its turn and its permits are counted by."""

from collections.abc import Callable
from hashlib import sha256
from typing import Any

import msgspec

from perdure.model.call import Attempt
from perdure.model.codec import Serializer
from perdure.model.errors import InvalidOption, PerdureError

KEY_MAX = 100


def key_of(key: str | Callable[..., Any] | None, attempt: Attempt, serializer: Serializer) -> str:
    """Give the value of a key for an attempt, as text; empty where there is none. Raises `InvalidOption` if the key cannot be found."""
    if key is None:
        return ""
    try:
        found = _called(key, attempt, serializer) if callable(key) else _followed(key, attempt, serializer)
        text = found if isinstance(found, str) else msgspec.json.encode(found).decode()
    except (LookupError, AttributeError, TypeError, ValueError, PerdureError) as error:
        named = "its function" if callable(key) else repr(key)
        raise InvalidOption(
            option=f"the limit's key of {attempt.spec.name}",
            found=f"{named}: {type(error).__name__}: {error}",
            expected="a value that every call has",
        ) from error
    return text if len(text) <= KEY_MAX else sha256(text.encode()).hexdigest()


def _called(key: Callable[..., Any], attempt: Attempt, serializer: Serializer) -> Any:
    signature = attempt.spec.signature
    args, kwargs = signature.decode(serializer, attempt.args, attempt.kwargs) if signature is not None else _plain(attempt, serializer)
    return key(*args, **kwargs)


def _plain(attempt: Attempt, serializer: Serializer) -> tuple[list[Any], dict[str, Any]]:
    return [serializer.decode(entry) for entry in attempt.args], {name: serializer.decode(entry) for name, entry in attempt.kwargs.items()}


def _followed(path: str, attempt: Attempt, serializer: Serializer) -> Any:
    """Follow a path such as ``order.user``: an argument's name, or its place, then members."""
    first, *rest = path.split(".")
    found = serializer.decode(_argument(first, attempt))
    for part in rest:
        found = found[int(part)] if isinstance(found, list) else found[part]
    return found


def _argument(name: str, attempt: Attempt) -> Any:
    if name in attempt.kwargs:
        return attempt.kwargs[name]
    if name.isdigit():
        return attempt.args[int(name)]
    signature = attempt.spec.signature
    names = [] if signature is None else [parameter.name for parameter in signature.parameters]
    if name in names and names.index(name) < len(attempt.args):
        return attempt.args[names.index(name)]
    if signature is None and len(attempt.args) == 1:
        return attempt.args[0]
    raise LookupError(f"there is no argument {name!r}")
