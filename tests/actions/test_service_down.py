"""A service that is down: its calls are tried by their policy, kept with the reason when that ends, and made again by hand (S13)."""

from typing import Any

import pytest

from perdure import Engine, Retry, actions, errors
from perdure.stores.memory import MemoryStore
from tests.actions.running import flow
from tests.actions.service import Said, Service

DOWN = Said(503, "closed for repair")


@pytest.mark.covers("S13")
async def test_calls_of_a_service_that_was_down_are_found_with_their_reason_and_all_made_again(service: Service) -> None:
    service.route("/stock", DOWN)
    ask = actions.http(url=f"{service.url}/stock?item={{{{ item }}}}").options(retry=Retry(attempts=3, first="1ms"))
    process = flow(ask, name="service_down_flow")
    async with Engine(MemoryStore()) as engine:
        runs = [await engine.start(process, [{"item": str(number)}]) for number in range(4)]
        for run in runs:
            with pytest.raises(errors.PerdureError, match="503"):
                await run.result()
        assert len(service.got) == 4 * 3
        failed = await engine.list(status="failed", definition="service_down_flow")
        assert {row.id for row in failed} == {run.id for run in runs}

        service.route("/stock", Said(200, "7 left"))
        retried = await engine.retry(action="http", definition="service_down_flow")
        assert set(retried) == {run.id for run in runs}
        results: list[Any] = [await run.result() for run in runs]
        assert [found["content"] for (found,) in results] == ["7 left"] * 4
        assert len(service.got) == 4 * 3 + 4
