"""Namespaces of a product: stores beside one another under one URL, which share nothing."""

from typing import Protocol


class Namespaces(Protocol):
    async def names(self) -> list[str]:
        """Give the namespaces that there are, sorted, without the one that has no name."""
        ...

    async def create(self, name: str) -> None:
        """The namespace is there, empty. Raises `NamespaceExists`, `InvalidOption` for a name that cannot be one."""
        ...

    async def delete(self, name: str) -> None:
        """The namespace is gone with all that is in it; whoever asks has made sure that nobody serves it. Raises `NamespaceNotFound`."""
        ...

    def url_of(self, name: str) -> str:
        """Give the URL of its store, whether it is there or not. Raises `InvalidOption`."""
        ...
