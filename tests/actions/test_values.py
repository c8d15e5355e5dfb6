"""Values out of values and texts out of texts (F4)."""

import time
from typing import Any

import pytest

from perdure import EMPTY, actions, errors
from perdure.actions import Operation
from tests.actions.running import run

SHOP: dict[str, Any] = {
    "json": {"goods": [{"name": "tea", "price": 3, "tags": ["hot"]}, {"name": "cup", "price": 10}, {"name": "pot", "price": 30}], "n": 7}
}


async def query(*operations: Operation, **options: Any) -> Any:
    return await run(actions.json_query(operations=list(operations), **options), [SHOP])


def values(found: Any) -> Any:
    return found if found is EMPTY else [item["value"] for item in found]


@pytest.mark.covers("F4")
async def test_operations_are_done_in_order_by_jmespath_and_jsonpath() -> None:
    assert values(await query(Operation(query="goods[].name"))) == [["tea", "cup", "pot"]]
    assert values(await query(Operation(query="goods"), Operation(filter="price > `5`"), Operation(query="[].name"))) == [["cup", "pot"]]
    assert values(await query(Operation(query="$.goods[*].name", language="jsonpath"))) == [["tea", "cup", "pot"]]
    assert values(await query(Operation(query="$.goods[?@.price > 5].name", language="jsonpath"), each=True)) == ["cup", "pot"]
    assert values(await query(Operation(query="$.goods[1].name", language="jsonpath"))) == ["cup"]
    assert values(await query(Operation(query="goods"), Operation(filter="$.tags", language="jsonpath"), Operation(query="[].name"))) == [
        ["tea"]
    ]
    assert values(await query(Operation(query="n"), Operation(filter="@ > `5`"))) == [7]
    assert values(await query(Operation(query="n"), Operation(filter="@ > `9`"))) is EMPTY


async def test_each_entry_of_a_list_can_be_an_item_and_zero_and_false_are_values() -> None:
    assert values(await query(Operation(query="goods[].price"), each=True)) == [3, 10, 30]
    found = await run(
        actions.json_query(operations=[Operation(query="@")], source="a"), [{"a": 0}, {"a": False}, {"a": ""}, {"a": None}, {}]
    )
    assert values(found) == [0, False, ""]


async def test_there_is_arithmetic_for_jmespath() -> None:
    assert values(await query(Operation(query="inc(n, `2`)"), Operation(query="mod(@, `4`)"))) == [1]
    with pytest.raises(errors.InvalidValue, match="operation 0 on item 0"):
        await query(Operation(query="mod(n, `0`)"))
    with pytest.raises(errors.InvalidValue):
        await query(Operation(query="inc(goods, `1`)"))


async def test_the_default_value_stands_for_what_is_not_found_and_else_the_item_is_dropped() -> None:
    missing = [Operation(query="missing")]
    assert values(await query(*missing)) is EMPTY
    assert values(await query(*missing, default_value=0)) == [0]
    assert values(await query(*missing, default_value=None)) == [None]
    assert values(await query(*missing, return_empty_result=True)) == []


def test_jsonpath_has_no_patterns_whose_time_nobody_bounds() -> None:
    with pytest.raises(errors.InvalidOption):
        actions.json_query(operations=[Operation(query="$[?match(@.a, '(a+)+$')]", language="jsonpath")])
    with pytest.raises(errors.InvalidOption):
        actions.json_query(operations=[Operation(query="$[?@.a =~ /(a+)+$/]", language="jsonpath")])


PAGE = """<html><head><base href="/deep/"></head><body>
<ul><li class="a">One <b>bold</b> x</li><li class="a" id="two">Two\n  lines</li></ul>
<a href="x.html#part">x</a> <a href="https://other.test/y?b=1">y</a> <a href="mailto:a@b">m</a> <a href="x.html">again</a>
<a href="http://[bad">bad</a> <a href="javascript:alert(1)">j</a></body></html>"""


