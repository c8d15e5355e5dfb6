"""Where the database is and how to talk to it: what a URL says.

Options of ours are taken out; the rest is PostgreSQL's own and goes to the driver as it is: several hosts, ``target_session_attrs``,
``sslmode`` and its files (https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING).
"""

from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from msgspec import Struct

from perdure.model.errors import InvalidOption
from perdure.stores.postgres.statements import quoted

_SWITCHES = ("on", "off")


class Place(Struct, frozen=True, kw_only=True):
    """``url`` is the driver's, with secrets; ``name`` is for people, without.

    ``notifies``: hints go by LISTEN and NOTIFY. ``prepares``: statements are prepared on the server, which a pooler in
    transaction mode has to support.
    """

    url: str
    name: str
    schema: str
    notifies: bool
    prepares: bool
    connect_timeout_s: float


def place_of(url: str, schema: str | None) -> Place:
    """Read a URL; raises `InvalidOption`. ``schema`` counts more than the one that the URL names."""
    parts = urlsplit(url)
    if parts.scheme not in ("postgresql", "postgres"):
        raise InvalidOption(option="the store's URL", found=repr(_without_secrets(url)), expected='"postgresql://user@host/database"')
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    schema = schema if schema is not None else options.pop("schema", "perdure")
    options.pop("schema", None)
    quoted(schema)
    notifies, prepares = _switch(options, "notify"), _switch(options, "prepared")
    timeout_s = _seconds(options.pop("connect_timeout", "5"))
    options.setdefault("target_session_attrs", "read-write")
    theirs = urlunsplit(parts._replace(scheme="postgresql", query=urlencode(options)))
    return Place(url=theirs, name=_without_secrets(url), schema=schema, notifies=notifies, prepares=prepares, connect_timeout_s=timeout_s)


def _switch(options: dict[str, str], name: str) -> bool:
    found = options.pop(name, "on")
    if found not in _SWITCHES:
        raise InvalidOption(option=f"{name} in the store's URL", found=repr(found), expected="on or off")
    return found == "on"


def _seconds(text: str) -> float:
    if not text.isdigit() or int(text) < 1:
        raise InvalidOption(option="connect_timeout in the store's URL", found=repr(text), expected="whole seconds, at least 1")
    return float(text)


def _without_secrets(url: str) -> str:
    parts = urlsplit(url)
    user, at, hosts = parts.netloc.rpartition("@")
    options = [(key, value) for key, value in parse_qsl(parts.query, keep_blank_values=True) if "password" not in key]
    return urlunsplit(parts._replace(netloc=user.partition(":")[0] + at + hosts, query=urlencode(options)))
