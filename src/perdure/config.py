"""Settings from the environment; the only place that reads it."""

import os
from collections.abc import Mapping

from msgspec import Struct

STORE = "sqlite:///perdure.db"


class Settings(Struct, frozen=True):
    """What a program takes from its surroundings unless it is told otherwise.

    ``store`` (``PERDURE_STORE``): the URL of the store. ``patience`` (``PERDURE_PATIENCE``): how long a node's answer is waited for.
    ``drain`` (``PERDURE_DRAIN``): how long a node that is asked to end waits for attempts under way.
    """

    store: str = STORE
    patience: str = "10s"
    drain: str = "30s"


def settings(environment: Mapping[str, str] | None = None) -> Settings:
    """Read the settings. Variables that are unset or empty leave the defaults."""
    found = os.environ if environment is None else environment
    given = {name: value for name in Settings.__struct_fields__ if (value := found.get(f"PERDURE_{name.upper()}"))}
    return Settings(**given)
