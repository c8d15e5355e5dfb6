"""An endpoint as data: its route, its checks and its page in the OpenAPI document are all made from it."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Generic, TypeVar

from msgspec import Struct, field

from perdure.control.tokens import Scope, Token

B = TypeVar("B")
Q = TypeVar("Q")

IDEMPOTENCY_KEY: Final = "idempotency-key"
FORM: Final = "application/x-www-form-urlencoded"


class Nothing(Struct, frozen=True):
    """No query, or no body."""


class Sent(Struct, frozen=True):
    """A body as it came, JSON or the fields of a form in a page: as the type of a body, it is read by the endpoint itself."""

    media_type: str
    data: bytes


class Asked(Struct, Generic[B, Q], kw_only=True):
    """A request that was read and checked. ``path``: the parameters of the path, decoded. ``key``: its ``Idempotency-Key``. ``is_gone``:
    tells whether whoever asked has hung up. ``token``: by which it was let in, ``None`` where none is needed.
    """

    path: Mapping[str, str]
    query: Q
    body: B
    is_gone: Callable[[], Awaitable[bool]]
    key: str | None = None
    token: Token | None = None


class Answer(Struct, frozen=True, kw_only=True):
    """What goes back: ``body`` as JSON, nothing where it is ``None`` and the status is 204. ``page``: HTML, in place of it."""

    status: int = 200
    body: Any = None
    page: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


class Endpoint(Struct, frozen=True, kw_only=True):
    """``name``: the operation's id. ``scope``: what a token must allow, ``None`` for what anyone may ask. ``body``, ``query``: the types
    they must have. ``answers``: the type of the body by status. ``problems``: statuses beside those that any request may get.
    ``is_keyed``: it takes an ``Idempotency-Key``. ``may_lack_body``: then it is as if it were ``{}``.
    """

    name: str
    method: str
    path: str
    summary: str
    tag: str
    scope: Scope | None
    handle: Callable[[Asked[Any, Any]], Awaitable[Answer]]
    body: Any = None
    query: type[Struct] = Nothing
    answers: Mapping[int, Any] = field(default_factory=dict)
    problems: tuple[int, ...] = ()
    is_keyed: bool = False
    may_lack_body: bool = False
