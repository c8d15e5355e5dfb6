"""``filter_success``, ``filter_json``, ``filter_html``: which answers go on; ``parse_json``: their content as values."""

from typing import Literal

import msgspec
from msgspec import UNSET, field

from perdure.actions.configured import Item, Items, Options, configurable, pass_on, pass_on_items
from perdure.deciders.code.authoring import action
from perdure.model.errors import InvalidOption, InvalidValue


class FilterSuccess(Options, frozen=True, kw_only=True):
    """``statuses``: those that go on; empty for 200 to 299."""

    statuses: list[int] = field(default_factory=list)

    def check(self) -> None:
        """As `Options.check`."""
        self.default_item("filter_success")
        if wrong := [status for status in self.statuses if not 100 <= status <= 599]:
            raise InvalidOption(option="filter_success.statuses", found=repr(wrong), expected="statuses from 100 to 599")


@action(name="filter_success")
async def perform_filter_success(items: Items, *, config: FilterSuccess) -> Items:
    """Pass on the items whose ``status_code`` is a success."""

    def is_good(item: Item) -> bool:
        status = item.get("status_code")
        return isinstance(status, int) and (status in config.statuses or (not config.statuses and 200 <= status < 300))

    return pass_on([item for item in items if is_good(item)], config)


class FilterJson(Options, frozen=True, kw_only=True):
    """Nothing but what every configuration has."""

    def check(self) -> None:
        """As `Options.check`."""
        self.default_item("filter_json")


@action(name="filter_json")
async def perform_filter_json(items: Items, *, config: FilterJson) -> Items:
    """Pass on the items whose ``content_type`` is JSON."""
    return pass_on([item for item in items if (kind := _kind(item)) == "application/json" or kind.endswith("+json")], config)


class FilterHtml(Options, frozen=True, kw_only=True):
    """Nothing but what every configuration has."""

    def check(self) -> None:
        """As `Options.check`."""
        self.default_item("filter_html")


@action(name="filter_html")
async def perform_filter_html(items: Items, *, config: FilterHtml) -> Items:
    """Pass on the items whose ``content_type`` is HTML."""
    return pass_on([item for item in items if _kind(item) in ("text/html", "application/xhtml+xml")], config)


class ParseJson(Options, frozen=True, kw_only=True):
    """``source``: the name of the text. ``output``: the name of the value. ``on_invalid``: what follows from a text that is no JSON, unless
    there is a default value, which then stands for it.
    """

    source: str = "content"
    output: str = "json"
    on_invalid: Literal["fail", "drop"] = "fail"


@action(name="parse_json")
async def perform_parse_json(items: Items, *, config: ParseJson) -> Items:
    """Add the value of a JSON text to each item. Raises `InvalidValue` for what is none."""
    found: Items = []
    for at, item in enumerate(items):
        try:
            value = msgspec.json.decode(item.get(config.source, ""))
        except (msgspec.DecodeError, TypeError, RecursionError) as error:
            if config.default_value is UNSET and config.on_invalid == "fail":
                raise InvalidValue(what=f"{config.source!r} of item {at}", problem=str(error)) from None
            if config.default_value is UNSET:
                continue
            value = config.default_value
        found.append({**item, config.output: value})
    return pass_on_items(found, config)


def _kind(item: Item) -> str:
    return str(item.get("content_type", "")).partition(";")[0].strip().lower()


filter_success = configurable(perform_filter_success, FilterSuccess)
filter_json = configurable(perform_filter_json, FilterJson)
filter_html = configurable(perform_filter_html, FilterHtml)
parse_json = configurable(perform_parse_json, ParseJson)
