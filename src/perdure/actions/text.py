"""``regex``, ``template`` and ``normalize_text``: texts out of texts."""

import html
import unicodedata
from typing import Any, Literal

import regex as expressions
from msgspec import UNSET, field

from perdure.actions.configured import Item, Items, Options, check_span, configurable, pass_on, pass_on_items
from perdure.actions.patterns import check_pattern, compiled, matches
from perdure.actions.templates import OnMissing, check_template, filler, scope
from perdure.deciders.code.authoring import action
from perdure.model.errors import InvalidOption


class Regex(Options, frozen=True, kw_only=True):
    """``pattern`` is looked for in ``source``. ``group``: what of a match is taken, by number or name; 0 is all. ``output``: its name.
    ``matches_max``: how many are taken of one item. ``timeout``: how long may be tried on one item.
    """

    pattern: str
    source: str = "content"
    output: str = "match"
    group: int | str = 0
    ignore_case: bool = False
    multiline: bool = False
    dot_all: bool = False
    matches_max: int = 10_000
    timeout: str = "1s"

    def check(self) -> None:
        """As `Options.check`."""
        pattern = check_pattern("regex.pattern", self.pattern, self.flags)
        check_span("regex.timeout", self.timeout)
        known = [*range(pattern.groups + 1), *pattern.groupindex]
        if self.group not in known:
            raise InvalidOption(option="regex.group", found=repr(self.group), expected=f"one of {known}")
        if self.matches_max < 1:
            raise InvalidOption(option="regex.matches_max", found=repr(self.matches_max), expected="1 or more")

    @property
    def flags(self) -> int:
        """As the library takes them."""
        chosen = ((self.ignore_case, expressions.IGNORECASE), (self.multiline, expressions.MULTILINE), (self.dot_all, expressions.DOTALL))
        return sum(int(flag) for is_set, flag in chosen if is_set)


@action(name="regex")
def perform_regex(items: Items, *, config: Regex) -> Items:
    """Give an item for each match in each item. Where nothing matches, the default value stands for it, or the item is dropped.

    Raises `PatternTooSlow`. It runs in a thread, and other code runs beside it while a pattern is tried.
    """
    found: Items = []
    pattern = compiled(config.pattern, config.flags)
    for item in items:
        values: list[Any] = []
        for match in matches(pattern, str(item.get(config.source) or ""), config.timeout):
            values.append(match[config.group])
            if len(values) == config.matches_max:
                break
        if not values and config.default_value is not UNSET:
            values = [config.default_value]
        found += [{**item, config.output: value} for value in values if value is not None]
    return pass_on_items(found, config)


class TemplateText(Options, frozen=True, kw_only=True):
    """``text``: the template. ``output``: the name of what comes of it. ``globals``: values that every item has unless it has its own.
    ``on_missing``: what stands for a value that is not there.
    """

    text: str
    output: str = "text"
    on_missing: OnMissing = "fail"
    globals: dict[str, Any] = field(default_factory=dict)

    def check(self) -> None:
        """As `Options.check`."""
        check_template("template.text", self.text, self.on_missing)


@action(name="template")
def perform_template(items: Items, *, config: TemplateText) -> Items:
    """Fill a template in from each item. Raises `TemplateFailed`, also for a value that is not there where ``on_missing`` is ``fail``."""
    filled = filler(config.text, config.on_missing)
    return pass_on_items([{**item, config.output: filled.fill(scope(item, config.globals))} for item in items], config)


class NormalizeText(Options, frozen=True, kw_only=True):
    """``fields``: the names of the texts, empty for all texts of an item. ``form``: of Unicode, ``None`` to leave it. ``case``: of letters.
    ``whitespace``: whether runs of it become one space. ``entities``: whether ``&amp;`` becomes ``&``.
    """

    fields: list[str] = field(default_factory=list)
    form: Literal["NFC", "NFD", "NFKC", "NFKD"] | None = "NFKC"
    whitespace: bool = True
    entities: bool = True
    case: Literal["keep", "lower", "upper", "fold"] = "keep"

    def check(self) -> None:
        """As `Options.check`."""
        self.default_item("normalize_text")


@action(name="normalize_text")
async def perform_normalize_text(items: Items, *, config: NormalizeText) -> Items:
    """Write texts that mean the same alike."""
    return pass_on([_normalized(item, config) for item in items], config)


def _normalized(item: Item, config: NormalizeText) -> Item:
    names = config.fields or list(item)
    return item | {name: _written(item[name], config) for name in names if isinstance(item.get(name), str)}


def _written(text: str, config: NormalizeText) -> str:
    text = html.unescape(text) if config.entities else text
    text = text if config.form is None else unicodedata.normalize(config.form, text)
    text = " ".join(text.split()) if config.whitespace else text
    match config.case:
        case "keep":
            return text
        case "lower":
            return text.lower()
        case "upper":
            return text.upper()
        case "fold":
            return text.casefold()


regex = configurable(perform_regex, Regex)
template = configurable(perform_template, TemplateText)
normalize_text = configurable(perform_normalize_text, NormalizeText)
