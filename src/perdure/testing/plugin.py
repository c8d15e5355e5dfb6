"""The pytest plugin: the fixture ``perdure_env``, an `Environment` that is open while an ``async def`` test runs, in the test's own loop.

Tests that do not ask for it are left alone. Those that do are run by whichever plugin runs coroutine tests (pytest-asyncio, anyio, one of
yours); where none does, by this one.
"""

import asyncio
import functools
import inspect
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from perdure.testing.env import Environment

FIXTURE = "perdure_env"


@pytest.fixture
def perdure_env() -> "Environment":
    """An engine in memory on virtual time: ``await perdure_env.run(workflow, …)``, ``await perdure_env.advance("2d")``."""
    from perdure.testing.env import Environment

    return Environment()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """The environment opens and closes within the coroutine, so that it lives in the loop of whoever runs it."""
    if isinstance(item, pytest.Function) and FIXTURE in item.fixturenames:
        if not inspect.iscoroutinefunction(item.obj):
            raise pytest.UsageError(f"{item.nodeid} asks for {FIXTURE} and is no 'async def': the environment needs an event loop.")
        environment: Any = item.funcargs[FIXTURE]
        item.obj = _within(environment, item.obj)
    return (yield)


def _within(env: "Environment", test: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(test)
    async def run(*args: Any, **kwargs: Any) -> None:
        async with env:
            await test(*args, **kwargs)

    return run


def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a coroutine test that uses the fixture. Plugins that run coroutine tests come first: they ask to, or replace the function."""
    if FIXTURE not in pyfuncitem.fixturenames or not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = pyfuncitem._fixtureinfo.argnames
    asyncio.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True
