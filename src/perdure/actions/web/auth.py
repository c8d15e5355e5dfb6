"""How a request says who makes it. Passwords and tokens are references; one that is written out is refused."""

from base64 import b64encode
from collections.abc import Mapping
from typing import Any, Final

from msgspec import Struct

from perdure.actions.secret import Secret, Veil
from perdure.model.errors import InvalidOption

_SECRET_HEADERS: Final = frozenset({"authorization", "proxy-authorization", "cookie", "x-api-key", "api-key", "x-auth-token"})
_TOKEN_CHARACTERS: Final = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


class BasicAuth(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="basic"):
    """A user and a password (RFC 7617)."""

    user: str | Secret
    password: Secret


class BearerAuth(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="bearer"):
    """A token (RFC 6750)."""

    token: Secret


class HeaderAuth(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="header"):
    """A header with a secret value, after ``prefix``."""

    name: str
    value: Secret
    prefix: str = ""


Auth = BasicAuth | BearerAuth | HeaderAuth


def auth_header(auth: Auth, veil: Veil) -> tuple[str, str]:
    """Give the header, with the secret."""
    match auth:
        case BasicAuth():
            joined = f"{veil.reveal(auth.user)}:{veil.reveal(auth.password)}"
            encoded = b64encode(joined.encode()).decode("ascii")
            veil.cover(encoded)
            return "authorization", f"Basic {encoded}"
        case BearerAuth():
            return "authorization", f"Bearer {veil.reveal(auth.token)}"
        case HeaderAuth():
            return auth.name.lower(), f"{auth.prefix}{veil.reveal(auth.value)}"


def check_headers(option: str, headers: Mapping[str, Any]) -> None:
    """Raise `InvalidOption` for a name that is none, and for a secret that is written out."""
    for name, value in headers.items():
        if not name or not set(name) <= _TOKEN_CHARACTERS:
            raise InvalidOption(option=f"{option}.{name}", found="that name", expected="letters, digits and '-'")
        if isinstance(value, str) and name.lower() in _SECRET_HEADERS:
            raise InvalidOption(option=f"{option}.{name}", found="a value that is written out", expected='Secret("env:NAME"), or auth=…')
        if isinstance(value, str) and ("\n" in value or "\r" in value):
            raise InvalidOption(option=f"{option}.{name}", found="a line break", expected="one line")
