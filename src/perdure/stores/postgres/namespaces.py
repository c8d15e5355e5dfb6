"""Namespaces of a PostgreSQL store: a schema for each, named after the main one: ``perdure_pay`` beside ``perdure``."""

from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from perdure.model.errors import InvalidOption, NamespaceExists, NamespaceNotFound
from perdure.model.namespace import NAME
from perdure.stores.postgres.failures import TRANSPORT_ERRORS, translated
from perdure.stores.postgres.link import connect
from perdure.stores.postgres.place import place_of
from perdure.stores.postgres.schema import apply_schema
from perdure.stores.postgres.statements import quoted

_NAMES: Final = """
    select substr(n.nspname, length($1) + 2) from pg_namespace as n
    where starts_with(n.nspname, $1 || '_') and exists (
        select 1 from pg_class as c where c.relnamespace = n.oid and c.relname = 'setting'
    )
"""


class PostgresNamespaces:
    def __init__(self, url: str) -> None:
        self._url = url
        self._place = place_of(url, None)

    def _schema(self, name: str) -> str:
        if not NAME.fullmatch(name):
            raise InvalidOption(
                option="namespace", found=repr(name), expected="up to 31 small letters, digits and underscores, a letter first"
            )
        return f"{self._place.schema}_{name}"

    def url_of(self, name: str) -> str:
        parts = urlsplit(self._url)
        options = dict(parse_qsl(parts.query, keep_blank_values=True)) | {"schema": self._schema(name)}
        return urlunsplit(parts._replace(query=urlencode(options)))

    async def names(self) -> list[str]:
        rows = await self._fetch(_NAMES, self._place.schema)
        return sorted(name for (name,) in rows if NAME.fullmatch(name))

    async def create(self, name: str) -> None:
        schema = self._schema(name)
        if name in await self.names():
            raise NamespaceExists(namespace=name, store=self._place.name)
        await apply_schema(self._url, schema)

    async def delete(self, name: str) -> None:
        known = await self.names()
        if name not in known:
            raise NamespaceNotFound(namespace=name, store=self._place.name, known=", ".join(known) or "none")
        await self._fetch(f"drop schema {quoted(self._schema(name))} cascade")

    async def _fetch(self, sql: str, *arguments: Any) -> list[Any]:
        connection = await connect(self._place)
        try:
            return list(await connection.fetch(sql, *arguments))
        except TRANSPORT_ERRORS as error:
            raise translated(error, self._place.name) from error
        finally:
            connection.terminate()
