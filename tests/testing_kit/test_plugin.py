"""The fixture in a test suite of a user's own."""

import re
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

SUITE = """
import asyncio
from perdure import workflow

@workflow
async def nap(days: int) -> int:
    await asyncio.sleep(days * 86400)
    return days

async def test_time_moves(perdure_env):
    run = await perdure_env.start(nap, 2)
    await perdure_env.advance("2d")
    assert await run.result() == 2

class TestInAClass:
    async def test_it_is_open(self, perdure_env, tmp_path):
        assert await perdure_env.run(nap, 1) == 1
        assert tmp_path.exists()

def test_others_are_left_alone():
    assert True
"""


def run(pytester: pytest.Pytester, suite: str, *options: str) -> pytest.RunResult:
    pytester.makepyfile(suite)
    return pytester.runpytest_subprocess("-p", "no:cacheprovider", *options)


def test_the_plugin_runs_the_tests_that_use_it(pytester: pytest.Pytester) -> None:
    run(pytester, SUITE).assert_outcomes(passed=3)


def test_another_plugin_that_runs_coroutine_tests_goes_first(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(
        """
import asyncio, inspect, pytest

@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    if inspect.iscoroutinefunction(pyfuncitem.obj):
        print("theirs")
        names = pyfuncitem._fixtureinfo.argnames
        with asyncio.Runner() as runner:
            runner.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
        return True
"""
    )
    result = run(pytester, SUITE, "-s")
    result.assert_outcomes(passed=3)
    assert str(result.stdout).count("theirs") == 2


def test_coroutine_tests_that_do_not_use_it_are_not_its_business(pytester: pytest.Pytester) -> None:
    result = run(pytester, "async def test_alone():\n    pass\n")
    assert "passed" not in str(result.stdout)


def test_a_plain_test_that_asks_for_it_is_told_why_not(pytester: pytest.Pytester) -> None:
    result = run(pytester, "def test_plain(perdure_env):\n    pass\n")
    result.stdout.fnmatch_lines(["*asks for perdure_env and is no 'async def'*"])


def test_a_failing_assertion_of_crash_everywhere_shows_the_whole_report(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        """
from perdure import action, workflow
from perdure.testing import crash_everywhere

made = []

@action
async def counts() -> int:
    made.append(1)
    return len(made)

@workflow
async def wild() -> int:
    return await counts()

def test_it():
    assert crash_everywhere(wild)
""",
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*smallest first:", "*journal of the run:", "*RunStarted wild*"])


def test_the_first_example_of_the_guide_works_as_it_stands(pytester: pytest.Pytester) -> None:
    guide = Path(__file__).parents[2] / "docs" / "howto" / "test-your-workflows.md"
    found = re.search(r"```python\n(.*?)```", guide.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    run(pytester, found[1]).assert_outcomes(passed=2)
