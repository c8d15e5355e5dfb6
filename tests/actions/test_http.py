"""Requests as steps: what is sent, what comes back, what is tried again and what is not (F18)."""

import asyncio
import json
import threading
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from perdure import Retry, RetryAfter, actions, errors
from perdure.actions.secret import Veil
from perdure.actions.web.answer import Answer
from perdure.actions.web.exchange import Asked
from perdure.actions.web.http import Rounds
from perdure.actions.web.paging import NextLink, next_page
from tests.actions.certificates import certificate
from tests.actions.running import run
from tests.actions.service import Got, Said, Service

QUICK = Retry(attempts=3, first="1ms")


async def outside(step: actions.Configured[Any], items: list[dict[str, Any]]) -> Any:
    """Perform an action without an engine, to see what it raises itself."""
    perform: Any = step.perform
    return await perform.function(items, config=step.config)


def echo(got: Got) -> Said:
    body = {"method": got.method, "path": got.path, "query": got.query, "headers": got.headers, "body": got.body.decode()}
    return Said(200, json.dumps(body), {"Content-Type": "application/json", "X-More": "yes", "Set-Cookie": "session=1"})


@pytest.mark.covers("F18", "F4")
async def test_an_item_gets_what_was_answered(service: Service) -> None:
    service.route("/a", Said(200, "<p>ü</p>", {"X-More": "yes", "Set-Cookie": "session=1"}))
    (found,) = await run(actions.http(url=f"{service.url}/{{{{ page }}}}"), [{"page": "a", "kept": 1}])
    assert (found["page"], found["kept"], found["status_code"], found["content_type"]) == ("a", 1, 200, "text/html")
    assert (found["content"], found["headers"]["x-more"], found["final_url"]) == ("<p>ü</p>", "yes", f"{service.url}/a")
    assert "set-cookie" not in found["headers"]


@pytest.mark.covers("F18")
async def test_method_path_headers_query_and_body_are_filled_in_from_the_item(service: Service) -> None:
    service.route("/users/a b%2Fc", echo)
    service.routes["/users/a%20b%2Fc"] = echo
    step = actions.http(
        url=f"{service.url}/users/{{{{ user.name }}}}",
        method="POST",
        headers={"X-Kind": "{{ kind }}"},
        query={"page": "{{ page }}", "tag": ["a", "{{ kind }}"], "deep": True},
        json={"name": "{{ user.name }}", "user": "{{ user }}", "n": "{{ page }}", "text": "p{{ page }}"},
    )
    (found,) = await run(step, [{"user": {"name": "a b/c"}, "kind": "x", "page": 2}])
    said = json.loads(found["content"])
    assert (said["method"], said["query"]) == ("POST", {"page": ["2"], "tag": ["a", "x"], "deep": ["true"]})
    assert said["headers"]["x-kind"] == "x"
    assert json.loads(said["body"]) == {"name": "a b/c", "user": {"name": "a b/c"}, "n": 2, "text": "p2"}


async def test_forms_and_texts_are_bodies_too(service: Service) -> None:
    service.route("/", echo)
    (form,) = await run(actions.http(url=service.url, method="PUT", form={"a": "{{ a }} b"}), [{"a": "ä"}])
    (text,) = await run(actions.http(url=service.url, method="PATCH", text="Hello {{ a }}"), [{"a": "ä"}])
    assert json.loads(form["content"])["body"] == "a=%C3%A4+b"
    assert json.loads(form["content"])["headers"]["content-type"] == "application/x-www-form-urlencoded"
    assert json.loads(text["content"])["body"] == "Hello ä"


@pytest.mark.parametrize("value", ["..", ".", "../admin", "x?admin=1", "x#y"])
async def test_a_value_does_not_change_where_a_url_leads(service: Service, value: str) -> None:
    service.route("/admin", Said(200))
    try:
        await run(actions.http(url=f"{service.url}/users/{{{{ id }}}}"), [{"id": value}])
    except (errors.RequestRefused, errors.TemplateFailed):
        pass
    assert "/admin" not in service.paths()
    assert all(not got.query for got in service.got)


async def test_a_whole_url_can_come_from_the_item_and_must_be_http(service: Service) -> None:
    service.route("/a", Said(200, "x"))
    step = actions.http(url="{{ url }}")
    assert (await run(step, [{"url": f"{service.url}/a?b=1"}]))[0]["content"] == "x"
    assert service.got[0].query == {"b": ["1"]}
    for url in ("file:///etc/passwd", "nonsense", ""):
        with pytest.raises((errors.RequestRefused, errors.TemplateFailed)):
            await run(step, [{"url": url}])


