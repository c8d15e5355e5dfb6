"""Keys that a store has for itself: one for each purpose, made by whoever needs it first, and shared by all that work on the store."""

import secrets
from typing import Final

from perdure.ports.records import Records

KIND: Final = "secret"
SECRET_BYTES: Final = 32


async def store_secret(records: Records, purpose: str) -> bytes:
    """Give the key for this purpose: 256 random bits, the same for whoever asks. Raises `StoreUnavailable`."""
    fresh = secrets.token_bytes(SECRET_BYTES)
    return (await records.add(KIND, {purpose: fresh})).get(purpose, fresh)
