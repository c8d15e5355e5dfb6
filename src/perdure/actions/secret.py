"""Secrets: references in configurations, values for as long as they are used. Protects from a password in a journal, a log or an error."""

import logging
import os
import traceback
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, quote_plus

import msgspec
from msgspec import Struct

from perdure.model.errors import ActionFailed, InvalidOption, SecretNotFound
from perdure.model.retry import GiveUp

SECRET_BYTES_MAX: Final = 64 * 1024
HIDDEN: Final = "•••"
_ECHO_MIN: Final = 6
"""Shorter values are no secrets to speak of, and would be found everywhere in an answer."""


class Secret(Struct, frozen=True, forbid_unknown_fields=True):
    """A reference to a secret: ``env:NAME`` or ``file:/path``, read where the action runs, when it is used.

    As JSON ``{"secret": "env:NAME"}``.
    """

    secret: str

    def __post_init__(self) -> None:
        kind, _, name = self.secret.partition(":")
        if kind not in ("env", "file") or not name or (kind == "file" and not Path(name).is_absolute()):
            # What was given may be the secret itself: it is not repeated.
            raise InvalidOption(option="Secret", found="something else", expected='a reference such as "env:NAME" or "file:/path"')

    def __repr__(self) -> str:
        return f"Secret({self.secret!r})"


class Veil:
    """The secrets that one attempt has read, and every place where they must not show."""

    def __init__(self, outer: "Veil | None" = None) -> None:
        self._values: set[str] = set() if outer is None else set(outer._values)

    def reveal(self, value: str | Secret) -> str:
        """Give the value of a secret, text as it is. Raises `GiveUp` from `SecretNotFound`."""
        if isinstance(value, str):
            return value
        found = _read(value.secret)
        self.cover(found)
        return found

    def cover(self, value: str) -> None:
        """The value does not show from now on, however it is written."""
        as_json = msgspec.json.encode(value)[1:-1].decode()
        in_base64 = b64encode(value.encode()).decode()
        self._values |= {value, quote(value, safe=""), quote_plus(value), as_json, in_base64}

    def hide(self, text: str) -> str:
        """Give the text without the secrets."""
        for value in sorted(self._values, key=len, reverse=True):
            text = text.replace(value, HIDDEN)
        return text

    def hide_echo(self, value: Any) -> Any:
        """Give what an outside service answered, without the secrets that it repeats."""
        match value:
            case str():
                for known in sorted(self._values, key=len, reverse=True):
                    value = value.replace(known, HIDDEN) if len(known) >= _ECHO_MIN else value
                return value
            case dict():
                return {self.hide_echo(name): self.hide_echo(entry) for name, entry in value.items()}
            case list():
                return [self.hide_echo(entry) for entry in value]
            case _:
                return value

    def shows(self, error: BaseException) -> bool:
        """Tell whether an error, or one that led to it, would give a secret away."""
        written = "".join(traceback.format_exception(error)) + repr(error)
        return self.is_in(written)

    def is_in(self, text: str) -> bool:
        """Tell whether a text has a secret in it."""
        return any(value in text for value in self._values)


_current: ContextVar[Veil | None] = ContextVar("perdure_veil", default=None)


class Discreet(logging.Filter):
    """For loggers of libraries: drops what would show a secret that the attempt has read, such as a service's answer that repeats it."""

    def filter(self, record: logging.LogRecord) -> bool:
        veil = _current.get()
        return veil is None or not veil.is_in(record.getMessage())


@contextmanager
def unveiling() -> Iterator[Veil]:
    """Secrets can be read inside; an error that would show one comes out without it."""
    veil = Veil(_current.get())
    before = _current.set(veil)
    try:
        yield veil
    except Exception as error:
        if not veil.shows(error):
            raise
        failed = ActionFailed(type=f"{type(error).__module__}:{type(error).__qualname__}", message=veil.hide(str(error)), traceback="")
        raise failed from None
    finally:
        _current.reset(before)


def _read(reference: str) -> str:
    kind, _, name = reference.partition(":")
    found = _in_environment(name) if kind == "env" else _in_file(name)
    if isinstance(found, str) and found and found.isprintable():
        return found
    why = found if isinstance(found, SecretNotFound) else SecretNotFound(reference=reference, found="it is empty, or not one line of text")
    raise GiveUp(str(why)) from why


def _in_environment(name: str) -> str | SecretNotFound:
    found = os.environ.get(name)
    return SecretNotFound(reference=f"env:{name}", found="there is no such variable") if found is None else found


def _in_file(path: str) -> str | SecretNotFound:
    try:
        with open(path, "rb") as file:
            return file.read(SECRET_BYTES_MAX).decode().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        return SecretNotFound(reference=f"file:{path}", found=f"{type(error).__name__}")