@pytest.mark.covers("F18")
async def test_no_4xx_is_tried_again(service: Service) -> None:
    for status in (400, 401, 404, 408, 422):
        service.got.clear()
        service.route("/", Said(status), Said(200))
        with pytest.raises(errors.RequestRefused, match=str(status)) as refused:
            await run(actions.http(url=service.url).options(retry=QUICK), [{}])
        assert (len(service.got), refused.value.status) == (1, status)


@pytest.mark.covers("F18")
@pytest.mark.parametrize("status", [500, 502, 503, 504, 429])
async def test_5xx_and_429_are_tried_again_and_the_last_failure_reaches_the_workflow(service: Service, status: int) -> None:
    service.route("/", Said(status))
    with pytest.raises(errors.RequestFailed, match=str(status)):
        await run(actions.http(url=service.url).options(retry=QUICK), [{}])
    assert len(service.got) == 3
    service.route("/", Said(status), Said(200, "there"))
    assert (await run(actions.http(url=service.url).options(retry=QUICK), [{}]))[0]["content"] == "there"


@pytest.mark.covers("F18")
async def test_retry_after_says_when_and_overrules_the_policy(service: Service) -> None:
    service.route("/", Said(429, "", {"Retry-After": "0"}), Said(200, "there"))
    slow = actions.http(url=service.url).options(retry=Retry(attempts=2, first="1h"))
    assert (await run(slow, [{}]))[0]["content"] == "there"
    service.route("/", Said(429, "", {"Retry-After": "120"}))
    with pytest.raises(RetryAfter) as asked:
        await outside(actions.http(url=service.url), [{}])
    assert asked.value.delay_us == 120_000_000
    service.route("/", Said(503, "", {"Retry-After": "999999999"}))
    with pytest.raises(RetryAfter) as asked:
        await outside(actions.http(url=service.url, retry_after_max="10m"), [{}])
    assert asked.value.delay_us == 600_000_000
    service.route("/", Said(429, "", {"Retry-After": "0"}))
    with pytest.raises(errors.RequestFailed):
        await run(slow, [{}])


async def test_retry_after_may_be_a_date(service: Service) -> None:
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    service.route("/", Said(503, "", {"Retry-After": format_datetime(epoch + timedelta(seconds=90), usegmt=True)}))
    with pytest.raises(RetryAfter) as asked:
        await outside(actions.http(url=service.url), [{}])
    assert asked.value.delay_us == 90_000_000
    service.route("/", Said(503, "", {"Retry-After": "tomorrow"}))
    with pytest.raises(errors.RequestFailed):
        await outside(actions.http(url=service.url), [{}])


@pytest.mark.covers("F4")
async def test_one_url_that_succeeds_is_a_success_and_the_others_say_why_not(service: Service) -> None:
    service.route("/a", Said(200, "A"))
    service.route("/c", Said(503, "busy"))
    items = [{"page": "a"}, {"page": "b"}, {"page": "c"}]
    found = await run(actions.http(url=f"{service.url}/{{{{ page }}}}", again_after="1ms"), items)
    assert [(item["page"], item["status_code"], item["content"]) for item in found] == [
        ("a", 200, "A"),
        ("b", 404, "not here"),
        ("c", 503, "busy"),
    ]
    assert ["error" in item for item in found] == [False, True, True]
    assert await run(actions.filter_success(), found) == found[:1]


@pytest.mark.covers("F18")
async def test_what_fails_beside_a_success_is_asked_for_again_by_itself(service: Service) -> None:
    service.route("/a", Said(200, "A"))
    service.route("/b", Said(503), Said(429, "", {"Retry-After": "0"}), Said(200, "B"))
    service.route("/c", Said(503))
    service.route("/d", Said(429, "", {"Retry-After": "3600"}))
    service.route("/e", Said(404))
    step = actions.http(url=f"{service.url}/{{{{ page }}}}", method="POST", again_after="1ms").options(retry=QUICK)
    found = await run(step, [{"page": page} for page in "abcde"])
    assert [item["status_code"] for item in found] == [200, 200, 503, 429, 404]
    assert [service.paths().count(f"/{page}") for page in "abcde"] == [1, 3, 3, 1, 1]
    assert len({got.headers["idempotency-key"] for got in service.got if got.path == "/b"}) == 1
    service.got.clear()
    service.route("/b", Said(503))
    found = await run(actions.http(url=f"{service.url}/{{{{ page }}}}", again_max=0), [{"page": "a"}, {"page": "b"}])
    assert ([item["status_code"] for item in found], len(service.got)) == ([200, 503], 2)


