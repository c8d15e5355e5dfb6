"""Tickets over HTTP: with a token, and with nothing but a link."""

import re
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from perdure import Engine, actions, workflow
from perdure.api.people.forms import FormFields
from perdure.client.tickets import Tickets
from perdure.control.tokens import Tokens
from perdure.model.errors import FormRefused
from perdure.ports.system import SystemClock
from tests.api.flows import registry
from tests.api.house import asked

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@workflow(registry=registry)
async def asking(title: str) -> Any:
    return await actions.approve(title=title, assignees=["ann"])()


async def opened(client: httpx.AsyncClient, engine: Engine, title: str = "Pay?") -> str:
    """Give the id of the ticket of a new run, named r."""
    await client.post("/v1/runs", json={"definition": "asking", "args": [title], "id": "r"})
    while not (found := (await client.get("/v1/tickets?assignee=ann")).json()["tickets"]):
        await engine.get("r").why()
    return str(found[0]["id"])


async def link(engine: Engine, ticket: str, **options: Any) -> str:
    token = await Tickets(engine, SystemClock()).link(ticket, person="ann", **options)
    return f"/v1/tickets/answer/{token}"


@pytest.mark.covers("F14")
async def test_a_ticket_is_listed_shown_answered_once_and_the_run_goes_on(store_url: str) -> None:
    async with asked(store=store_url) as (client, engine):
        id = await opened(client, engine)
        shown = (await client.get(f"/v1/tickets/{id}")).json()
        assert (shown["title"], shown["state"], shown["run"], shown["data"]) == ("Pay?", "open", "r", None)
        place = f"/v1/tickets/{id}"
        assert (await client.post(place, json={"as": "eve", "data": {"approved": True}})).status_code == 403
        wrong = await client.post(place, json={"as": "ann", "data": {"approved": "yes"}})
        assert (wrong.status_code, wrong.json()["type"]) == (422, "urn:perdure:form-refused")
        answered = await client.post(place, json={"as": "ann", "data": {"approved": True}})
        assert (answered.status_code, answered.json()["state"], answered.json()["by"]) == (200, "answered", "ann")
        assert (await client.post(place, json={"as": "ann", "data": {"approved": True}})).status_code == 409
        result = (await client.get("/v1/runs/r/result?wait_ms=9000")).json()
        assert result["value"][0]["data"] == {"approved": True}
        assert (await client.get("/v1/tickets")).json() == {"tickets": [], "next": None}
        page = (await client.get("/v1/tickets?state=all")).json()
        assert ([ticket["id"] for ticket in page["tickets"]], page["next"]) == ([id], None)


async def test_unknown_tickets_and_states_are_refused() -> None:
    async with asked() as (client, _):
        assert (await client.get("/v1/tickets/none")).status_code == 404
        assert (await client.post("/v1/tickets/none", json={"as": "ann", "data": 1})).status_code == 404
        assert (await client.get("/v1/tickets?state=odd")).status_code == 422


@pytest.mark.covers("F14")
async def test_a_link_shows_a_page_without_script_and_takes_what_its_form_sends() -> None:
    async with asked() as (client, engine):
        place = await link(engine, await opened(client, engine, "<b>Pay</b>?"))
        page = await client.get(place)
        assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert "&lt;b&gt;Pay&lt;/b&gt;?" in page.text
        assert "<script" not in page.text
        assert "default-src 'none'" in page.headers["content-security-policy"]
        assert page.headers["referrer-policy"] == "no-referrer"
        assert set(re.findall(r'name="(\w+)"', page.text)) >= {"approved", "comment"}
        thanks = await client.post(place, content="approved=true&comment=f%C3%BCr+Ann", headers=FORM)
        assert (thanks.status_code, "Thank you" in thanks.text) == (200, True)
        again = await client.post(place, content="comment=no", headers=FORM)
        assert (again.status_code, again.headers["content-type"]) == (409, "text/html; charset=utf-8")
        assert (await client.get(place)).status_code == 409
        result = (await client.get("/v1/runs/r/result?wait_ms=9000")).json()
        assert result["value"][0]["data"] == {"approved": True, "comment": "für Ann"}


@pytest.mark.covers("F14")
async def test_a_link_takes_json_too_refuses_what_does_not_fit_and_needs_no_token(store_url: str) -> None:
    async with asked(store=store_url) as (client, engine):
        place = await link(engine, await opened(client, engine))
        await Tokens(engine.store, SystemClock()).create("boss", ["admin"])
        assert (await client.post(place, json={"approved": 1})).status_code == 422
        assert (await client.post(place, content="{", headers={"Content-Type": "application/json"})).status_code == 400
        assert (await client.post(place, content="x", headers={"Content-Type": "text/plain"})).status_code == 415
        assert (await client.post(place, json={"approved": True})).json()["by"] == "ann"
        assert (await client.post(place, json={"approved": True})).status_code == 409


@pytest.mark.covers("F14")
async def test_a_forged_link_is_403_an_expired_one_410_and_one_to_nothing_404(store_url: str) -> None:
    async with asked(store=store_url) as (client, engine):
        id = await opened(client, engine)
        place = await link(engine, id)
        for method in ("GET", "POST"):
            told: dict[str, Any] = {"json": {"approved": True}} if method == "POST" else {}
            assert (await client.request(method, place[:-3] + "AAA", **told)).status_code == 403
            assert (await client.request(method, "/v1/tickets/answer/" + quote("a.b"), **told)).status_code == 403
            assert (await client.request(method, await expired(engine, id), **told)).status_code == 410
        await engine.store.write([gone(id)])
        assert (await client.get(place)).status_code == 404


