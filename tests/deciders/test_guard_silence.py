"""Code that is replayed logs nothing, whatever the logger and its handlers; everything else goes on logging."""

import asyncio
import logging
import threading
from collections.abc import Iterator

import pytest

import perdure
from perdure.testing.env import Environment


class Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@pytest.fixture(params=[True, False], ids=["propagates", "own handlers"])
def logger(request: pytest.FixtureRequest) -> Iterator[logging.Logger]:
    """A logger whose lines are kept by its own handler, or by that of its parent."""
    parent = logging.getLogger("perdure.test.parent")
    found = parent.getChild("child") if request.param else logging.getLogger("perdure.test.alone")
    handler, holder = Kept(), parent if request.param else found
    found.propagate = request.param
    holder.addHandler(handler)
    holder.setLevel(logging.INFO)
    yield found
    holder.removeHandler(handler)


def lines(logger: logging.Logger) -> list[str]:
    holders = (logger, logging.getLogger("perdure.test.parent"))
    [handler] = [handler for holder in holders for handler in holder.handlers if isinstance(handler, Kept)]
    return handler.lines


async def test_a_line_is_logged_once_however_often_the_code_is_replayed(logger: logging.Logger) -> None:
    adapter = logging.LoggerAdapter(logger, {})

    @perdure.workflow(name="tested", registry=(registry := perdure.Registry()))
    async def tested() -> None:
        logger.info("before")
        await asyncio.sleep(60)
        adapter.warning("between")
        await asyncio.sleep(60)
        try:
            raise KeyError("after")
        except KeyError:
            logger.exception("after")

    async with Environment(registry=registry) as env:
        run = await env.start(tested.options(id="it"))
        await env.restart()
        await env.advance("61s")
        await env.crash()
        await env.finish(env.get(run.id))
    assert lines(logger) == ["before", "between", "after"]


async def test_clean_up_code_of_a_run_that_is_put_down_logs_nothing(logger: logging.Logger) -> None:
    @perdure.workflow(name="tested", registry=(registry := perdure.Registry()))
    async def tested() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            logger.info("cleaned up")

    async with Environment(registry=registry) as env:
        await env.start(tested)
    assert lines(logger) == []


async def test_actions_and_other_threads_go_on_logging_while_code_is_replayed(logger: logging.Logger) -> None:
    # Flags rather than events: a workflow may not touch a lock.
    ready: list[bool] = []
    done: list[bool] = []

    def talk() -> None:
        while not ready:
            pass
        logger.info("from another thread")
        done.append(True)

    spoken: list[bool] = []

    @perdure.action(registry=(registry := perdure.Registry()))
    async def work() -> None:
        logger.info("from an action")

    @perdure.workflow(name="tested", registry=registry)
    async def tested() -> None:
        if perdure.info().is_replaying:
            ready.append(True)
            while not done:
                pass
            spoken.append(True)
        logger.info("from the workflow")
        await asyncio.sleep(60)
        await work()

    other = threading.Thread(target=talk, daemon=True)
    other.start()
    async with Environment(registry=registry) as env:
        run = await env.start(tested.options(id="it"))
        await env.restart()
        await env.finish(env.get(run.id))
    other.join()
    assert spoken
    assert lines(logger) == ["from the workflow", "from another thread", "from an action"]
