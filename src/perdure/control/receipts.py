"""The key of receipts (`perdure.wire.receipts`): one for each store, made by whoever needs it first."""

from typing import Final

from perdure.ports.records import Records
from perdure.ports.secrets import store_secret

KEY: Final = "receipts"


async def receipt_secret(records: Records) -> bytes:
    """Give the key that all servers and nodes of this store share. Raises `StoreUnavailable`."""
    return await store_secret(records, KEY)
