"""The composition root: the engine as applications open it."""

from perdure.app.engine import Engine, connect
from perdure.app.stores import open_store

__all__ = ["Engine", "connect", "open_store"]
