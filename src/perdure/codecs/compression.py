"""Compression with zlib, which every Python has."""

import zlib
from typing import Final

from perdure.model.errors import InvalidOption, InvalidValue


class Compression:
    """Payloads of at least ``bytes_min`` bytes are compressed, if that makes them smaller. ``level``: 1 is quick, 9 is small.

    Name it before an encryption: what is encrypted cannot be compressed.
    """

    name: Final = "zlib"

    def __init__(self, *, bytes_min: int = 1024, level: int = 6) -> None:
        if not 0 <= level <= 9:
            raise InvalidOption(option="Compression.level", found=repr(level), expected="0 to 9")
        self._bytes_min = bytes_min
        self._level = level

    def encode(self, data: bytes) -> bytes | None:
        """Give the compressed bytes, ``None`` where they would not be fewer."""
        if len(data) < self._bytes_min:
            return None
        compressed = zlib.compress(data, self._level)
        return compressed if len(compressed) < len(data) else None

    def decode(self, data: bytes) -> bytes:
        """Give back the bytes. Raises `InvalidValue` for damaged ones."""
        try:
            return zlib.decompress(data)
        except zlib.error as error:
            problem = f"its compressed bytes are damaged ({error})"
            raise InvalidValue(f"A payload cannot be read: {problem}.", what="a payload", problem=problem) from error
