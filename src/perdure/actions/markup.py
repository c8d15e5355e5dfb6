"""``html_select`` and ``links``: what is in a page."""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final, Literal
from urllib.parse import urldefrag, urljoin, urlsplit

from cssselect import HTMLTranslator, SelectorError
from lxml import etree, html
from msgspec import UNSET

from perdure.actions.configured import Item, Items, Options, check_span, configurable, pass_on, pass_on_items
from perdure.actions.patterns import check_pattern, compiled, matches
from perdure.deciders.code.authoring import action
from perdure.model.errors import InvalidOption

_CONTROLS: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f]")


class HtmlSelect(Options, frozen=True, kw_only=True):
    """One of ``css``, ``xpath`` and ``regex`` says what is looked for in ``source``. Of an element ``take`` its text or its markup, or the
    ``attribute`` of that name. ``output``: the name of what is found. ``timeout``: for the pattern, in one item.
    """

    css: str | None = None
    xpath: str | None = None
    regex: str | None = None
    attribute: str | None = None
    take: Literal["text", "html"] = "text"
    source: str = "content"
    output: str = "value"
    timeout: str = "1s"

    def check(self) -> None:
        """As `Options.check`."""
        given = [name for name in ("css", "xpath", "regex") if getattr(self, name) is not None]
        if len(given) != 1:
            raise InvalidOption(option="html_select.css", found=", ".join(given) or "no selector", expected="one of css, xpath and regex")
        check_span("html_select.timeout", self.timeout)
        if self.regex is not None:
            check_pattern("html_select.regex", self.regex)
            return
        try:
            _path(self.xpath if self.xpath is not None else _from_css(self.css or ""))
        except (SelectorError, etree.XPathError, ValueError) as error:
            found = f"{getattr(self, given[0])!r}: {error}"
            raise InvalidOption(option=f"html_select.{given[0]}", found=found, expected=f"a {given[0]} selector") from None


@action(name="html_select")
def perform_html_select(items: Items, *, config: HtmlSelect) -> Items:
    """Give an item for each thing found in each item: the item itself with what was found. Where nothing is, the default value stands for
    it, or the item is dropped. Raises `PatternTooSlow`.
    """
    found: Items = []
    for item in items:
        values = list(_selected(str(item.get(config.source) or ""), config))
        if not values and config.default_value is not UNSET:
            values = [config.default_value]
        found += [{**item, config.output: value} for value in values]
    return pass_on_items(found, config)


def _selected(text: str, config: HtmlSelect) -> Iterator[Any]:
    if config.regex is not None:
        for match in matches(compiled(config.regex), text, config.timeout):
            yield match[1] if match.re.groups else match[0]
        return
    page = _page(text)
    if page is None:
        return
    found: Any = _path(config.xpath if config.xpath is not None else _from_css(config.css or ""))(page)
    for entry in found if isinstance(found, list) else [found]:
        value = _taken(entry, config)
        if value is not None:
            yield value


def _taken(entry: Any, config: HtmlSelect) -> Any:
    if not isinstance(entry, html.HtmlElement):
        return str(entry) if isinstance(entry, str) else entry
    if config.attribute is not None:
        return entry.get(config.attribute)
    if config.take == "html":
        return html.tostring(entry, encoding="unicode", with_tail=False)
    return " ".join("".join(str(part) for part in entry.itertext()).split())


class Links(Options, frozen=True, kw_only=True):
    """``source``: the name of the page. ``base``: what relative links are relative to, otherwise the item's ``final_url`` or ``url``.
    ``output``: the name of the link. ``same_host``: only those to the host of the page. ``pattern``: only those in which it is found.
    """

    source: str = "content"
    base: str | None = None
    output: str = "url"
    same_host: bool = False
    pattern: str | None = None
    timeout: str = "1s"

    def check(self) -> None:
        """As `Options.check`."""
        self.default_item("links")
        check_span("links.timeout", self.timeout)
        if self.pattern is not None:
            check_pattern("links.pattern", self.pattern)
        if self.base is not None and urlsplit(self.base).scheme not in ("http", "https"):
            raise InvalidOption(option="links.base", found=repr(self.base), expected="a URL that begins with http:// or https://")


@action(name="links")
def perform_links(items: Items, *, config: Links) -> Items:
    """Give an item for each link of the pages, each once: whole http and https URLs without their fragments. Raises `PatternTooSlow`."""
    found: dict[str, None] = {}
    for item in items:
        base = config.base or str(item.get("final_url") or item.get("url") or "")
        for link in _links(str(item.get(config.source) or ""), base):
            if config.same_host and urlsplit(link).netloc != urlsplit(base).netloc:
                continue
            if config.pattern is None or next(matches(compiled(config.pattern), link, config.timeout), None) is not None:
                found.setdefault(link)
    return pass_on([_link(link, config) for link in found], config)


def _link(link: str, config: Links) -> Item:
    return {config.output: link}


def _links(text: str, base: str) -> Iterator[str]:
    page = _page(text)
    if page is None:
        return
    declared = next(iter(page.xpath("//base/@href")), None)
    base = urljoin(base, str(declared)) if declared else base
    for target in page.xpath("//a/@href | //area/@href"):
        try:
            whole = urldefrag(urljoin(base, str(target).strip())).url
            if urlsplit(whole).scheme in ("http", "https") and urlsplit(whole).netloc:
                yield whole
        except ValueError:
            continue  # What is no URL at all leads nowhere.


def _page(text: str) -> Any:
    """Give the tree of a page, ``None`` if there is nothing in it. Nothing is fetched, no entity is filled in."""
    text = _CONTROLS.sub("", text)
    if not text.strip():
        return None
    parser = html.HTMLParser(encoding="utf-8", no_network=True, huge_tree=False)
    try:
        return html.document_fromstring(text.encode("utf-8", errors="replace"), parser=parser)
    except etree.ParserError:
        return None  # Comments alone are no page.


@lru_cache(maxsize=1_000)
def _from_css(selector: str) -> str:
    return str(HTMLTranslator().css_to_xpath(selector))


@lru_cache(maxsize=1_000)
def _path(xpath: str) -> etree.XPath:
    return etree.XPath(xpath, regexp=False, smart_strings=False)


html_select = configurable(perform_html_select, HtmlSelect)
links = configurable(perform_links, Links)
