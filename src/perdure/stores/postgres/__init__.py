"""The store in a PostgreSQL database: any number of nodes on any number of hosts."""

from perdure.stores.postgres.schema import apply_schema
from perdure.stores.postgres.store import PostgresStore

__all__ = ["PostgresStore", "apply_schema"]
