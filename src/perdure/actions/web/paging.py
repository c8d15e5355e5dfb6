"""Answers that come in pages: how the next one is asked for."""

import re
from typing import Any, Final
from urllib.parse import urljoin

import jmespath
import jmespath.exceptions
import msgspec
from msgspec import Struct

from perdure.actions.web.answer import Answer
from perdure.model.errors import InvalidOption

_LINK: Final = re.compile(r'<([^<>]*)>((?:\s*;\s*[^,;=\s]+(?:\s*=\s*(?:"[^"]*"|[^",;\s]*))?)*)')
_REL: Final = re.compile(r';\s*rel\s*=\s*(?:"([^"]*)"|([^",;\s]*))', re.IGNORECASE)


class NextLink(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="by", tag="link"):
    """The next page is the ``Link`` header with ``rel="next"`` (RFC 8288). ``pages_max``: how many pages are asked for at most."""

    pages_max: int = 100


class NextPath(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="by", tag="path"):
    """The next page's URL is in the JSON answer, at ``path`` (JMESPath)."""

    path: str
    pages_max: int = 100


class PageParameter(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="by", tag="parameter"):
    """The number of the page is a parameter of the query, from ``first`` on. A page that has nothing at ``path`` (JMESPath) is the last."""

    name: str = "page"
    first: int = 1
    path: str
    pages_max: int = 100


Paging = NextLink | NextPath | PageParameter


class Next(Struct, frozen=True):
    """What the next request changes."""

    url: str | None = None
    query: tuple[tuple[str, str], ...] = ()


def check_paging(paging: Paging) -> None:
    """Raise `InvalidOption` for a path that is none, or no page at all."""
    if paging.pages_max < 1:
        raise InvalidOption(option="http.paging.pages_max", found=repr(paging.pages_max), expected="1 or more")
    if isinstance(paging, NextPath | PageParameter):
        try:
            jmespath.compile(paging.path)
        except jmespath.exceptions.JMESPathError as error:
            raise InvalidOption(option="http.paging.path", found=f"{paging.path!r}: {error}", expected="a JMESPath") from None


def first_page(paging: Paging | None) -> Next:
    """Give what the first request changes."""
    return Next(query=((paging.name, str(paging.first)),)) if isinstance(paging, PageParameter) else Next()


def next_page(paging: Paging | None, answer: Answer, page: int) -> Next | None:
    """Give what the request after page number ``page`` (1 is the first) changes, ``None`` after the last one."""
    match paging:
        case None:
            return None
        case NextLink():
            found = _linked(answer.headers.get("link", ""))
            return None if found is None else Next(urljoin(answer.url, found))
        case NextPath():
            target = jmespath.search(paging.path, _json(answer))
            return Next(urljoin(answer.url, target)) if isinstance(target, str) and target else None
        case PageParameter():
            if not jmespath.search(paging.path, _json(answer)):
                return None
            return Next(query=((paging.name, str(paging.first + page)),))


def _linked(header: str) -> str | None:
    for target, parameters in _LINK.findall(header):
        relations = [(quoted or bare).lower().split() for quoted, bare in _REL.findall(parameters)]
        if relations and "next" in relations[0]:
            return str(target)
    return None


def _json(answer: Answer) -> Any:
    try:
        return msgspec.json.decode(answer.content)
    except msgspec.DecodeError:
        return None
