"""Personal data, as the store keeps it: sealed originals, and a key for each run without which they are noise."""

import re
from typing import Final

PERSONAL: Final = "personal"
"""The kind of record of originals, by ``run/token``."""
PERSONAL_KEYS: Final = "personal.key"
"""The kind of record of the keys of runs, by run: wrapped by a key that is not in the store, or `ERASED`."""
ERASED: Final = b"erased"
"""Stands where the key of a run was, so that none is made for it again."""
TOKEN: Final = re.compile(r"(?<![0-9A-Za-z_])px_[0-9a-f]{32}(?![0-9A-Za-z_])")
"""What stands for a value: it says nothing of it, and equal values of one run have equal ones."""
TOKEN_PREFIX: Final = "px_"


def place_of(run: str, token: str) -> str:
    """Give the key of the record of an original. A run's id may hold slashes: a key is read from its end."""
    return f"{run}/{token}"