@pytest.mark.covers("F4")
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"css": "li.a"}, ["One bold x", "Two lines"]),
        ({"css": "li.a", "take": "html"}, ['<li class="a">One <b>bold</b> x</li>', '<li class="a" id="two">Two\n  lines</li>']),
        ({"css": "li", "attribute": "id"}, ["two"]),
        ({"xpath": "//li/@id"}, ["two"]),
        ({"xpath": "//li/b/text()"}, ["bold"]),
        ({"xpath": "count(//li)"}, [2.0]),
        ({"xpath": "//li[2]"}, ["Two lines"]),
        ({"regex": 'class="(.)"'}, ["a", "a"]),
        ({"regex": "<b>bold</b>"}, ["<b>bold</b>"]),
        ({"css": "h1"}, EMPTY),
        ({"css": "h1", "default_value": ""}, [""]),
    ],
)
async def test_what_a_selector_finds_is_an_item_each(options: Any, expected: Any) -> None:
    assert values(await run(actions.html_select(**options), [{"content": PAGE}])) == expected


@pytest.mark.parametrize(
    "content", ["", "   ", "<!-- nothing -->", None, "\x00\x01", '<?xml version="1.0" encoding="utf-16"?><p>ü</p>', "<<<>>>&;&#x0;"]
)
async def test_odd_pages_are_read_or_have_nothing(content: Any) -> None:
    found = values(await run(actions.html_select(css="p"), [{"content": content}]))
    assert found is EMPTY or found == ["ü"]


async def test_an_entity_of_a_page_reads_no_file() -> None:
    page = '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><p>a&e;b</p>'
    assert "root" not in str(await run(actions.html_select(css="p"), [{"content": page}]))


@pytest.mark.covers("F4")
async def test_links_are_whole_and_each_comes_once() -> None:
    item = {"content": PAGE, "final_url": "https://shop.test/a/b"}

    async def found(**options: Any) -> Any:
        result = await run(actions.links(**options), [item])
        return result if result is EMPTY else [entry["url"] for entry in result]

    assert await found() == ["https://shop.test/deep/x.html", "https://other.test/y?b=1"]
    assert await found(same_host=True) == ["https://shop.test/deep/x.html"]
    assert await found(pattern=r"\?b=\d") == ["https://other.test/y?b=1"]
    assert await found(base="http://base.test/") == ["http://base.test/deep/x.html", "https://other.test/y?b=1"]
    assert await found(pattern="nowhere") is EMPTY


@pytest.mark.covers("F4")
async def test_each_match_is_an_item() -> None:
    items = [{"content": "a=1, B=22"}, {"content": "none"}]

    async def found(pattern: str, **options: Any) -> Any:
        result = await run(actions.regex(pattern=pattern, **options), items)
        return result if result is EMPTY else [entry["match"] for entry in result]

    assert await found(r"[a-z]=\d+") == ["a=1"]
    assert await found(r"[a-z]=(\d+)", ignore_case=True, group=1) == ["1", "22"]
    assert await found(r"(?P<name>\w)=", group="name") == ["a", "B"]
    assert await found(r"\d", matches_max=2) == ["1", "2"]
    assert await found("zzz") is EMPTY
    assert await found(r"\d+", default_value=None) == ["1", "22", None] or await found(r"\d+", default_value="-") == ["1", "22", "-"]


@pytest.mark.covers("F4")
async def test_a_catastrophic_pattern_is_stopped_in_time_and_holds_nothing_up() -> None:
    import asyncio

    step = actions.regex(pattern="(x+x+)+y", timeout="300ms")
    began, turns = time.monotonic(), 0
    task = asyncio.create_task(run(step, [{"content": "x" * 5_000}]))
    while not task.done():
        await asyncio.sleep(0.01)
        turns += 1
    with pytest.raises(errors.PatternTooSlow, match=r"longer than 300ms on a text of 5000"):
        await task
    assert time.monotonic() - began < 5
    assert turns > 10


async def test_a_catastrophic_pattern_in_a_page_or_a_link_is_stopped_too() -> None:
    text = "x" * 5_000
    with pytest.raises(errors.PatternTooSlow):
        await run(actions.html_select(regex="(x+x+)+y", timeout="100ms"), [{"content": text}])
    with pytest.raises(errors.PatternTooSlow):
        await run(actions.links(pattern="(x+x+)+y", timeout="100ms"), [{"content": f'<a href="http://a/{text}">x</a>'}])


async def fill(text: str, item: dict[str, Any], **options: Any) -> Any:
    return (await run(actions.template(text=text, **options), [item]))[0]["text"]


