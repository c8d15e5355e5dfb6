"""Failed attempts are made again exactly when the policy says, and not when it says so (virtual time)."""

import pytest

from perdure import Registry, Retry, RetryAfter, action, workflow
from perdure.testing import Environment

registry = Registry()
errors: list[Exception] = []


class Declined(Exception):
    pass


@action(registry=registry, retry=Retry(first="3s", factor=1.2, cap="5s", never=[Declined], overrides={LookupError: Retry(delays=["1h"])}))
async def charge() -> str:
    if errors:
        raise errors.pop(0)
    return "charged"


@workflow(registry=registry)
async def pay() -> str:
    return await charge()


async def offsets(found: list[Exception]) -> tuple[list[float], str]:
    """Give the seconds at which attempts failed, from the start of the run, and how the run ended."""
    errors[:] = found
    async with Environment(registry=registry) as env:
        run = await env.start(pay)
        await env.advance("1d")
        entries = [entry async for entry in run.journal()]
        failed = [(entry.at - entries[0].at).total_seconds() for entry in entries if entry.name in ("AttemptFailed", "ActionFailed")]
        done = [(entry.at - entries[0].at).total_seconds() for entry in entries if entry.name == "ActionCompleted"]
        return failed + done, await run.status()


@pytest.mark.covers("I17")
async def test_delays_grow_to_the_cap_and_the_retries_go_on() -> None:
    found, status = await offsets([ValueError("x") for _ in range(6)])
    assert found == pytest.approx([0, 3, 6.6, 10.92, 15.92, 20.92, 25.92], abs=1e-3)
    assert status == "completed"


@pytest.mark.covers("I17")
async def test_what_must_not_be_tried_again_fails_at_once() -> None:
    assert await offsets([ValueError("x"), Declined("no")]) == (pytest.approx([0, 3], abs=1e-3), "failed")


@pytest.mark.covers("I17")
async def test_a_class_of_errors_may_have_a_policy_of_its_own_and_an_action_its_own_wish() -> None:
    found, status = await offsets([KeyError("k"), RetryAfter("7s"), ValueError("x")])
    assert found[:3] == pytest.approx([0, 3_600, 3_607], abs=1e-3)
    assert status == "completed"