def gone(id: str) -> Any:
    from perdure.model.ticket import TICKETS
    from perdure.ports.records import RecordChange

    return RecordChange(TICKETS, id, None)


class LongAgo:
    """A clock that stands."""

    def now_us(self) -> int:
        return 1


async def expired(engine: Engine, id: str) -> str:
    clock: Any = LongAgo()
    return f"/v1/tickets/answer/{await Tickets(engine, clock).link(id, person='ann', valid='1d')}"


async def test_a_link_is_made_over_http_for_who_is_asked_alone() -> None:
    async with asked() as (client, engine):
        id = await opened(client, engine)
        made = await client.post(f"/v1/tickets/{id}/links", json={"as": "ann", "valid": "2h"})
        assert made.status_code == 201
        assert (await client.get(made.json()["path"])).status_code == 200
        assert (await client.post(f"/v1/tickets/{id}/links", json={"as": "eve"})).status_code == 403


async def test_pages_of_tickets_follow_one_another(store_url: str) -> None:
    async with asked(store=store_url) as (client, engine):
        for number in range(5):
            await client.post("/v1/runs", json={"definition": "asking", "args": [f"{number}?"], "id": f"r{number}"})
        while len((await client.get("/v1/tickets")).json()["tickets"]) < 5:
            await engine.get("r4").why()
        titles: list[str] = []
        query = "?limit=2&state=all&assignee=ann"
        after = ""
        while after is not None:
            page = (await client.get(f"/v1/tickets{query}{after and f'&after={quote(after)}'}")).json()
            assert len(page["tickets"]) <= 2
            titles += [ticket["title"] for ticket in page["tickets"]]
            after = page["next"]
        assert sorted(titles) == [f"{number}?" for number in range(5)]


async def opened_unasked(engine: Engine) -> str:
    """As `opened`, without a request: the API has not yet found out that nobody needs a token."""
    await engine.start(asking.options(id="r"), "Pay?")
    while not (found := (await Tickets(engine, SystemClock()).list()).tickets):
        await engine.get("r").why()
    return found[0].id


async def bearer(engine: Engine, name: str, *scopes: str) -> dict[str, str]:
    """Give the header of a new token."""
    return {"Authorization": f"Bearer {await Tokens(engine.store, SystemClock()).create(name, scopes)}"}


@pytest.mark.covers("F14")
async def test_a_token_speaks_for_the_person_that_it_is_named_after_alone(store_url: str) -> None:
    async with asked(store=store_url) as (client, engine):
        id = await opened_unasked(engine)
        place, yes = f"/v1/tickets/{id}", {"data": {"approved": True}}
        ann, eve = await bearer(engine, "ann", "runs:write"), await bearer(engine, "eve", "runs:write")
        for path, body in ((place, {"as": "ann", **yes}), (f"{place}/links", {"as": "ann"})):
            refused = await client.post(path, json=body, headers=eve)
            assert (refused.status_code, refused.json()["type"]) == (403, "urn:perdure:person-not-yours")
            assert "people" in refused.json()["detail"]
        assert (await client.post(place, json=yes, headers=eve)).json()["type"] == "urn:perdure:not-assignee"
        assert (await client.post(f"{place}/links", json={}, headers=ann)).status_code == 201
        answered = await client.post(place, json=yes, headers=ann)
        assert (answered.status_code, answered.json()["by"]) == (200, "ann")


@pytest.mark.covers("F14")
@pytest.mark.parametrize("scopes", [("runs:write", "people"), ("admin",)])
async def test_a_token_with_the_scope_people_speaks_for_anyone(scopes: tuple[str, ...]) -> None:
    async with asked() as (client, engine):
        place = f"/v1/tickets/{await opened_unasked(engine)}"
        portal = await bearer(engine, "portal", *scopes)
        answered = await client.post(place, json={"as": "ann", "data": {"approved": True}}, headers=portal)
        assert (answered.status_code, answered.json()["by"]) == (200, "ann")


async def test_the_scope_people_alone_answers_nothing_and_without_a_token_somebody_is_named() -> None:
    async with asked() as (client, engine):
        place = f"/v1/tickets/{await opened_unasked(engine)}"
        unnamed = await client.post(place, json={"data": {"approved": True}})
        assert (unnamed.status_code, "'as'" in unnamed.json()["detail"]) == (422, True)
    async with asked() as (client, engine):
        headers = await bearer(engine, "ann", "people")
        told = await client.post("/v1/tickets/none", json={"data": {"approved": True}}, headers=headers)
        assert (told.status_code, told.json()["type"]) == (403, "urn:perdure:scope-missing")


def test_a_form_gives_values_of_the_types_of_its_schema() -> None:
    schema = {
        "$ref": "#/$defs/Order",
        "$defs": {
            "Order": {
                "type": "object",
                "required": ["size", "name"],
                "properties": {
                    "size": {"type": "integer"},
                    "name": {"type": "string"},
                    "colour": {"enum": ["red", 2]},
                    "fast": {"type": "boolean"},
                    "tags": {"type": "array"},
                    "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
                },
            }
        },
    }
    sent = {"size": ["3"], "name": [""], "colour": ["2"], "tags": ['["a"]'], "note": ["5"]}
    assert FormFields(schema).read(sent) == {"size": 3, "name": "", "colour": 2, "fast": False, "tags": ["a"], "note": "5"}
    assert FormFields(schema).read({"size": ["three"]})["size"] == "three", "the schema refuses it"


def test_a_schema_without_members_takes_json() -> None:
    assert FormFields({"type": "array"}).read({"json": ["[1]"]}) == [1]
    assert FormFields({"$ref": "#/gone"}).read({"json": ["1"]}) == 1
    with pytest.raises(FormRefused):
        FormFields({}).read({"json": ["{"]})
