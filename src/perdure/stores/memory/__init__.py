"""The store in memory: the readable reference of the port, for tests and for runs that need not outlive the process."""

from perdure.stores.memory.store import MemoryStore

__all__ = ["MemoryStore"]
