"""What an action's author may say of it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

import perdure
from perdure import Batch, Limit, Registry, action, errors


@dataclass
class Order:
    user: str
    lines: list[str]


def declared(**options: Any) -> Any:
    async def ship(order: Order, *, express: bool = False) -> None:
        """Send it.

        By post.
        """

    return action(registry=Registry(), **options)(ship).spec


def test_what_is_not_said_is_as_before() -> None:
    spec = declared()
    assert (spec.queue, spec.version, spec.is_in_process, spec.batch, spec.limit) == (None, 1, False, None, None)
    assert (spec.description, spec.cost, spec.service) == ("Send it.", None, "")
    assert declared(description="Other").description == "Other"


def test_a_queue_a_version_a_cost_and_a_service_are_declared() -> None:
    spec = declared(queue="geo", version=3, cost=0.25, service="post.example")
    assert (spec.queue, spec.version, spec.cost, spec.service) == ("geo", 3, 0.25, "post.example")


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("order.user", "order.user"),
        (lambda order: order.user, "order.user"),
        (lambda it: it.user, "order.user"),
        (lambda order: order["lines"][0], "order.lines.0"),
        (lambda express: express, "express"),
        (lambda order, express: express, "express"),
    ],
)
def test_the_key_of_a_limit_is_a_path_for_those_who_have_not_the_code(key: str | Callable[..., Any], path: str) -> None:
    limit = declared(limit=Limit(concurrency=9, key=key)).limit
    assert (limit.key, limit.key_concurrency, limit.concurrency) == (path, 1, 9)


@pytest.mark.parametrize(
    "limit",
    [
        Limit(key="customer.name"),
        Limit(key=lambda order: 7),
        Limit(key=lambda order: order.user + "x"),
        Limit(concurrency=0),
        Limit(rate=-1),
        Limit(burst=0),
        Limit(key="order", key_concurrency=0),
    ],
)
def test_a_limit_that_cannot_be_is_refused(limit: Limit) -> None:
    with pytest.raises(errors.InvalidOption):
        declared(limit=limit)


@pytest.mark.parametrize(
    "options",
    [
        {"version": 0},
        {"queue": ""},
        {"runs_in": "space"},
        {"transactional": True, "queue": "geo"},
        {"transactional": True, "batch": Batch()},
        {"runs_in": "process"},
    ],
)
def test_options_that_do_not_go_together_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(errors.InvalidOption):
        declared(**options)


def test_the_types_of_one_call_are_those_of_a_batchs_values() -> None:
    async def ship(orders: dict[str, Order]) -> dict[str, int]:
        return {}

    spec = action(batch=Batch(), registry=Registry())(ship).spec
    assert spec.signature.returns is int
    (parameter,) = spec.signature.parameters
    assert (parameter.name, parameter.annotation) == ("orders", Order)
    assert spec.signature.text == "ship(orders: tests.deciders.test_declaring.Order) -> int"
    assert perdure.Batch is Batch