@pytest.mark.covers("F18")
async def test_a_page_that_fails_is_asked_for_again_by_itself(service: Service) -> None:
    service.route("/1", Said(200, "one", {"Link": "</2>; rel=next"}))
    service.route("/2", Said(503), Said(200, "two", {"Link": "</3>; rel=next"}))
    service.route("/3", Said(500), Said(200, "three"))
    step = actions.http(url=f"{service.url}/1", paging=actions.NextLink(), again_after="1ms")
    found = await run(step, [{}])
    assert [(item["page"], item["content"]) for item in found] == [(1, "one"), (2, "two"), (3, "three")]
    assert service.paths() == ["/1", "/2", "/2", "/3", "/3"]


async def test_a_service_that_is_not_there_is_tried_again() -> None:
    with pytest.raises(errors.RequestFailed, match="Connect"):
        await run(actions.http(url="http://127.0.0.1:1").options(retry=QUICK), [{}])


async def test_an_answer_that_does_not_come_is_given_up_in_time(service: Service) -> None:
    over = threading.Event()

    def late(got: Got) -> Said:
        over.wait(5)
        return Said(200)

    service.route("/", late)
    try:
        with pytest.raises(errors.RequestFailed, match=r"no answer within 0\.1s"):
            await run(actions.http(url=service.url, timeout="100ms").options(retry=Retry(attempts=1)), [{}])
    finally:
        over.set()


async def test_an_answer_without_end_is_refused(service: Service) -> None:
    service.route("/", Said(200, "x" * 2_000))
    with pytest.raises(errors.RequestRefused, match="bytes_max"):
        await run(actions.http(url=service.url, bytes_max=1_000).options(retry=QUICK), [{}])
    assert len(service.got) == 1
    assert len((await run(actions.http(url=service.url, bytes_max=2_000), [{}]))[0]["content"]) == 2_000


async def test_redirects_are_followed_up_to_a_number(service: Service) -> None:
    for number in range(4):
        service.route(f"/{number}", Said(302, "", {"Location": f"/{number + 1}"}))
    service.route("/4", Said(200, "there"))
    (found,) = await run(actions.http(url=f"{service.url}/0"), [{}])
    assert (found["content"], found["final_url"]) == ("there", f"{service.url}/4")
    with pytest.raises(errors.RequestRefused, match="redirects"):
        await run(actions.http(url=f"{service.url}/0", redirects_max=2), [{}])
    service.route("/file", Said(302, "", {"Location": "file:///etc/passwd"}))
    with pytest.raises(errors.RequestRefused):
        await run(actions.http(url=f"{service.url}/file"), [{}])


@pytest.mark.covers("F18")
async def test_a_change_carries_one_idempotency_key_over_all_attempts_and_another_for_each_item(service: Service) -> None:
    service.route("/", Said(500), Said(500), Said(200))
    await run(actions.http(url=service.url, method="POST", parallel_max=1).options(retry=QUICK), [{}, {}])
    keys = [got.headers["idempotency-key"] for got in service.got]
    assert keys[0] == keys[2] != keys[1] == keys[3]
    assert keys[0].endswith("#1#1/0")
    service.got.clear()
    await run(actions.http(url=service.url), [{}])
    assert "idempotency-key" not in service.got[0].headers


async def test_pages_are_followed_by_link_header_to_a_bound(service: Service) -> None:
    service.route("/1", Said(200, "one", {"Link": '</2>; rel="next", </9>; rel="last"'}))
    service.route("/2", Said(200, "two", {"Link": "<3>; rel=next"}))
    service.route("/3", Said(200, "three"))
    found = await run(actions.http(url=f"{service.url}/1", paging=actions.NextLink()), [{"id": 7}])
    assert [(item["id"], item["page"], item["content"]) for item in found] == [(7, 1, "one"), (7, 2, "two"), (7, 3, "three")]
    found = await run(actions.http(url=f"{service.url}/1", paging=actions.NextLink(pages_max=2)), [{}])
    assert [(item["content"], item.get("has_more")) for item in found] == [("one", None), ("two", True)]


