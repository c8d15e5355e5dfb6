"""Where personal data is in items: by path, and by what it looks like."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal

from perdure.model.errors import InvalidOption
from perdure.model.personal import TOKEN

Detector = Literal["email", "phone"]
EVERY: Final = "*"
_PATTERNS: Final[Mapping[str, re.Pattern[str]]] = {
    "email": re.compile(r"[A-Za-z0-9][A-Za-z0-9._%+'-]{0,63}@[A-Za-z0-9](?:[A-Za-z0-9-]{0,62}\.)+[A-Za-z]{2,24}(?![A-Za-z0-9-])"),
    # An international number, or one with a leading zero and a separator: digits alone may be anything.
    "phone": re.compile(r"(?<![\w.+-])(?:\+\d[\d ()./-]{5,18}\d|0\d{1,5}[ /-]\d[\d ()/-]{3,14}\d)(?![\w])"),
}


def check_path(option: str, path: str) -> None:
    """Raise `InvalidOption` for what is no path."""
    if not path or not all(path.split(".")):
        raise InvalidOption(option=option, found=repr(path), expected="a path such as 'email', 'customer.phone' or 'contacts.*.email'")


def replace_at(value: Any, path: str, change: Callable[[Any], Any]) -> Any:
    """Give the value with what is at the path changed; ``*`` stands for each entry of a list or an object. What is not there is not."""
    return _replaced(value, path.split("."), change)


def _replaced(value: Any, parts: Sequence[str], change: Callable[[Any], Any]) -> Any:
    if not parts:
        return value if value is None else change(value)
    name, rest = parts[0], parts[1:]
    match value:
        case dict():
            return {key: _replaced(entry, rest, change) if name in (EVERY, key) else entry for key, entry in value.items()}
        case list():
            return [_replaced(entry, rest, change) if name in (EVERY, str(at)) else entry for at, entry in enumerate(value)]
        case _:
            return value


def replace_texts(value: Any, change: Callable[[str], Any]) -> Any:
    """Give the value with each text in it changed, the names of objects too where they stay texts."""
    match value:
        case str():
            return change(value)
        case dict():
            return {_name(change(key), key): replace_texts(entry, change) for key, entry in value.items()}
        case list():
            return [replace_texts(entry, change) for entry in value]
        case _:
            return value


def _name(changed: Any, key: Any) -> Any:
    return changed if isinstance(changed, str) else key


def replace_detected(text: str, kinds: Sequence[Detector], change: Callable[[str], str]) -> str:
    """Give the text with what looks like personal data changed; tokens are left alone."""
    for kind in kinds:
        text = _PATTERNS[kind].sub(lambda match: match[0] if TOKEN.search(match[0]) else change(match[0]), text)
    return text
