"""The composition root: the engine and the worker as applications open them."""

from perdure.app.engine import Engine, connect
from perdure.app.stores import open_store
from perdure.app.worker import Worker

__all__ = ["Engine", "Worker", "connect", "open_store"]