async def test_pages_that_lead_in_a_circle_are_each_asked_for_once(service: Service) -> None:
    service.route("/1", Said(200, "one", {"Link": f'<{service.url}/2>; rel="next"'}))
    service.route("/2", Said(200, "two", {"Link": f'<{service.url}/2>; rel="next"'}))
    found = await run(actions.http(url=f"{service.url}/1", paging=actions.NextLink()), [{}])
    assert [item["content"] for item in found] == ["one", "two"]


async def test_pages_are_followed_by_a_url_in_the_answer(service: Service) -> None:
    as_json = {"Content-Type": "application/json"}
    service.route("/1", Said(200, '{"links":{"next":"/2?x=1"}}', as_json))
    service.route("/2", Said(200, '{"links":{"next":null}}', as_json))
    found = await run(actions.http(url=f"{service.url}/1", query={"q": "a"}, paging=actions.NextPath(path="links.next")), [{}])
    assert [item["page"] for item in found] == [1, 2]
    assert [got.query for got in service.got] == [{"q": ["a"]}, {"x": ["1"]}]


async def test_pages_are_counted_until_one_has_nothing(service: Service) -> None:
    def page(got: Got) -> Said:
        rows = [1] if int(got.query["p"][0]) < 2 else []
        return Said(200, json.dumps({"rows": rows}), {"Content-Type": "application/json"})

    service.route("/", page)
    paging = actions.PageParameter(name="p", first=0, path="rows")
    found = await run(actions.http(url=service.url, query={"size": 5}, paging=paging), [{}])
    assert [item["page"] for item in found] == [1, 2]
    assert [got.query for got in service.got] == [{"size": ["5"], "p": [str(number)]} for number in range(3)]


def test_links_are_read_as_they_are_written() -> None:
    for header in (
        '<a>; rel="prev", <b>; rel="next"',
        "<b>;rel=next",
        '<b>; title="x, y"; rel="last next"',
        '<a?x=1,2>; rel=prev,<b>;rel="NEXT"',
    ):
        following = next_page(NextLink(), Answer(200, {"link": header}, "", "", True, "http://x/y"), 1)
        assert following is not None, header
        assert following.url == "http://x/b"
    assert next_page(NextLink(), Answer(200, {"link": '<a>; rel="prev"'}, "", "", True, "http://x/y"), 1) is None


@pytest.mark.parametrize(
    ("body", "kind", "content", "is_base64"),
    [
        (b"\xfc", "text/html; charset=latin-1", "ü", False),
        (b'<meta charset="latin-1">\xfc', "text/html", '<meta charset="latin-1">ü', False),
        (b"\xff\xfe", "image/png", "//4=", True),
        (b"\xff\xfe", "", "//4=", True),
        (b"text", "", "text", False),
        (b"\xff", "text/plain; charset=nonsense", "\ufffd", False),
        (b"{}", "application/problem+json", "{}", False),
    ],
)
def test_texts_come_as_texts_and_all_else_as_base64(body: bytes, kind: str, content: str, is_base64: bool) -> None:
    fields = Answer.of(200, [("Content-Type", kind)] if kind else [], body, "http://x").fields()
    assert (fields["content"], fields.get("is_base64", False)) == (content, is_base64)


async def test_no_more_requests_than_allowed_are_under_way() -> None:
    now, most = 0, 0

    class Counting:
        async def ask(self, asked: Asked) -> Answer:
            nonlocal now, most
            now, most = now + 1, max(most, now + 1)
            for _ in range(10):
                await asyncio.sleep(0)
            now -= 1
            return Answer(200, {}, "", "", True, str(asked.url))

    config: Any = actions.http(url="http://x", parallel_max=3).config
    rounds = Rounds(config, Counting(), Veil(), key=None)  # type: ignore[arg-type]
    assert len(await rounds.all([{}] * 10)) == 10
    assert most == 3


async def test_a_certificate_that_nobody_vouches_for_is_refused_and_not_tried_again(tmp_path: Any) -> None:
    trusted, server_context = certificate(tmp_path)
    connected = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connected
        connected += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=server_context)
    url = f"https://localhost:{server.sockets[0].getsockname()[1]}"
    async with server:
        with pytest.raises(errors.RequestRefused, match="CERTIFICATE_VERIFY_FAILED"):
            await run(actions.http(url=url).options(retry=QUICK), [{}])
        (found,) = await run(actions.http(url=url, ca_file=str(trusted)), [{}])
    assert (found["content"], connected) == ("ok", 1)
