"""Settings from the environment; the only place that reads it."""

import os
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

from perdure.model.errors import InvalidOption

STORE = "sqlite:///perdure.db"


class Settings(Struct, frozen=True):
    """What a program takes from its surroundings unless it is told otherwise.

    ``store`` (``PERDURE_STORE``): the URL of the store. ``patience`` (``PERDURE_PATIENCE``): how long a node's answer is waited for.
    ``drain`` (``PERDURE_DRAIN``): how long a node or a worker that is asked to end waits for attempts under way. ``connect``
    (``PERDURE_CONNECT``): the URL by which a worker is connected. ``api_url`` (``PERDURE_API_URL``): where the HTTP API is reached from
    outside, for services that call back.
    """

    store: str = STORE
    patience: str = "10s"
    drain: str = "30s"
    connect: str = ""
    api_url: str = ""


def settings(environment: Mapping[str, str] | None = None) -> Settings:
    """Read the settings. Variables that are unset or empty leave the defaults."""
    found = os.environ if environment is None else environment
    given = {name: value for name in Settings.__struct_fields__ if (value := found.get(f"PERDURE_{name.upper()}"))}
    return Settings(**given)


def api_token(reference: str | None, environment: Mapping[str, str] | None = None) -> str:
    """Read the API's token: that of the reference, else ``PERDURE_API_TOKEN``; empty without either. Raises `InvalidOption`."""
    return _variable("PERDURE_API_TOKEN", environment)[0] if reference is None else secret_of(reference, environment)


def secret_of(reference: str, environment: Mapping[str, str] | None = None) -> str:
    """Read the secret that ``env:NAME`` or ``file:PATH`` refers to, without the end of its last line. Raises `InvalidOption`."""
    kind, _, name = reference.partition(":")
    if kind not in ("env", "file") or not name:
        # What was given may be the secret itself: it is not repeated.
        raise InvalidOption(option="a reference to a secret", found="something else", expected="env:NAME or file:PATH")
    found, problem = _variable(name, environment) if kind == "env" else _content(name)
    if not found:
        raise InvalidOption(option=f"the secret {reference}", found=problem, expected="text that is not empty")
    return found


def _variable(name: str, environment: Mapping[str, str] | None) -> tuple[str, str]:
    found = (os.environ if environment is None else environment).get(name)
    return found or "", "no such variable" if found is None else "an empty variable"


def _content(path: str) -> tuple[str, str]:
    try:
        return Path(path).expanduser().read_text(encoding="utf-8").rstrip("\r\n"), "an empty file"
    except (OSError, UnicodeDecodeError) as error:
        return "", f"no file that can be read as text ({type(error).__name__})"