@pytest.mark.covers("F4")
async def test_a_template_is_filled_in_from_item_and_globals_and_the_item_goes_before() -> None:
    assert await fill("{{ a.b }} {{ c }}{{ d | upper }}", {"a": {"b": 1}, "d": "x"}, globals={"c": "g", "d": "no"}) == "1 gX"
    assert await fill("{% for x in xs %}{{ x }},{% endfor %}", {"xs": [1, 2]}) == "1,2,"
    assert await fill("{{ a.items }} {{ item['odd-name'] }}", {"a": {"items": 3}, "odd-name": 4}) == "3 4"


@pytest.mark.covers("F4")
@pytest.mark.parametrize(
    ("text", "left"),
    [("a {{ x }} b", "a {{ x }} b"), ("{{ a.b.c }}", "{{ a.b.c }}"), ("{{x|upper}}{{ y }}", "{{x|upper}}Y"), ("{{ y.z }}", "{{ y.z }}")],
)
async def test_a_value_that_is_not_there_fails_is_left_or_is_empty(text: str, left: str) -> None:
    item = {"a": {}, "y": "Y"}
    with pytest.raises(errors.TemplateFailed):
        await fill(text, item)
    assert await fill(text, item, on_missing="leave_as_is") == left
    assert "{{" not in await fill(text, item, on_missing="replace_with_empty")


@pytest.mark.parametrize(
    "text",
    ["{{ ''.__class__.__mro__ }}", "{{ a.__init__.__globals__ }}", "{{ item.__class__ }}", "{% for x in range(10**9) %}{% endfor %}"],
)
async def test_a_template_does_not_get_out_of_its_sandbox(text: str) -> None:
    with pytest.raises(errors.TemplateFailed):
        await fill(text, {"a": "x"})


async def test_data_that_looks_like_a_template_is_data() -> None:
    assert await fill("{{ a }}", {"a": "{{ b }}{% raw %}"}) == "{{ b }}{% raw %}"


async def test_texts_are_written_alike() -> None:
    item = {"a": "  Tea &amp;\n\tcup ﬁx ", "b": 3, "c": "KEEP  it"}
    assert (await run(actions.normalize_text(), [item])) == [{"a": "Tea & cup fix", "b": 3, "c": "KEEP it"}]
    assert (await run(actions.normalize_text(fields=["a"], case="upper", form=None), [item]))[0] == {
        "a": "TEA & CUP FIX",
        "b": 3,
        "c": "KEEP  it",
    }
    found = await run(actions.normalize_text(fields=["c", "nowhere"], case="lower", whitespace=False, entities=False), [item])
    assert found[0]["c"] == "keep  it"
    assert (await run(actions.normalize_text(case="fold"), [{"a": "Straße"}]))[0]["a"] == "strasse"


async def test_json_and_html_are_told_apart_by_their_type() -> None:
    items = [
        {"content_type": kind}
        for kind in ("application/json", "text/html", "application/ld+json; x=1", "TEXT/HTML;charset=x", "", "image/png")
    ]
    kinds = [item["content_type"] for item in await run(actions.filter_json(), items)]
    assert kinds == ["application/json", "application/ld+json; x=1"]
    assert [item["content_type"] for item in await run(actions.filter_html(), items)] == ["text/html", "TEXT/HTML;charset=x"]
    assert await run(actions.filter_html(), [{}]) is EMPTY


async def test_success_is_2xx_or_what_is_named() -> None:
    items = [{"status_code": status} for status in (200, 204, 302, 404, None, "200")]
    assert [item["status_code"] for item in await run(actions.filter_success(), items)] == [200, 204]
    assert [item["status_code"] for item in await run(actions.filter_success(statuses=[404]), items)] == [404]


async def test_content_becomes_a_value_and_what_is_no_json_fails_is_dropped_or_has_the_default() -> None:
    items = [{"content": '{"a": [1]}'}, {"content": "<p>"}, {}]
    with pytest.raises(errors.InvalidValue, match="'content' of item 1"):
        await run(actions.parse_json(), items)
    assert [item["json"] for item in await run(actions.parse_json(on_invalid="drop"), items)] == [{"a": [1]}]
    assert [item["json"] for item in await run(actions.parse_json(default_value=None), items)] == [{"a": [1]}, None, None]
    assert await run(actions.parse_json(), []) is EMPTY
